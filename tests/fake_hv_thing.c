/* Owners and names of what the fake hypervisor pretends. */
#include "tests/fake_hv_internal.h"

#define OWNERS_MAX 8

static char owners[OWNERS_MAX][32];
static unsigned owner_total = 1;

uint16_t fake_owner(const char *name)
{
	for (unsigned i = 0; i < owner_total; i++) {
		if (!strcmp(owners[i], name))
			return (uint16_t)i;
	}
	if (owner_total == OWNERS_MAX)
		abort();
	snprintf(owners[owner_total], sizeof(owners[0]), "%s", name);
	return (uint16_t)owner_total++;
}

unsigned owner_count(void)
{
	return owner_total;
}

const char *owner_name(uint16_t owner)
{
	return owners[owner];
}

static struct image *image_of(uint64_t id)
{
	for (size_t i = 0; i < fake_image_count; i++) {
		if (fake_images[i].info.id == id)
			return &fake_images[i];
	}
	return NULL;
}

int thing_look(uint64_t id, struct thing_brief *brief)
{
	struct thing *guest = fake_find(id, false), *snapshot = fake_find(id, true);
	struct image *image = image_of(id);

	if (guest)
		*brief = (struct thing_brief){THING_GUEST, guest->info.owner, false};
	else if (snapshot)
		*brief = (struct thing_brief){
			THING_SNAPSHOT, snapshot->info.owner, snapshot->public};
	else if (image)
		*brief = (struct thing_brief){THING_IMAGE, image->info.owner, image->info.public};
	else
		return fake_fail(ERR_NOENT, "there is no %llu", (unsigned long long)id);
	return OK;
}

int thing_find(enum thing_kind kind, uint16_t owner, const char *name, uint64_t *id)
{
	struct thing *t;
	struct image *i;

	if (kind == THING_IMAGE) {
		i = fake_image_named(name, owner);
		*id = i ? i->info.id : 0;
	} else {
		t = fake_named(name, kind == THING_SNAPSHOT, owner);
		*id = t ? t->info.id : 0;
	}
	return *id ? OK : fake_fail(ERR_NOENT, "nothing is named %s", name);
}

int thing_label(uint64_t id, const char *set, const char *remove)
{
	struct thing *t = fake_find(id, false);

	if (!t)
		t = fake_find(id, true);
	if (!t)
		return fake_fail(ERR_NOENT, "there is no %llu", (unsigned long long)id);
	if (!labels_change(t->info.labels, set, remove))
		return fake_fail(ERR_RANGE, "too many labels");
	return OK;
}

/* ---- deadlines, in the time of host_now_us() ---- */

int guest_timeout(uint64_t id, uint64_t ns, bool running)
{
	struct thing *g = fake_find(id, false);

	if (!g)
		return fake_fail(ERR_NOENT, "there is no guest %llu", (unsigned long long)id);
	if (g->info.state == GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	g->info.timeout_ns = g->info.deadline_ns = ns;
	g->info.timeout_running = running;
	g->deadline_us = ns ? host_now_us() + ns / 1000 : 0;
	return OK;
}

static bool expires(const struct thing *g)
{
	return g->deadline_us && g->info.state != GUEST_STOPPED &&
	       !(g->info.timeout_running && g->info.state == GUEST_PAUSED);
}

void guest_expire(void)
{
	uint64_t id = 0, now = host_now_us();
	struct thing *g;

	while ((g = fake_next(id, false)) != NULL) {
		id = g->info.id;
		if (expires(g) && g->deadline_us <= now)
			fake_stop(g, STOP_DEADLINE, "its time is over");
	}
}

uint64_t guest_deadline_us(void)
{
	uint64_t id = 0, at = UINT64_MAX;
	struct thing *g;

	while ((g = fake_next(id, false)) != NULL) {
		id = g->info.id;
		if (expires(g))
			at = MIN(at, g->deadline_us);
	}
	return at;
}

int thing_publish(uint64_t id, bool public)
{
	struct thing *t = fake_find(id, true);
	struct image *i = image_of(id);

	if (t)
		t->public = public;
	else if (i)
		i->info.public = public;
	else
		return fake_fail(ERR_NOENT, "there is no %llu", (unsigned long long)id);
	return OK;
}
