#include "hv/deadline.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/platform.h"

#define NS_PER_MS      1000000ull
#define EXPIRE_AT_ONCE 64 /* guests stopped in one call */

static uint64_t ticks_of(uint64_t ns)
{
	uint64_t khz = platform_tsc_khz();

	return ns / NS_PER_MS * khz + ns % NS_PER_MS * khz / NS_PER_MS;
}

static uint64_t ns_of(uint64_t ticks)
{
	uint64_t khz = platform_tsc_khz();

	return ticks / khz * NS_PER_MS + ticks % khz * NS_PER_MS / khz;
}

static void queue(struct guest *g, uint64_t at)
{
	spin_lock(&hv.deadlines.lock);
	heap_insert(&hv.deadlines.heap, &g->deadline_node, at);
	spin_unlock(&hv.deadlines.lock);
}

static void unqueue(struct guest *g)
{
	spin_lock(&hv.deadlines.lock);
	heap_remove(&hv.deadlines.heap, &g->deadline_node);
	spin_unlock(&hv.deadlines.lock);
}

void deadline_set(struct guest *g, uint64_t ns, bool running, uint64_t now)
{
	unqueue(g);
	g->timeout_ns = ns;
	g->timeout_running = running;
	g->time_left = ticks_of(ns);
	if (ns && g->state != GUEST_STOPPED && !(running && g->state == GUEST_PAUSED))
		queue(g, now + g->time_left);
}

void deadline_inherit(struct guest *child, const struct guest *parent)
{
	child->timeout_ns = parent->timeout_ns;
	child->timeout_running = parent->timeout_running;
	/* The parent runs, so its time does too. */
	if (parent->deadline_node.queued)
		queue(child, parent->deadline_node.key);
}

void deadline_end(struct guest *g)
{
	unqueue(g);
	g->time_left = 0;
}

void deadline_pause(struct guest *g, uint64_t now)
{
	if (!g->timeout_running || !g->deadline_node.queued)
		return;
	uint64_t at = g->deadline_node.key;

	unqueue(g);
	/* One that has just passed is still to be acted on when the guest goes on. */
	g->time_left = at > now ? at - now : 1;
}

void deadline_resume(struct guest *g, uint64_t now)
{
	if (g->timeout_running && !g->deadline_node.queued && g->time_left)
		queue(g, now + g->time_left);
}

uint64_t deadline_left(const struct guest *g, uint64_t now)
{
	if (g->deadline_node.queued)
		return g->deadline_node.key > now ? ns_of(g->deadline_node.key - now) : 0;
	return g->timeout_running && g->state == GUEST_PAUSED ? ns_of(g->time_left) : 0;
}

/* A pinned guest whose time is over, or NULL. */
static struct guest *take_expired(uint64_t now)
{
	struct guest *g = NULL;

	spin_lock(&hv.deadlines.lock);
	struct heap_node *n = heap_first(&hv.deadlines.heap);

	if (n && n->key <= now) {
		heap_pop(&hv.deadlines.heap);
		g = HEAP_ENTRY(n, struct guest, deadline_node);
		object_pin(&g->object);
	}
	spin_unlock(&hv.deadlines.lock);
	return g;
}

void guest_expire(void)
{
	struct core *core = cores[0];

	for (int i = 0; i < EXPIRE_AT_ONCE; i++) {
		struct guest *g = take_expired(rdtsc());

		if (!g)
			return;
		guest_hold(g, core);
		if (g->state != GUEST_STOPPED)
			guest_stop(core, g, STOP_DEADLINE, NULL, 0);
		guest_unhold(g);
		object_unpin(&hv.registry, &g->object, core->id);
	}
}

uint64_t guest_deadline_us(void)
{
	uint64_t us_khz = platform_tsc_khz() / 1000, at = UINT64_MAX;

	spin_lock(&hv.deadlines.lock);
	struct heap_node *n = heap_first(&hv.deadlines.heap);

	if (n)
		at = n->key <= hv.boot_tsc ? 0 : (n->key - hv.boot_tsc) / us_khz + 1;
	spin_unlock(&hv.deadlines.lock);
	return at;
}
