/* Guests and snapshots that are only pretended: their list, their streams and their states. */
#include "tests/fake_hv_internal.h"

struct thing *fake_things[TABLE_MAX];
size_t fake_thing_count;
uint64_t fake_last_id = 100;
static uint64_t guest_max;
static size_t news_at;
static unsigned news_waiting;
static char error_text[GUEST_REASON_MAX];

__attribute__((format(printf, 2, 3))) int fake_fail(int err, const char *format, ...)
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

/* ---- things ---- */

struct thing *fake_find(uint64_t id, bool snapshot)
{
	size_t low = 0, high = fake_thing_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (fake_things[mid]->info.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < fake_thing_count && fake_things[low]->info.id == id &&
			       fake_things[low]->snapshot == snapshot
		       ? fake_things[low]
		       : NULL;
}

static struct thing *guest_of(uint64_t id)
{
	struct thing *g = fake_find(id, false);

	if (!g)
		fake_fail(ERR_NOENT, "there is no guest %llu", (unsigned long long)id);
	return g;
}

struct thing *fake_named(const char *name, bool snapshot, uint16_t owner)
{
	for (size_t i = 0; name[0] && i < fake_thing_count; i++) {
		if (fake_things[i]->snapshot == snapshot && fake_things[i]->info.owner == owner &&
			!strcmp(fake_things[i]->info.name, name))
			return fake_things[i];
	}
	return NULL;
}

void fake_script_drop(struct script *s)
{
	if (--s->users == 0) {
		free(s->text);
		free(s);
	}
}

static void thing_free(struct thing *t)
{
	size_t i = 0;

	while (fake_things[i] != t)
		i++;
	memmove(fake_things + i, fake_things + i + 1,
		(fake_thing_count - i - 1) * sizeof(*fake_things));
	fake_thing_count--;
	fake_script_drop(t->script);
	for (int s = 0; s < STREAM_COUNT; s++)
		free(t->stream[s].ring);
	free(t->args);
	free(t);
}

void fake_tell(struct thing *g, unsigned news)
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

void fake_stop(struct thing *g, enum guest_stop why, const char *reason)
{
	g->info.state = GUEST_STOPPED;
	g->info.stop = why;
	g->info.private_pages = 0;
	snprintf(g->info.reason, sizeof(g->info.reason), "%s", reason);
	for (int s = 0; s < STREAM_COUNT; s++)
		g->stream[s].closed = true;
	fake_tell(g, NEWS_STATE | NEWS_OUTPUT);
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

size_t fake_write(struct thing *g, enum guest_stream stream, const void *data, size_t size)
{
	size_t n = stream_write(&g->stream[stream], data, size, true);

	g->info.stream_bytes[stream] += n;
	if (n)
		fake_tell(g, NEWS_OUTPUT);
	return n;
}

int64_t guest_input(uint64_t id, const uint8_t *data, size_t size)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->stream[STREAM_IN].closed)
		return fake_fail(ERR_CLOSED, "its input has ended");
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
	return fake_fail(ERR_LIMIT, "all readers are taken");
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

/* ---- making guests ---- */

static int thing_add(
	struct thing **out, const char *name, bool snapshot, uint16_t owner, uint64_t *id)
{
	struct thing *t;

	if (fake_named(name, snapshot, owner))
		return fake_fail(ERR_EXIST, "the name %s is taken by %llu", name,
			(unsigned long long)fake_named(name, snapshot, owner)->info.id);
	if (fake_thing_count == TABLE_MAX || (guest_max && fake_thing_count >= guest_max))
		return fake_fail(ERR_NOMEM, "the host is at its reserve of memory");
	t = calloc(1, sizeof(*t));
	t->snapshot = snapshot;
	t->info.owner = owner;
	t->info.id = *id = ++fake_last_id;
	t->info.created_ns = fake_now_ns(CLOCK_REALTIME);
	snprintf(t->info.name, sizeof(t->info.name), "%s", name);
	fake_things[fake_thing_count++] = t;
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
	if (o->timeout_ns)
		guest_timeout(g->info.id, o->timeout_ns, o->timeout_running);
}

/* Once the origin's are there. */
static int set_labels(struct thing *g, const struct guest_options *o)
{
	if (!o->labels || labels_change(g->info.labels, o->labels, ""))
		return OK;
	thing_free(g);
	return fake_fail(ERR_RANGE, "too many labels");
}

int guest_run(uint64_t image, const struct guest_options *o, uint64_t *id)
{
	struct thing *g;
	size_t i = 0;

	while (i < fake_image_count && fake_images[i].info.id != image)
		i++;
	if (i == fake_image_count)
		return fake_fail(ERR_NOENT, "there is no image %llu", (unsigned long long)image);
	int err = thing_add(&g, o->name, false, o->owner, id);

	if (err < 0)
		return err;
	g->script = fake_images[i].script;
	g->script->users++;
	g->info.image = image;
	g->info.lineage = *id;
	g->info.memory = o->memory ? o->memory : fake_images[i].info.memory;
	g->info.max_pages = o->max_pages ? o->max_pages : g->info.memory / PAGE_SIZE + 64;
	set_args(g, o->args, o->args_size, o->argc, o->envc);
	start(g, o);
	fake_meters[METER_RUN].count++;
	return set_labels(g, o);
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
	memcpy(to->info.labels, from->info.labels, sizeof(to->info.labels));
}

int guest_fork(uint64_t source, const struct guest_options *o, uint64_t *id)
{
	struct thing *from = fake_find(source, true), *g;

	if (!from)
		from = guest_of(source);
	if (!from)
		return ERR_NOENT;
	if (from->info.state == GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)source);
	int err = thing_add(&g, o->name, false, o->owner, id);

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
	fake_meters[METER_FORK].count++;
	return set_labels(g, o);
}

int guest_snapshot(uint64_t id, uint16_t owner, const char *name, uint64_t *snapshot)
{
	struct thing *g = guest_of(id), *s;

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	int err = thing_add(&s, name, true, owner, snapshot);

	if (err < 0)
		return err;
	copy_program(s, g);
	s->info.parent = id;
	s->info.private_pages = 3;
	set_args(s, g->args, g->args_size, g->argc, g->envc);
	fake_meters[METER_SNAPSHOT].count++;
	return OK;
}

int guest_rollback(uint64_t id, uint64_t snapshot)
{
	struct thing *g = guest_of(id), *s = fake_find(snapshot, true);

	if (!g || !s)
		return ERR_NOENT;
	if (g->info.lineage != s->info.lineage)
		return fake_fail(ERR_PERM, "snapshot %llu is of another lineage",
			(unsigned long long)snapshot);
	if (g->info.state == GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	g->pc = s->pc;
	g->progress = s->progress;
	g->info.generation++;
	if (g->info.state == GUEST_WAITING)
		g->info.state = GUEST_RUNNABLE;
	return OK;
}

/* ---- states ---- */

int fake_pause(struct thing *g, enum guest_stop why, const char *reason)
{
	g->before_pause = g->info.state;
	g->info.state = GUEST_PAUSED;
	g->info.stop = why;
	snprintf(g->info.reason, sizeof(g->info.reason), "%s", reason);
	fake_tell(g, NEWS_STATE);
	return OK;
}

int guest_pause(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED || g->info.state == GUEST_PAUSED)
		return fake_fail(ERR_BUSY, "guest %llu %s", (unsigned long long)id,
			g->info.state == GUEST_STOPPED ? "has stopped" : "is paused already");
	return fake_pause(g, STOP_CLIENT, "paused by a client");
}

int guest_resume(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state != GUEST_PAUSED)
		return fake_fail(ERR_BUSY, "guest %llu is not paused", (unsigned long long)id);
	g->info.state = g->before_pause;
	g->info.stop = STOP_NONE;
	g->info.reason[0] = 0;
	fake_tell(g, NEWS_STATE);
	return OK;
}

int guest_kill(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state == GUEST_STOPPED)
		return fake_fail(
			ERR_BUSY, "guest %llu has stopped already", (unsigned long long)id);
	fake_stop(g, STOP_KILLED, "killed by a client");
	return OK;
}

int guest_remove(uint64_t id)
{
	struct thing *g = guest_of(id);

	if (!g)
		return ERR_NOENT;
	if (g->info.state != GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has not stopped: kill it first",
			(unsigned long long)id);
	if (g->news)
		news_waiting--;
	thing_free(g);
	return OK;
}

int snapshot_remove(uint64_t id)
{
	struct thing *s = fake_find(id, true);

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
		return fake_fail(
			ERR_RANGE, "a weight is 1 to %d, not %u", GUEST_WEIGHT_MAX, weight);
	if (max_pages)
		g->info.max_pages = max_pages;
	if (weight)
		g->info.weight = weight;
	return OK;
}

/* ---- looking ---- */

struct thing *fake_next(uint64_t after, bool snapshot)
{
	size_t low = 0, high = fake_thing_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (fake_things[mid]->info.id <= after)
			low = mid + 1;
		else
			high = mid;
	}
	while (low < fake_thing_count && fake_things[low]->snapshot != snapshot)
		low++;
	return low < fake_thing_count ? fake_things[low] : NULL;
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
		.owner = s->info.owner,
		.public = s->public,
		.pages = s->info.private_pages,
		.forks = s->info.forks,
		.created_ns = s->info.created_ns,
	};
	memcpy(info->name, s->info.name, sizeof(info->name));
	memcpy(info->labels, s->info.labels, sizeof(info->labels));
	return OK;
}

int guest_get(uint64_t id, struct guest_info *info)
{
	return give_guest(guest_of(id), info);
}

int guest_next(uint64_t after, struct guest_info *info)
{
	return give_guest(fake_next(after, false), info);
}

int snapshot_get(uint64_t id, struct snapshot_info *info)
{
	return give_snapshot(fake_find(id, true), info);
}

int snapshot_next(uint64_t after, struct snapshot_info *info)
{
	return give_snapshot(fake_next(after, true), info);
}

void guest_tell_made(bool wanted)
{
	(void)wanted; /* these guests make nothing */
}

bool guest_news(uint64_t *id, unsigned *news)
{
	if (!news_waiting)
		return false;
	do
		news_at = news_at + 1 < fake_thing_count ? news_at + 1 : 0;
	while (!fake_things[news_at]->news);
	*id = fake_things[news_at]->info.id;
	*news = fake_things[news_at]->news;
	fake_things[news_at]->news = 0;
	news_waiting--;
	return true;
}

/* ---- for tests ---- */

void fake_count(struct fake_counts *c)
{
	*c = (struct fake_counts){0};
	for (size_t i = 0; i < fake_thing_count; i++) {
		++*(fake_things[i]->snapshot ? &c->snapshots : &c->guests);
		for (int s = 0; s < STREAM_COUNT; s++) {
			for (int r = 0; r < STREAM_MAX_READERS; r++)
				c->readers += fake_things[i]->stream[s].reader[r].open;
		}
	}
	for (int i = 0; i < UPLOADS_MAX; i++)
		c->uploads += fake_uploads[i].id != 0;
}

void fake_guest_limit(uint64_t guests)
{
	guest_max = guests;
}

void fake_reset(void)
{
	while (fake_thing_count)
		thing_free(fake_things[fake_thing_count - 1]);
	while (fake_image_count)
		fake_image_drop(&fake_images[0]);
	for (int i = 0; i < UPLOADS_MAX; i++) {
		free(fake_uploads[i].data);
		fake_uploads[i] = (struct upload){0};
	}
	fake_memory(500000, 524288);
	news_waiting = 0;
	news_at = 0;
	guest_max = 0;
	fake_log_size = 0;
	memset(fake_meters, 0, sizeof(fake_meters));
}
