#include "hv/tlb.h"
#include "tests/unit/test.h"

#define CORES 3

static struct tlb_host host;
static struct tlb_core cores[CORES];

static void start(bool root_tagged, bool flush_by_tag, uint32_t tags)
{
	struct tlb_caps caps = {.root_tagged = root_tagged, .flush_by_tag = flush_by_tag};
	struct tlb_guest first = {0};

	tlb_host_init(&host, cores, CORES);
	tlb_host_set_caps(&host, &caps, tags);
	for (unsigned i = 0; i < CORES; i++) { /* whatever was there before us is dropped */
		first = (struct tlb_guest){0};
		CHECK_EQ(tlb_enter(&cores[i], &first, 1, 1), TLB_FLUSH_ALL);
	}
}

TEST(intel_flushes_a_root_on_arrival_and_on_change)
{
	struct tlb_guest g = {0};

	start(true, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 0), TLB_FLUSH_GUEST); /* a shared root */
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_FLUSH_GUEST);
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[1], &g, 2, 0), TLB_FLUSH_GUEST); /* elsewhere */
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_FLUSH_GUEST); /* and back */
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_KEEP);
}

TEST(intel_keeps_with_a_fresh_root)
{
	struct tlb_guest g = {0};

	start(true, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g, 5, 3), TLB_KEEP);         /* replaced since the last entry */
	CHECK_EQ(tlb_enter(&cores[0], &g, 6, 3), TLB_FLUSH_GUEST);  /* the same, changed */
	CHECK_EQ(tlb_enter(&cores[1], &g, 6, 3), TLB_FLUSH_GUEST);  /* known to core 0 by now */
	CHECK_EQ(tlb_enter(&cores[2], &g, 9, 8), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[2], &g, 10, 0), TLB_FLUSH_GUEST); /* fresh, but shared */
}

TEST(amd_flushes_a_tag_on_change_only)
{
	struct tlb_guest g = {0};

	start(false, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_FLUSH_GUEST);
	CHECK_EQ(tlb_enter(&cores[0], &g, 3, 3), TLB_FLUSH_GUEST); /* a new root is no new tag */
	uint32_t tag = g.tag;

	CHECK_EQ(tlb_enter(&cores[1], &g, 3, 3), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g, 3, 3), TLB_KEEP);
	CHECK(g.tag != tag);
}

TEST(old_amd_takes_a_new_tag_for_a_flush)
{
	struct tlb_guest g = {0};

	start(false, false, 4); /* one is used up */
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 0), TLB_KEEP);
	CHECK_EQ(g.tag, 2);
	CHECK_EQ(tlb_enter(&cores[0], &g, 2, 0), TLB_KEEP);
	CHECK_EQ(g.tag, 3);
	CHECK_EQ(tlb_enter(&cores[0], &g, 3, 0), TLB_KEEP);
	CHECK_EQ(g.tag, 4);
	CHECK_EQ(tlb_enter(&cores[0], &g, 4, 0), TLB_FLUSH_ALL);
	CHECK_EQ(g.tag, 1);
	CHECK_EQ(tlb_enter(&cores[0], &g, 4, 0), TLB_KEEP);
}

TEST(tags_of_a_core_are_not_used_twice)
{
	struct tlb_guest g[3] = {{0}};

	start(false, true, 3);
	CHECK_EQ(tlb_enter(&cores[0], &g[0], 1, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g[1], 1, 0), TLB_KEEP);
	CHECK(g[0].tag != g[1].tag);
	CHECK_EQ(tlb_enter(&cores[0], &g[2], 1, 0), TLB_FLUSH_ALL); /* new generation */
	CHECK_EQ(tlb_enter(&cores[0], &g[1], 1, 0), TLB_KEEP);      /* joins it */
	CHECK(g[1].tag != g[2].tag);
	CHECK_EQ(tlb_enter(&cores[0], &g[2], 1, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g[0], 1, 0), TLB_KEEP);
	CHECK_EQ(tlb_enter(&cores[0], &g[0], 1, 0), TLB_KEEP);
}

TEST(an_entry_that_failed_flushes_all_next_time)
{
	struct tlb_guest g = {0};

	start(true, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
	tlb_enter_failed(&cores[0]);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_FLUSH_ALL);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
}

TEST(an_epoch_passes_when_all_cores_have_flushed)
{
	struct tlb_guest g[CORES] = {{0}};
	uint64_t e;

	start(true, true, 10);
	e = host.epoch;
	CHECK(!tlb_epoch_passed(&host, e));
	tlb_epoch_end(&host, e);
	tlb_epoch_end(&host, e); /* it ends once */
	CHECK_EQ(host.epoch, e + 1);
	CHECK(!tlb_epoch_passed(&host, e));
	for (unsigned i = 0; i < CORES; i++) {
		CHECK(tlb_core_lags(&cores[i], e));
		CHECK_EQ(tlb_enter(&cores[i], &g[i], 1, 1), TLB_FLUSH_ALL);
		CHECK_EQ(tlb_enter(&cores[i], &g[i], 1, 1), TLB_KEEP);
		CHECK_EQ(tlb_epoch_passed(&host, e), i == CORES - 1);
	}
	CHECK(!tlb_epoch_passed(&host, e + 1));
}

TEST(a_promise_is_kept)
{
	struct tlb_guest g = {0};
	uint64_t e;

	start(true, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
	e = host.epoch;
	tlb_epoch_end(&host, e);
	tlb_promise(&cores[0]);
	CHECK(!tlb_core_lags(&cores[0], e));
	CHECK(tlb_core_lags(&cores[1], e));
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_FLUSH_ALL);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
	tlb_promise(&cores[0]); /* nothing to promise */
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
}

TEST(idle_cores_are_not_waited_for_and_flush_when_they_wake)
{
	struct tlb_guest g = {0}, other = {0};
	uint64_t e;

	start(true, true, 10);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP);
	e = host.epoch;
	for (unsigned i = 0; i < CORES; i++)
		tlb_idle_enter(&cores[i]);
	CHECK(!tlb_epoch_passed(&host, e)); /* not before it has ended: nobody would flush */
	tlb_idle_enter(&cores[1]);
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_KEEP); /* nothing happened meanwhile */
	CHECK(tlb_core_lags(&cores[0], e));
	tlb_idle_enter(&cores[0]);
	tlb_epoch_end(&host, e);
	CHECK(tlb_epoch_passed(&host, e));
	tlb_promise(&cores[0]); /* still idle */
	CHECK(tlb_epoch_passed(&host, e));
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_FLUSH_ALL);
	CHECK_EQ(tlb_enter(&cores[1], &other, 1, 1), TLB_FLUSH_ALL);
	CHECK(tlb_epoch_passed(&host, e));
	tlb_epoch_end(&host, e + 1);
	tlb_idle_enter(&cores[0]); /* without having flushed */
	CHECK_EQ(tlb_enter(&cores[0], &g, 1, 1), TLB_FLUSH_ALL);
	CHECK(!tlb_epoch_passed(&host, e + 1));
	CHECK(tlb_core_lags(&cores[1], e + 1));
	CHECK(!tlb_core_lags(&cores[0], e + 1));
}
