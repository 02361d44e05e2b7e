/*
 * What one guest's run leaves in a core's predictors and buffers, and what drops it before a guest of
 * another lineage runs there. Intel, "Deep Dive: Indirect Branch Predictor Barrier", "L1 Terminal Fault",
 * "Microarchitectural Data Sampling"; AMD, "Indirect Branch Control Extension".
 */
#ifndef HV_SPECULATION_H
#define HV_SPECULATION_H

#include "lib/base.h"

struct core;

enum speculation_measure {
	SPECULATION_IBPB = 1, /* indirect branches learned by the last one */
	SPECULATION_L1D = 2,  /* L1 terminal fault: data in the first cache */
	SPECULATION_VERW = 4, /* data sampling: fill and store buffers, load ports */
};

/* What CPUID and MSRs tell. */
struct speculation_facts {
	bool amd;
	uint32_t leaf7_edx, leaf80000008_ebx;
	uint64_t arch_capabilities; /* 0 where there is no such MSR */
};

/* Pure: the set of enum speculation_measure that such a processor can take and needs. */
unsigned speculation_needed(const struct speculation_facts *facts);

/* Once, on the boot core: says in the log what will be done. */
void speculation_init(void);

/* A guest of `lineage` is about to be loaded on `core`. */
void speculation_enter(struct core *core, uint64_t lineage);

#endif
