/*
 * The guest ABI (guest-sdk/include/creel/abi.h). The registers of a call were copied by the exit;
 * memory that they point to is checked by the memory tree at each use, and nobody but the guest, which
 * does not run meanwhile, can change it.
 *
 * A call that has to wait leaves the guest where it is: when it goes on, it makes its call again. So a
 * waiting guest can be snapshotted, forked or moved like any other.
 */
#include "creel/abi.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/exit.h"
#include "hv/guest_state.h"
#include "hv/hypercall.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "lib/string.h"

#define NS_PER_MS  1000000ull
#define FORK_BATCH 32u /* children made before the core looks for other work */

/* ---- how a call ends -------------------------------------------------------------------------- */

enum run_next call_done(const struct call *c, int64_t result)
{
	c->g->machine.vcpu.regs[REG_RAX] = (uint64_t)result;
	hv.vm->skip(c->core, &c->g->machine.vcpu, c->exit);
	return RUN_AGAIN;
}

/* Memory of the guest could not be reached. */
enum run_next call_memory_error(const struct call *c, int err)
{
	if (err == ERR_FAULT)
		return call_done(c, CREEL_EFAULT);
	return exit_no_memory(c->core, c->g, err);
}

int64_t call_error(int err)
{
	switch (err) {
	case ERR_LIMIT:
		return CREEL_ELIMIT;
	case ERR_NOMEM:
		return CREEL_ENOMEM;
	case ERR_NOENT:
	case ERR_PERM:
		return CREEL_ENOENT;
	case ERR_FAULT:
		return CREEL_EFAULT;
	case ERR_TOOBIG:
		return CREEL_ETOOBIG;
	default:
		return CREEL_EINVAL;
	}
}

/* ---- time ------------------------------------------------------------------------------------- */

static uint64_t guest_ns(const struct guest *g, uint64_t host_tsc)
{
	uint64_t tsc = host_tsc + g->machine.vcpu.tsc_offset, khz = platform_tsc_khz();

	return tsc / khz * NS_PER_MS + tsc % khz * NS_PER_MS / khz;
}

/* The host's TSC when the guest's monotonic clock reaches `ns`; UINT64_MAX: not in this life. */
static uint64_t host_tsc(const struct guest *g, uint64_t ns)
{
	uint64_t khz = platform_tsc_khz(), tsc, at;

	if (__builtin_mul_overflow(ns / NS_PER_MS, khz, &tsc) ||
		__builtin_add_overflow(tsc, ns % NS_PER_MS * khz / NS_PER_MS, &tsc))
		return UINT64_MAX;
	at = tsc - g->machine.vcpu.tsc_offset;
	/* The offset is the host's TSC at the guest's beginning, negated: only a far deadline wraps. */
	return (int64_t)(at - rdtsc()) < 0 && tsc > (uint64_t)INT64_MAX ? UINT64_MAX : at;
}

bool call_late(const struct guest *g, uint64_t deadline)
{
	return deadline != CREEL_FOREVER && guest_ns(g, rdtsc()) >= deadline;
}

/* g->lock is held. */
void call_wait(struct guest *g, unsigned events, uint64_t deadline)
{
	sched_wait(g, events, deadline == CREEL_FOREVER ? UINT64_MAX : host_tsc(g, deadline));
}

static enum run_next call_clock(const struct call *c)
{
	switch (c->a[0]) {
	case CREEL_CLOCK_MONOTONIC:
		return call_done(c, (int64_t)guest_ns(c->g, rdtsc()));
	case CREEL_CLOCK_WALL:
		return call_done(c, (int64_t)platform_wall_ns());
	default:
		return call_done(c, CREEL_EINVAL);
	}
}

static enum run_next call_sleep(const struct call *c)
{
	struct guest *g = c->g;

	if (call_late(g, c->a[0]))
		return call_done(c, 0);
	spin_lock(&g->lock);
	call_wait(g, 0, c->a[0]);
	spin_unlock(&g->lock);
	return RUN_LEAVE;
}

/* ---- plain calls ------------------------------------------------------------------------------ */

static enum run_next call_version(const struct call *c)
{
	return call_done(c, CREEL_ABI_VERSION);
}

static enum run_next call_exit(const struct call *c)
{
	spin_lock(&c->g->lock);
	c->g->exit_status = (int32_t)c->a[0];
	spin_unlock(&c->g->lock);
	return exit_stop(c->core, c->g, STOP_EXIT, 0, c->exit->rip, NULL);
}

static enum run_next call_crash(const struct call *c)
{
	char text[GUEST_REASON_MAX];
	uint64_t size = MIN(c->a[1], sizeof(text) - 1);

	if (gmem_read(&c->g->machine.mem, c->a[0], text, size))
		size = 0;
	for (uint64_t i = 0; i < size; i++) {
		if (!text[i])
			text[i] = '?';
	}
	text[size] = '\0';
	return exit_stop(c->core, c->g, STOP_CRASHED, 0, c->exit->rip, text);
}

static enum run_next call_yield(const struct call *c)
{
	(void)call_done(c, 0);
	return RUN_YIELD;
}

static enum run_next call_generation(const struct call *c)
{
	return call_done(c, (int64_t)c->g->generation);
}

static enum run_next call_info(const struct call *c)
{
	const struct guest *g = c->g;
	const struct creel_info info = {
		.version = CREEL_ABI_VERSION,
		.memory = machine_memory(&g->machine),
		.id = g->object.id,
		.parent = g->object.parent,
		.generation = g->generation,
		.image_end = g->machine.image_end,
		.tsc_khz = platform_tsc_khz(),
	};
	int err = gmem_write(&c->g->machine.mem, c->core->id, c->a[0], &info,
		MIN(c->a[1], sizeof(info)));

	return err ? call_memory_error(c, err) : call_done(c, sizeof(info));
}

static enum run_next call_args(const struct call *c)
{
	const struct args *args = c->g->machine.args;
	uint64_t room = c->a[1];
	uint32_t at = 0, size;
	const uint8_t *from;

	while (room && (from = args_span(&hv.pool, args, at, &size))) {
		size = (uint32_t)MIN(size, room);
		int err = gmem_write(&c->g->machine.mem, c->core->id, c->a[0] + at, from, size);

		if (err)
			return call_memory_error(c, err);
		at += size;
		room -= size;
	}
	c->g->machine.vcpu.regs[REG_RDX] = args ? args->argc | (uint64_t)args->envc << 32 : 0;
	return call_done(c, args ? args->size : 0);
}

static enum run_next call_random(const struct call *c)
{
	uint8_t bytes[256];

	if (c->a[1] > CREEL_RANDOM_MAX)
		return call_done(c, CREEL_ETOOBIG);
	for (uint64_t at = 0; at < c->a[1]; at += sizeof(bytes)) {
		uint64_t n = MIN(c->a[1] - at, sizeof(bytes));

		platform_random(bytes, n);
		int err = gmem_write(&c->g->machine.mem, c->core->id, c->a[0] + at, bytes, n);

		if (err)
			return call_memory_error(c, err);
	}
	return call_done(c, (int64_t)c->a[1]);
}

/* ---- snapshot, fork, rollback ----------------------------------------------------------------- */

static enum run_next call_children(const struct call *c)
{
	struct guest *g = c->g;
	bool wait_for_some, late = false;
	uint32_t alive;

	spin_lock(&families);
	alive = g->children;
	wait_for_some = alive > c->a[0];
	if (wait_for_some) {
		late = call_late(g, c->a[1]);
		if (!late) {
			spin_lock(&g->lock);
			call_wait(g, WAIT_CHILD, c->a[1]);
			spin_unlock(&g->lock);
		}
	}
	spin_unlock(&families);
	if (!wait_for_some)
		return call_done(c, alive);
	return late ? call_done(c, CREEL_EAGAIN) : RUN_LEAVE;
}

/* Of a vCPU that is not loaded: what skip() does to one that is. */
static void go_behind(struct vcpu *v, const struct vm_exit *exit)
{
	v->rip = exit->next_rip;
	v->sti_shadow = false;
	if (v->rflags & RFLAGS_TF) {
		v->dr6 |= DR6_BS;
		v->pending = (struct vm_event){ .kind = EVENT_EXCEPTION, .vector = VECTOR_DB };
	}
}

static enum run_next call_snapshot(const struct call *c)
{
	struct guest *g = c->g;
	uint64_t start = rdtsc();
	char name[CREEL_NAME_MAX] = "";
	struct snapshot *s;

	if (c->a[0] && c->a[1] >= sizeof(name))
		return call_done(c, CREEL_ETOOBIG);
	if (c->a[0] && gmem_read(&g->machine.mem, c->a[0], name, c->a[1]))
		return call_done(c, CREEL_EFAULT);
	if (!object_name_valid(name))
		return call_done(c, CREEL_EINVAL);
	exit_unload(c->core, g);
	/* The snapshot is of the guest behind the call, with 0 as its result. */
	struct vcpu *v = &g->machine.vcpu;
	const struct vcpu before = *v;

	go_behind(v, c->exit);
	v->regs[REG_RAX] = 0;
	int err = snapshot_take(c->core, g, g->object.owner, g->budget, name, &s);

	*v = before;
	exit_reload(c->core, g);
	if (err == ERR_AGAIN) /* frames are on their way back: the call is made again */
		return RUN_YIELD;
	if (err)
		return call_done(c, call_error(err));
	int64_t id = (int64_t)s->object.id;

	news_made(c->core, g, NEWS_SNAPSHOT);

	object_unpin(&hv.registry, &s->object, c->core->id);
	meter_time(c->core, METER_SNAPSHOT, start);
	return call_done(c, id);
}

static enum run_next call_rollback(const struct call *c)
{
	struct guest *g = c->g;
	uint64_t start = rdtsc();
	struct object *o = registry_find(&hv.registry, c->a[0], OBJECT_SNAPSHOT);
	int err = o && o->lineage == g->object.lineage ? OK : ERR_NOENT;

	if (!err) {
		exit_unload(c->core, g);
		err = snapshot_restore(c->core, g, snapshot_of(o));
		exit_reload(c->core, g);
	}
	if (o)
		object_unpin(&hv.registry, o, c->core->id);
	if (err)
		return call_done(c, call_error(err));
	meter_time(c->core, METER_ROLLBACK, start);
	return RUN_AGAIN;
}

/* Up to `count` children, pinned and not admitted yet. Returns how many; *err tells why there are not more. */
static unsigned clone_batch(const struct call *c, unsigned count, uint64_t flags,
	struct guest *child[FORK_BATCH], uint64_t ids[FORK_BATCH], int *err)
{
	struct guest *g = c->g;
	const struct guest_request request = {
		.under = g->budget,
		.parent = g->object.id,
		.keep = flags & CREEL_FORK_KEEP,
		.count_child = true,
	};
	unsigned n = 0;

	*err = OK;
	while (n < count) {
		uint64_t start = rdtsc();

		*err = guest_clone(c->core, &g->object, &g->machine, &request, &child[n]);
		if (*err)
			break;
		struct vcpu *v = &child[n]->machine.vcpu;

		go_behind(v, c->exit);
		v->regs[REG_RAX] = 0;
		v->regs[REG_RDX] = g->fork_progress + n + 1;
		ids[n] = child[n]->object.id;
		news_made(c->core, child[n], NEWS_CREATED);
		n++;
		meter_time(c->core, METER_FORK, start);
	}
	return n;
}

static void end_batch(const struct call *c, struct guest *child[FORK_BATCH], unsigned n, bool keep)
{
	for (unsigned i = 0; i < n; i++) {
		if (!keep) {
			child[i]->keep = false;
			guest_stop(c->core, child[i], STOP_KILLED, NULL, 0);
		}
		sched_admit(child[i]);
		object_unpin(&hv.registry, &child[i]->object, c->core->id);
	}
}

/*
 * Children are made in batches, so that neither a core nor whoever wants to hold this guest waits for
 * 65,536 of them: between batches the call may be left, and made again, with fork_progress behind it.
 */
static enum run_next call_fork(const struct call *c)
{
	struct guest *g = c->g, *child[FORK_BATCH];
	uint64_t count = c->a[0], address = c->a[1], ids[FORK_BATCH];
	int err = OK, write_err = OK;

	if (count == 0 || count > CREEL_FORK_MAX || (c->a[2] & ~(uint64_t)CREEL_FORK_KEEP))
		return call_done(c, CREEL_EINVAL);
	if (address && gmem_check(&g->machine.mem, address, count * sizeof(ids[0])))
		return call_done(c, CREEL_EFAULT);
	exit_unload(c->core, g);
	while (g->fork_progress < count && !err) {
		unsigned n = clone_batch(c, (unsigned)MIN(count - g->fork_progress, FORK_BATCH),
			c->a[2], child, ids, &err);

		if (address && n)
			write_err = gmem_write(&g->machine.mem, c->core->id,
				address + g->fork_progress * sizeof(ids[0]), ids, n * sizeof(ids[0]));
		end_batch(c, child, n, !write_err);
		if (write_err)
			break;
		g->fork_progress += n;
		guest_count(&g->forks, n);
		if (__atomic_load_n(&c->core->sched.attention, __ATOMIC_RELAXED) ||
			__atomic_load_n(&g->kick, __ATOMIC_RELAXED))
			break;
	}
	exit_reload(c->core, g);
	if (write_err)
		return call_memory_error(c, write_err);
	if (err == ERR_AGAIN || (!err && g->fork_progress < count))
		return RUN_YIELD;
	int64_t made = g->fork_progress;

	g->fork_progress = 0;
	return call_done(c, made ? made : call_error(err));
}

typedef enum run_next call_fn(const struct call *c);

static call_fn *const calls[] = {
	[CREEL_CALL_VERSION] = call_version,
	[CREEL_CALL_EXIT] = call_exit,
	[CREEL_CALL_WRITE] = call_write,
	[CREEL_CALL_READ] = call_read,
	[CREEL_CALL_INFO] = call_info,
	[CREEL_CALL_ARGS] = call_args,
	[CREEL_CALL_CLOCK] = call_clock,
	[CREEL_CALL_SLEEP] = call_sleep,
	[CREEL_CALL_RANDOM] = call_random,
	[CREEL_CALL_GENERATION] = call_generation,
	[CREEL_CALL_SNAPSHOT] = call_snapshot,
	[CREEL_CALL_FORK] = call_fork,
	[CREEL_CALL_ROLLBACK] = call_rollback,
	[CREEL_CALL_SEND] = call_send,
	[CREEL_CALL_RECEIVE] = call_receive,
	[CREEL_CALL_CHILDREN] = call_children,
	[CREEL_CALL_YIELD] = call_yield,
	[CREEL_CALL_CRASH] = call_crash,
	[CREEL_CALL_GATHER] = call_gather,
};

_Static_assert(ARRAY_SIZE(calls) == CREEL_CALL_COUNT, "every call has a function");

enum run_next hypercall_handle(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	const uint64_t *r = g->machine.vcpu.regs;
	uint64_t number = r[REG_RAX];
	const struct call c = {
		.core = core,
		.g = g,
		.exit = exit,
		.a = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]},
	};

	if (number >= CREEL_CALL_COUNT)
		return call_done(&c, CREEL_EINVAL);
	return calls[number](&c);
}
