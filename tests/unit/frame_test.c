#include "hv/frame.h"
#include "tests/unit/gmem_world.h"

static hpa_t get_frame(struct world *w, unsigned core, enum frame_kind kind, enum frame_fill fill)
{
	hpa_t hpa;

	CHECK_EQ(frame_alloc(&w->pool, core, 0, kind, NULL, fill, &hpa), 0);
	CHECK(hpa != 0 && hpa % PAGE_SIZE == 0 && hpa < w->frames * PAGE_SIZE);
	CHECK_EQ(frame_refs(&w->pool, hpa), 1);
	return hpa;
}

static void give_back(struct world *w, unsigned core, hpa_t hpa)
{
	CHECK(frame_put(&w->pool, hpa));
	frame_free(&w->pool, core, hpa);
}

static bool all_zero(struct world *w, hpa_t hpa)
{
	const uint8_t *p = frame_ptr(&w->pool, hpa);

	for (unsigned i = 0; i < PAGE_SIZE; i++) {
		if (p[i])
			return false;
	}
	return true;
}

/* Take all there is, on one core. Returns how many; the last error is in *err. */
static unsigned take_all(struct world *w, unsigned core, enum frame_kind kind, hpa_t *out, int *err)
{
	unsigned n = 0;

	while ((*err = frame_alloc(&w->pool, core, 0, kind, NULL, FRAME_OVERWRITE, &out[n])) == 0)
		n++;
	return n;
}

static bool contains(const hpa_t *f, unsigned n, hpa_t hpa)
{
	for (unsigned i = 0; i < n; i++) {
		if (f[i] == hpa)
			return true;
	}
	return false;
}

TEST(one_core_alone_gets_every_frame_again_and_again)
{
	struct world w;
	hpa_t f[300];
	int err;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	struct tlb_guest g = {0};
	unsigned n = take_all(&w, 0, FRAME_DATA, f, &err);

	CHECK_EQ(err, ERR_NOMEM);
	CHECK_EQ(n, w.free_at_start);
	CHECK_EQ(frame_pool_free(&w.pool), 0);
	for (unsigned round = 0; round < 5; round++) {
		tlb_enter(&w.cores[0], &g, round + 1, 0);
		for (unsigned i = 0; i < n; i++)
			give_back(&w, 0, f[i]);
		world_check_free(&w);
		CHECK_EQ(take_all(&w, 0, FRAME_DATA, f, &err), n); /* not once ERR_AGAIN */
		CHECK_EQ(err, ERR_NOMEM);
		CHECK_EQ(tlb_enter(&w.cores[0], &g, round + 1, 0), TLB_FLUSH_ALL);
	}
	for (unsigned i = 0; i < n; i++)
		give_back(&w, 0, f[i]);
	world_end(&w);
}

static unsigned kicked[3];

static void note_kick(void *context, unsigned core)
{
	CHECK(context == kicked);
	kicked[core]++;
}

TEST(freed_frames_wait_for_other_cores)
{
	struct world w;
	hpa_t f[300], again;
	int err;

	world_init(&w, 300, 3, &world_caps_ept, 10);
	w.pool.kick = note_kick;
	w.pool.kick_context = kicked;
	struct tlb_guest g[3] = {{0}};

	for (unsigned i = 0; i < 2; i++) /* the third stays idle */
		tlb_enter(&w.cores[i], &g[i], 1, 1);
	unsigned n = take_all(&w, 0, FRAME_DATA, f, &err);

	give_back(&w, 0, f[0]);
	CHECK_EQ(frame_alloc(&w.pool, 0, 0, FRAME_DATA, NULL, FRAME_ZEROED, &again), ERR_AGAIN);
	CHECK_EQ(frame_alloc(&w.pool, 0, 0, FRAME_HOST, NULL, FRAME_ZEROED, &again), ERR_AGAIN);
	CHECK_EQ(kicked[0], 0);
	CHECK_EQ(kicked[1], 2);
	CHECK_EQ(kicked[2], 0);
	CHECK_EQ(tlb_enter(&w.cores[1], &g[1], 1, 1), TLB_FLUSH_ALL);
	again = get_frame(&w, 0, FRAME_DATA, FRAME_ZEROED);
	CHECK_EQ(again, f[0]);
	CHECK(all_zero(&w, again));
	CHECK_EQ(tlb_enter(&w.cores[0], &g[0], 1, 1), TLB_FLUSH_ALL); /* it had promised to */
	for (unsigned i = 0; i < n; i++)
		give_back(&w, i % 3, f[i]);
	world_end(&w);
}

/* Each slot of the ring holds frames of one epoch; the newest takes what comes when all are in use, and
 * then waits for the last epoch of any of them. */
TEST(a_full_quarantine_ring_waits_longer_not_shorter)
{
	struct world w;
	hpa_t f[300];
	int err;

	world_init(&w, 300, 2, &world_caps_ept, 10);
	struct tlb_guest g[2] = {{0}};
	struct tlb_guest slow = {0};

	tlb_enter(&w.cores[1], &slow, 1, 1);
	unsigned n = take_all(&w, 0, FRAME_DATA, f, &err);

	for (unsigned i = 0; i < FRAME_QUARANTINE_SLOTS + 4; i++) {
		tlb_enter(&w.cores[0], &g[0], 1, 1);
		give_back(&w, 0, f[i]);
		frame_core_drain(&w.pool, 0); /* to the ring, under the epoch of now */
		CHECK(w.pool.quarantine_used <= FRAME_QUARANTINE_SLOTS);
		if (i == FRAME_QUARANTINE_SLOTS)
			CHECK_EQ(tlb_enter(&w.cores[1], &slow, 1, 1), TLB_FLUSH_ALL);
		tlb_epoch_end(&w.tlb, w.tlb.epoch);
	}
	/* Core 1 has flushed since the first 16 were freed, not since the other 4, which share a slot
	 * with the 16th. */
	hpa_t got[40];

	CHECK_EQ(take_all(&w, 0, FRAME_DATA, got, &err), FRAME_QUARANTINE_SLOTS - 1);
	CHECK_EQ(err, ERR_AGAIN);
	CHECK(!contains(got, FRAME_QUARANTINE_SLOTS - 1, f[FRAME_QUARANTINE_SLOTS + 2]));
	tlb_promise(&w.cores[1]);
	CHECK_EQ(take_all(&w, 0, FRAME_DATA, got, &err), 5);
	for (unsigned i = 0; i < n; i++)
		give_back(&w, 0, f[i]);
	world_end(&w);
}

TEST(the_reserve_is_for_our_own)
{
	struct world w;
	hpa_t f[300];
	int err;

	world_init(&w, 300, 2, &world_caps_ept, 10);
	frame_core_drain(&w.pool, 0);
	w.pool.reserve = 50;
	unsigned free_now = (unsigned)frame_pool_free(&w.pool);
	unsigned n = take_all(&w, 0, FRAME_DATA, f, &err);

	CHECK_EQ(err, ERR_NOMEM);
	CHECK_EQ(n, free_now - 50);
	CHECK_EQ(take_all(&w, 1, FRAME_STATE, f + n, &err), 0);
	CHECK_EQ(err, ERR_NOMEM);
	hpa_t own = get_frame(&w, 0, FRAME_HOST, FRAME_ZEROED);

	CHECK_EQ(take_all(&w, 0, FRAME_DATA, f + n, &err), 0); /* it left nothing for others */
	CHECK_EQ(take_all(&w, 1, FRAME_HOST, f + n, &err), 49);
	CHECK_EQ(err, ERR_NOMEM);
	for (unsigned i = 0; i < n + 49; i++)
		give_back(&w, 0, f[i]);
	give_back(&w, 1, own);
	world_end(&w);
}

TEST(zeroed_means_zeroed)
{
	struct world w;
	hpa_t f[40];

	world_init(&w, 300, 1, &world_caps_ept, 10);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 40; i++) {
			enum frame_fill fill = i % 3 ? FRAME_ZEROED : FRAME_OVERWRITE;

			f[i] = get_frame(&w, 0, FRAME_DATA, fill);
			if (fill == FRAME_ZEROED)
				CHECK(all_zero(&w, f[i]));
			memset(frame_ptr(&w.pool, f[i]), (int)round + 1, PAGE_SIZE);
		}
		for (unsigned i = 0; i < 40; i++)
			give_back(&w, 0, f[i]);
		unsigned done = frame_zero_some(&w.pool, 0, 20);

		CHECK_EQ(done == 0 || done == 20, 1);
		world_check_free(&w);
	}
	world_end(&w);
}

TEST(either_sort_of_free_frame_will_do)
{
	struct world w;
	hpa_t f[600];
	int err;

	world_init(&w, 600, 1, &world_caps_ept, 10);
	frame_core_drain(&w.pool, 0);
	unsigned zeroed = frame_zero_some(&w.pool, 0, 10000);

	CHECK(zeroed > 300);
	CHECK_EQ(take_all(&w, 0, FRAME_DATA, f, &err), w.free_at_start); /* zeroed ones as well */
	for (unsigned i = 0; i < w.free_at_start; i++)
		give_back(&w, 0, f[i]);
	for (unsigned i = 0; i < w.free_at_start; i++)
		f[i] = get_frame(&w, 0, FRAME_DATA, FRAME_ZEROED); /* and none is zeroed yet */
	for (unsigned i = 0; i < w.free_at_start; i++)
		give_back(&w, 0, f[i]);
	world_end(&w);
}

TEST(zeroing_leaves_enough_for_others)
{
	struct world w;
	hpa_t f[300];
	int err;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	unsigned n = take_all(&w, 0, FRAME_DATA, f, &err);

	for (unsigned i = 0; i < 100; i++)
		give_back(&w, 0, f[i]);
	CHECK_EQ(frame_zero_some(&w.pool, 0, 50), 0);
	for (unsigned i = 100; i < n; i++)
		give_back(&w, 0, f[i]);
	world_end(&w);
}

TEST(contiguous_runs_are_aligned_and_zeroed)
{
	struct world w;
	hpa_t run, one;

	world_init(&w, 400, 1, &world_caps_ept, 10);
	one = get_frame(&w, 0, FRAME_DATA, FRAME_OVERWRITE);
	CHECK_EQ(frame_alloc_contiguous(&w.pool, 16, 64 * KIB, &run), 0);
	CHECK_EQ(run % (64 * KIB), 0);
	for (unsigned i = 0; i < 16; i++)
		CHECK(all_zero(&w, run + i * PAGE_SIZE));
	CHECK_EQ(world_idle_frames(&w), w.free_at_start - 17);
	world_check_free(&w); /* what alignment skipped is still there */
	CHECK_EQ(frame_alloc_contiguous(&w.pool, 399, PAGE_SIZE, &run), ERR_NOMEM);
	CHECK_EQ(frame_alloc_contiguous(&w.pool, 0, PAGE_SIZE, &run), ERR_INVALID);
	CHECK_EQ(frame_alloc_contiguous(&w.pool, 1, 3 * PAGE_SIZE, &run), ERR_INVALID);
	CHECK_EQ(frame_alloc_contiguous(&w.pool, UINT64_MAX / 2, PAGE_SIZE, &run), ERR_NOMEM);
	give_back(&w, 0, one);
	world_end(&w);
}

TEST(holes_between_ranges_are_never_used)
{
	struct frame_range ranges[] = {{PAGE_SIZE, 3 * PAGE_SIZE}, {64 * PAGE_SIZE, 0},
		{100 * PAGE_SIZE, 100 * PAGE_SIZE}, {300 * PAGE_SIZE, 10 * PAGE_SIZE}};
	struct world w = {.frames = 310};
	unsigned n = 0;
	hpa_t hpa;

	w.arena = aligned_alloc(PAGE_SIZE, 310 * PAGE_SIZE);
	memset(w.arena, 0x5a, 310 * PAGE_SIZE);
	tlb_host_init(&w.tlb, w.cores, 1);
	CHECK_EQ(frame_pool_init(&w.pool, w.arena, ranges, 4, 1, 0, &w.tlb), 0);
	while (frame_alloc(&w.pool, 0, 0, FRAME_DATA, NULL, FRAME_ZEROED, &hpa) == 0) {
		uint64_t i = hpa / PAGE_SIZE;

		CHECK((i >= 1 && i < 4) || (i >= 100 && i < 200) || (i >= 300 && i < 310));
		n++;
	}
	struct frame_stats s;

	frame_pool_stats(&w.pool, &s);
	CHECK_EQ(s.total, 113);
	CHECK_EQ(s.used[FRAME_DATA], n);
	CHECK_EQ(s.used[FRAME_HOST] + n, 113);
	free(w.arena);
}

TEST(bad_ranges_are_refused)
{
	static struct frame_pool pool;
	struct tlb_core cores[1];
	struct tlb_host tlb;
	uint8_t *arena = aligned_alloc(PAGE_SIZE, 8 * PAGE_SIZE);
	const struct frame_range bad[][2] = {
		{{PAGE_SIZE + 1, PAGE_SIZE}, {0}},
		{{PAGE_SIZE, PAGE_SIZE - 1}, {0}},
		{{4 * PAGE_SIZE, 2 * PAGE_SIZE}, {5 * PAGE_SIZE, PAGE_SIZE}},
		{{-PAGE_SIZE, 2 * PAGE_SIZE}, {0}},
	};

	tlb_host_init(&tlb, cores, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(frame_pool_init(&pool, arena, bad[i], 2, 1, 0, &tlb), ERR_INVALID);
	struct frame_range small = {0, 8 * PAGE_SIZE};

	CHECK_EQ(frame_pool_init(&pool, arena, &small, 1, 1, 0, &tlb), ERR_NOMEM);
	CHECK_EQ(frame_pool_init(&pool, arena, &small, 1, 2, 0, &tlb), ERR_INVALID);
	CHECK_EQ(frame_pool_init(&pool, arena, &small, 0, 1, 0, &tlb), ERR_NOMEM);
	CHECK_EQ(frame_pool_init(&pool, arena, &small, FRAME_MAX_RANGES + 1, 1, 0, &tlb), ERR_INVALID);
	free(arena);
}

TEST(a_reference_count_never_wraps)
{
	struct world w;
	hpa_t f;

	world_init(&w, 100, 1, &world_caps_ept, 10);
	f = get_frame(&w, 0, FRAME_DATA, FRAME_ZEROED);
	frame_record(&w.pool, f)->refs = FRAME_REFS_MAX - 1;
	CHECK_EQ(frame_get(&w.pool, f), 0);
	CHECK_EQ(frame_get(&w.pool, f), ERR_LIMIT);
	CHECK_EQ(frame_refs(&w.pool, f), FRAME_REFS_MAX);
	frame_record(&w.pool, f)->refs = UINT32_MAX;
	CHECK_EQ(frame_get(&w.pool, f), ERR_LIMIT);
	CHECK_EQ(frame_refs(&w.pool, f), UINT32_MAX);
	frame_record(&w.pool, f)->refs = 2;
	CHECK(!frame_put(&w.pool, f));
	give_back(&w, 0, f);
	world_end(&w);
}

TEST(what_a_core_keeps_to_itself_is_bounded)
{
	struct world w;
	hpa_t f[1400];

	world_init(&w, 1500, 2, &world_caps_ept, 10);
	for (unsigned i = 0; i < 1400; i++)
		f[i] = get_frame(&w, 0, FRAME_DATA, FRAME_OVERWRITE);
	for (unsigned i = 0; i < 1400; i++) {
		give_back(&w, 0, f[i]);
		CHECK(w.pool.cores[0].freed.count < FRAME_FREED_BATCH);
		CHECK(w.pool.cores[0].dirty.count + w.pool.cores[0].zeroed.count <= 2 * FRAME_BATCH);
	}
	frame_core_drain(&w.pool, 0);
	CHECK_EQ(w.pool.cores[0].dirty.count + w.pool.cores[0].freed.count, 0);
	world_end(&w);
}
