#include "hv/guest_state.h"

#include "hv/core.h"
#include "hv/deadline.h"
#include "hv/dev/board.h"
#include "hv/hypervisor.h"
#include "hv/log.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "hv/xstate.h"
#include "lib/string.h"

/* Frames that a guest may have beyond one for each page of its memory: tables, struct, streams. */
#define SPARE_PAGES           256
#define DEFAULT_MAX_GUESTS    1024
#define DEFAULT_MAX_SNAPSHOTS 64

struct spinlock families;

int guest_fail(struct core *core, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfmt(core->error, sizeof(core->error), format, ap);
	va_end(ap);
	return err;
}

void guest_clock_start(struct guest *g, uint64_t now)
{
	if (g->clock_runs)
		return;
	g->machine.vcpu.tsc_offset = g->machine.tsc - now;
	g->clock_runs = true;
	deadline_resume(g, now);
}

void guest_clock_stop(struct guest *g, uint64_t now)
{
	if (!g->clock_runs)
		return;
	g->machine.tsc = now + g->machine.vcpu.tsc_offset;
	g->clock_runs = false;
	deadline_pause(g, now);
}

/* What an object's clock shows at the host's TSC `now`. */
static uint64_t clock_of(struct object *o, const struct machine *m, uint64_t now)
{
	if (o->kind == OBJECT_GUEST && guest_of(o)->clock_runs)
		return now + m->vcpu.tsc_offset;
	return m->tsc;
}

uint64_t machine_memory(const struct machine *m)
{
	return m->mem.extents[0].base + m->mem.extents[0].size;
}

/* And what it has beyond: devices' memory and its disk. */
static uint64_t all_memory(const struct machine *m)
{
	uint64_t size = machine_memory(m);

	for (unsigned i = 1; i < m->mem.extent_count; i++)
		size += m->mem.extents[i].size;
	return size;
}

static void default_limits(const struct machine *m, const struct guest_request *request,
	uint64_t limit[BUDGET_KINDS])
{
	const struct guest_options *o = request->options;
	uint64_t memory = all_memory(m);

	if (!o) {
		for (unsigned kind = 0; kind < BUDGET_KINDS; kind++)
			limit[kind] = budget_limit(request->under, (enum budget_kind)kind);
		return;
	}
	if (request->memory)
		memory += request->memory - machine_memory(m);
	limit[BUDGET_PAGES] = o->max_pages ? o->max_pages : memory / PAGE_SIZE + SPARE_PAGES;
	limit[BUDGET_GUESTS] = o->max_guests ? o->max_guests : DEFAULT_MAX_GUESTS;
	limit[BUDGET_SNAPSHOTS] = o->max_snapshots ? o->max_snapshots : DEFAULT_MAX_SNAPSHOTS;
}

/* The guest's own struct, under a budget and an account of its own. */
static int create_struct(struct core *core, const struct machine *from,
	const struct guest_request *request, struct guest **out)
{
	uint64_t limit[BUDGET_KINDS];
	struct budget *budget;
	struct account *account, *memory;
	hpa_t frame;
	int err;

	default_limits(from, request, limit);
	err = budget_create(&hv.pool, core->id, request->under, limit, &budget);
	if (err)
		return err;
	err = account_create(&hv.pool, core->id, budget, &account);
	if (err)
		goto fail_account;
	err = account_create(&hv.pool, core->id, budget, &memory);
	if (err)
		goto fail_memory;
	err = frame_alloc(&hv.pool, core->id, core->node, FRAME_STATE, account, FRAME_OVERWRITE,
		&frame);
	if (err)
		goto fail_frame;
	struct guest *g = frame_ptr(&hv.pool, frame);

	memset(g, 0, sizeof(*g));
	g->account = account;
	g->budget = budget;
	g->charged = request->under;
	g->machine.mem.account = memory;
	*out = g;
	return OK;
fail_frame:
	account_release(&hv.pool, memory);
fail_memory:
	account_release(&hv.pool, account);
fail_account:
	budget_put(&hv.pool, budget);
	return err;
}

static void free_struct(struct core *core, struct guest *g)
{
	struct account *account = g->account;
	struct budget *budget = g->budget;
	hpa_t frame = frame_hpa(&hv.pool, g);

	account_release(&hv.pool, g->machine.mem.account);
	if (frame_put(&hv.pool, frame))
		frame_free(&hv.pool, core->id, frame);
	account_release(&hv.pool, account);
	budget_put(&hv.pool, budget);
}

static int set_args(struct core *core, struct guest *g, const struct machine *from,
	const struct guest_options *o)
{
	if (!o || !o->args_size) {
		g->machine.args = from->args;
		return args_get(&hv.pool, from->args);
	}
	return args_create(&hv.pool, core->id, g->account, o->args, o->args_size, o->argc, o->envc,
		&g->machine.args);
}

/* Everything that is not memory, arguments or name. */
static void begin_life(struct core *core, struct guest *g, struct object *origin,
	const struct machine *from, const struct guest_request *request)
{
	const struct guest_options *o = request->options;
	uint64_t now = rdtsc();

	g->object.kind = OBJECT_GUEST;
	g->object.owner = o ? o->owner : origin->owner;
	g->machine.mem.page_kind = FRAME_DATA;
	g->object.id = registry_new_id(&hv.registry);
	g->object.parent = request->parent;
	g->object.image = origin->kind == OBJECT_IMAGE ? origin->id : origin->image;
	g->object.lineage = origin->kind == OBJECT_IMAGE ? g->object.id : origin->lineage;
	g->object.created_ns = platform_wall_ns();
	g->machine.vcpu = from->vcpu;
	g->machine.image_end = from->image_end;
	g->machine.tsc = clock_of(origin, from, now);
	memcpy(object_xstate(&g->object), object_xstate(origin), xstate_size());
	g->generation = __atomic_add_fetch(&hv.next_generation, 1, __ATOMIC_RELAXED);
	g->state = GUEST_RUNNABLE;
	sched_new(g, core);
	g->weight = o && o->weight ? o->weight : GUEST_WEIGHT_DEFAULT;
	g->keep = request->keep;
	g->input_open = o && o->input_open;
	g->input_ended = !g->input_open;
	list_init(&g->news_node);
	list_init(&g->senders);
	list_init(&g->sender_node);
	if (o && o->paused) {
		g->state = GUEST_PAUSED;
		g->stop = STOP_CLIENT;
	} else {
		guest_clock_start(g, now);
	}
}

static void count_children(struct guest *parent, int n)
{
	spin_lock(&families);
	__atomic_store_n(&parent->children, parent->children + (uint32_t)n, __ATOMIC_RELAXED);
	spin_unlock(&families);
}

/* Says how many the budget allows that refused one more; another core may have made room since. */
static int over_budget(struct core *core, struct budget *budget, enum budget_kind kind, const char *what)
{
	const struct budget *full = budget_exceeded(budget, kind, 1);

	return guest_fail(core, ERR_LIMIT, "the budget allows %lu %s, and that many exist",
		budget_limit(full ? full : budget, kind), what);
}

/* The guest is in the registry: management may look at it, and pause or kill it. */
static void set_deadline(struct guest *g, struct object *origin, const struct guest_options *o)
{
	spin_lock(&g->lock);
	if (o)
		deadline_set(g, o->timeout_ns, o->timeout_running, rdtsc());
	else
		deadline_inherit(g, guest_of(origin));
	spin_unlock(&g->lock);
}

int guest_clone(struct core *core, struct object *origin, struct machine *from,
	const struct guest_request *request, struct guest **out)
{
	const struct guest_options *o = request->options;
	struct guest *g;
	int err = budget_charge(request->under, BUDGET_GUESTS, 1);

	if (err)
		return over_budget(core, request->under, BUDGET_GUESTS, "guests");
	err = create_struct(core, from, request, &g);
	if (err)
		goto fail_struct;
	struct account *memory = g->machine.mem.account;

	err = gmem_share(&from->mem, &g->machine.mem, memory);
	if (err)
		goto fail_memory;
	if (request->memory)
		g->machine.mem.extents[0].size = request->memory - g->machine.mem.extents[0].base;
	err = set_args(core, g, from, o);
	if (err)
		goto fail_args;
	err = board_clone(core, g->account, from->board, &g->machine.board);
	if (err)
		goto fail_board;
	begin_life(core, g, origin, from, request);
	memcpy(g->object.labels, origin->labels, sizeof(origin->labels));
	if (o && o->labels && !labels_change(g->object.labels, o->labels, "")) {
		err = guest_fail(core, ERR_RANGE,
			"the labels of a guest are at most %d, and %d characters", LABELS_MAX,
			LABELS_SIZE - 1);
		goto fail_labels;
	}
	if (o)
		memcpy(g->object.name, o->name, sizeof(g->object.name));
	g->child = g->counted = request->count_child;
	if (g->counted)
		count_children(guest_of(origin), 1);
	/* From here on others can find it. */
	err = registry_add(&hv.registry, &g->object);
	if (err) {
		guest_fail(core, err, "a guest named \"%s\" exists already", g->object.name);
		goto fail_name;
	}
	set_deadline(g, origin, o);
	*out = g;
	return OK;
fail_name:
	if (g->counted)
		count_children(guest_of(origin), -1);
fail_labels:
	board_free(core, g->machine.board);
fail_board:
	args_put(&hv.pool, core->id, g->machine.args);
fail_args:
	gmem_drop(&g->machine.mem, core->id);
fail_memory:
	free_struct(core, g);
fail_struct:
	budget_uncharge(request->under, BUDGET_GUESTS, 1);
	if (err != ERR_EXIST && err != ERR_RANGE)
		guest_fail(core, err, "%s", err_str(err));
	return err;
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static void set_memory_account(struct guest *g, struct account *account)
{
	spin_lock(&g->lock);
	g->machine.mem.account = account;
	spin_unlock(&g->lock);
}

int snapshot_take(struct core *core, struct guest *g, uint16_t owner, struct budget *under,
	const char *name, struct snapshot **out)
{
	struct account *fresh;
	hpa_t frame;
	int err = budget_charge(under, BUDGET_SNAPSHOTS, 1);

	if (err)
		return over_budget(core, under, BUDGET_SNAPSHOTS, "snapshots");
	err = account_create(&hv.pool, core->id, g->budget, &fresh);
	if (err)
		goto fail_account;
	/* What the guest had allocated passes to the snapshot, with the account that pays for it. */
	struct account *old = g->machine.mem.account;

	err = frame_alloc(&hv.pool, core->id, core->node, FRAME_STATE, old, FRAME_OVERWRITE, &frame);
	if (err)
		goto fail_frame;
	struct snapshot *s = frame_ptr(&hv.pool, frame);

	memset(s, 0, sizeof(*s));
	err = args_get(&hv.pool, g->machine.args);
	if (err)
		goto fail_args;
	err = board_clone(core, old, g->machine.board, &s->machine.board);
	if (err)
		goto fail_board;
	err = gmem_share(&g->machine.mem, &s->machine.mem, old);
	if (err)
		goto fail_share;
	s->object.kind = OBJECT_SNAPSHOT;
	s->object.owner = owner;
	memcpy(s->object.labels, g->object.labels, sizeof(s->object.labels));
	s->object.parent = g->object.id;
	s->object.lineage = g->object.lineage;
	s->object.image = g->object.image;
	s->object.created_ns = platform_wall_ns();
	fmt(s->object.name, sizeof(s->object.name), "%s", name);
	s->machine.vcpu = g->machine.vcpu;
	s->machine.args = g->machine.args;
	s->machine.image_end = g->machine.image_end;
	s->machine.tsc = clock_of(&g->object, &g->machine, rdtsc());
	memcpy(object_xstate(&s->object), object_xstate(&g->object), xstate_size());
	s->charged = under;
	budget_get(s->charged);
	set_memory_account(g, fresh);
	/* From here on others can find it, fork it and remove it. */
	err = registry_add(&hv.registry, &s->object);
	if (err) {
		guest_fail(core, err, "a snapshot named \"%s\" exists already", name);
		goto fail_name;
	}
	/* What pays for both already is not asked again, so this can't fail. */
	err = account_move(&hv.pool, old, under);
	if (err)
		log_warn("snapshot %lu stays on the budget of guest %lu", s->object.id, g->object.id);
	*out = s;
	return OK;
fail_name:
	set_memory_account(g, old);
	budget_put(&hv.pool, s->charged);
	gmem_drop(&s->machine.mem, core->id);
fail_share:
	board_free(core, s->machine.board);
fail_board:
	args_put(&hv.pool, core->id, g->machine.args);
fail_args:
	if (frame_put(&hv.pool, frame))
		frame_free(&hv.pool, core->id, frame);
fail_frame:
	account_release(&hv.pool, fresh);
fail_account:
	budget_uncharge(under, BUDGET_SNAPSHOTS, 1);
	if (err != ERR_EXIST)
		guest_fail(core, err, "%s", err_str(err));
	return err;
}

/* A stopped guest has no memory any more: it gets the snapshot's as a clone would. */
static int restore_memory(struct core *core, struct guest *g, struct snapshot *s)
{
	if (g->state != GUEST_STOPPED)
		return gmem_rollback(&g->machine.mem, core->id, &s->machine.mem);
	int err = gmem_share(&s->machine.mem, &g->machine.mem, g->machine.mem.account);

	if (!err)
		g->tlb = (struct tlb_guest){0};
	return err;
}

/* g->lock is held. */
static void restore_machine(struct guest *g, struct snapshot *s)
{
	sched_cancel_timer(g);
	memcpy(object_xstate(&g->object), object_xstate(&s->object), xstate_size());
	g->machine.vcpu = s->machine.vcpu;
	g->machine.args = s->machine.args;
	if (s->machine.board)
		*g->machine.board = *s->machine.board;
	g->machine.image_end = s->machine.image_end;
	g->machine.tsc = s->machine.tsc;
	g->clock_runs = false;
	g->generation = __atomic_add_fetch(&hv.next_generation, 1, __ATOMIC_RELAXED);
	g->fork_progress = 0;
	g->wait = 0;
	if (g->state == GUEST_PAUSED)
		return;
	bool stopped = g->state == GUEST_STOPPED;

	if (stopped)
		g->input_ended = !g->input_open;
	g->state = GUEST_RUNNABLE;
	if (stopped) /* its time begins anew */
		deadline_set(g, g->timeout_ns, g->timeout_running, rdtsc());
	g->stop = STOP_NONE;
	guest_clock_start(g, rdtsc());
	for (int i = STREAM_OUT; i < STREAM_OUT_END; i++) {
		if (g->stream[i])
			g->stream[i]->ended = false;
	}
}

/* One that had stopped is among its parent's children again. */
static void recount(struct core *core, struct guest *g)
{
	struct object *parent;

	if (!g->child || g->counted || g->state == GUEST_STOPPED)
		return;
	parent = registry_find(&hv.registry, g->object.parent, OBJECT_GUEST);
	if (!parent)
		return;
	g->counted = true;
	count_children(guest_of(parent), 1);
	object_unpin(&hv.registry, parent, core->id);
}

int snapshot_restore(struct core *core, struct guest *g, struct snapshot *s)
{
	struct args *old_args = g->machine.args;
	int err = args_get(&hv.pool, s->machine.args);

	if (err)
		return guest_fail(core, err, "%s", err_str(err));
	spin_lock(&g->lock);
	err = restore_memory(core, g, s);
	if (!err)
		restore_machine(g, s);
	spin_unlock(&g->lock);
	args_put(&hv.pool, core->id, err ? s->machine.args : old_args);
	if (!err)
		recount(core, g);
	return err ? guest_fail(core, err, "too many trees share this snapshot") : OK;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void destroy_stream(struct core *core, struct stream **s)
{
	if (*s)
		stream_destroy(*s, core->id);
	*s = NULL;
}

/* Whoever waits for room in a mailbox that is gone finds out when it tries again. */
static void leave_family(struct guest *g)
{
	spin_lock(&families);
	list_remove(&g->sender_node);
	while (!list_empty(&g->senders)) {
		struct guest *sender = LIST_ENTRY(g->senders.next, struct guest, sender_node);

		list_remove(&sender->sender_node);
		sched_wake(sender, WAIT_PEER);
	}
	spin_unlock(&families);
}

static void tell_parent(struct core *core, struct guest *g)
{
	struct object *parent;

	if (!g->counted)
		return;
	g->counted = false;
	parent = registry_find(&hv.registry, g->object.parent, OBJECT_GUEST);
	if (!parent)
		return;
	count_children(guest_of(parent), -1);
	sched_wake(guest_of(parent), WAIT_CHILD);
	object_unpin(&hv.registry, parent, core->id);
}

void guest_stop(struct core *core, struct guest *g, enum guest_stop stop, const char *text,
	size_t size)
{
	char *reason = object_xstate(&g->object);

	spin_lock(&g->lock);
	sched_dequeue(g);
	sched_cancel_timer(g);
	guest_clock_stop(g, rdtsc());
	deadline_end(g);
	g->state = GUEST_STOPPED;
	g->stop = (uint8_t)stop;
	g->wait = 0;
	destroy_stream(core, &g->stream[STREAM_IN]);
	destroy_stream(core, &g->stream[STREAM_AGENT_IN]);
	destroy_stream(core, &g->mailbox);
	for (int i = STREAM_OUT; i < STREAM_OUT_END; i++) {
		if (g->stream[i])
			g->stream[i]->ended = true;
	}
	fmt(reason, GUEST_REASON_MAX, "%.*s", text ? (int)MIN(size, GUEST_REASON_MAX - 1ull) : 0,
		text ? text : "");
	spin_unlock(&g->lock);

	gmem_drop(&g->machine.mem, core->id);
	args_put(&hv.pool, core->id, g->machine.args);
	g->machine.args = NULL;
	leave_family(g);
	tell_parent(core, g);
	/* One that is not kept goes once management has seen how it ended. */
	news_add(core, g, NEWS_STATE | NEWS_OUTPUT);
}

void guest_drop_if_done(struct core *core, struct guest *g)
{
	bool done;

	spin_lock(&g->lock);
	done = g->state == GUEST_STOPPED && !g->keep;
	for (int i = STREAM_OUT; i < STREAM_OUT_END; i++)
		done = done && !(g->stream[i] && g->stream[i]->readers);
	spin_unlock(&g->lock);
	if (done && registry_remove(&hv.registry, &g->object))
		object_unpin(&hv.registry, &g->object, core->id);
}

void guest_pause_self(struct core *core, struct guest *g, enum guest_stop why)
{
	spin_lock(&g->lock);
	g->state = GUEST_PAUSED;
	g->stop = (uint8_t)why;
	guest_clock_stop(g, rdtsc());
	spin_unlock(&g->lock);
	news_add(core, g, NEWS_STATE);
}

static void release_guest(struct core *core, struct guest *g)
{
	news_forget(g);
	for (int i = 0; i < STREAM_COUNT; i++)
		destroy_stream(core, &g->stream[i]);
	board_free(core, g->machine.board);
	/* Its own budget still holds the one above. */
	budget_uncharge(g->charged, BUDGET_GUESTS, 1);
	free_struct(core, g);
}

static void release_frozen(struct core *core, struct object *o, struct machine *m)
{
	struct account *account = m->mem.account;
	hpa_t frame = frame_hpa(&hv.pool, o);

	gmem_drop(&m->mem, core->id);
	args_put(&hv.pool, core->id, m->args);
	board_free(core, m->board);
	if (frame_put(&hv.pool, frame))
		frame_free(&hv.pool, core->id, frame);
	account_release(&hv.pool, account);
}

void object_release(struct object *o, unsigned core_id)
{
	struct core *core = cores[core_id];

	switch ((enum object_kind)o->kind) {
	case OBJECT_GUEST:
		release_guest(core, guest_of(o));
		break;
	case OBJECT_SNAPSHOT: {
		struct budget *charged = snapshot_of(o)->charged;

		release_frozen(core, o, &snapshot_of(o)->machine);
		budget_uncharge(charged, BUDGET_SNAPSHOTS, 1);
		budget_put(&hv.pool, charged);
		break;
	}
	case OBJECT_UPLOAD:
		if (image_of(o)->draft)
			object_release(&image_of(o)->draft->object, core_id);
		release_frozen(core, o, &image_of(o)->machine);
		break;
	case OBJECT_IMAGE:
		release_frozen(core, o, &image_of(o)->machine);
		break;
	case OBJECT_KINDS:
		break;
	}
}
