#include "hv/topology.h"

#include "hv/cpu.h"

#define LEAF_B_SHIFT_MASK    0x1fu
#define LEAF_B_TYPE(ecx)     ((ecx) >> 8 & 0xff)
#define   LEAF_B_TYPE_THREAD 1
#define AMD_THREADS(ebx)     (((ebx) >> 8 & 0xff) + 1)

/* SDM Vol 2, CPUID leaf 0BH; APM Vol 3, "Fn8000_001E". Zeros where a leaf does not exist. */
unsigned topology_decode(const struct cpuid_regs *leaf_b, const struct cpuid_regs *amd)
{
	unsigned bits = 0;

	if (leaf_b->ebx && LEAF_B_TYPE(leaf_b->ecx) == LEAF_B_TYPE_THREAD)
		return leaf_b->eax & LEAF_B_SHIFT_MASK;
	while (bits < 8 && 1u << bits < AMD_THREADS(amd->ebx))
		bits++;
	return bits;
}

unsigned topology_thread_bits(void)
{
	struct cpuid_regs leaf_b = cpuid_sub_checked(CPUID_TOPOLOGY, 0), amd = { 0 };

	if (cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_TOPOEXT)
		amd = cpuid(CPUID_AMD_TOPOLOGY);
	return topology_decode(&leaf_b, &amd);
}

static bool sibling_runs(const uint32_t *ids, unsigned i, unsigned bits, const bool *parked)
{
	for (unsigned k = 0; k < i; k++)
		if (!parked[k] && ids[k] >> bits == ids[i] >> bits)
			return true;
	return false;
}

unsigned topology_plan(const uint32_t *ids, unsigned count, unsigned thread_bits, bool smt,
	unsigned max, bool *parked)
{
	unsigned running = 0;

	for (unsigned i = 0; i < count; i++) {
		parked[i] = (max && running >= max) ||
			(!smt && sibling_runs(ids, i, thread_bits, parked));
		running += !parked[i];
	}
	return running;
}
