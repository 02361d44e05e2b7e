#include "hv/cpu.h"
#include "hv/topology.h"
#include "tests/unit/test.h"

TEST(topology_thread_bits_by_vendor)
{
	struct cpuid_regs none = {0}, intel = {.eax = 1, .ebx = 2, .ecx = 0x100}, no_smt = intel;
	struct cpuid_regs amd1 = {.ebx = 0x000}, amd2 = {.ebx = 0x100}, amd4 = {.ebx = 0x300};

	no_smt.eax = 0;
	CHECK_EQ(topology_decode(&none, &none), 0);
	CHECK_EQ(topology_decode(&intel, &none), 1);
	CHECK_EQ(topology_decode(&no_smt, &amd2), 0);
	CHECK_EQ(topology_decode(&none, &amd1), 0);
	CHECK_EQ(topology_decode(&none, &amd2), 1);
	CHECK_EQ(topology_decode(&none, &amd4), 2);
}

/* The boot processor is the second thread of its core here. */
static const uint32_t ids[] = {3, 0, 1, 2, 4, 5, 6, 7};

static unsigned plan(unsigned bits, bool smt, unsigned max, const char *want)
{
	bool parked[8];
	unsigned n = topology_plan(ids, 8, bits, smt, max, parked);
	unsigned runs = 0;

	for (unsigned i = 0; i < 8; i++) {
		CHECK_EQ(parked[i], want[i] == 'p');
		runs += !parked[i];
	}
	CHECK_EQ(n, runs);
	CHECK(!parked[0]); /* the boot core always runs */
	return n;
}

TEST(topology_plan_takes_one_thread_of_each_core)
{
	CHECK_EQ(plan(1, false, 0, "rrpprprp"), 4);
	CHECK_EQ(plan(2, false, 0, "rppprppp"), 2);
	CHECK_EQ(plan(0, false, 0, "rrrrrrrr"), 8);
	CHECK_EQ(plan(1, true, 0, "rrrrrrrr"), 8);
}

TEST(topology_plan_honours_the_limit)
{
	CHECK_EQ(plan(1, false, 1, "rppppppp"), 1);
	CHECK_EQ(plan(1, false, 3, "rrpprppp"), 3);
	CHECK_EQ(plan(1, true, 3, "rrrppppp"), 3);
	CHECK_EQ(plan(1, false, 100, "rrpprprp"), 4);
}
