/*
 * A core: one hardware thread that runs the hypervisor's loop. Its struct is the only thing that a
 * core owns alone; %gs:0 holds its address while host code runs.
 */
#ifndef HV_CORE_H
#define HV_CORE_H

#include "hv/tlb.h"
#include "lib/base.h"

#define CORE_MAX 1024

struct guest;

struct core {
	struct core *self; /* must be first: read through %gs:0 */
	unsigned id;       /* dense, 0 is the boot core */
	uint32_t apic_id;
	unsigned node;     /* NUMA node */
	void *stack_top;

	void *vm;               /* the backend's per-core state */
	struct guest *current;  /* whose vCPU is loaded in the backend's control block, or NULL */
};

extern struct core *cores[CORE_MAX];
extern unsigned core_count;

static inline struct core *this_core(void)
{
	struct core *c;

	__asm__("mov %%gs:0, %0" : "=r"(c));
	return c;
}

#endif
