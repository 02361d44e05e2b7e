/* What creelctl top measures: what is on the host, and what has changed since the last time. */
#include "mgmt/creelctl/top.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE        4096u
#define LINEAGE_MAX 64 /* ancestors whose memory is counted */

static void *grown(void *list, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return list;
	*room = *room ? 2 * *room : 64;
	list = realloc(list, *room * size);
	if (!list)
		abort();
	return list;
}

int top_take_guest(void *arg, const struct creel_guest *g)
{
	struct top_measurement *m = arg;

	m->rows = grown(m->rows, m->count, &m->room, sizeof(*m->rows));
	m->rows[m->count++] = (struct top_row){.guest = *g};
	return 0;
}

static struct top_origin *add_origin(struct top_origins *o, const char *name)
{
	struct top_origin *t;

	o->list = grown(o->list, o->count, &o->room, sizeof(*o->list));
	t = &o->list[o->count++];
	snprintf(t->name, sizeof(t->name), "%s", name);
	return t;
}

int top_take_snapshot(void *arg, const struct creel_snapshot *s)
{
	struct top_origin *o = add_origin(&((struct top_measurement *)arg)->snapshots, s->name);

	o->id = s->id;
	o->parent = s->parent;
	o->image = s->image;
	o->pages = s->pages;
	return 0;
}

int top_take_image(void *arg, const struct creel_image *i)
{
	struct top_origin *o = add_origin(&((struct top_measurement *)arg)->images, i->name);

	o->id = i->id;
	o->pages = i->pages;
	return 0;
}

static const struct top_origin *find_origin(const struct top_origins *o, uint64_t id)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (o->list[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->count && o->list[low].id == id ? &o->list[low] : NULL;
}

/* As they come from the host: by id. */
static const struct top_row *find_row(const struct top_measurement *m, uint64_t id)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->rows[mid].guest.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->count && m->rows[low].guest.id == id ? &m->rows[low] : NULL;
}

/* What those hold that it descends from, but not more than it has beside its own. */
static uint64_t shared_pages(const struct top_measurement *m, const struct creel_guest *g)
{
	const struct top_origin *image = find_origin(&m->images, g->image);
	uint64_t pages = image ? image->pages : 0, parent = g->parent;
	uint64_t most = g->memory / PAGE -
			(g->private_pages < g->memory / PAGE ? g->private_pages : g->memory / PAGE);

	for (int i = 0; parent && i < LINEAGE_MAX; i++) {
		const struct top_origin *s = find_origin(&m->snapshots, parent);
		const struct top_row *r = s ? NULL : find_row(m, parent);

		pages += s ? s->pages : r ? r->guest.private_pages : 0;
		parent = s ? s->parent : r ? r->guest.parent : 0;
	}
	return pages < most ? pages : most;
}

/* The rates since `before`, in whose rows a guest may be missing. */
void top_compare(struct top_measurement *m, const struct top_measurement *before)
{
	double seconds = (double)(m->at_ns - before->at_ns) / 1e9;
	size_t b = 0;

	for (size_t i = 0; i < m->count; i++) {
		struct top_row *r = &m->rows[i];
		const struct creel_guest *g = &r->guest, *old;
		const struct top_origin *image = find_origin(&m->images, g->image);

		r->image = image ? image->name : "-";
		r->shared_pages = shared_pages(m, g);
		while (b < before->count && before->rows[b].guest.id < g->id)
			b++;
		if (b == before->count || before->rows[b].guest.id != g->id || seconds <= 0)
			continue;
		old = &before->rows[b].guest;
		/* A rollback takes the counts back too. */
		if (g->cpu_ns >= old->cpu_ns)
			r->cpu = (double)(g->cpu_ns - old->cpu_ns) / 1e9 / seconds;
		if (g->exits >= old->exits)
			r->exits = (double)(g->exits - old->exits) / seconds;
		if (g->faults >= old->faults)
			r->faults = (double)(g->faults - old->faults) / seconds;
		m->cpu += r->cpu;
	}
}

void top_forget(struct top_measurement *m)
{
	free(m->rows);
	free(m->snapshots.list);
	free(m->images.list);
	memset(m, 0, sizeof(*m));
}

uint64_t top_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
