#include "hv/run.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/dev/board.h"
#include "hv/exit.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "hv/sched.h"
#include "hv/speculation.h"

#define REAP_STEPS      2048 /* table entries freed between two slices */
#define REAP_STEPS_IDLE 16384
#define ZERO_STEPS      16   /* frames zeroed before an idle core looks around again */

/* The timer's interrupt ends what the backend can't end by itself. */
static void arm(uint64_t until, uint64_t *armed)
{
	if (!hv.caps.has_slice_timer && until != *armed)
		platform_timer(until);
	*armed = until;
}

/* Until the end of the slice, or until something else wants the core. `board` is known when this is
 * compiled into each of its callers, so that SDK guests don't pay for Linux guests. */
static inline __attribute__((always_inline)) enum run_next enter_until(struct core *core,
	struct guest *g, uint64_t slice_end, bool board)
{
	struct machine *m = &g->machine;
	uint64_t start = rdtsc(), until = slice_end, armed = slice_end;
	/* A memory fault is nothing that devices see or change: what is due for them waits until the guest
	 * has got past it, or the timer ends that. */
	bool devices = board;
	struct vm_exit exit;
	enum run_next next;

	do {
		if (devices) {
			until = slice_end;
			next = board_enter(core, g, &until);
			if (next != RUN_AGAIN)
				break;
			arm(until, &armed);
		}
		enum tlb_action flush = tlb_enter(core->tlb, &g->tlb, m->mem.tlb_gen, m->mem.root_gen);

		if (UNLIKELY(flush != TLB_KEEP))
			meter_count(core, flush == TLB_FLUSH_ALL ? METER_FLUSH_ALL : METER_FLUSH_GUEST);
		hv.vm->run(core, &m->vcpu, m->mem.root, g->tlb.tag, flush, until, &exit);
		if (UNLIKELY(!g->begun) && exit.kind != EXIT_MEMORY) {
			g->begun = true;
			meter_time(core, METER_FIRST_EXIT, start);
		}
		devices = board && exit.kind != EXIT_MEMORY;
		next = devices ? board_exit(core, g, &exit) : exit_handle(core, g, &exit);
		/* A guest that loops in the delivery of #AC or #DB runs no instruction in between, so
		 * that neither the timer nor an interrupt ever gets a chance. */
		if (UNLIKELY(exit.kind == EXIT_EXCEPTION) && next == RUN_AGAIN && rdtsc() >= slice_end)
			next = RUN_YIELD;
	} while (next == RUN_AGAIN &&
		 !__atomic_load_n(&core->sched.attention, __ATOMIC_RELAXED) &&
		 !__atomic_load_n(&g->kick, __ATOMIC_RELAXED));
	return next;
}

static enum run_next enter(struct core *core, struct guest *g, uint64_t slice_end)
{
	return enter_until(core, g, slice_end, false);
}

static enum run_next enter_board(struct core *core, struct guest *g, uint64_t slice_end)
{
	return enter_until(core, g, slice_end, true);
}

static void run_guest(struct core *core, struct guest *g, uint64_t wake_at)
{
	uint64_t start = rdtsc();
	uint64_t ms = platform_tsc_khz();
	uint64_t slice_end = MAX(MIN(start + ms * SCHED_SLICE_US / 1000, wake_at),
		start + ms * SCHED_MIN_SLICE_US / 1000);

	if (!hv.caps.has_slice_timer)
		platform_timer(slice_end);
	speculation_enter(core, g->object.lineage);
	exit_reload(core, g);
	meter_time(core, METER_LOAD, start);
	core->current = g;
	core->leaving.stop = STOP_NONE;
	enum run_next next = g->machine.board ? enter_board(core, g, slice_end)
					      : enter(core, g, slice_end);

	uint64_t end = rdtsc();

	exit_unload(core, g);
	meter_time(core, METER_STORE, end);
	core->current = NULL;
	if (next == RUN_LEAVE && core->leaving.stop != STOP_NONE)
		guest_stop(core, g, core->leaving.stop, core->leaving.text,
			sizeof(core->leaving.text));
	sched_put(core, g, rdtsc() - start);
}

/* Free what was dropped, up to `steps` table entries. True when more remains. */
static bool reap(struct core *core, unsigned steps)
{
	if (!gmem_reap_pending(&hv.pool))
		return false;
	uint64_t start = rdtsc();
	bool more = gmem_reap(&hv.pool, core->id, steps);

	meter_time(core, METER_REAP, start);
	return more;
}

/* Zero a few free frames, for those who will need them at once. True when more are wanted. */
static bool zero(struct core *core)
{
	for (unsigned i = 0; i < ZERO_STEPS; i++) {
		uint64_t start = rdtsc();

		if (!frame_zero_some(&hv.pool, core->id, 1))
			return false;
		meter_time(core, METER_ZERO, start);
	}
	return true;
}

/* Nothing to run: free what was dropped, then sleep until an interrupt or the next timer. */
static void idle(struct core *core, uint64_t wake_at)
{
	if (reap(core, REAP_STEPS_IDLE) || zero(core))
		return;
	/* What is at hand for the next fork stays, unless others may need it sooner. */
	if (frame_pool_free(&hv.pool) < 2 * hv.pool.reserve)
		frame_core_drain(&hv.pool, core->id);
	tlb_idle_enter(core->tlb);
	platform_timer(wake_at == UINT64_MAX ? 0 : wake_at);
	if (sched_sleep(core)) {
		uint64_t start = rdtsc();

		__atomic_store_n(&core->idle_since, start, __ATOMIC_RELAXED);
		platform_halt();
		__atomic_store_n(&core->idle_since, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&core->idle_tsc, core->idle_tsc + rdtsc() - start, __ATOMIC_RELAXED);
		sched_awake(core);
	}
}

/* Run the next guest, if there is one. */
static bool run_next_guest(struct core *core, uint64_t service_at)
{
	sched_expire(core, rdtsc());
	struct guest *g = sched_pick(core);

	if (!g)
		return false;
	run_guest(core, g, MIN(service_at, sched_next_timer(core)));
	(void)reap(core, REAP_STEPS);
	return true;
}

/*
 * One turn: management, then guests. While management has more to do, guests get as much of the core
 * as it took, so that neither starves the other: a client that forks without end waits for its forks
 * to run.
 */
void run_turn(struct core *core, service_fn *service)
{
	uint64_t service_at = UINT64_MAX, start = rdtsc();

	__atomic_store_n(&core->sched.attention, 0, __ATOMIC_SEQ_CST);
	bool busy = service && service(&service_at);
	uint64_t now = rdtsc(), share_end = busy ? now + (now - start) : now;
	bool ran;

	for (;;) {
		ran = run_next_guest(core, service_at);
		if (!ran || rdtsc() >= share_end)
			break;
		/* What asked for attention gets it in the next turn; until then it must not end each
		 * of the guests' slices at the first exit. */
		__atomic_store_n(&core->sched.attention, 0, __ATOMIC_SEQ_CST);
	}
	if (!ran && !busy)
		idle(core, MIN(service_at, sched_next_timer(core)));
}

void run_loop(struct core *core, service_fn *service)
{
	for (;;)
		run_turn(core, service);
}
