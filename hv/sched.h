/*
 * Which guest runs where, and for how long. Each core has a queue of runnable guests, ordered by the
 * processor time they had, weighted; it runs the one that had least for a slice, or until it waits.
 * A core without work takes a guest from another's queue, and sleeps when there is none.
 */
#ifndef HV_SCHED_H
#define HV_SCHED_H

#include "hv/objects.h"
#include "lib/base.h"
#include "lib/heap.h"
#include "lib/spinlock.h"

#define SCHED_SLICE_US     4000
#define SCHED_MIN_SLICE_US 200 /* whatever else is due: a guest that was picked makes progress */

struct core;

struct sched_core {
	struct spinlock lock;  /* covers the two heaps */
	struct heap runnable;  /* by vruntime */
	struct heap timers;    /* by the host's TSC */
	uint64_t vruntime;     /* atomic: of the last guest that was picked; newcomers start no earlier */
	uint32_t waiting;      /* atomic: guests in `runnable` */
	uint32_t idle;         /* atomic: halted, or about to be, and nobody has work for it yet */
	uint32_t attention;    /* atomic: leave the guest and look around; set by interrupt handlers */
};

/* For interrupt handlers: the core must look at its queues, timers or devices. */
void sched_attention(struct core *core);

/* A new guest that `core` is making: as if it ran there, so that whoever wants to hold it waits until
 * sched_admit(). */
void sched_new(struct guest *g, const struct core *core);
/* It is complete: it may run. Takes g->lock. */
void sched_admit(struct guest *g);

/* The following want g->lock held. */

/* Put a RUNNABLE guest without holds, that runs nowhere and is not queued, into a queue. */
void sched_enqueue(struct guest *g);
/* Out of the queue, if it is in one. */
void sched_dequeue(struct guest *g);
/*
 * RUNNABLE to WAITING, until guest_wake() with one of `events` or until the host's TSC reaches
 * `deadline` (UINT64_MAX: never). Its call is made again when it goes on.
 */
void sched_wait(struct guest *g, unsigned events, uint64_t deadline);
/* Forget the deadline, if there is one. */
void sched_cancel_timer(struct guest *g);

/* WAITING for one of `events`: make it RUNNABLE. Takes g->lock. */
void sched_wake(struct guest *g, unsigned events);

/*
 * Holds. While a guest has one it runs nowhere and its vCPU, memory and streams may be worked on. A
 * guest that runs on another core is kicked out first, which this waits for: no lock may be held.
 */
void guest_hold(struct guest *g, struct core *core);
void guest_unhold(struct guest *g);

/* For the loop in hv/run.c. */

/* The next guest for this core, pinned and marked as running here, or NULL. */
struct guest *sched_pick(struct core *core);
/* It has left the core, after `ran_tsc` ticks: queue it again if it can go on. Takes its pin. */
void sched_put(struct core *core, struct guest *g, uint64_t ran_tsc);
/* Wake all whose deadline has come. */
void sched_expire(struct core *core, uint64_t now);
/* The earliest deadline of this core, UINT64_MAX: none. */
uint64_t sched_next_timer(struct core *core);
/* About to halt: from here on whoever queues work here sends a kick. False: there is work already.
 * Interrupts are off. */
bool sched_sleep(struct core *core);
void sched_awake(struct core *core);

#endif
