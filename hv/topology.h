/* Which hardware threads belong to one core, and which of them run guests. */
#ifndef HV_TOPOLOGY_H
#define HV_TOPOLOGY_H

#include "lib/base.h"

struct cpuid_regs;

/* How many low bits of an APIC id tell the threads of one core apart, on this machine. */
unsigned topology_thread_bits(void);

/* The same from the processor's answers: leaf 0xB sub-leaf 0, leaf 0x8000001E, and whether each leaf
 * exists. Pure. */
unsigned topology_decode(const struct cpuid_regs *leaf_b, const struct cpuid_regs *amd);

/*
 * Choose what runs. `ids` are APIC ids, the boot processor's first. With `smt` off only the first
 * thread in the list of each core runs; `max` (0: no limit) bounds all. Sets parked[i] for the rest
 * and returns how many run. Pure.
 */
unsigned topology_plan(const uint32_t *ids, unsigned count, unsigned thread_bits, bool smt,
	unsigned max, bool *parked);

#endif
