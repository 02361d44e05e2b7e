#include "drivers/virtio/virtqueue.h"
#include "tests/unit/test.h"

/* The device's side, written from the specification and not from our code. */
struct model {
	uint8_t *memory;
	uint16_t size;
	uint16_t avail_seen, used_index;
};

/* A heap block of the exact size, so that an access beyond the ring is caught. */
static void start(struct virtq *q, struct model *m, uint16_t size)
{
	size_t bytes = 16u * size + 6 + 2u * size;

	bytes = (bytes + 3) / 4 * 4 + 6 + 8u * size;
	CHECK_EQ(VIRTQ_MEMORY_SIZE(size), bytes);
	*m = (struct model){.memory = malloc(bytes), .size = size};
	memset(m->memory, 0xcc, bytes);
	virtq_init(q, size, m->memory);
}

static uint16_t *avail_words(const struct model *m)
{
	return (uint16_t *)(m->memory + 16u * m->size);
}

static uint8_t *used_bytes(const struct model *m)
{
	return m->memory + (16u * m->size + 6 + 2u * m->size + 3) / 4 * 4;
}

static bool model_take(struct model *m, uint16_t *id)
{
	uint16_t *avail = avail_words(m);

	if (avail[1] == m->avail_seen)
		return false;
	*id = avail[2 + m->avail_seen % m->size];
	m->avail_seen++;
	return true;
}

static void model_give(struct model *m, uint32_t id, uint32_t length)
{
	uint8_t *used = used_bytes(m);

	memcpy(used + 4 + m->used_index % m->size * 8, &id, 4);
	memcpy(used + 4 + m->used_index % m->size * 8 + 4, &length, 4);
	m->used_index++;
	memcpy(used + 2, &m->used_index, 2);
}

static void model_want_no_notify(struct model *m, bool no)
{
	uint16_t flags = no;

	memcpy(used_bytes(m), &flags, 2);
}

/* One buffer posted and shown, taken by the device. */
static uint16_t post_one(struct virtq *q, struct model *m, uint32_t length, bool writes)
{
	uint16_t id, seen;

	CHECK_EQ(virtq_take(q, &id), 0);
	virtq_post(q, id, 0x1000 + id, length, writes);
	virtq_publish(q);
	CHECK(model_take(m, &seen));
	CHECK_EQ(seen, id);
	return id;
}

TEST(a_buffer_goes_there_and_back)
{
	struct virtq q;
	struct model m;
	uint16_t id;
	uint32_t length;

	start(&q, &m, 4);
	id = post_one(&q, &m, 100, true);

	struct virtq_desc *d = (struct virtq_desc *)m.memory + id;

	CHECK(d->address == 0x1000u + id && d->length == 100 && d->flags == 2);
	CHECK(!virtq_pending(&q));
	CHECK_EQ(virtq_pop(&q, &id, &length), 0);
	model_give(&m, id, 60);
	CHECK(virtq_pending(&q));
	CHECK_EQ(virtq_pop(&q, &id, &length), 1);
	CHECK_EQ(length, 60);
	CHECK(!virtq_pending(&q));
	virtq_release(&q, id);
	id = post_one(&q, &m, 50, false);
	CHECK_EQ(((struct virtq_desc *)m.memory + id)->flags, 0);
	free(m.memory);
}

TEST(ids_run_out_and_come_back)
{
	struct virtq q;
	struct model m;
	uint16_t id[8], none;
	unsigned seen = 0;

	start(&q, &m, 8);
	for (unsigned i = 0; i < 8; i++) {
		CHECK_EQ(virtq_take(&q, &id[i]), 0);
		seen |= 1u << id[i];
	}
	CHECK_EQ(seen, 0xff);
	CHECK_EQ(virtq_take(&q, &none), ERR_AGAIN);
	virtq_release(&q, id[3]);
	CHECK_EQ(virtq_take(&q, &none), 0);
	CHECK_EQ(none, id[3]);
	free(m.memory);
}

TEST(nothing_shows_before_publish)
{
	struct virtq q;
	struct model m;
	uint16_t id, seen;

	start(&q, &m, 4);
	CHECK(!virtq_publish(&q));
	for (unsigned i = 0; i < 3; i++) {
		virtq_take(&q, &id);
		virtq_post(&q, id, 0, 1, false);
	}
	CHECK(!model_take(&m, &seen));
	CHECK(virtq_publish(&q));
	CHECK(!virtq_publish(&q));
	for (unsigned i = 0; i < 3; i++)
		CHECK(model_take(&m, &seen));
	CHECK(!model_take(&m, &seen));
	model_want_no_notify(&m, true);
	virtq_take(&q, &id);
	virtq_post(&q, id, 0, 1, false);
	CHECK(!virtq_publish(&q));
	CHECK(model_take(&m, &seen));
	free(m.memory);
}

TEST(interrupts_are_asked_for)
{
	struct virtq q;
	struct model m;

	start(&q, &m, 4);
	CHECK_EQ(avail_words(&m)[0], 1);
	virtq_interrupts(&q, true);
	CHECK_EQ(avail_words(&m)[0], 0);
	virtq_interrupts(&q, false);
	CHECK_EQ(avail_words(&m)[0], 1);
	free(m.memory);
}

/* Against a plain model: what comes back is what went in, in the device's order. */
static void run_random(uint16_t size, uint64_t seed)
{
	struct virtq q;
	struct model m;
	uint32_t lengths[VIRTQ_SIZE_MAX] = {0};
	uint16_t held[VIRTQ_SIZE_MAX], order[VIRTQ_SIZE_MAX], id;
	uint32_t written[VIRTQ_SIZE_MAX], length;
	unsigned held_count = 0, first = 0, last = 0;

	start(&q, &m, size);
	for (unsigned step = 0; step < 300000; step++) {
		switch (test_random(&seed) % 5) {
		case 0:
		case 1:
			if (virtq_take(&q, &id))
				break;
			lengths[id] = (uint32_t)test_random(&seed) % 3000;
			virtq_post(&q, id, (uint64_t)id << 32, lengths[id], true);
			break;
		case 2:
			virtq_publish(&q);
			if (model_take(&m, &id))
				held[held_count++] = id;
			break;
		case 3:
			if (!held_count)
				break;
			unsigned pick = (unsigned)(test_random(&seed) % held_count);
			id = held[pick];
			held[pick] = held[--held_count];
			order[last % size] = id;
			written[last % size] =
				(uint32_t)(test_random(&seed) % (lengths[id] + 1ull));
			model_give(&m, id, written[last++ % size]);
			break;
		default:
			CHECK_EQ(virtq_pop(&q, &id, &length), first != last);
			if (first == last)
				break;
			CHECK_EQ(id, order[first % size]);
			CHECK_EQ(length, written[first % size]);
			first++;
			virtq_release(&q, id);
		}
	}
	CHECK(first > 10000);
	free(m.memory);
}

TEST(random_traffic_matches_a_model)
{
	static const uint16_t sizes[] = {1, 2, 8, 256};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		run_random(sizes[i], 7 + i);
}

TEST(indices_wrap_at_65536)
{
	struct virtq q;
	struct model m;
	uint16_t id;
	uint32_t length;

	start(&q, &m, 4);
	for (unsigned i = 0; i < 70000; i++) {
		id = post_one(&q, &m, 10, true);
		model_give(&m, id, i % 11);
		CHECK_EQ(virtq_pop(&q, &id, &length), 1);
		CHECK_EQ(length, i % 11);
		virtq_release(&q, id);
	}
	free(m.memory);
}

/* ---- devices that lie ------------------------------------------------------------------------ */

static void check_broken(struct virtq *q, struct model *m)
{
	uint16_t id;
	uint32_t length;

	CHECK_EQ(virtq_pop(q, &id, &length), ERR_IO);
	CHECK(q->broken);
	/* and it stays so, though the device now says what is true */
	for (id = 0; id < q->size && q->state[id] != VIRTQ_IN_FLIGHT; id++)
		;
	m->used_index = q->used_next;
	model_give(m, id, 0);
	CHECK_EQ(virtq_pop(q, &id, &length), ERR_IO);
	free(m->memory);
}

TEST(an_id_outside_the_ring_breaks_the_queue)
{
	static const uint32_t ids[] = {4, 0xffff, 0x10000, UINT32_MAX};

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct virtq q;
		struct model m;

		start(&q, &m, 4);
		post_one(&q, &m, 100, true);
		model_give(&m, ids[i], 1);
		check_broken(&q, &m);
	}
}

TEST(an_id_that_is_not_in_flight_breaks_the_queue)
{
	struct virtq q;
	struct model m;
	uint16_t id;

	start(&q, &m, 4);
	id = post_one(&q, &m, 100, true);
	model_give(&m, id ^ 1u, 1);
	check_broken(&q, &m);
}

TEST(an_id_given_twice_breaks_the_queue)
{
	struct virtq q;
	struct model m;
	uint16_t id, other;
	uint32_t length;

	start(&q, &m, 4);
	id = post_one(&q, &m, 100, true);
	other = post_one(&q, &m, 100, true);
	CHECK(id != other);
	model_give(&m, id, 1);
	model_give(&m, id, 1);
	CHECK_EQ(virtq_pop(&q, &id, &length), 1);
	check_broken(&q, &m);
}

TEST(more_bytes_than_the_buffer_has_break_the_queue)
{
	for (unsigned writes = 0; writes < 2; writes++) {
		struct virtq q;
		struct model m;
		uint16_t id;

		start(&q, &m, 4);
		id = post_one(&q, &m, 100, writes);
		model_give(&m, id, writes ? 101 : 1);
		check_broken(&q, &m);
	}
}

TEST(an_index_that_jumps_breaks_the_queue)
{
	static const uint16_t jumps[] = {2, 4, 5, 0x7fff, 0xffff};

	for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct virtq q;
		struct model m;
		uint16_t id;

		start(&q, &m, 4);
		id = post_one(&q, &m, 100, true);
		model_give(&m, id, 1); /* what stands in the ring is true */
		memcpy(used_bytes(&m) + 2, &jumps[i], 2);
		check_broken(&q, &m);
	}
}

/* The device writes anything anywhere; each id still comes back at most once for each post. */
TEST(a_device_that_scribbles_gets_nowhere)
{
	uint64_t seed = 99;

	for (unsigned round = 0; round < 2000; round++) {
		struct virtq q;
		struct model m;
		bool in_flight[16] = {false};
		uint16_t id;
		uint32_t length;

		start(&q, &m, 16);
		for (unsigned step = 0; step < 60; step++) {
			size_t at = test_random(&seed) % VIRTQ_MEMORY_SIZE(16);
			unsigned what = test_random(&seed) % 4;

			if (what == 0)
				m.memory[at] = (uint8_t)test_random(&seed);
			else if (what == 1)
				model_give(&m, (uint32_t)test_random(&seed) % 18,
					(uint32_t)test_random(&seed) % 70);
			else if (what == 2 && virtq_take(&q, &id) == 0) {
				CHECK(id < 16 && !in_flight[id]);
				in_flight[id] = true;
				virtq_post(&q, id, 0, 64, true);
				virtq_publish(&q);
			} else if (virtq_pop(&q, &id, &length) == 1) {
				CHECK(id < 16 && in_flight[id] && length <= 64);
				in_flight[id] = false;
				virtq_release(&q, id);
			}
		}
		free(m.memory);
	}
}
