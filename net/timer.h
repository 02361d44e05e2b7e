/*
 * Deadlines of the stack: an intrusive binary heap, so that the next one is known at once and
 * arming, moving and cancelling cost O(log n) without allocation.
 */
#ifndef NET_TIMER_H
#define NET_TIMER_H

#include "lib/base.h"

/* A deadline that never comes. */
#define TIMER_NEVER UINT64_MAX

struct net_stack;

struct net_timer {
	uint64_t when; /* microseconds, TIMER_NEVER if not armed */
	uint32_t slot; /* its index in the heap, while armed */
	void (*fire)(struct net_stack *s, struct net_timer *t);
};

struct timer_heap {
	struct net_timer **slot;
	uint32_t count;
	uint32_t capacity; /* one slot for each timer that exists, so arming can't fail */
};

void timer_init(struct net_timer *t, void (*fire)(struct net_stack *s, struct net_timer *t));

/* Moves the deadline to `when`; TIMER_NEVER disarms. */
void timer_set(struct timer_heap *h, struct net_timer *t, uint64_t when);

/* TIMER_NEVER if nothing is armed. */
uint64_t timer_next(const struct timer_heap *h);

/* Takes the first timer out if it is due at `now`, else NULL. */
struct net_timer *timer_take_due(struct timer_heap *h, uint64_t now);

#endif
