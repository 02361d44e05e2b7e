/*
 * What a run leaves in a core's predictors and buffers: what a guest has left is dropped before one of
 * another lineage runs there, what the host has, before each entry; and the host's own branches are kept
 * from what guests taught.
 *
 * Intel, "Indirect Branch Predictor Barrier", "Branch History Injection", "L1 Terminal Fault",
 * "Microarchitectural Data Sampling"; AMD, "Indirect Branch Control Extension"; APM Vol 2, "Automatic IBRS".
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
	uint32_t leaf7_edx, leaf7_2_edx, leaf80000008_ebx, leaf80000021_eax;
	uint64_t arch_capabilities; /* 0 where there is no such MSR */
};

/* Pure: the set of enum speculation_measure that such a processor can take and needs. */
unsigned speculation_needed(const struct speculation_facts *facts);

/* Bits that are set for good, in MSRs that guests can't reach. */
struct speculation_guard {
	uint64_t spec_ctrl, efer;
};

/* Pure: what keeps guests from steering the host's indirect branches; nothing where the processor would
 * have to be told at each exit anew. */
struct speculation_guard speculation_guard(const struct speculation_facts *facts);

/* Once, on the boot core: says in the log what will be done. */
void speculation_init(void);

/* On each core, before it can run guests. */
void speculation_core_start(void);

/* A guest of `lineage` is about to be loaded on `core`. */
void speculation_enter(struct core *core, uint64_t lineage);

/* Measures for each entry on VT-x, which alone has processors that need any; mostly 0. */
extern unsigned speculation_at_entry;
void speculation_before_entry(void);

#endif
