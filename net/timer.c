#include "net/timer.h"

static void heap_put(struct timer_heap *h, uint32_t slot, struct net_timer *t)
{
	h->slot[slot] = t;
	t->slot = slot;
}

static void sift_up(struct timer_heap *h, struct net_timer *t)
{
	uint32_t at = t->slot;

	while (at > 0) {
		uint32_t parent = (at - 1) / 2;

		if (h->slot[parent]->when <= t->when)
			break;
		heap_put(h, at, h->slot[parent]);
		at = parent;
	}
	heap_put(h, at, t);
}

static void sift_down(struct timer_heap *h, struct net_timer *t)
{
	uint32_t at = t->slot;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= h->count)
			break;
		if (child + 1 < h->count && h->slot[child + 1]->when < h->slot[child]->when)
			child++;
		if (t->when <= h->slot[child]->when)
			break;
		heap_put(h, at, h->slot[child]);
		at = child;
	}
	heap_put(h, at, t);
}

static void heap_remove(struct timer_heap *h, struct net_timer *t)
{
	struct net_timer *last = h->slot[--h->count];

	t->when = TIMER_NEVER;
	if (last == t)
		return;
	heap_put(h, t->slot, last);
	sift_up(h, last);
	sift_down(h, last);
}

void timer_init(struct net_timer *t, void (*fire)(struct net_stack *s, struct net_timer *t))
{
	*t = (struct net_timer){.when = TIMER_NEVER, .fire = fire};
}

void timer_set(struct timer_heap *h, struct net_timer *t, uint64_t when)
{
	if (t->when == when)
		return;
	if (when == TIMER_NEVER) {
		heap_remove(h, t);
		return;
	}
	if (t->when == TIMER_NEVER)
		heap_put(h, h->count++, t);
	t->when = when;
	sift_up(h, t);
	sift_down(h, t);
}

uint64_t timer_next(const struct timer_heap *h)
{
	return h->count ? h->slot[0]->when : TIMER_NEVER;
}

struct net_timer *timer_take_due(struct timer_heap *h, uint64_t now)
{
	struct net_timer *t;

	if (timer_next(h) > now)
		return NULL;
	t = h->slot[0];
	heap_remove(h, t);
	return t;
}
