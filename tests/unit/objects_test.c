/* What guests are made of, alone: the registry, arguments, streams. */
#include "hv/args.h"
#include "hv/registry.h"
#include "hv/stream.h"
#include "tests/unit/gmem_world.h"
#include "tests/unit/test.h"

/* ---- the registry ----------------------------------------------------------------------------- */

#define BUCKETS 16

static struct object *by_id[BUCKETS], *by_name[BUCKETS];
static struct registry registry;
static unsigned released;

static void release(struct object *o, unsigned core)
{
	(void)core;
	CHECK_EQ(o->pins, 0);
	released++;
	free(o);
}

static void registry_start(void)
{
	memset(by_id, 0, sizeof(by_id));
	memset(by_name, 0, sizeof(by_name));
	registry_init(&registry, by_id, by_name, BUCKETS, release);
	released = 0;
}

static struct object *make(enum object_kind kind, const char *name)
{
	struct object *o = calloc(1, sizeof(*o));

	o->kind = (uint8_t)kind;
	strcpy(o->name, name);
	return o;
}

static void unpin(struct object *o)
{
	object_unpin(&registry, o, 0);
}

TEST(registry_names_are_unique_within_a_kind)
{
	registry_start();
	struct object *a = make(OBJECT_GUEST, "a"), *b = make(OBJECT_GUEST, "a");
	struct object *c = make(OBJECT_SNAPSHOT, "a"), *none = make(OBJECT_GUEST, "");

	CHECK_EQ(registry_add(&registry, a), 0);
	CHECK_EQ(registry_add(&registry, b), ERR_EXIST);
	CHECK_EQ(registry_add(&registry, c), 0);
	CHECK_EQ(registry_add(&registry, none), 0);
	CHECK_EQ(a->id, 1);
	CHECK(registry_find(&registry, a->id, OBJECT_SNAPSHOT) == NULL);
	CHECK(registry_find_name(&registry, "a", OBJECT_SNAPSHOT, 0) == c);
	unpin(c);
	CHECK(registry_remove(&registry, a));
	CHECK(!registry_remove(&registry, a));
	CHECK_EQ(registry_add(&registry, b), 0);
	CHECK_EQ(b->id, 2);
	unpin(a);
	CHECK_EQ(released, 0); /* the pin of the registry has passed to us */
	unpin(a);
	CHECK_EQ(released, 1);
	CHECK(registry_find_any(&registry, 1) == NULL);
	CHECK_EQ(registry.count[OBJECT_GUEST], 2);
	struct object *left[] = {b, c, none};

	for (unsigned i = 0; i < ARRAY_SIZE(left); i++) {
		CHECK(registry_remove(&registry, left[i]));
		unpin(left[i]);
		unpin(left[i]);
	}
	CHECK_EQ(released, 4);
}

TEST(registry_keeps_the_order_of_ids_whoever_comes_first)
{
	registry_start();
	struct object *early = make(OBJECT_GUEST, ""), *late = make(OBJECT_GUEST, "");
	struct object *o;

	early->id = registry_new_id(&registry);
	CHECK_EQ(registry_add(&registry, late), 0);
	CHECK_EQ(registry_add(&registry, early), 0);
	o = registry_next(&registry, 0, OBJECT_GUEST);
	CHECK(o == early);
	unpin(o);
	o = registry_next(&registry, early->id, OBJECT_GUEST);
	CHECK(o == late);
	unpin(o);
	CHECK(registry_next(&registry, late->id, OBJECT_GUEST) == NULL);
	CHECK(registry_next(&registry, UINT64_MAX, OBJECT_GUEST) == NULL);
	CHECK(registry_next(&registry, 0, OBJECT_IMAGE) == NULL);
	CHECK(registry_remove(&registry, early) && registry_remove(&registry, late));
	unpin(early);
	unpin(early);
	unpin(late);
	unpin(late);
}

/* Random additions and removals, listed from any cursor, held against an array. */
TEST(registry_against_a_plain_array)
{
	static struct object *model[4000];
	uint64_t seed = 3;
	unsigned made = 0, here = 0;

	registry_start();
	while (made < ARRAY_SIZE(model)) {
		uint64_t roll = test_random(&seed);

		if (roll % 3) {
			char name[32] = "";

			if (roll & 1024)
				snprintf(name, sizeof(name), "n%u", made);
			struct object *o = make(roll & 64 ? OBJECT_GUEST : OBJECT_SNAPSHOT, name);

			CHECK_EQ(registry_add(&registry, o), 0);
			CHECK_EQ(o->id, made + 1);
			unpin(o);
			model[made++] = o;
			here++;
		} else if (made) {
			unsigned at = (unsigned)(roll >> 8) % made;

			if (model[at]) {
				CHECK(registry_remove(&registry, model[at]));
				unpin(model[at]);
				model[at] = NULL;
				here--;
			}
		}
		uint64_t cursor = test_random(&seed) % (made + 2);
		struct object *o = registry_next(&registry, cursor, OBJECT_GUEST), *want = NULL;

		for (uint64_t i = cursor; i < made && !want; i++)
			want = model[i] && model[i]->kind == OBJECT_GUEST ? model[i] : NULL;
		CHECK(o == want);
		if (o)
			unpin(o);
		CHECK_EQ(registry.count[OBJECT_GUEST] + registry.count[OBJECT_SNAPSHOT], here);
	}
	for (unsigned i = 0; i < made; i++) {
		if (model[i] && registry_remove(&registry, model[i]))
			unpin(model[i]);
		model[i] = NULL;
	}
	CHECK_EQ(released, made);
}

/* Who removes what he finds comes to the next at once, however many lie before it. */
TEST(registry_from_what_was_removed)
{
	enum { MANY = 1 << 16, STAY = MANY / 2 };
	static struct object *ids[MANY], *names[MANY];
	struct object *o;
	uint64_t after = STAY, seen = 0;

	registry_init(&registry, ids, names, MANY, release);
	released = 0;
	for (unsigned i = 0; i < MANY; i++) {
		o = make(OBJECT_GUEST, "");
		CHECK_EQ(registry_add(&registry, o), 0);
		unpin(o);
	}
	for (; (o = registry_next(&registry, after, OBJECT_GUEST)); seen++) {
		after = o->id;
		/* another goes through them all now and then */
		for (uint64_t id = 0; seen % 8192 == 0;) {
			struct object *all = registry_next(&registry, id, OBJECT_GUEST);

			if (!all)
				break;
			id = all->id;
			unpin(all);
		}
		CHECK(registry_remove(&registry, o));
		unpin(o);
		unpin(o);
	}
	CHECK_EQ(seen, MANY - STAY);
	CHECK_EQ(registry.count[OBJECT_GUEST], STAY);
	while ((o = registry_next(&registry, 0, OBJECT_GUEST))) {
		CHECK(registry_remove(&registry, o));
		unpin(o);
		unpin(o);
	}
	CHECK_EQ(released, MANY);
}

TEST(object_names_do_not_look_like_ids)
{
	char longest[GUEST_NAME_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	longest[GUEST_NAME_MAX - 1] = 0;
	CHECK(object_name_valid(longest));
	longest[GUEST_NAME_MAX - 1] = 'x';
	longest[GUEST_NAME_MAX] = 0;
	CHECK(!object_name_valid(longest));
	CHECK(object_name_valid("") && object_name_valid("a1") && object_name_valid("1.") &&
		object_name_valid("-_.Z9"));
	CHECK(!object_name_valid("17") && !object_name_valid("a b") && !object_name_valid("a/b") &&
		!object_name_valid("\xc3\xa9") && !object_name_valid("\x01"));
}

/* ---- arguments -------------------------------------------------------------------------------- */

static struct world world;
static struct account *account;
static struct budget *budget;

static void world_start(void)
{
	world_init(&world, 1024, 1, &world_caps_ept, 100);
	CHECK_EQ(budget_create(&world.pool, 0, world.root_budget, world_unlimited, &budget), 0);
	account = world_account(&world, budget);
}

static void world_stop(void)
{
	account_release(&world.pool, account);
	budget_put(&world.pool, budget);
	world_end(&world);
}

TEST(arguments_of_every_size_come_back_in_spans)
{
	static char data[GUEST_ARGS_MAX + 1];
	struct args *a;
	uint32_t size;

	world_start();
	for (uint32_t n = 1; n <= GUEST_ARGS_MAX; n += 1 + n / 3) {
		for (uint32_t i = 0; i + 1 < n; i++)
			data[i] = (char)('a' + i % 23);
		data[n - 1] = 0;
		CHECK_EQ(args_create(&world.pool, 0, account, data, n, 1, 0, &a), 0);
		for (uint32_t at = 0; at < n; at += size) {
			const uint8_t *span = args_span(&world.pool, a, at, &size);

			CHECK(span && size && at + size <= n);
			CHECK_EQ(memcmp(span, data + at, size), 0);
		}
		CHECK(args_span(&world.pool, a, n, &size) == NULL);
		CHECK(args_span(&world.pool, a, UINT32_MAX, &size) == NULL);
		CHECK_EQ(args_get(&world.pool, a), 0);
		args_put(&world.pool, 0, a);
		args_put(&world.pool, 0, a);
		CHECK_EQ(account_pages(account), 0);
	}
	CHECK_EQ(args_create(&world.pool, 0, account, data, GUEST_ARGS_MAX + 1, 1, 0, &a), ERR_TOOBIG);
	CHECK_EQ(args_create(&world.pool, 0, account, "a\0b", 3, 1, 0, &a), ERR_INVALID);
	CHECK_EQ(args_create(&world.pool, 0, account, "a\0b", 4, 1, 0, &a), ERR_INVALID);
	CHECK_EQ(args_create(&world.pool, 0, account, "", 0, 1, 0, &a), ERR_INVALID);
	CHECK_EQ(args_create(&world.pool, 0, account, "a\0b", 4, UINT32_MAX, 3, &a), ERR_INVALID);
	CHECK(args_span(&world.pool, NULL, 0, &size) == NULL);
	CHECK_EQ(args_get(&world.pool, NULL), 0);
	args_put(&world.pool, 0, NULL);
	world_stop();
}

TEST(arguments_that_find_no_frame_leave_none)
{
	static char data[GUEST_ARGS_MAX];
	struct args *a;
	int err = ERR_LIMIT;

	world_start();
	for (unsigned pages = 0; err; pages++) {
		budget_set_limit(budget, BUDGET_PAGES, pages);
		err = args_create(&world.pool, 0, account, data, sizeof(data), sizeof(data), 0, &a);
		CHECK_EQ(err, pages < 17 ? ERR_LIMIT : 0);
		CHECK_EQ(account_pages(account), err ? 0 : 17);
	}
	args_put(&world.pool, 0, a);
	world_stop();
}

/* ---- streams ---------------------------------------------------------------------------------- */

#define CAPACITY (STREAM_PAGES * PAGE_SIZE)

static uint8_t byte_at(uint64_t position)
{
	return (uint8_t)(position * 7 + position / 4096);
}

/* What a stream should be: positions only, since each byte follows from its position. */
struct model {
	uint64_t written, reader[STREAM_MAX_READERS];
	bool open[STREAM_MAX_READERS];
};

static uint64_t model_held(const struct model *m)
{
	uint64_t least = m->written;

	for (unsigned i = 0; i < STREAM_MAX_READERS; i++)
		least = m->open[i] ? MIN(least, m->reader[i]) : least;
	return least;
}

static void model_put(struct stream *s, struct model *m, size_t size)
{
	static uint8_t data[2 * CAPACITY];
	uint64_t room = CAPACITY - (m->written - model_held(m));

	for (size_t i = 0; i < size; i++)
		data[i] = byte_at(m->written + i);
	CHECK_EQ(stream_room(s), room);
	int64_t n = stream_put(s, 0, data, size);

	if (n == ERR_LIMIT)
		return;
	CHECK(n >= 0 && (uint64_t)n <= MIN(size, room));
	if (budget_limit(budget, BUDGET_PAGES) == BUDGET_UNLIMITED)
		CHECK_EQ(n, MIN(size, room));
	m->written += (uint64_t)n;
	CHECK_EQ(s->written, m->written);
	CHECK(s->kept <= model_held(m));
	CHECK(m->written - s->kept <= CAPACITY);
}

static void model_get(struct stream *s, const struct model *m, uint64_t from, size_t size)
{
	static uint8_t data[2 * CAPACITY];
	uint64_t position = from, start = MAX(from, s->kept);
	size_t n = stream_get(s, &position, data, size);

	CHECK_EQ(n, start < m->written ? MIN(size, m->written - start) : 0);
	CHECK_EQ(position, start + n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(data[i], byte_at(start + i));
}

static void model_readers(struct stream *s, struct model *m, uint64_t *seed)
{
	int slot = (int)(test_random(seed) % STREAM_MAX_READERS);
	uint64_t position;

	if (!m->open[slot]) {
		slot = stream_reader_open(s, &position);
		CHECK(slot >= 0 && !m->open[slot]);
		CHECK_EQ(position, s->kept);
		m->open[slot] = true;
		m->reader[slot] = position;
	} else if (test_random(seed) % 4 == 0) {
		stream_reader_close(s, slot);
		m->open[slot] = false;
	} else {
		/* Backwards and beyond the end do nothing. */
		position = m->reader[slot] + test_random(seed) % (2 * CAPACITY) - 100;
		stream_reader_done(s, slot, position);
		if (position > m->reader[slot] && position <= m->written)
			m->reader[slot] = position;
	}
}

/* Random writes, reads and readers, with frames failing now and then. */
TEST(stream_against_a_plain_model)
{
	for (uint64_t seed_ = 1; seed_ <= 60; seed_++) {
		uint64_t seed = seed_;
		struct model m = {0};
		struct stream *s;
		size_t most = seed_ % 3 ? 300 : 2 * CAPACITY;

		world_start();
		CHECK_EQ(stream_create(&world.pool, 0, account, &s), 0);
		for (unsigned step = 0; step < 400; step++) {
			budget_set_limit(budget, BUDGET_PAGES, test_random(&seed) % 5 ? BUDGET_UNLIMITED :
				test_random(&seed) % 20);
			switch (test_random(&seed) % 4) {
			case 0:
			case 1:
				model_put(s, &m, test_random(&seed) % most);
				break;
			case 2:
				model_get(s, &m, test_random(&seed) % (m.written + 10),
					test_random(&seed) % most);
				break;
			case 3:
				model_readers(s, &m, &seed);
				break;
			}
		}
		CHECK(account_pages(account) <= 1 + STREAM_PAGES);
		stream_destroy(s, 0);
		CHECK_EQ(account_pages(account), 0);
		world_stop();
	}
}

TEST(stream_has_a_slot_for_so_many_readers_and_no_more)
{
	struct stream *s;
	uint64_t position;

	world_start();
	CHECK_EQ(stream_create(&world.pool, 0, account, &s), 0);
	for (int i = 0; i < STREAM_MAX_READERS; i++)
		CHECK_EQ(stream_reader_open(s, &position), i);
	CHECK_EQ(stream_reader_open(s, &position), ERR_LIMIT);
	stream_reader_close(s, 5);
	CHECK_EQ(stream_reader_open(s, &position), 5);
	stream_destroy(s, 0);
	world_stop();
}

TEST(stream_growth_that_fails_loses_nothing)
{
	static uint8_t data[3000];
	struct stream *s;

	world_start();
	for (unsigned pages = 1; pages < 4; pages++) {
		struct model m = {0};

		budget_set_limit(budget, BUDGET_PAGES, BUDGET_UNLIMITED);
		CHECK_EQ(stream_create(&world.pool, 0, account, &s), 0);
		model_put(s, &m, sizeof(data));
		budget_set_limit(budget, BUDGET_PAGES, pages);
		CHECK_EQ(stream_put(s, 0, data, sizeof(data)), pages < 2 ? ERR_LIMIT : pages < 3 ? 1096 : 3000);
		if (pages < 2)
			CHECK_EQ(account_pages(account), 1);
		model_get(s, &(struct model){.written = MIN(s->written, 3000ull)}, 0, 3000);
		stream_destroy(s, 0);
	}
	world_stop();
}
