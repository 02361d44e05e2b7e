#include "hv/gmem.h"
#include "tests/unit/gmem_world.h"

static const struct gmem_extent plain = {0, 256 * MIB};

struct tree {
	struct gmem m;
	struct account *account;
	struct budget *budget;
};

static void tree_begin(struct world *w, struct tree *t)
{
	CHECK_EQ(budget_create(&w->pool, 0, w->root_budget, world_unlimited, &t->budget), 0);
	t->account = world_account(w, t->budget);
}

static void tree_create(struct world *w, struct tree *t)
{
	tree_begin(w, t);
	CHECK_EQ(gmem_create(&t->m, &w->pool, 0, &pt_format_ept, t->account, &plain, 1), 0);
}

static void tree_fork(struct world *w, struct tree *from, struct tree *t)
{
	tree_begin(w, t);
	CHECK_EQ(gmem_share(&from->m, &t->m, t->account), 0);
}

static void tree_drop(struct world *w, struct tree *t)
{
	gmem_drop(&t->m, 0);
	account_release(&w->pool, t->account);
	budget_put(&w->pool, t->budget);
}

static void end(struct world *w)
{
	world_reap_all(w, w->tlb.core_count);
	world_end(w);
}

static uint64_t word(const struct gmem *m, gpa_t gpa)
{
	uint64_t v;

	CHECK_EQ(gmem_read(m, gpa, &v, sizeof(v)), 0);
	return v;
}

static void set_word(struct gmem *m, gpa_t gpa, uint64_t v)
{
	CHECK_EQ(gmem_write(m, 0, gpa, &v, sizeof(v)), 0);
}

static struct gmem_fault_result fault(struct gmem *m, gpa_t gpa, enum gmem_access access)
{
	struct gmem_fault_result r;

	CHECK_EQ(gmem_fault(m, 0, gpa, access, &r), 0);
	return r;
}

static uint64_t used(struct world *w, enum frame_kind kind)
{
	struct frame_stats s;

	frame_pool_stats(&w->pool, &s);
	return s.used[kind];
}

/* All 16 numbers of what happened, as one, so that a test says what it expects in a line. */
static void check_result(struct gmem_fault_result r, unsigned tables_copied, unsigned tables_created,
	unsigned pages_copied, unsigned pages_created, unsigned raised)
{
	CHECK_EQ(r.tables_copied, tables_copied);
	CHECK_EQ(r.tables_created, tables_created);
	CHECK_EQ(r.pages_copied, pages_copied);
	CHECK_EQ(r.pages_created, pages_created);
	CHECK_EQ(r.raised, raised);
}

/* SDM Vol 3, "EPT Translation Mechanism"; APM Vol 2, "Nested Paging". */
TEST(entries_are_what_the_hardware_wants)
{
	const struct pt_format *formats[] = {&pt_format_ept, &pt_format_npt};
	const uint64_t table_flags[] = {0x7, 0x27}, leaf_flags[] = {0x77, 0x67};

	for (unsigned f = 0; f < 2; f++) {
		struct world w;
		struct gmem m;

		world_init(&w, 200, 1, &world_caps_ept, 10);
		struct account *a = world_account(&w, NULL);

		CHECK_EQ(gmem_create(&m, &w.pool, 0, formats[f], a, &plain, 1), 0);
		fault(&m, 0x1234567, GMEM_READ);
		const uint64_t *t = frame_ptr(&w.pool, m.root);

		CHECK_EQ(t[0] % PAGE_SIZE, table_flags[f]);
		t = frame_ptr(&w.pool, align_down(t[0], PAGE_SIZE));
		CHECK_EQ(t[0] % PAGE_SIZE, table_flags[f]);
		t = frame_ptr(&w.pool, align_down(t[0], PAGE_SIZE));
		CHECK_EQ(t[9] % PAGE_SIZE, table_flags[f]);
		t = frame_ptr(&w.pool, align_down(t[9], PAGE_SIZE));
		CHECK_EQ(t[0x34] % PAGE_SIZE, leaf_flags[f]);
		CHECK(frame_ptr(&w.pool, align_down(t[0x34], PAGE_SIZE)) ==
			gmem_page(&m, 0x1234000));
		gmem_drop(&m, 0);
		account_release(&w.pool, a);
		end(&w);
	}
}

TEST(the_first_touch_creates_a_writable_zero_page)
{
	struct world w;
	struct tree a;

	world_init(&w, 200, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	uint64_t gen = a.m.tlb_gen;

	CHECK(gmem_page(&a.m, 0x5000) == NULL);
	CHECK_EQ(word(&a.m, 0x5008), 0);
	check_result(fault(&a.m, 0x5008, GMEM_READ), 0, 3, 0, 1, 0);
	check_result(fault(&a.m, 0x6000, GMEM_EXEC), 0, 0, 0, 1, 0);
	CHECK_EQ(a.m.tlb_gen, gen); /* nothing was there to be cached */
	set_word(&a.m, 0x5008, 7);  /* no fault left to take */
	CHECK_EQ(a.m.tlb_gen, gen);
	CHECK_EQ(word(&a.m, 0x5008), 7);
	CHECK_EQ(used(&w, FRAME_TABLE), 4);
	CHECK_EQ(used(&w, FRAME_DATA), 2);
	CHECK_EQ(account_pages(a.account), 6);
	tree_drop(&w, &a);
	end(&w);
}

TEST(a_fork_allocates_nothing)
{
	struct world w;
	struct tree a, b, c;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (gpa_t p = 0; p < 20; p++)
		set_word(&a.m, p * PAGE_SIZE, p);
	uint64_t gen = a.m.tlb_gen, idle = world_idle_frames(&w);

	tree_fork(&w, &a, &b);
	CHECK_EQ(a.m.tlb_gen, gen + 1); /* its rights were lowered */
	tree_fork(&w, &a, &c);
	CHECK_EQ(a.m.tlb_gen, gen + 1); /* not again */
	CHECK_EQ(world_idle_frames(&w), idle);
	CHECK_EQ(a.m.root, b.m.root);
	CHECK_EQ(a.m.root_gen, 0);
	CHECK_EQ(b.m.root_gen, 0);
	CHECK_EQ(frame_refs(&w.pool, a.m.root), 3);
	CHECK_EQ(account_pages(b.account), 0);
	struct gmem *all[] = {&a.m, &b.m, &c.m};

	world_check(&w, all, 3);
	tree_drop(&w, &b);
	CHECK(!gmem_reap_pending(&w.pool)); /* it had nothing of its own */
	tree_drop(&w, &a);
	CHECK_EQ(word(&c.m, 5 * PAGE_SIZE), 5);
	tree_drop(&w, &c);
	end(&w);
}

TEST(a_write_copies_its_path_and_no_more)
{
	struct world w;
	struct tree a, b;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (gpa_t p = 0; p < 4; p++)
		set_word(&a.m, p * PAGE_SIZE, p + 1);
	set_word(&a.m, 2 * MIB, 100);
	tree_fork(&w, &a, &b);
	uint64_t gen = b.m.tlb_gen;

	check_result(fault(&b.m, 0, GMEM_WRITE), 4, 0, 1, 0, 0);
	CHECK_EQ(b.m.root_gen, gen + 1);
	CHECK(b.m.tlb_gen > gen + 1);
	gen = b.m.tlb_gen;
	check_result(fault(&b.m, PAGE_SIZE, GMEM_WRITE), 0, 0, 1, 0, 0);
	CHECK(b.m.tlb_gen > gen);
	check_result(fault(&b.m, 2 * MIB, GMEM_WRITE), 1, 0, 1, 0, 0);
	set_word(&b.m, 0, 50);
	CHECK_EQ(word(&a.m, 0), 1);
	CHECK_EQ(word(&b.m, 0), 50);
	CHECK_EQ(word(&b.m, 2 * PAGE_SIZE), 3);
	CHECK(gmem_page(&a.m, 3 * PAGE_SIZE) == gmem_page(&b.m, 3 * PAGE_SIZE));
	CHECK_EQ(account_pages(b.account), 8);

	/* The parent has its tables to itself again: bits are set, nothing is copied or flushed. */
	gen = a.m.tlb_gen;
	check_result(fault(&a.m, 0, GMEM_WRITE), 0, 0, 0, 0, 4);
	check_result(fault(&a.m, PAGE_SIZE, GMEM_WRITE), 0, 0, 0, 0, 1);
	CHECK_EQ(a.m.tlb_gen, gen);
	check_result(fault(&a.m, 2 * PAGE_SIZE, GMEM_WRITE), 0, 0, 1, 0, 0);
	struct gmem *all[] = {&a.m, &b.m};

	world_check(&w, all, 2);
	tree_drop(&w, &a);
	tree_drop(&w, &b);
	end(&w);
}

/* Reads of what the parent had never fault, so a fault for one is spurious, and copies nothing. */
TEST(reading_copies_nothing)
{
	struct world w;
	struct tree a, b;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	set_word(&a.m, 0, 1);
	tree_fork(&w, &a, &b);
	uint64_t gen = b.m.tlb_gen, idle = world_idle_frames(&w);

	check_result(fault(&b.m, 0, GMEM_READ), 0, 0, 0, 0, 0);
	check_result(fault(&b.m, 0, GMEM_EXEC), 0, 0, 0, 0, 0);
	CHECK_EQ(world_idle_frames(&w), idle);
	CHECK(b.m.tlb_gen > gen); /* so that it can't happen for ever */
	struct gmem_stats s;

	gmem_stats(&w.pool, &s);
	CHECK_EQ(s.spurious, 2);
	CHECK_EQ(s.tables_created, 4);
	CHECK_EQ(s.pages_created, 1);
	CHECK_EQ(s.tables_copied, 0);
	CHECK_EQ(word(&b.m, PAGE_SIZE), 0);
	CHECK_EQ(world_idle_frames(&w), idle);
	/* A page that neither has: the reader gets one of its own, on a path of its own. */
	check_result(fault(&b.m, PAGE_SIZE, GMEM_READ), 4, 0, 0, 1, 0);
	CHECK(gmem_page(&a.m, PAGE_SIZE) == NULL);
	tree_drop(&w, &a);
	tree_drop(&w, &b);
	end(&w);
}

TEST(a_snapshot_stays_and_a_rollback_returns_to_it)
{
	struct world w;
	struct tree a;
	struct gmem snapshot;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	set_word(&a.m, 0, 1);
	CHECK_EQ(gmem_share(&a.m, &snapshot, a.account), 0);
	struct account *of_snapshot = a.account;

	a.account = a.m.account = world_account(&w, a.budget);
	set_word(&a.m, 0, 2);
	set_word(&a.m, 4 * MIB, 3);
	CHECK_EQ(account_pages(of_snapshot), 5);
	CHECK_EQ(account_pages(a.account), 7);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t gen = a.m.tlb_gen;

		CHECK_EQ(gmem_rollback(&a.m, 0, &snapshot), 0);
		CHECK(a.m.tlb_gen > gen);
		CHECK_EQ(a.m.root_gen, 0);
		CHECK(a.m.account == a.account);
		CHECK_EQ(word(&a.m, 0), 1);
		CHECK_EQ(word(&a.m, 4 * MIB), 0);
		world_reap_all(&w, 1);
		CHECK_EQ(account_pages(a.account), 0);
		set_word(&a.m, 0, 9);
		CHECK_EQ(word(&snapshot, 0), 1);
	}
	gmem_drop(&snapshot, 0);
	account_release(&w.pool, of_snapshot);
	CHECK_EQ(word(&a.m, 0), 9);
	tree_drop(&w, &a);
	end(&w);
}

TEST(addresses_outside_the_guest_are_refused)
{
	static const struct gmem_extent parts[] = {{PAGE_SIZE, 3 * PAGE_SIZE}, {1 * GIB, PAGE_SIZE}};
	struct world w;
	struct gmem m;
	uint8_t buf[2 * PAGE_SIZE] = {0};
	void *page;

	world_init(&w, 200, 1, &world_caps_ept, 10);
	struct account *a = world_account(&w, NULL);

	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_npt, a, parts, 2), 0);
	const gpa_t outside[] = {0, PAGE_SIZE - 1, 4 * PAGE_SIZE, 1 * GIB - 1, 1 * GIB + PAGE_SIZE,
		1ull << 48, (1ull << 48) + PAGE_SIZE, UINT64_MAX, UINT64_MAX - PAGE_SIZE};

	for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
		CHECK_EQ(gmem_fault(&m, 0, outside[i], i % 3, NULL), ERR_FAULT);
		CHECK(gmem_page(&m, outside[i]) == NULL);
		CHECK_EQ(gmem_page_for_write(&m, 0, outside[i], &page), ERR_FAULT);
		CHECK_EQ(gmem_read(&m, outside[i], buf, 1), ERR_FAULT);
		CHECK_EQ(gmem_write(&m, 0, outside[i], buf, 1), ERR_FAULT);
	}
	CHECK_EQ(gmem_fault(&m, 0, 4 * PAGE_SIZE - 1, GMEM_WRITE, NULL), 0);
	CHECK_EQ(gmem_fault(&m, 0, 1 * GIB + PAGE_SIZE - 1, GMEM_WRITE, NULL), 0);
	CHECK_EQ(gmem_read(&m, 3 * PAGE_SIZE, buf, PAGE_SIZE + 1), ERR_FAULT);
	CHECK_EQ(gmem_read(&m, 2 * PAGE_SIZE, buf, 2 * PAGE_SIZE), 0);
	CHECK_EQ(gmem_read(&m, PAGE_SIZE, buf, UINT64_MAX), ERR_FAULT);
	CHECK_EQ(gmem_write(&m, 0, PAGE_SIZE, buf, UINT64_MAX - PAGE_SIZE + 1), ERR_FAULT);
	CHECK_EQ(gmem_write(&m, 0, 3 * PAGE_SIZE + 1, buf, PAGE_SIZE), ERR_FAULT);
	CHECK_EQ(gmem_check(&m, PAGE_SIZE, 3 * PAGE_SIZE), 0);
	CHECK_EQ(gmem_check(&m, PAGE_SIZE, 0), 0);
	CHECK_EQ(gmem_check(&m, 0, 0), ERR_FAULT);
	gmem_drop(&m, 0);
	account_release(&w.pool, a);
	end(&w);
}

TEST(bad_extents_are_refused)
{
	static const struct gmem_extent bad[][2] = {
		{{1, PAGE_SIZE}, {0}},
		{{0, PAGE_SIZE - 1}, {0}},
		{{0, 0}, {0}},
		{{PAGE_SIZE, 2 * PAGE_SIZE}, {2 * PAGE_SIZE, PAGE_SIZE}},
		{{2 * PAGE_SIZE, PAGE_SIZE}, {PAGE_SIZE, PAGE_SIZE}},
		{{1ull << 48, PAGE_SIZE}, {0}},
		{{PAGE_SIZE, 1ull << 48}, {0}},
		{{PAGE_SIZE, -PAGE_SIZE}, {0}},
	};
	static const struct gmem_extent whole = {0, 1ull << 48};
	struct gmem_extent five[5];
	struct world w;
	struct gmem m;

	world_init(&w, 200, 1, &world_caps_ept, 10);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, NULL, bad[i],
				 bad[i][1].size ? 2 : 1), ERR_INVALID);
	for (unsigned i = 0; i < 5; i++)
		five[i] = (struct gmem_extent){i * PAGE_SIZE, PAGE_SIZE};
	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, NULL, five, 5), ERR_INVALID);
	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, NULL, five, 0), ERR_INVALID);
	CHECK_EQ(world_idle_frames(&w), w.free_at_start);

	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, NULL, &whole, 1), 0);
	set_word(&m, (1ull << 48) - 8, 77);
	set_word(&m, 0, 78);
	struct gmem copy;

	CHECK_EQ(gmem_share(&m, &copy, NULL), 0); /* all 512 entries of the root count */
	set_word(&copy, (1ull << 48) - 8, 1);
	CHECK_EQ(word(&m, (1ull << 48) - 8), 77);
	CHECK_EQ(word(&copy, 0), 78);
	gmem_drop(&m, 0);
	gmem_drop(&copy, 0);
	end(&w);
}

TEST(reads_and_writes_cross_pages)
{
	struct world w;
	struct tree a;
	uint8_t out[3 * PAGE_SIZE], in[3 * PAGE_SIZE];

	world_init(&w, 200, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 256);
	CHECK_EQ(gmem_write(&a.m, 0, 2 * MIB - PAGE_SIZE - 5, out, sizeof(out)), 0);
	CHECK_EQ(gmem_read(&a.m, 2 * MIB - PAGE_SIZE - 5, in, sizeof(in)), 0);
	CHECK(memcmp(in, out, sizeof(in)) == 0);
	CHECK_EQ(gmem_read(&a.m, 2 * MIB - PAGE_SIZE - 6, in, 2), 0);
	CHECK_EQ(in[0], 0);
	CHECK_EQ(in[1], out[0]);
	CHECK_EQ(gmem_read(&a.m, 100 * MIB - 3, in, 10), 0); /* nothing there */
	for (unsigned i = 0; i < 10; i++)
		CHECK_EQ(in[i], 0);
	tree_drop(&w, &a);
	end(&w);
}

/* ---- errors, at every allocation --------------------------------------------------------------- */

struct content {
	uint64_t words[8];
};

static const gpa_t places[8] = {0, PAGE_SIZE, 2 * MIB, 2 * MIB + PAGE_SIZE, 100 * MIB, 101 * MIB,
	200 * MIB, 256 * MIB - PAGE_SIZE};

static struct content content_of(const struct gmem *m)
{
	struct content c;

	for (unsigned i = 0; i < 8; i++)
		c.words[i] = word(m, places[i]);
	return c;
}

static void check_content(const struct gmem *m, struct content c)
{
	struct content now = content_of(m);

	CHECK(memcmp(&now, &c, sizeof(c)) == 0);
}

/* Let the k-th allocation of a fault fail, for each k: nothing is lost, and it can be tried again. */
static unsigned fail_each(struct world *w, struct tree *a, struct tree *b, gpa_t gpa, int want)
{
	struct gmem *all[] = {&a->m, &b->m};
	struct content of_a = content_of(&a->m), of_b = content_of(&b->m);
	unsigned failures = 0;

	for (;; failures++) {
		if (want == ERR_LIMIT) {
			budget_set_limit(b->budget, BUDGET_PAGES,
				budget_used(b->budget, BUDGET_PAGES) + failures);
		} else {
			frame_core_drain(&w->pool, 0);
			w->pool.reserve = world_idle_frames(w) - failures;
		}
		struct tree c;

		tree_fork(w, b, &c);
		budget_put(&w->pool, c.budget);
		account_release(&w->pool, c.account);
		c.m.account = b->account;
		int err = gmem_fault(&c.m, 0, gpa, GMEM_WRITE, NULL);

		check_content(&c.m, of_b);
		check_content(&b->m, of_b);
		check_content(&a->m, of_a);
		struct gmem *with_c[] = {&a->m, &b->m, &c.m};

		world_check(w, with_c, 3);
		w->pool.reserve = 0;
		budget_set_limit(b->budget, BUDGET_PAGES, BUDGET_UNLIMITED);
		CHECK_EQ(gmem_fault(&c.m, 0, gpa, GMEM_WRITE, NULL), 0); /* once more, it works */
		check_content(&c.m, of_b);
		world_check(w, with_c, 3);
		gmem_drop(&c.m, 0);
		world_reap_all(w, 1);
		world_check(w, all, 2);
		if (!err)
			return failures;
		CHECK_EQ(err, want);
	}
}

TEST(a_fault_survives_running_out_at_each_of_its_allocations)
{
	struct world w;
	struct tree a, b;

	world_init(&w, 400, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (unsigned i = 0; i < 7; i++)
		set_word(&a.m, places[i], i + 1);
	tree_fork(&w, &a, &b);
	set_word(&b.m, places[0], 20);
	CHECK_EQ(fail_each(&w, &a, &b, places[0], ERR_LIMIT), 5);
	CHECK_EQ(fail_each(&w, &a, &b, places[1], ERR_LIMIT), 5);
	CHECK_EQ(fail_each(&w, &a, &b, places[7], ERR_LIMIT), 5); /* a new table and page */
	CHECK_EQ(fail_each(&w, &a, &b, places[0], ERR_NOMEM), 5);
	CHECK_EQ(fail_each(&w, &a, &b, places[2], ERR_NOMEM), 5);
	CHECK_EQ(fail_each(&w, &a, &b, places[7], ERR_NOMEM), 5);
	tree_drop(&w, &a);
	tree_drop(&w, &b);
	end(&w);
}

TEST(creating_a_tree_may_fail)
{
	struct world w;
	struct gmem m;
	struct tree t;

	world_init(&w, 200, 1, &world_caps_ept, 10);
	tree_begin(&w, &t);
	budget_set_limit(t.budget, BUDGET_PAGES, 0);
	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, t.account, &plain, 1), ERR_LIMIT);
	frame_core_drain(&w.pool, 0);
	w.pool.reserve = 1000;
	CHECK_EQ(gmem_create(&m, &w.pool, 0, &pt_format_ept, NULL, &plain, 1), ERR_NOMEM);
	account_release(&w.pool, t.account);
	budget_put(&w.pool, t.budget);
	end(&w);
}

TEST(a_root_with_all_the_sharers_there_can_be)
{
	struct world w;
	struct tree a, b, c;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	set_word(&a.m, 0, 1);
	tree_fork(&w, &a, &b);
	struct gmem copy = {.root = 12345};
	uint32_t *refs = &frame_record(&w.pool, a.m.root)->refs;
	const uint32_t full[] = {FRAME_REFS_MAX, UINT32_MAX};

	for (unsigned i = 0; i < 2; i++) {
		struct gmem before = a.m;

		*refs = full[i];
		CHECK_EQ(gmem_share(&a.m, &copy, a.account), ERR_LIMIT);
		CHECK_EQ(copy.root, 12345);
		CHECK_EQ(gmem_rollback(&b.m, 0, &a.m), ERR_LIMIT);
		CHECK_EQ(b.m.root, a.m.root);
		CHECK_EQ(*refs, full[i]);
		CHECK(memcmp(&before, &a.m, sizeof(before)) == 0);
	}
	*refs = FRAME_REFS_MAX - 1;
	tree_fork(&w, &a, &c);
	CHECK_EQ(*refs, FRAME_REFS_MAX);
	*refs = 3;
	tree_drop(&w, &c);
	tree_drop(&w, &b);
	tree_drop(&w, &a);
	end(&w);
}

/* ---- freeing ----------------------------------------------------------------------------------- */

TEST(a_drop_is_queued_and_freed_in_slices)
{
	struct world w;
	struct tree a;

	world_init(&w, 800, 2, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (gpa_t p = 0; p < 600; p++)
		set_word(&a.m, p * PAGE_SIZE, p);
	uint64_t frames = account_pages(a.account), data = used(&w, FRAME_DATA);

	CHECK_EQ(frames, 600 + 3 + 2);
	gmem_drop(&a.m, 0);
	CHECK_EQ(used(&w, FRAME_DATA), data); /* O(1) */
	CHECK(gmem_reap_pending(&w.pool));
	unsigned slices = 0;

	while (gmem_reap(&w.pool, 1, 100)) {
		uint64_t now = used(&w, FRAME_DATA);

		CHECK(data - now <= 100);
		data = now;
		CHECK(slices++ < 100);
		CHECK(gmem_reap_pending(&w.pool));
	}
	CHECK(slices >= 6); /* 600 pages, at most 100 each */
	CHECK(!gmem_reap_pending(&w.pool));
	CHECK(!gmem_reap(&w.pool, 1, 100));
	CHECK_EQ(account_pages(a.account), 0);
	account_release(&w.pool, a.account);
	budget_put(&w.pool, a.budget);
	end(&w);
}

TEST(memory_of_dropped_trees_comes_back_when_it_is_needed)
{
	struct world w;
	struct tree a;
	struct gmem snapshot;

	world_init(&w, 400, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	set_word(&a.m, 0, 1);
	CHECK_EQ(gmem_share(&a.m, &snapshot, NULL), 0);
	/* Nobody calls gmem_reap() here: faults do it, both at the budget's and at the host's end. */
	budget_set_limit(a.budget, BUDGET_PAGES, 120);
	for (unsigned round = 0; round < 20; round++) {
		for (gpa_t p = 0; p < 100; p++) {
			int err, tries = 0;

			while ((err = gmem_fault(&a.m, 0, p * PAGE_SIZE, GMEM_WRITE, NULL)) == ERR_AGAIN)
				CHECK(tries++ < 10);
			CHECK_EQ(err, 0);
		}
		CHECK_EQ(gmem_rollback(&a.m, 0, &snapshot), 0);
	}
	gmem_drop(&snapshot, 0);
	tree_drop(&w, &a);
	end(&w);
}

/* Copying a table can end with the last reference on the original, when the other holder went away
 * meanwhile. Then what the original refers to is let go of, too. */
TEST(the_other_holder_goes_away)
{
	struct world w;
	struct tree a, b;

	world_init(&w, 300, 1, &world_caps_ept, 10);
	tree_create(&w, &a);
	for (gpa_t p = 0; p < 5; p++)
		set_word(&a.m, p * PAGE_SIZE, p + 1);
	tree_fork(&w, &a, &b);
	check_result(fault(&b.m, 0, GMEM_WRITE), 4, 0, 1, 0, 0);
	tree_drop(&w, &a);
	world_reap_all(&w, 1);
	struct gmem *all[] = {&b.m};

	world_check(&w, all, 1);
	CHECK_EQ(used(&w, FRAME_TABLE), 4);
	CHECK_EQ(used(&w, FRAME_DATA), 5);
	check_result(fault(&b.m, PAGE_SIZE, GMEM_WRITE), 0, 0, 0, 0, 1); /* it is alone with it */
	for (gpa_t p = 0; p < 5; p++)
		CHECK_EQ(word(&b.m, p * PAGE_SIZE), p + 1);
	tree_drop(&w, &b);
	end(&w);
}
