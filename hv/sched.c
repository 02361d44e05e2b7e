/*
 * The queues: who is runnable, who waits and until when, who must not run. hv/run.c takes guests out
 * of them and enters them.
 *
 * Lock order: guest.lock, then one sched_core.lock.
 */
#include "hv/sched.h"

#include "hv/core.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/platform.h"

#define WEIGHT_SCALE_SHIFT 10

void sched_attention(struct core *core)
{
	__atomic_store_n(&core->sched.attention, 1, __ATOMIC_SEQ_CST);
}

/* Virtual time is each core's own. */
static uint64_t virtual_now(unsigned core)
{
	return __atomic_load_n(&cores[core]->sched.vruntime, __ATOMIC_RELAXED);
}

/* What a guest is ahead of others on its home it will be ahead of those on core `to`. */
static uint64_t vruntime_on(const struct guest *g, unsigned to)
{
	uint64_t home = virtual_now(g->home), ahead = g->vruntime > home ? g->vruntime - home : 0;

	return virtual_now(to) + ahead;
}

/* Take a core that sleeps for oneself, so that the next one with work finds another. The taker kicks it. */
static bool claim(unsigned core)
{
	uint32_t *idle = &cores[core]->sched.idle;

	return __atomic_load_n(idle, __ATOMIC_RELAXED) &&
	       __atomic_exchange_n(idle, 0, __ATOMIC_SEQ_CST);
}

/* Where its caches are warm, unless that core is busy and another one sleeps. */
static unsigned choose_core(unsigned home, bool *claimed)
{
	for (unsigned i = 0; i < core_count; i++) {
		unsigned core = (home + i) % core_count;

		*claimed = claim(core);
		if (*claimed)
			return core;
	}
	return home;
}

void sched_enqueue(struct guest *g)
{
	bool claimed;
	unsigned to = choose_core(g->home, &claimed);
	struct sched_core *s = &cores[to]->sched;

	g->vruntime = vruntime_on(g, to);
	spin_lock(&s->lock);
	g->home = to;
	g->queued = true;
	heap_insert(&s->runnable, &g->run_node, g->vruntime);
	__atomic_store_n(&s->waiting, s->waiting + 1, __ATOMIC_RELAXED);
	spin_unlock(&s->lock);
	/* Orders the insertion before the look at `idle`; sched_sleep() does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (claimed || claim(to))
		platform_kick(to);
}

void sched_new(struct guest *g, const struct core *core)
{
	g->holds = 1;
	g->running_on = core->id;
	g->timer_core = CORE_NONE;
	g->home = core->id;
	g->vruntime = virtual_now(core->id);
}

void sched_admit(struct guest *g)
{
	spin_lock(&g->lock);
	__atomic_store_n(&g->running_on, CORE_NONE, __ATOMIC_RELEASE);
	g->holds--;
	if (g->state == GUEST_RUNNABLE && !g->holds)
		sched_enqueue(g);
	spin_unlock(&g->lock);
}

void sched_dequeue(struct guest *g)
{
	if (!g->queued)
		return;
	struct sched_core *s = &cores[g->home]->sched;

	spin_lock(&s->lock);
	if (g->run_node.queued) /* else a core has popped it, and waits for g->lock */
		__atomic_store_n(&s->waiting, s->waiting - 1, __ATOMIC_RELAXED);
	heap_remove(&s->runnable, &g->run_node);
	spin_unlock(&s->lock);
	g->queued = false;
}

void sched_cancel_timer(struct guest *g)
{
	if (g->timer_core == CORE_NONE)
		return;
	struct sched_core *s = &cores[g->timer_core]->sched;

	spin_lock(&s->lock);
	heap_remove(&s->timers, &g->timer_node);
	spin_unlock(&s->lock);
	g->timer_core = CORE_NONE;
}

void sched_wait(struct guest *g, unsigned events, uint64_t deadline)
{
	g->state = GUEST_WAITING;
	g->wait = (uint8_t)events;
	sched_cancel_timer(g);
	if (deadline == UINT64_MAX)
		return;
	struct sched_core *s = &cores[g->home]->sched;

	g->wait |= WAIT_TIMER;
	g->timer_core = g->home;
	spin_lock(&s->lock);
	heap_insert(&s->timers, &g->timer_node, deadline);
	spin_unlock(&s->lock);
}

/* g->lock is held. */
static void make_runnable(struct guest *g)
{
	sched_cancel_timer(g);
	g->state = GUEST_RUNNABLE;
	g->wait = 0;
	/* While it runs, the core that has it puts it into the queue. */
	if (!g->holds && !g->queued && g->running_on == CORE_NONE)
		sched_enqueue(g);
}

void sched_wake(struct guest *g, unsigned events)
{
	spin_lock(&g->lock);
	if (g->state == GUEST_WAITING && (g->wait & events))
		make_runnable(g);
	spin_unlock(&g->lock);
}

void guest_hold(struct guest *g, struct core *core)
{
	spin_lock(&g->lock);
	g->holds++;
	sched_dequeue(g);
	unsigned on = g->running_on;

	if (on != CORE_NONE && on != core->id)
		__atomic_store_n(&g->kick, true, __ATOMIC_SEQ_CST);
	spin_unlock(&g->lock);
	if (on == CORE_NONE || on == core->id)
		return;
	platform_kick(on);
	while (__atomic_load_n(&g->running_on, __ATOMIC_ACQUIRE) != CORE_NONE)
		__builtin_ia32_pause();
}

void guest_unhold(struct guest *g)
{
	spin_lock(&g->lock);
	g->holds--;
	if (g->state == GUEST_RUNNABLE && !g->holds && !g->queued && g->running_on == CORE_NONE)
		sched_enqueue(g);
	spin_unlock(&g->lock);
}

/* A pinned guest that `s` had queued, or NULL. It may have been taken back by the time the caller has
 * its lock. */
static struct guest *pop(struct sched_core *s)
{
	struct guest *g = NULL;

	spin_lock(&s->lock);
	struct heap_node *n = heap_pop(&s->runnable);

	if (n) {
		g = HEAP_ENTRY(n, struct guest, run_node);
		object_pin(&g->object);
		__atomic_store_n(&s->vruntime, MAX(s->vruntime, n->key), __ATOMIC_RELAXED);
		__atomic_store_n(&s->waiting, s->waiting - 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&s->lock);
	return g;
}

/* Another core's guest, as pop(). */
static struct guest *steal(struct core *core)
{
	for (unsigned i = 1; i < core_count; i++) {
		struct sched_core *victim = &cores[(core->id + i) % core_count]->sched;

		/* A look without the lock: a wrong answer costs one lock, or one more turn. */
		if (__atomic_load_n(&victim->waiting, __ATOMIC_RELAXED) == 0)
			continue;
		struct guest *g = pop(victim);

		if (g)
			return g;
	}
	return NULL;
}

struct guest *sched_pick(struct core *core)
{
	for (;;) {
		struct guest *g = pop(&core->sched);

		if (!g)
			g = steal(core);
		if (!g)
			return NULL;
		spin_lock(&g->lock);
		/* Between pop and here it may have been held, or held and queued anew. */
		if (g->queued) {
			sched_dequeue(g);
			if (g->state == GUEST_RUNNABLE && !g->holds && g->running_on == CORE_NONE) {
				g->vruntime = vruntime_on(g, core->id);
				g->home = core->id;
				__atomic_store_n(&g->kick, false, __ATOMIC_RELAXED);
				__atomic_store_n(&g->running_on, core->id, __ATOMIC_RELAXED);
				spin_unlock(&g->lock);
				return g;
			}
		}
		spin_unlock(&g->lock);
		object_unpin(&hv.registry, &g->object, core->id);
	}
}

void sched_put(struct core *core, struct guest *g, uint64_t ran_tsc)
{
	spin_lock(&g->lock);
	g->cpu_tsc += ran_tsc;
	g->vruntime += (ran_tsc << WEIGHT_SCALE_SHIFT) / g->weight;
	/* Whoever waits in guest_hold() goes on from here on. */
	__atomic_store_n(&g->running_on, CORE_NONE, __ATOMIC_RELEASE);
	if (g->state == GUEST_RUNNABLE && !g->holds && !g->queued)
		sched_enqueue(g);
	spin_unlock(&g->lock);
	object_unpin(&hv.registry, &g->object, core->id);
}

void sched_expire(struct core *core, uint64_t now)
{
	struct sched_core *s = &core->sched;

	for (;;) {
		spin_lock(&s->lock);
		struct heap_node *n = heap_first(&s->timers);
		struct guest *g = NULL;

		if (n && n->key <= now) {
			heap_pop(&s->timers);
			g = HEAP_ENTRY(n, struct guest, timer_node);
			object_pin(&g->object);
		}
		spin_unlock(&s->lock);
		if (!g)
			return;
		sched_wake(g, WAIT_TIMER);
		object_unpin(&hv.registry, &g->object, core->id);
	}
}

uint64_t sched_next_timer(struct core *core)
{
	struct sched_core *s = &core->sched;

	spin_lock(&s->lock);
	struct heap_node *n = heap_first(&s->timers);
	uint64_t at = n ? n->key : UINT64_MAX;

	spin_unlock(&s->lock);
	return at;
}

/* On this core, or on another from which it could be stolen. */
static bool work_waits(void)
{
	for (unsigned i = 0; i < core_count; i++) {
		if (__atomic_load_n(&cores[i]->sched.waiting, __ATOMIC_SEQ_CST))
			return true;
	}
	return false;
}

bool sched_sleep(struct core *core)
{
	__atomic_store_n(&core->sched.idle, 1, __ATOMIC_SEQ_CST);
	if (!work_waits() && !__atomic_load_n(&core->sched.attention, __ATOMIC_SEQ_CST))
		return true;
	sched_awake(core);
	return false;
}

void sched_awake(struct core *core)
{
	__atomic_store_n(&core->sched.idle, 0, __ATOMIC_SEQ_CST);
}
