/* The parts that stand alone: rings against a plain copy, timers against a scan, hash, checksum. */
#include "net/checksum.h"
#include "net/ring.h"
#include "net/siphash.h"
#include "net/timer.h"
#include "tests/unit/test.h"

#define CAPACITY (4 * CHUNK_SIZE)
#define RINGS    3

struct model {
	uint8_t data[CAPACITY]; /* what was written, from the start of the stream on */
	bool written[CAPACITY];
	uint32_t len;
};

static void model_write(struct model *m, uint32_t off, const uint8_t *src, uint32_t len)
{
	memcpy(m->data + off, src, len);
	memset(m->written + off, true, len);
}

static void model_consume(struct model *m, uint32_t n)
{
	memmove(m->data, m->data + n, CAPACITY - n);
	memmove(m->written, m->written + n, CAPACITY - n);
	memset(m->written + CAPACITY - n, false, n);
	m->len -= n;
}

static void check_same(const struct chunk_pool *pool, const struct ring *r, const struct model *m)
{
	uint8_t copy[CAPACITY];
	const uint8_t *front;
	uint32_t n;

	CHECK_EQ(r->len, m->len);
	ring_read(pool, r, 0, copy, r->len);
	CHECK(memcmp(copy, m->data, r->len) == 0);
	front = ring_peek(pool, r, &n);
	CHECK((front != NULL) == (r->len != 0));
	if (front)
		CHECK(n <= r->len && memcmp(front, m->data, n) == 0);
}

TEST(rings_are_streams)
{
	static uint8_t memory[12 * CHUNK_SIZE];
	static struct model model[RINGS];
	struct chunk_pool pool;
	struct ring ring[RINGS];
	uint32_t slot[RINGS][CAPACITY / CHUNK_SIZE + 1];
	uint64_t seed = 7;

	pool_init(&pool, memory, 12, RINGS);
	for (int i = 0; i < RINGS; i++)
		ring_init(&ring[i], slot[i], ring_slots(CAPACITY));
	for (int step = 0; step < 200000; step++) {
		int i = (int)(test_random(&seed) % RINGS);
		struct ring *r = &ring[i];
		struct model *m = &model[i];
		uint8_t buf[3000];
		uint32_t len = (uint32_t)(test_random(&seed) % sizeof(buf)), off, n = 0, room;

		for (uint32_t k = 0; k < len; k++)
			buf[k] = (uint8_t)test_random(&seed);
		switch (test_random(&seed) % 5) {
		case 0: /* append: exactly as much as there is room for */
			room = ring_room(&pool, r);
			n = ring_write(&pool, r, r->len, buf, len);
			CHECK(n == MIN(len, room) || (n > room && r->high > r->len));
			if (r->len == 0 && len)
				CHECK(n > 0); /* an empty ring is never refused */
			model_write(m, m->len, buf, n);
			ring_extend(r, n);
			m->len += n;
			break;
		case 1: /* beyond the end */
			off = r->len + (uint32_t)(test_random(&seed) % CAPACITY);
			n = ring_write(&pool, r, off, buf, len);
			if (n)
				model_write(m, off, buf, n);
			break;
		case 2: /* join what was written there */
			while (n + m->len < CAPACITY && m->written[m->len + n])
				n++;
			ring_extend(r, n);
			m->len += n;
			break;
		case 3:
			n = MIN(len, m->len);
			ring_consume(&pool, r, n);
			model_consume(m, n);
			break;
		case 4:
			if (test_random(&seed) % 20 == 0) {
				ring_clear(&pool, r);
				*m = (struct model){.len = 0};
			}
			break;
		}
		check_same(&pool, r, m);
	}
	for (int i = 0; i < RINGS; i++)
		ring_clear(&pool, &ring[i]);
	CHECK_EQ(pool.free, pool.total);
}

TEST(an_empty_ring_holds_nothing)
{
	static uint8_t memory[8 * CHUNK_SIZE];
	static const uint8_t data[5000];
	struct chunk_pool pool;
	struct ring r;
	uint32_t slot[5];

	pool_init(&pool, memory, 8, 2);
	ring_init(&r, slot, 5);
	ring_extend(&r, ring_write(&pool, &r, 0, data, sizeof(data)));
	CHECK_EQ(pool.free, 5);
	ring_consume(&pool, &r, 4999);
	CHECK_EQ(pool.free, 7);
	ring_consume(&pool, &r, 1);
	CHECK_EQ(pool.free, 8);
}

TEST(the_reserve_is_for_heads)
{
	static uint8_t memory[4 * CHUNK_SIZE];
	static const uint8_t data[4 * CHUNK_SIZE];
	struct chunk_pool pool;
	struct ring a, b;
	uint32_t slot_a[5], slot_b[5];

	pool_init(&pool, memory, 4, 2);
	ring_init(&a, slot_a, 5);
	ring_init(&b, slot_b, 5);
	/* Out of order never touches it, in order only for the first chunk. */
	CHECK_EQ(ring_write(&pool, &a, CHUNK_SIZE, data, 3 * CHUNK_SIZE), 2 * CHUNK_SIZE);
	CHECK_EQ(ring_write(&pool, &b, CHUNK_SIZE, data, CHUNK_SIZE), 0);
	CHECK_EQ(ring_room(&pool, &b), CHUNK_SIZE);
	CHECK_EQ(ring_write(&pool, &b, 0, data, sizeof(data)), CHUNK_SIZE);
	CHECK_EQ(ring_write(&pool, &a, 0, data, CHUNK_SIZE), CHUNK_SIZE);
	CHECK_EQ(pool.free, 0);
}

TEST(timers_fire_in_order)
{
	enum { N = 100 };
	struct net_timer timer[N], *slot[N], *t;
	struct timer_heap heap = {.slot = slot, .capacity = N};
	uint64_t seed = 9, now = 0;

	for (int i = 0; i < N; i++)
		timer_init(&timer[i], NULL);
	for (int step = 0; step < 100000; step++) {
		uint64_t first = TIMER_NEVER;
		uint32_t armed = 0;

		t = &timer[test_random(&seed) % N];
		switch (test_random(&seed) % 4) {
		case 0:
			timer_set(&heap, t, TIMER_NEVER);
			break;
		case 1:
			now += test_random(&seed) % 20;
			while ((t = timer_take_due(&heap, now)))
				CHECK_EQ(t->when, TIMER_NEVER);
			break;
		default:
			timer_set(&heap, t, now + test_random(&seed) % 1000);
		}
		for (int i = 0; i < N; i++) {
			armed += timer[i].when != TIMER_NEVER;
			first = MIN(first, timer[i].when);
		}
		CHECK_EQ(heap.count, armed);
		CHECK_EQ(timer_next(&heap), first);
	}
}

/* The vector of the paper's appendix A: the key 00..0f, the message 00..0e. */
TEST(siphash_of_the_paper)
{
	const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	uint8_t message[15];

	for (uint8_t i = 0; i < sizeof(message); i++)
		message[i] = i;
	CHECK(siphash(&key, message, sizeof(message)) == 0xa129ca6149be45e5);
}

/* RFC 1071, section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2. */
TEST(checksum_of_the_rfc)
{
	const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	CHECK_EQ(checksum_fold(checksum_add(0, data, sizeof(data))), 0xffff & ~0xddf2);
	/* In pieces, and with an odd end. */
	CHECK_EQ(checksum_fold(checksum_add(checksum_add(0, data, 2), data + 2, 6)), 0xffff & ~0xddf2);
	CHECK_EQ(checksum_fold(checksum_add(0, data, 3)), 0xffff & ~0xf201);
}
