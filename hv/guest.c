/* Guests and snapshots for management: by id, on the boot core (hv/guest.h). */
#include "hv/guest.h"

#include "hv/core.h"
#include "hv/deadline.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "lib/string.h"

#define NS_PER_MS 1000000ull

static struct core *boot_core(void)
{
	return cores[0];
}

const char *guest_last_error(void)
{
	return boot_core()->error;
}

static void unpin(struct object *o)
{
	object_unpin(&hv.registry, o, boot_core()->id);
}

static struct guest *find_guest(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);

	if (!o)
		guest_fail(boot_core(), ERR_NOENT, "no guest %lu", id);
	return o ? guest_of(o) : NULL;
}

static struct snapshot *find_snapshot(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_SNAPSHOT);

	if (!o)
		guest_fail(boot_core(), ERR_NOENT, "no snapshot %lu", id);
	return o ? snapshot_of(o) : NULL;
}

/* A pinned guest that runs nowhere until drop_guest(). */
static struct guest *hold_guest(uint64_t id)
{
	struct guest *g = find_guest(id);

	if (g)
		guest_hold(g, boot_core());
	return g;
}

static void drop_guest(struct guest *g)
{
	guest_unhold(g);
	unpin(&g->object);
}

/* One that stops by itself may be taken off the list while we wait to hold it. */
static bool is_listed(struct guest *g)
{
	struct object *o = registry_find(&hv.registry, g->object.id, OBJECT_GUEST);

	if (o)
		unpin(o);
	return o;
}

int guest_check_options(const struct guest_options *o)
{
	if (!object_name_valid(o->name))
		return guest_fail(boot_core(), ERR_INVALID,
			"guest name \"%s\": up to %d of A-Z a-z 0-9 _ . -, not only digits", o->name,
			GUEST_NAME_MAX - 1);
	if (o->weight > GUEST_WEIGHT_MAX)
		return guest_fail(boot_core(), ERR_RANGE, "weight %u: 1 to %d", o->weight,
			GUEST_WEIGHT_MAX);
	return OK;
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static int fork_guest(struct guest *parent, const struct guest_request *request, struct guest **child)
{
	if (parent->state == GUEST_STOPPED)
		return guest_fail(boot_core(), ERR_BUSY, "guest %lu has stopped: it can't be forked",
			parent->object.id);
	int err = guest_clone(boot_core(), &parent->object, &parent->machine, request, child);

	if (!err)
		guest_count(&parent->forks, 1);
	return err;
}

int guest_fork(uint64_t source, const struct guest_options *options, uint64_t *id)
{
	uint64_t start = rdtsc();
	struct object *o = registry_find_any(&hv.registry, source);
	struct guest_request request = {.options = options,
		.under = owner_budget(options->owner),
		.parent = source,
		.keep = !options->remove_when_stopped};
	struct guest *child;
	int err = guest_check_options(options);

	if (o && !err && o->kind == OBJECT_GUEST) {
		guest_hold(guest_of(o), boot_core());
		err = fork_guest(guest_of(o), &request, &child);
		guest_unhold(guest_of(o));
	} else if (o && !err && o->kind == OBJECT_SNAPSHOT) {
		err = guest_clone(boot_core(), o, &snapshot_of(o)->machine, &request, &child);
		snapshot_of(o)->forks += !err;
	} else if (!err) {
		err = guest_fail(boot_core(), ERR_NOENT, "no guest or snapshot %lu", source);
	}
	if (o)
		unpin(o);
	if (err)
		return err;
	*id = child->object.id;
	sched_admit(child);
	unpin(&child->object);
	meter_time(boot_core(), METER_FORK, start);
	return OK;
}

/* Who takes a snapshot of his own guest pays for it himself, and so does the host's owner of anyone's
 * (whose budget is above all). */
static struct budget *snapshot_budget(const struct guest *g, uint16_t owner)
{
	return g->object.owner == owner ? owner_budget(owner) : hv.budget;
}

int guest_snapshot(uint64_t id, uint16_t owner, const char *name, uint64_t *snapshot)
{
	uint64_t start = rdtsc();
	struct snapshot *s;
	int err;

	if (!object_name_valid(name))
		return guest_fail(boot_core(), ERR_INVALID,
			"snapshot name \"%s\": up to %d of A-Z a-z 0-9 _ . -, not only digits", name,
			GUEST_NAME_MAX - 1);
	struct guest *g = hold_guest(id);

	if (!g)
		return ERR_NOENT;
	if (g->state == GUEST_STOPPED)
		err = guest_fail(boot_core(), ERR_BUSY,
			"guest %lu has stopped: there is nothing left to snapshot", id);
	else
		err = snapshot_take(boot_core(), g, owner, snapshot_budget(g, owner), name, &s);
	drop_guest(g);
	if (err)
		return err;
	*snapshot = s->object.id;
	unpin(&s->object);
	meter_time(boot_core(), METER_SNAPSHOT, start);
	return OK;
}

int guest_rollback(uint64_t id, uint64_t snapshot)
{
	uint64_t start = rdtsc();
	struct snapshot *s = find_snapshot(snapshot);

	if (!s)
		return ERR_NOENT;
	struct guest *g = hold_guest(id);
	int err = ERR_NOENT;

	if (!g)
		goto out;
	if (!is_listed(g))
		err = guest_fail(boot_core(), ERR_NOENT, "no guest %lu", id);
	else if (g->object.lineage != s->object.lineage)
		err = guest_fail(boot_core(), ERR_PERM,
			"snapshot %lu is of lineage %lu, guest %lu of lineage %lu", snapshot,
			s->object.lineage, id, g->object.lineage);
	else
		err = snapshot_restore(boot_core(), g, s);
	if (!err)
		news_add(boot_core(), g, NEWS_STATE);
	drop_guest(g);
	if (!err)
		meter_time(boot_core(), METER_ROLLBACK, start);
out:
	unpin(&s->object);
	return err;
}

int guest_pause(uint64_t id)
{
	struct guest *g = hold_guest(id);
	int err = OK;

	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	if (g->state == GUEST_STOPPED || g->state == GUEST_PAUSED) {
		err = guest_fail(boot_core(), ERR_BUSY, "guest %lu is %s", id,
			g->state == GUEST_PAUSED ? "paused already" : "stopped");
	} else {
		sched_cancel_timer(g);
		g->state = GUEST_PAUSED;
		g->stop = STOP_CLIENT;
		g->wait = 0;
		guest_clock_stop(g, rdtsc());
	}
	spin_unlock(&g->lock);
	if (!err)
		news_add(boot_core(), g, NEWS_STATE);
	drop_guest(g);
	return err;
}

/* g is held. A guest that waited when it was paused makes its call again, and waits again. */
static void resume(struct guest *g)
{
	spin_lock(&g->lock);
	g->state = GUEST_RUNNABLE;
	g->stop = STOP_NONE;
	guest_clock_start(g, rdtsc());
	spin_unlock(&g->lock);
	news_add(boot_core(), g, NEWS_STATE);
}

int guest_resume(uint64_t id)
{
	struct guest *g = hold_guest(id);
	int err = OK;

	if (!g)
		return ERR_NOENT;
	if (g->state == GUEST_PAUSED)
		resume(g);
	else
		err = guest_fail(boot_core(), ERR_BUSY, "guest %lu is not paused", id);
	drop_guest(g);
	return err;
}

int guest_kill(uint64_t id)
{
	uint64_t start = rdtsc();
	struct guest *g = hold_guest(id);
	int err = OK;

	if (!g)
		return ERR_NOENT;
	if (g->state == GUEST_STOPPED)
		err = guest_fail(boot_core(), ERR_BUSY, "guest %lu has stopped already", id);
	else
		guest_stop(boot_core(), g, STOP_KILLED, NULL, 0);
	drop_guest(g);
	if (!err)
		meter_time(boot_core(), METER_KILL, start);
	return err;
}

int guest_remove(uint64_t id)
{
	struct guest *g = find_guest(id);
	int err = OK;

	if (!g)
		return ERR_NOENT;
	if (g->state != GUEST_STOPPED)
		err = guest_fail(boot_core(), ERR_BUSY, "guest %lu has not stopped: kill it first", id);
	else if (registry_remove(&hv.registry, &g->object))
		unpin(&g->object);
	unpin(&g->object);
	return err;
}

int snapshot_remove(uint64_t id)
{
	struct snapshot *s = find_snapshot(id);

	if (!s)
		return ERR_NOENT;
	if (registry_remove(&hv.registry, &s->object))
		unpin(&s->object);
	unpin(&s->object);
	return OK;
}

int guest_limit(uint64_t id, uint64_t max_pages, uint64_t max_guests, uint32_t weight)
{
	if (weight > GUEST_WEIGHT_MAX)
		return guest_fail(boot_core(), ERR_RANGE, "weight %u: 1 to %d", weight,
			GUEST_WEIGHT_MAX);
	struct guest *g = hold_guest(id);

	if (!g)
		return ERR_NOENT;
	if ((max_pages || max_guests) && g->budget == g->charged) { /* below BUDGET_MAX_DEPTH */
		drop_guest(g);
		return guest_fail(boot_core(), ERR_UNSUPPORTED,
			"guest %lu lies so many forks deep that it shares the limits of one above: set them there",
			id);
	}
	if (max_pages)
		budget_set_limit(g->budget, BUDGET_PAGES, max_pages);
	if (max_guests)
		budget_set_limit(g->budget, BUDGET_GUESTS, max_guests);
	if (weight)
		g->weight = weight;
	if (g->state == GUEST_PAUSED && g->stop == STOP_MEMORY_LIMIT &&
		!budget_exceeded(g->budget, BUDGET_PAGES, 1))
		resume(g);
	drop_guest(g);
	return OK;
}

int guest_timeout(uint64_t id, uint64_t ns, bool running)
{
	struct guest *g = hold_guest(id);
	int err = OK;

	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	if (g->state == GUEST_STOPPED)
		err = guest_fail(boot_core(), ERR_BUSY, "guest %lu has stopped", id);
	else
		deadline_set(g, ns, running, rdtsc());
	spin_unlock(&g->lock);
	drop_guest(g);
	return err;
}

/* ---- what they are ---------------------------------------------------------------------------- */

void guest_reason(const struct guest *g, char *buf, size_t size)
{
	static const char *const text[] = {
		[STOP_NONE] = "",
		[STOP_EXIT] = "exited with status %d",
		[STOP_KILLED] = "killed by a client",
		[STOP_CRASHED] = "crashed: %.*s",
		[STOP_BAD_ADDRESS] = "touched address %#lx, where it has no memory, at %#lx",
		[STOP_TRIPLE_FAULT] = "triple fault at %#lx: an exception without a handler",
		[STOP_FORBIDDEN] = "used an instruction that no guest may at %#lx: %.*s",
		[STOP_HALTED] = "halted at %#lx with nothing that could wake it",
		[STOP_BAD_STATE] = "its processor state can't be entered (code %#lx) at %#lx",
		[STOP_CLIENT] = "paused by a client",
		[STOP_MEMORY_LIMIT] = "reached its memory limit of %lu pages: raise the limit",
		[STOP_HOST_RESERVE] = "the host has no free memory: free some, then resume",
		[STOP_POWER_OFF] = "switched itself off",
		[STOP_REBOOT] = "restarted",
		[STOP_PANIC] = "kernel panic: %.*s",
		[STOP_DEADLINE] = "its time is over: it was given %lu ms",
	};
	const char *more = (const char *)g + XSTATE_OFFSET;
	const char *f = g->stop < ARRAY_SIZE(text) && text[g->stop] ? text[g->stop] : "";
	const struct budget *full;

	switch ((enum guest_stop)g->stop) {
	case STOP_EXIT:
		fmt(buf, size, text[STOP_EXIT], g->exit_status);
		break;
	case STOP_CRASHED:
		fmt(buf, size, text[STOP_CRASHED], GUEST_REASON_MAX, more);
		break;
	case STOP_PANIC:
		fmt(buf, size, text[STOP_PANIC], GUEST_REASON_MAX, more);
		break;
	case STOP_FORBIDDEN:
		fmt(buf, size, text[STOP_FORBIDDEN], g->detail[1], GUEST_REASON_MAX, more);
		break;
	case STOP_BAD_ADDRESS:
	case STOP_BAD_STATE:
		fmt(buf, size, g->stop == STOP_BAD_STATE ? text[STOP_BAD_STATE] : text[STOP_BAD_ADDRESS],
			g->detail[0], g->detail[1]);
		break;
	case STOP_TRIPLE_FAULT:
		fmt(buf, size, text[STOP_TRIPLE_FAULT], g->detail[1]);
		break;
	case STOP_HALTED:
		fmt(buf, size, text[STOP_HALTED], g->detail[1]);
		break;
	case STOP_DEADLINE:
		fmt(buf, size, text[STOP_DEADLINE], g->timeout_ns / NS_PER_MS);
		break;
	case STOP_MEMORY_LIMIT:
		full = budget_exceeded(g->budget, BUDGET_PAGES, 1);
		fmt(buf, size, text[STOP_MEMORY_LIMIT],
			budget_limit(full ? full : g->budget, BUDGET_PAGES));
		break;
	case STOP_NONE:
	case STOP_KILLED:
	case STOP_CLIENT:
	case STOP_HOST_RESERVE:
	case STOP_POWER_OFF:
	case STOP_REBOOT:
		fmt(buf, size, "%s", f);
		break;
	}
}

static uint64_t tsc_to_ns(uint64_t tsc)
{
	uint64_t khz = platform_tsc_khz();

	return tsc / khz * NS_PER_MS + tsc % khz * NS_PER_MS / khz;
}

static void describe(struct guest *g, struct guest_info *info)
{
	spin_lock(&g->lock);
	*info = (struct guest_info){
		.id = g->object.id,
		.parent = g->object.parent,
		.lineage = g->object.lineage,
		.image = g->object.image,
		.owner = g->object.owner,
		.state = (enum guest_state)g->state,
		.stop = (enum guest_stop)g->stop,
		.exit_status = g->exit_status,
		.generation = g->generation,
		.memory = machine_memory(&g->machine),
		.private_pages = account_pages(g->account) + account_pages(g->machine.mem.account),
		.max_pages = budget_limit(g->budget, BUDGET_PAGES),
		.budget_pages = budget_used(g->budget, BUDGET_PAGES),
		.weight = g->weight,
		.timeout_ns = g->timeout_ns,
		.deadline_ns = deadline_left(g, rdtsc()),
		.timeout_running = g->timeout_running,
		.cpu_ns = tsc_to_ns(g->cpu_tsc),
		.created_ns = g->object.created_ns,
		.exits = __atomic_load_n(&g->exits, __ATOMIC_RELAXED),
		.faults = __atomic_load_n(&g->faults, __ATOMIC_RELAXED),
		.forks = __atomic_load_n(&g->forks, __ATOMIC_RELAXED),
		.children = __atomic_load_n(&g->children, __ATOMIC_RELAXED),
	};
	for (int i = 0; i < STREAM_COUNT; i++)
		info->stream_bytes[i] = g->stream[i] ? g->stream[i]->written : 0;
	info->stream_bytes[STREAM_IN] = g->input_read;
	memcpy(info->name, g->object.name, sizeof(info->name));
	memcpy(info->labels, g->object.labels, sizeof(info->labels));
	if (g->state == GUEST_PAUSED || g->state == GUEST_STOPPED)
		guest_reason(g, info->reason, sizeof(info->reason));
	spin_unlock(&g->lock);
}

int guest_get(uint64_t id, struct guest_info *info)
{
	struct guest *g = find_guest(id);

	if (!g)
		return ERR_NOENT;
	describe(g, info);
	unpin(&g->object);
	return OK;
}

int guest_next(uint64_t after, struct guest_info *info)
{
	struct object *o = registry_next(&hv.registry, after, OBJECT_GUEST);

	if (!o)
		return ERR_NOENT;
	describe(guest_of(o), info);
	unpin(o);
	return OK;
}

static void describe_snapshot(struct snapshot *s, struct snapshot_info *info)
{
	*info = (struct snapshot_info){
		.id = s->object.id,
		.parent = s->object.parent,
		.lineage = s->object.lineage,
		.image = s->object.image,
		.owner = s->object.owner,
		.public = s->object.public,
		.pages = account_pages(s->machine.mem.account),
		.forks = s->forks,
		.created_ns = s->object.created_ns,
	};
	memcpy(info->name, s->object.name, sizeof(info->name));
	memcpy(info->labels, s->object.labels, sizeof(info->labels));
}

int snapshot_get(uint64_t id, struct snapshot_info *info)
{
	struct snapshot *s = find_snapshot(id);

	if (!s)
		return ERR_NOENT;
	describe_snapshot(s, info);
	unpin(&s->object);
	return OK;
}

int snapshot_next(uint64_t after, struct snapshot_info *info)
{
	struct object *o = registry_next(&hv.registry, after, OBJECT_SNAPSHOT);

	if (!o)
		return ERR_NOENT;
	describe_snapshot(snapshot_of(o), info);
	unpin(o);
	return OK;
}
