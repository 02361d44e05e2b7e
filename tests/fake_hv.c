#include "tests/fake_hv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TABLE_MAX   200000
#define UPLOADS_MAX 16
#define LOG_SIZE    (64 * 1024)

struct script {
	char *text;
	size_t size;
	unsigned users;
};

struct stream {
	uint8_t *ring;       /* STREAM_CAPACITY bytes, NULL until there is one */
	uint64_t begin, end; /* positions kept */
	bool closed;
	struct {
		bool open;
		uint64_t done;
	} reader[STREAM_MAX_READERS];
};

struct thing { /* a guest or a snapshot */
	bool snapshot;
	struct guest_info info;
	struct script *script;
	size_t pc, progress;
	char *args;
	uint32_t args_size, argc, envc;
	struct stream stream[STREAM_COUNT];
	bool remove, paused_once;
	enum guest_state before_pause;
	unsigned news;
	uint64_t forks;
};

struct image {
	struct image_info info;
	struct script *script;
};

struct upload {
	uint64_t id, size, received;
	char *data;
};

static struct thing *things[TABLE_MAX];
static size_t thing_count;
static struct image images[64];
static size_t image_count;
static struct upload uploads[UPLOADS_MAX];
static uint64_t last_id = 100, guest_max;
static size_t news_at;
static unsigned news_waiting;
static char error_text[GUEST_REASON_MAX];
static char log_text[LOG_SIZE];
static size_t log_size;
static struct host_meter_value meters[METER_KINDS];

__attribute__((format(printf, 2, 3))) static int fail(int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error_text, sizeof(error_text), format, ap);
	va_end(ap);
	return err;
}

const char *guest_last_error(void)
{
	return error_text;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- things ---- */

static struct thing *thing_find(uint64_t id, bool snapshot)
{
	size_t low = 0, high = thing_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (things[mid]->info.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < thing_count && things[low]->info.id == id && things[low]->snapshot == snapshot
		       ? things[low]
		       : NULL;
}

static struct thing *guest_of(uint64_t id)
{
	struct thing *g = thing_find(id, false);

	if (!g)
		fail(ERR_NOENT, "there is no guest %llu", (unsigned long long)id);
	return g;
}

static struct thing *thing_named(const char *name, bool snapshot)
{
	for (size_t i = 0; name[0] && i < thing_count; i++) {
		if (things[i]->snapshot == snapshot && !strcmp(things[i]->info.name, name))
			return things[i];
	}
	return NULL;
}

static void script_drop(struct script *s)
{
	if (--s->users == 0) {
		free(s->text);
		free(s);
	}
}

static void thing_free(struct thing *t)
{
	size_t i = 0;

	while (things[i] != t)
		i++;
	memmove(things + i, things + i + 1, (thing_count - i - 1) * sizeof(*things));
	thing_count--;
	script_drop(t->script);
	for (int s = 0; s < STREAM_COUNT; s++)
		free(t->stream[s].ring);
	free(t->args);
	free(t);
}

static void tell(struct thing *g, unsigned news)
{
	if (!g->news)
		news_waiting++;
	g->news |= news;
}

static bool has_readers(const struct thing *g)
{
	for (int s = 0; s < STREAM_COUNT; s++) {
		for (int i = 0; i < STREAM_MAX_READERS; i++) {
			if (g->stream[s].reader[i].open)
				return true;
		}
	}
	return false;
}

static void maybe_remove(struct thing *g)
{
	if (!g->remove || g->info.state != GUEST_STOPPED || has_readers(g))
		return;
	if (g->news)
		news_waiting--;
	thing_free(g);
}

static void stop(struct thing *g, enum guest_stop why, const char *reason)
{
	g->info.state = GUEST_STOPPED;
	g->info.stop = why;
	g->info.private_pages = 0;
	snprintf(g->info.reason, sizeof(g->info.reason), "%s", reason);
	for (int s = 0; s < STREAM_COUNT; s++)
		g->stream[s].closed = true;
	tell(g, NEWS_STATE | NEWS_OUTPUT);
	maybe_remove(g);
}

/* ---- streams ---- */

static size_t stream_write(struct stream *s, const uint8_t *data, size_t size, bool drop)
{
	uint64_t floor = s->end;
	size_t n;

	if (!s->ring)
		s->ring = malloc(STREAM_CAPACITY);
	for (int i = 0; i < STREAM_MAX_READERS; i++) {
		if (s->reader[i].open && s->reader[i].done < floor)
			floor = s->reader[i].done;
	}
	if (!drop)
		floor = s->begin;
	for (n = 0; n < size && s->end - floor < STREAM_CAPACITY; n++)
		s->ring[s->end++ % STREAM_CAPACITY] = data[n];
	if (s->end - s->begin > STREAM_CAPACITY)
		s->begin = s->end - STREAM_CAPACITY;
	return n;
}

static size_t guest_write(struct thing *g, enum guest_stream stream, const void *data, size_t size)
{
	size_t n = stream_write(&g->stream[stream], data, size, true);

	g->info.output_bytes[stream] += n;
	if (n)
		tell(g, NEWS_OUTPUT);
	return n;
}

int64_t guest_input(uint64_t id, const uint8_t *data, size_t size)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->stream[STREAM_IN].closed)
		return fail(ERR_CLOSED, "its input has ended");
	size_t n = stream_write(&g->stream[STREAM_IN], data, size, false);

	if (n && g->info.state == GUEST_WAITING)
		g->info.state = GUEST_RUNNABLE;
	return n ? (int64_t)n : ERR_AGAIN;
}

int guest_input_end(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	g->stream[STREAM_IN].closed = true;
	if (g->info.state == GUEST_WAITING)
		g->info.state = GUEST_RUNNABLE;
	return OK;
}

int guest_reader_open(uint64_t id, enum guest_stream stream, uint64_t *position)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	for (int i = 0; i < STREAM_MAX_READERS; i++) {
		if (!g->stream[stream].reader[i].open) {
			*position = g->stream[stream].begin;
			g->stream[stream].reader[i].open = true;
			g->stream[stream].reader[i].done = *position;
			return i;
		}
	}
	return fail(ERR_LIMIT, "all readers are taken");
}

void guest_reader_close(uint64_t id, enum guest_stream stream, int slot)
{
	struct thing *g = guest_of(id);

	if (!g)
		return;
	if (!g->stream[stream].reader[slot].open)
		abort();
	g->stream[stream].reader[slot].open = false;
	maybe_remove(g);
}

void guest_reader_done(uint64_t id, enum guest_stream stream, int slot, uint64_t position)
{
	struct thing *g = guest_of(id);

	if (g)
		g->stream[stream].reader[slot].done = position;
}

int64_t guest_output(uint64_t id, enum guest_stream stream, uint64_t *position, uint8_t *buf,
	size_t size, bool *end)
{
	struct thing *g = guest_of(id);
	size_t n = 0;

	*end = false;
	if (!g)
		return ERR_NOENT;
	struct stream *s = &g->stream[stream];

	if (*position < s->begin)
		*position = s->begin;
	while (n < size && *position + n < s->end) {
		buf[n] = s->ring[(*position + n) % STREAM_CAPACITY];
		n++;
	}
	*end = !n && size && s->closed;
	return (int64_t)n;
}

/* ---- images ---- */

static struct upload *upload_find(uint64_t id)
{
	for (int i = 0; i < UPLOADS_MAX; i++) {
		if (uploads[i].id == id)
			return &uploads[i];
	}
	return NULL;
}

int image_begin(uint64_t size, uint64_t *id)
{
	struct upload *u = upload_find(0);

	if (!size || size > 64 * MIB)
		return fail(ERR_TOOBIG, "an image has 1 to %llu bytes, not %llu", 64 * MIB,
			(unsigned long long)size);
	if (!u)
		return fail(ERR_LIMIT, "%d uploads are going on", UPLOADS_MAX);
	*u = (struct upload){.id = ++last_id, .size = size, .data = malloc(size + 1)};
	*id = u->id;
	return OK;
}

int image_append(uint64_t id, const uint8_t *data, size_t size)
{
	struct upload *u = upload_find(id);

	if (!u || size > u->size - u->received)
		return fail(ERR_INVALID, "no such upload, or too much");
	memcpy(u->data + u->received, data, size);
	u->received += size;
	return OK;
}

static struct image *image_named(const char *name)
{
	for (size_t i = 0; i < image_count; i++) {
		if (!strcmp(images[i].info.name, name))
			return &images[i];
	}
	return NULL;
}

static void image_drop(struct image *i)
{
	script_drop(i->script);
	memmove(i, i + 1, (size_t)(images + image_count - i - 1) * sizeof(*i));
	image_count--;
}

int image_commit(uint64_t id, const char *name, uint64_t *image)
{
	struct upload *u = upload_find(id);

	if (!u || u->received != u->size)
		return fail(ERR_INVALID, "the upload is not complete");
	if (memchr(u->data, 0, u->size))
		return fail(ERR_INVALID, "the image is no ELF file for x86-64");
	if (image_named(name))
		image_drop(image_named(name));
	struct image *i = &images[image_count++];

	u->data[u->size] = 0;
	*i = (struct image){.script = malloc(sizeof(struct script))};
	*i->script = (struct script){.text = u->data, .size = u->size, .users = 1};
	i->info = (struct image_info){.id = id,
		.size = u->size,
		.memory = 16 * MIB,
		.pages = 12,
		.created_ns = now_ns(CLOCK_REALTIME)};
	snprintf(i->info.name, sizeof(i->info.name), "%s", name);
	*image = id;
	*u = (struct upload){0};
	return OK;
}

void image_abort(uint64_t id)
{
	struct upload *u = upload_find(id);

	free(u->data);
	*u = (struct upload){0};
}

int image_find(const char *name, uint64_t *id)
{
	struct image *i = image_named(name);

	if (!i)
		return fail(ERR_NOENT, "there is no image %s", name);
	*id = i->info.id;
	return OK;
}

int image_next(uint64_t after, struct image_info *info)
{
	struct image *best = NULL;

	for (size_t i = 0; i < image_count; i++) {
		if (images[i].info.id > after && (!best || images[i].info.id < best->info.id))
			best = &images[i];
	}
	if (!best)
		return ERR_NOENT;
	*info = best->info;
	return OK;
}

int image_remove(uint64_t id)
{
	for (size_t i = 0; i < image_count; i++) {
		if (images[i].info.id == id) {
			image_drop(&images[i]);
			return OK;
		}
	}
	return fail(ERR_NOENT, "there is no image %llu", (unsigned long long)id);
}

/* ---- making guests ---- */

static int thing_add(struct thing **out, const char *name, bool snapshot, uint64_t *id)
{
	struct thing *t;

	if (thing_named(name, snapshot))
		return fail(ERR_EXIST, "the name %s is taken by %llu", name,
			(unsigned long long)thing_named(name, snapshot)->info.id);
	if (thing_count == TABLE_MAX || (guest_max && thing_count >= guest_max))
		return fail(ERR_NOMEM, "the host is at its reserve of memory");
	t = calloc(1, sizeof(*t));
	t->snapshot = snapshot;
	t->info.id = *id = ++last_id;
	t->info.created_ns = now_ns(CLOCK_REALTIME);
	snprintf(t->info.name, sizeof(t->info.name), "%s", name);
	things[thing_count++] = t;
	*out = t;
	return OK;
}

static void set_args(struct thing *g, const char *args, uint32_t size, uint32_t argc, uint32_t envc)
{
	g->args = malloc(size + 1);
	memcpy(g->args, args ? args : "", size);
	g->args_size = size;
	g->argc = argc;
	g->envc = envc;
}

static void start(struct thing *g, const struct guest_options *o)
{
	g->remove = o->remove_when_stopped;
	g->stream[STREAM_IN].closed = !o->input_open;
	g->info.weight = o->weight ? o->weight : GUEST_WEIGHT_DEFAULT;
	g->info.private_pages = 5;
	g->info.budget_pages = 5;
	g->info.state = o->paused ? GUEST_PAUSED : GUEST_RUNNABLE;
	g->info.stop = o->paused ? STOP_CLIENT : STOP_NONE;
	g->before_pause = GUEST_RUNNABLE;
}

int guest_run(uint64_t image, const struct guest_options *o, uint64_t *id)
{
	struct thing *g;
	size_t i = 0;

	while (i < image_count && images[i].info.id != image)
		i++;
	if (i == image_count)
		return fail(ERR_NOENT, "there is no image %llu", (unsigned long long)image);
	int err = thing_add(&g, o->name, false, id);

	if (err < 0)
		return err;
	g->script = images[i].script;
	g->script->users++;
	g->info.image = image;
	g->info.lineage = *id;
	g->info.memory = o->memory ? o->memory : images[i].info.memory;
	g->info.max_pages = o->max_pages ? o->max_pages : g->info.memory / PAGE_SIZE + 64;
	set_args(g, o->args, o->args_size, o->argc, o->envc);
	start(g, o);
	meters[METER_RUN].count++;
	return OK;
}

static void copy_program(struct thing *to, const struct thing *from)
{
	to->script = from->script;
	to->script->users++;
	to->pc = from->pc;
	to->progress = from->progress;
	to->info.image = from->info.image;
	to->info.lineage = from->info.lineage;
	to->info.memory = from->info.memory;
	to->info.max_pages = from->info.max_pages;
	to->info.generation = from->info.generation + 1;
}

int guest_fork(uint64_t source, const struct guest_options *o, uint64_t *id)
{
	struct thing *from = thing_find(source, true), *g;

	if (!from)
		from = guest_of(source);
	if (!from)
		return ERR_NOENT;
	if (from->info.state == GUEST_STOPPED)
		return fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)source);
	int err = thing_add(&g, o->name, false, id);

	if (err < 0)
		return err;
	copy_program(g, from);
	g->info.parent = source;
	from->info.forks++;
	from->info.children++;
	if (o->args_size)
		set_args(g, o->args, o->args_size, o->argc, o->envc);
	else
		set_args(g, from->args, from->args_size, from->argc, from->envc);
	start(g, o);
	meters[METER_FORK].count++;
	return OK;
}

int guest_snapshot(uint64_t id, const char *name, uint64_t *snapshot)
{
	struct thing *g = guest_of(id), *s;

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED)
		return fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	int err = thing_add(&s, name, true, snapshot);

	if (err < 0)
		return err;
	copy_program(s, g);
	s->info.parent = id;
	s->info.private_pages = 3;
	set_args(s, g->args, g->args_size, g->argc, g->envc);
	meters[METER_SNAPSHOT].count++;
	return OK;
}

int guest_rollback(uint64_t id, uint64_t snapshot)
{
	struct thing *g = guest_of(id), *s = thing_find(snapshot, true);

	if (!g || !s)
		return ERR_NOENT;
	if (g->info.lineage != s->info.lineage)
		return fail(ERR_PERM, "snapshot %llu is of another lineage",
			(unsigned long long)snapshot);
	if (g->info.state == GUEST_STOPPED)
		return fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	g->pc = s->pc;
	g->progress = s->progress;
	g->info.generation++;
	if (g->info.state == GUEST_WAITING)
		g->info.state = GUEST_RUNNABLE;
	return OK;
}

/* ---- states ---- */

static int pause_for(struct thing *g, enum guest_stop why, const char *reason)
{
	g->before_pause = g->info.state;
	g->info.state = GUEST_PAUSED;
	g->info.stop = why;
	snprintf(g->info.reason, sizeof(g->info.reason), "%s", reason);
	tell(g, NEWS_STATE);
	return OK;
}

int guest_pause(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED || g->info.state == GUEST_PAUSED)
		return fail(ERR_BUSY, "guest %llu %s", (unsigned long long)id,
			g->info.state == GUEST_STOPPED ? "has stopped" : "is paused already");
	return pause_for(g, STOP_CLIENT, "paused by a client");
}

int guest_resume(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state != GUEST_PAUSED)
		return fail(ERR_BUSY, "guest %llu is not paused", (unsigned long long)id);
	g->info.state = g->before_pause;
	g->info.stop = STOP_NONE;
	g->info.reason[0] = 0;
	tell(g, NEWS_STATE);
	return OK;
}

int guest_kill(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED)
		return fail(ERR_BUSY, "guest %llu has stopped already", (unsigned long long)id);
	stop(g, STOP_KILLED, "killed by a client");
	return OK;
}

int guest_remove(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state != GUEST_STOPPED)
		return fail(ERR_BUSY, "guest %llu has not stopped: kill it first",
			(unsigned long long)id);
	if (g->news)
		news_waiting--;
	thing_free(g);
	return OK;
}

int snapshot_remove(uint64_t id)
{
	struct thing *s = thing_find(id, true);

	if (!s)
		return ERR_NOENT;
	thing_free(s);
	return OK;
}

int guest_limit(uint64_t id, uint64_t max_pages, uint64_t max_guests, uint32_t weight)
{
	struct thing *g = guest_of(id);

	(void)max_guests;
	if (!g)
		return ERR_NOENT;
	if (weight > GUEST_WEIGHT_MAX)
		return fail(ERR_RANGE, "a weight is 1 to %d, not %u", GUEST_WEIGHT_MAX, weight);
	if (max_pages)
		g->info.max_pages = max_pages;
	if (weight)
		g->info.weight = weight;
	return OK;
}

/* ---- looking ---- */

static struct thing *next_thing(uint64_t after, bool snapshot)
{
	size_t low = 0, high = thing_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (things[mid]->info.id <= after)
			low = mid + 1;
		else
			high = mid;
	}
	while (low < thing_count && things[low]->snapshot != snapshot)
		low++;
	return low < thing_count ? things[low] : NULL;
}

static int give_guest(const struct thing *g, struct guest_info *info)
{
	if (!g)
		return ERR_NOENT;
	*info = g->info;
	return OK;
}

static int give_snapshot(const struct thing *s, struct snapshot_info *info)
{
	if (!s)
		return ERR_NOENT;
	*info = (struct snapshot_info){
		.id = s->info.id,
		.parent = s->info.parent,
		.lineage = s->info.lineage,
		.image = s->info.image,
		.pages = s->info.private_pages,
		.forks = s->info.forks,
		.created_ns = s->info.created_ns,
	};
	memcpy(info->name, s->info.name, sizeof(info->name));
	return OK;
}

int guest_get(uint64_t id, struct guest_info *info)
{
	return give_guest(guest_of(id), info);
}

int guest_next(uint64_t after, struct guest_info *info)
{
	return give_guest(next_thing(after, false), info);
}

int snapshot_get(uint64_t id, struct snapshot_info *info)
{
	return give_snapshot(thing_find(id, true), info);
}

int snapshot_next(uint64_t after, struct snapshot_info *info)
{
	return give_snapshot(next_thing(after, true), info);
}

static int give_id(const struct thing *t, uint64_t *id)
{
	if (!t)
		return ERR_NOENT;
	*id = t->info.id;
	return OK;
}

int guest_find(const char *name, uint64_t *id)
{
	return give_id(thing_named(name, false), id);
}

int snapshot_find(const char *name, uint64_t *id)
{
	return give_id(thing_named(name, true), id);
}

bool guest_news(uint64_t *id, unsigned *news)
{
	if (!news_waiting)
		return false;
	do
		news_at = news_at + 1 < thing_count ? news_at + 1 : 0;
	while (!things[news_at]->news);
	*id = things[news_at]->info.id;
	*news = things[news_at]->news;
	things[news_at]->news = 0;
	news_waiting--;
	return true;
}

/* ---- scripts ---- */

static void print_strings(struct thing *g, uint32_t first, uint32_t count)
{
	const char *s = g->args;

	for (uint32_t i = 0; i < first + count; i++, s += strlen(s) + 1) {
		if (i >= first) {
			guest_write(g, STREAM_OUT, s, strlen(s));
			guest_write(g, STREAM_OUT, "\n", 1);
		}
	}
}

/* True: the line is done with. */
static bool cat(struct thing *g)
{
	struct stream *in = &g->stream[STREAM_IN];

	while (in->begin < in->end) {
		uint8_t c = in->ring[in->begin % STREAM_CAPACITY];

		if (!guest_write(g, STREAM_OUT, &c, 1))
			return false;
		in->begin++;
		g->info.output_bytes[STREAM_IN]++;
		if (in->end - in->begin == STREAM_CAPACITY / 2)
			tell(g, NEWS_INPUT);
	}
	tell(g, NEWS_INPUT);
	if (!in->closed)
		g->info.state = GUEST_WAITING;
	return in->closed;
}

static bool flood(struct thing *g, size_t total)
{
	while (g->progress < total) {
		uint8_t c = (uint8_t)('a' + g->progress % 26);

		if (!guest_write(g, STREAM_OUT, &c, 1))
			return false;
		g->progress++;
	}
	g->progress = 0;
	return true;
}

static bool command(struct thing *g, char *line)
{
	char *text = strchr(line, ' ');

	if (text)
		*text++ = 0;
	else
		text = line + strlen(line);
	if (!strcmp(line, "echo") || !strcmp(line, "err")) {
		enum guest_stream to = line[1] == 'c' ? STREAM_OUT : STREAM_ERR;

		guest_write(g, to, text, strlen(text));
		guest_write(g, to, "\n", 1);
	} else if (!strcmp(line, "args")) {
		print_strings(g, 0, g->argc);
	} else if (!strcmp(line, "env")) {
		print_strings(g, g->argc, g->envc);
	} else if (!strcmp(line, "cat")) {
		return cat(g);
	} else if (!strcmp(line, "flood")) {
		return flood(g, strtoul(text, NULL, 10));
	} else if (!strcmp(line, "sleep")) {
		if (++g->progress < strtoul(text, NULL, 10))
			return false;
		g->progress = 0;
	} else if (!strcmp(line, "spin")) {
		return false;
	} else if (!strcmp(line, "wait")) {
		g->info.state = GUEST_WAITING;
		return false;
	} else if (!strcmp(line, "paused")) {
		pause_for(g, STOP_MEMORY_LIMIT, "its budget of 64 pages has no page left");
	} else if (!strcmp(line, "exit")) {
		g->info.exit_status = (int32_t)strtol(text, NULL, 10);
		stop(g, STOP_EXIT, "exited");
	} else if (!strcmp(line, "crash")) {
		stop(g, STOP_CRASHED, text);
	}
	return true;
}

/* The guest may be gone afterwards. */
static bool guest_tick(struct thing *g)
{
	const char *line = g->script->text + g->pc;
	size_t n = strcspn(line, "\n");
	char copy[256];
	size_t pc = g->pc + n + (line[n] ? 1 : 0);
	uint64_t id = g->info.id;

	g->info.cpu_ns += 1000;
	g->info.exits++;
	if (!*line) {
		stop(g, STOP_EXIT, "exited");
		return true;
	}
	snprintf(copy, sizeof(copy), "%.*s", (int)n, line);
	bool done = command(g, copy);

	if (done && thing_find(id, false))
		g->pc = pc;
	return done;
}

bool fake_tick(void)
{
	bool busy = false;
	uint64_t id = 0;
	struct thing *g;

	while ((g = next_thing(id, false)) != NULL) {
		id = g->info.id;
		if (g->info.state == GUEST_RUNNABLE)
			busy |= guest_tick(g);
	}
	return busy;
}

/* ---- the host ---- */

void host_info(struct host_info *h)
{
	*h = (struct host_info){
		.version = "fake",
		.backend = "none",
		.cpu = "Pretended CPU",
		.boot_id = {0x1122334455667788u, 0x99aabbccddeeff00u},
		.cores = 2,
		.address = 0x7f000001,
		.mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
		.tsc_khz = 2000000,
		.uptime_ns = now_ns(CLOCK_MONOTONIC),
		.wall_ns = now_ns(CLOCK_REALTIME),
		.frames_total = 524288,
		.frames_free = 500000,
		.frames_reserve = 1024,
		.frames_data = 20000,
		.frames_host = 4288,
		.images = image_count,
	};
	for (size_t i = 0; i < thing_count; i++) {
		uint64_t *by_state[] = {&h->guests, &h->guests_runnable, &h->guests_waiting,
			&h->guests_paused, &h->guests_stopped};

		if (things[i]->snapshot) {
			h->snapshots++;
			continue;
		}
		h->guests++;
		++*by_state[things[i]->info.state];
	}
}

void host_meter(enum host_meter kind, struct host_meter_value *value)
{
	*value = meters[kind];
}

void host_meter_reset(void)
{
	memset(meters, 0, sizeof(meters));
}

const char *host_meter_name(enum host_meter kind)
{
	static char name[32];

	snprintf(name, sizeof(name), "meter_%d", kind);
	return kind == METER_FORK ? "fork" : name;
}

void fake_log(const char *line)
{
	log_size += (size_t)snprintf(log_text + log_size, LOG_SIZE - log_size, "%s\n", line);
}

size_t host_log(uint64_t *seq, char *buf, size_t size)
{
	size_t n = 0;

	while (*seq < log_size) {
		size_t line = (size_t)(strchr(log_text + *seq, '\n') - (log_text + *seq)) + 1;

		if (line > size - n)
			break;
		memcpy(buf + n, log_text + *seq, line);
		n += line;
		*seq += line;
	}
	return n;
}

void host_random(void *buf, size_t size)
{
	memset(buf, 0x5a, size);
}

uint64_t host_now_us(void)
{
	return now_ns(CLOCK_MONOTONIC) / 1000;
}

/* ---- for tests ---- */

void fake_count(struct fake_counts *c)
{
	*c = (struct fake_counts){0};
	for (size_t i = 0; i < thing_count; i++) {
		++*(things[i]->snapshot ? &c->snapshots : &c->guests);
		for (int s = 0; s < STREAM_COUNT; s++) {
			for (int r = 0; r < STREAM_MAX_READERS; r++)
				c->readers += things[i]->stream[s].reader[r].open;
		}
	}
	for (int i = 0; i < UPLOADS_MAX; i++)
		c->uploads += uploads[i].id != 0;
}

void fake_guest_limit(uint64_t guests)
{
	guest_max = guests;
}

void fake_reset(void)
{
	while (thing_count)
		thing_free(things[thing_count - 1]);
	while (image_count)
		image_drop(&images[0]);
	for (int i = 0; i < UPLOADS_MAX; i++) {
		free(uploads[i].data);
		uploads[i] = (struct upload){0};
	}
	news_waiting = 0;
	news_at = 0;
	guest_max = 0;
	log_size = 0;
	memset(meters, 0, sizeof(meters));
}
