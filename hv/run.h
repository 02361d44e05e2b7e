/* The life of a core after start-up: it runs guests, and the boot core serves management as well. */
#ifndef HV_RUN_H
#define HV_RUN_H

#include "lib/base.h"

struct core;

/*
 * What the boot core does besides: called between guests and before the core sleeps; bounded work.
 * Returns true while there is more to do at once; else *next is when, on the host's TSC, it wants to be
 * called at the latest (UINT64_MAX: not before sched_attention()).
 */
typedef bool service_fn(uint64_t *next);

/* One turn: service, timers, then guests, or a sleep. `service` is NULL on all cores but
 * the boot core. */
void run_turn(struct core *core, service_fn *service);

NORETURN void run_loop(struct core *core, service_fn *service);

#endif
