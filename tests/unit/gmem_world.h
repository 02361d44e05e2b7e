/*
 * A small host for the tests of memory trees: an arena as physical memory, cores, a root budget; and
 * checks of everything at once, from the outside: reference counts, write bits, charges, free lists.
 */
#ifndef TESTS_UNIT_GMEM_WORLD_H
#define TESTS_UNIT_GMEM_WORLD_H

#include "hv/gmem.h"
#include "tests/unit/test.h"

#define WORLD_MAX_CORES 8

struct world {
	uint64_t frames;
	void *arena;
	struct frame_pool pool;
	struct tlb_host tlb;
	struct tlb_core cores[WORLD_MAX_CORES];
	struct budget *root_budget;
	uint64_t free_at_start;
};

static const struct tlb_caps world_caps_ept = {.root_tagged = true, .flush_by_tag = true};
static const struct tlb_caps world_caps_npt = {.flush_by_tag = true};
static const struct tlb_caps world_caps_npt_old = {.flush_by_tag = false};

static const uint64_t world_unlimited[BUDGET_KINDS] = {
	BUDGET_UNLIMITED, BUDGET_UNLIMITED, BUDGET_UNLIMITED};

/* Frames that are free or on their way to be, by the pool's own count. */
static inline uint64_t world_idle_frames(struct world *w)
{
	struct frame_stats s;

	frame_pool_stats(&w->pool, &s);
	return s.used[FRAME_FREE] + s.quarantined;
}

static inline void world_init(struct world *w, uint64_t frames, unsigned cores,
	const struct tlb_caps *caps, uint32_t tags)
{
	struct frame_range range = {.base = 0, .size = frames * PAGE_SIZE};

	memset(w, 0, sizeof(*w));
	w->frames = frames;
	w->arena = aligned_alloc(PAGE_SIZE, frames * PAGE_SIZE);
	CHECK(w->arena);
	memset(w->arena, 0xa5, frames * PAGE_SIZE);
	tlb_host_init(&w->tlb, w->cores, cores);
	tlb_host_set_caps(&w->tlb, caps, tags);
	CHECK_EQ(frame_pool_init(&w->pool, w->arena, &range, 1, cores, 0, &w->tlb), 0);
	CHECK_EQ(gmem_host_init(&w->pool), 0);
	CHECK_EQ(budget_create(&w->pool, 0, NULL, world_unlimited, &w->root_budget), 0);
	w->free_at_start = world_idle_frames(w);
}

static inline struct account *world_account(struct world *w, struct budget *budget)
{
	struct account *a;

	CHECK_EQ(account_create(&w->pool, 0, budget ? budget : w->root_budget, &a), 0);
	return a;
}

static inline void world_reap_all(struct world *w, unsigned cores)
{
	while (gmem_reap_pending(&w->pool)) {
		for (unsigned c = 0; c < cores; c++)
			gmem_reap(&w->pool, c, 100);
	}
}

/* ---- what the trees should add up to ----------------------------------------------------------- */

struct world_count {
	struct world *w;
	uint32_t *refs;
	uint8_t *kind; /* level of a table, 100 for data, 0: not reached */
	uint64_t tables, pages;
};

static inline void world_visit(struct world_count *wc, hpa_t table, unsigned level)
{
	const uint64_t *e = frame_ptr(&wc->w->pool, table);

	if (wc->kind[table / PAGE_SIZE]) {
		CHECK_EQ(wc->kind[table / PAGE_SIZE], level);
		return;
	}
	wc->kind[table / PAGE_SIZE] = (uint8_t)level;
	wc->tables++;
	CHECK_EQ(frame_record(&wc->w->pool, table)->tag & FRAME_KIND_MASK, FRAME_TABLE);
	for (unsigned i = 0; i < 512; i++) {
		hpa_t child = align_down(e[i], PAGE_SIZE);

		if (!e[i])
			continue;
		wc->refs[child / PAGE_SIZE]++;
		if (level > 1) {
			world_visit(wc, child, level - 1);
		} else if (!wc->kind[child / PAGE_SIZE]) {
			wc->kind[child / PAGE_SIZE] = 100;
			wc->pages++;
			CHECK_EQ(frame_record(&wc->w->pool, child)->tag & FRAME_KIND_MASK,
				FRAME_DATA);
		}
	}
}

/* A write bit stands only over what has one reference. */
static inline void world_check_writes(struct world_count *wc, uint64_t n)
{
	const uint64_t *e = frame_ptr(&wc->w->pool, n * PAGE_SIZE);

	for (unsigned i = 0; i < 512; i++) {
		if (e[i] & PT_WRITE)
			CHECK_EQ(wc->refs[e[i] / PAGE_SIZE], 1);
		if ((e[i] & PT_WRITE) && wc->kind[n] == 4)
			CHECK_EQ(wc->refs[n], 1);
	}
}

static inline void world_check_charges(struct world_count *wc)
{
	struct world *w = wc->w;
	uint64_t *pages = calloc(w->pool.ledger.next_index, sizeof(*pages)), charged = 0;

	for (uint64_t n = 0; n < w->frames; n++) {
		if (wc->kind[n])
			pages[w->pool.records[n].tag >> FRAME_KIND_BITS]++;
	}
	for (uint32_t i = 1; i < w->pool.ledger.next_index; i++) {
		if (pages[i])
			CHECK_EQ(account_pages(account_lookup(&w->pool, i)), pages[i]);
		charged += pages[i];
	}
	CHECK_EQ(budget_used(w->root_budget, BUDGET_PAGES), charged);
	free(pages);
}

/* These, and only these, are all trees there are, and nothing waits to be reaped. */
static inline void world_check(struct world *w, struct gmem *const trees[], unsigned n)
{
	struct world_count wc = {.w = w};
	struct frame_stats s;

	wc.refs = calloc(w->frames, sizeof(*wc.refs));
	wc.kind = calloc(w->frames, 1);
	for (unsigned i = 0; i < n; i++) {
		wc.refs[trees[i]->root / PAGE_SIZE]++;
		world_visit(&wc, trees[i]->root, 4);
	}
	for (uint64_t f = 0; f < w->frames; f++) {
		if (wc.kind[f])
			CHECK_EQ(w->pool.records[f].refs, wc.refs[f]);
		if (wc.kind[f] && wc.kind[f] <= 4)
			world_check_writes(&wc, f);
	}
	frame_pool_stats(&w->pool, &s);
	CHECK_EQ(s.used[FRAME_TABLE], wc.tables);
	CHECK_EQ(s.used[FRAME_DATA], wc.pages);
	world_check_charges(&wc);
	free(wc.refs);
	free(wc.kind);
}

/* ---- free frames ------------------------------------------------------------------------------- */

static inline void world_mark_list(struct world *w, uint8_t *seen, const struct frame_list *l,
	uint64_t *total)
{
	uint32_t n = l->head;

	for (uint64_t i = 0; i < l->count; i++, n = w->pool.records[n].refs) {
		CHECK(n != 0 && n < w->frames);
		CHECK_EQ(seen[n], 0);
		seen[n] = 1;
		++*total;
	}
}

/* Every free frame is on one list, once, and the counters are right. */
static inline void world_check_free(struct world *w)
{
	uint8_t *seen = calloc(w->frames, 1);
	uint64_t total = 0;
	struct frame_pool *p = &w->pool;

	world_mark_list(w, seen, &p->dirty, &total);
	world_mark_list(w, seen, &p->zeroed, &total);
	for (unsigned i = 0; i < p->quarantine_used; i++)
		world_mark_list(w, seen,
			&p->quarantine[(p->quarantine_first + i) % FRAME_QUARANTINE_SLOTS].list,
			&total);
	for (unsigned c = 0; c < p->max_cores; c++) {
		world_mark_list(w, seen, &p->cores[c].dirty, &total);
		world_mark_list(w, seen, &p->cores[c].zeroed, &total);
		world_mark_list(w, seen, &p->cores[c].freed, &total);
	}
	uint64_t untouched = 0;

	for (unsigned i = p->range_first; i < p->range_count; i++) {
		for (hpa_t a = p->ranges[i].base; a < p->ranges[i].base + p->ranges[i].size;
			a += PAGE_SIZE) {
			CHECK_EQ(seen[a / PAGE_SIZE], 0);
			seen[a / PAGE_SIZE] = 1;
			untouched++;
		}
	}
	CHECK_EQ(untouched, p->untouched);
	CHECK_EQ(total + untouched, world_idle_frames(w));
	free(seen);
}

/* Nothing is held any more but the slabs: every frame was freed, once. */
static inline void world_end(struct world *w)
{
	struct frame_stats s;

	for (unsigned c = 0; c < w->tlb.core_count; c++)
		frame_settle(&w->pool, c);
	frame_pool_stats(&w->pool, &s);
	CHECK_EQ(s.used[FRAME_TABLE], 0);
	CHECK_EQ(s.used[FRAME_DATA], 0);
	CHECK_EQ(budget_used(w->root_budget, BUDGET_PAGES), 0);
	CHECK_EQ(w->root_budget->refs, 1);
	world_check_free(w);
	CHECK_EQ(world_idle_frames(w) + s.used[FRAME_STATE] + s.used[FRAME_HOST], w->pool.total);
	free(w->arena);
}

#endif
