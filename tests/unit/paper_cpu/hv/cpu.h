/*
 * hv/cpu.h for tests of the core: the processor's own, but for the clock, which the test turns. Found
 * before the real one by -iquote.
 */
#ifndef TESTS_PAPER_CPU_H
#define TESTS_PAPER_CPU_H

#define rdtsc cpu_rdtsc
#include "../../../../hv/cpu.h"
#undef rdtsc

/* tests/fake_platform.c */
uint64_t rdtsc(void);

#endif
