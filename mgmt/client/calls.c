/* Calls of libcreel that ask and get an answer. */
#include "mgmt/client/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- between the structs of proto.h and those of creel.h ---- */

void client_text(char *out, size_t size, const char *in)
{
	snprintf(out, size, "%s", in);
}

static void guest_out(struct creel_guest *g, const struct proto_guest *m)
{
	*g = (struct creel_guest){
		.id = m->id,
		.parent = m->parent,
		.lineage = m->lineage,
		.image = m->image,
		.state = (enum creel_state)m->state,
		.stop = (enum creel_stop)m->stop,
		.exit_status = m->exit_status,
		.generation = m->generation,
		.memory = m->memory,
		.private_pages = m->private_pages,
		.max_pages = m->max_pages,
		.budget_pages = m->budget_pages,
		.weight = m->weight,
		.cpu_ns = m->cpu_ns,
		.created_ns = m->created_ns,
		.exits = m->exits,
		.faults = m->faults,
		.forks = m->forks,
		.children = m->children,
		.bytes_in = m->bytes_in,
		.bytes_out = m->bytes_out,
		.bytes_err = m->bytes_err,
		.timeout_ns = m->timeout_ns,
		.deadline_ns = m->deadline_ns,
		.timeout_running = m->timeout_running,
	};
	client_text(g->name, sizeof(g->name), m->name);
	client_text(g->owner, sizeof(g->owner), m->owner);
	client_text(g->reason, sizeof(g->reason), m->reason);
	client_text(g->labels, sizeof(g->labels), m->labels);
}

static void snapshot_out(struct creel_snapshot *s, const struct proto_snapshot *m)
{
	*s = (struct creel_snapshot){
		.id = m->id,
		.parent = m->parent,
		.lineage = m->lineage,
		.image = m->image,
		.pages = m->pages,
		.forks = m->forks,
		.created_ns = m->created_ns,
	};
	client_text(s->name, sizeof(s->name), m->name);
	client_text(s->owner, sizeof(s->owner), m->owner);
	s->is_public = m->public;
	client_text(s->labels, sizeof(s->labels), m->labels);
}

void client_image(struct creel_image *i, const struct proto_image *m)
{
	*i = (struct creel_image){
		.id = m->id,
		.size = m->size,
		.memory = m->memory,
		.pages = m->pages,
		.created_ns = m->created_ns,
	};
	client_text(i->name, sizeof(i->name), m->name);
	client_text(i->owner, sizeof(i->owner), m->owner);
	i->is_public = m->public;
	i->is_upload = m->upload;
	i->received = m->received;
}

void client_status(struct creel_status *s, const struct proto_status *m)
{
	*s = (struct creel_status){
		.id = m->id,
		.state = (enum creel_state)m->state,
		.stop = (enum creel_stop)m->stop,
		.exit_status = m->exit_status,
	};
	client_text(s->reason, sizeof(s->reason), m->reason);
}

static void info_out(struct creel_info *i, const struct proto_info *m)
{
	*i = (struct creel_info){
		.boot_id = {m->boot_id[0], m->boot_id[1]},
		.cores = m->cores,
		.address = m->address,
		.tsc_khz = m->tsc_khz,
		.uptime_ns = m->uptime_ns,
		.wall_ns = m->wall_ns,
		.frames_total = m->frames_total,
		.frames_free = m->frames_free,
		.frames_quarantined = m->frames_quarantined,
		.frames_reserve = m->frames_reserve,
		.frames_table = m->frames_table,
		.frames_data = m->frames_data,
		.frames_state = m->frames_state,
		.frames_stream = m->frames_stream,
		.frames_image = m->frames_image,
		.frames_host = m->frames_host,
		.guests = m->guests,
		.guests_runnable = m->guests_runnable,
		.guests_waiting = m->guests_waiting,
		.guests_paused = m->guests_paused,
		.guests_stopped = m->guests_stopped,
		.snapshots = m->snapshots,
		.images = m->images,
		.connections = m->connections,
		.requests = m->requests,
	};
	memcpy(i->mac, m->mac, sizeof(i->mac));
	client_text(i->version, sizeof(i->version), m->version);
	client_text(i->backend, sizeof(i->backend), m->backend);
	client_text(i->cpu, sizeof(i->cpu), m->cpu);
}

bool client_ref(struct creel *c, struct proto_ref *ref, enum creel_kind kind, const char *what)
{
	char *end;

	*ref = (struct proto_ref){.kind = (uint8_t)kind};
	if (what[0] && strspn(what, "0123456789") == strlen(what)) {
		ref->id = strtoull(what, &end, 10);
		if (ref->id && strlen(what) < 21)
			return true;
	} else if (proto_name_valid(what)) {
		client_text(ref->name, sizeof(ref->name), what);
		return true;
	}
	client_fail(c, CREEL_INVALID,
		"\"%s\" is neither a number nor a name (up to 63 letters, digits, '_', '.' and "
		"'-')",
		what);
	return false;
}

bool client_name(struct creel *c, char *out, const char *name)
{
	if (!name || !name[0])
		return true;
	if (!proto_name_valid(name)) {
		client_fail(c, CREEL_INVALID,
			"\"%s\" can't be a name: use up to 63 letters, digits, '_', '.' and '-', "
			"not digits "
			"alone",
			name);
		return false;
	}
	client_text(out, PROTO_NAME_MAX, name);
	return true;
}

/* A key of zero bytes is valid, so failing to get one harms nothing. */
struct proto_key client_key(void)
{
	struct proto_key key = {{0}};

	if (getrandom(&key, sizeof(key), GRND_NONBLOCK) != (ssize_t)sizeof(key))
		memset(&key, 0, sizeof(key));
	return key;
}

static bool add_strings(
	struct proto_create *m, uint8_t *args, const char *const *strings, uint32_t *count)
{
	for (; strings && *strings; strings++) {
		size_t size = strlen(*strings) + 1;

		if (size > PROTO_ARGS_MAX - m->args.size)
			return false;
		memcpy(args + m->args.size, *strings, size);
		m->args.size += (uint32_t)size;
		++*count;
	}
	return true;
}

int client_options(struct creel *c, struct proto_create *m, const struct creel_options *o,
	uint8_t args[PROTO_ARGS_MAX])
{
	*m = (struct proto_create){.key = client_key(), .count = 1, .args = {.data = args}};
	if (!o)
		return CREEL_OK;
	m->memory = o->memory;
	m->max_pages = o->max_pages;
	m->max_guests = o->max_guests;
	m->max_snapshots = o->max_snapshots;
	m->weight = o->weight;
	m->flags = (uint8_t)((o->paused ? PROTO_CREATE_PAUSED : 0) |
			     (o->remove_when_stopped ? PROTO_CREATE_REMOVE : 0) |
			     (o->input_open ? PROTO_CREATE_INPUT : 0) |
			     (o->timeout_running ? PROTO_CREATE_TIMEOUT_RUNNING : 0));
	m->timeout_ns = o->timeout_ns;
	if (!client_labels(c, m->labels, o->labels, LABELS_PAIRS))
		return CREEL_INVALID;
	for (const char *const *e = o->env; e && *e; e++) {
		if (**e == '=' || !strchr(*e, '='))
			return client_fail(c, CREEL_INVALID,
				"\"%s\" is no environment setting: give NAME=VALUE", *e);
	}
	if (!add_strings(m, args, o->args, &m->argc) || !add_strings(m, args, o->env, &m->envc))
		return client_fail(c, CREEL_TOOBIG,
			"arguments and environment have more than %u bytes: give large input on "
			"stdin",
			PROTO_ARGS_MAX);
	return client_name(c, m->name, o->name) ? CREEL_OK : CREEL_INVALID;
}

/* ---- calls with items and an end, or only that ---- */

static int take(struct creel *c, struct call *k, const struct frame *f)
{
	struct each *e = (struct each *)k;

	if (e->type && f->header.type == e->type)
		return e->each(e, &f->message) ? CALL_ENOUGH : CREEL_OK;
	if (e->last && f->header.type != e->last)
		return client_unexpected(c, f);
	return e->end ? e->end(c, e, f) : CREEL_OK;
}

/* A request that does no harm when the host gets it twice. */
static bool may_repeat(uint16_t type)
{
	switch (type) {
	case PROTO_GET_INFO:
	case PROTO_GET:
	case PROTO_REMOVE_IMAGE:
	case PROTO_RUN:
	case PROTO_FORK:
	case PROTO_TAKE_SNAPSHOT:
	case PROTO_ROLLBACK:
	case PROTO_PAUSE:
	case PROTO_RESUME:
	case PROTO_KILL:
	case PROTO_REMOVE:
	case PROTO_SET_LIMIT:
	case PROTO_PUBLISH:
	case PROTO_LABEL:
		return true;
	default:
		return false;
	}
}

int client_each(struct creel *c, uint16_t type, const void *message, struct each *e)
{
	bool connected = c->fd >= 0 && !c->async_done;
	int err;

	e->call.take = take;
	err = client_call(c, type, message, &e->call, sizeof(*e));
	/* The host may have carried it out, and the answer is lost: it knows the key. */
	if (err == CREEL_CONNECTION && connected && !c->calls && may_repeat(type) &&
		client_reconnect(c) == CREEL_OK)
		err = client_call(c, type, message, &e->call, sizeof(*e));
	return err;
}

/* One whose answer says nothing but that it was done. */
int client_do(struct creel *c, uint16_t type, const void *message)
{
	struct each e = {.last = PROTO_DONE};

	return client_each(c, type, message, &e);
}

static int end_info(struct creel *c, struct each *e, const struct frame *f)
{
	(void)c;
	info_out(e->info, &f->message.info);
	return CREEL_OK;
}

int creel_get_info(struct creel *c, struct creel_info *info)
{
	struct each e = {.last = PROTO_INFO, .end = end_info, .info = info};

	return client_each(c, PROTO_GET_INFO, NULL, &e);
}

static int act(struct creel *c, uint16_t type, enum creel_kind kind, const char *what)
{
	struct proto_act m = {.key = client_key()};

	if (!client_ref(c, &m.ref, kind, what))
		return CREEL_INVALID;
	return client_do(c, type, &m);
}

int creel_remove_image(struct creel *c, const char *image)
{
	return act(c, PROTO_REMOVE_IMAGE, CREEL_IMAGE, image);
}

int creel_pause(struct creel *c, const char *guest)
{
	return act(c, PROTO_PAUSE, CREEL_GUEST, guest);
}

int creel_resume(struct creel *c, const char *guest)
{
	return act(c, PROTO_RESUME, CREEL_GUEST, guest);
}

int creel_kill(struct creel *c, const char *guest)
{
	return act(c, PROTO_KILL, CREEL_GUEST, guest);
}

int creel_remove(struct creel *c, const char *what)
{
	return act(c, PROTO_REMOVE, CREEL_ANY, what);
}

int creel_rollback(struct creel *c, const char *guest, const char *snapshot)
{
	struct proto_rollback m = {.key = client_key()};

	if (!client_ref(c, &m.guest, CREEL_GUEST, guest) ||
		!client_ref(c, &m.snapshot, CREEL_SNAPSHOT, snapshot))
		return CREEL_INVALID;
	return client_do(c, PROTO_ROLLBACK, &m);
}

int creel_publish(struct creel *c, const char *what, bool public)
{
	struct proto_publish m = {.key = client_key(), .public = public};

	if (!client_ref(c, &m.ref, CREEL_ANY, what))
		return CREEL_INVALID;
	return client_do(c, PROTO_PUBLISH, &m);
}

int creel_set_limit(struct creel *c, const char *guest, uint64_t max_pages, uint64_t max_guests,
	uint32_t weight)
{
	struct proto_set_limit m = {
		.key = client_key(),
		.max_pages = max_pages,
		.max_guests = max_guests,
		.weight = weight,
	};

	if (!client_ref(c, &m.guest, CREEL_GUEST, guest))
		return CREEL_INVALID;
	return client_do(c, PROTO_SET_LIMIT, &m);
}

static int end_item(struct creel *c, struct each *e, const struct frame *f)
{
	switch (f->header.type) {
	case PROTO_GUEST:
		e->item->kind = CREEL_GUEST;
		guest_out(&e->item->guest, &f->message.guest);
		return CREEL_OK;
	case PROTO_SNAPSHOT:
		e->item->kind = CREEL_SNAPSHOT;
		snapshot_out(&e->item->snapshot, &f->message.snapshot);
		return CREEL_OK;
	case PROTO_IMAGE:
		e->item->kind = CREEL_IMAGE;
		client_image(&e->item->image, &f->message.image);
		return CREEL_OK;
	default:
		return client_unexpected(c, f);
	}
}

int creel_get(struct creel *c, enum creel_kind kind, const char *what, struct creel_item *item)
{
	struct each e = {.end = end_item, .item = item};
	struct proto_get m;

	if (!client_ref(c, &m.ref, kind, what))
		return CREEL_INVALID;
	return client_each(c, PROTO_GET, &m, &e);
}

/* ---- lists ---- */

static int end_page(struct creel *c, struct each *e, const struct frame *f)
{
	(void)c;
	*e->made = f->message.done.next;
	return CREEL_OK;
}

/* Page by page, if it is waited for; else in one go. */
static int list(struct creel *c, uint16_t type, struct proto_list *m, struct each *e)
{
	int err;

	e->last = PROTO_DONE;
	if (c->async_done)
		return client_each(c, type, m, e);
	e->end = end_page;
	e->made = &m->after;
	m->max = LIST_PAGE;
	do
		err = client_each(c, type, m, e);
	while (err == CREEL_OK && m->after);
	return err;
}

static int each_image(struct each *e, const union proto_message *m)
{
	struct creel_image i;

	client_image(&i, &m->image);
	return e->image(e->arg, &i);
}

int creel_images(struct creel *c, int (*each)(void *arg, const struct creel_image *i), void *arg)
{
	struct each e = {.type = PROTO_IMAGE, .each = each_image, .image = each, .arg = arg};
	struct proto_list m = {0};

	return list(c, PROTO_LIST_IMAGES, &m, &e);
}

static int each_upload(struct each *e, const union proto_message *m)
{
	return m->image.upload ? each_image(e, m) : 0;
}

int creel_uploads(struct creel *c, int (*each)(void *arg, const struct creel_image *i), void *arg)
{
	struct each e = {.type = PROTO_IMAGE, .each = each_upload, .image = each, .arg = arg};
	struct proto_list m = {.all = 1};

	return list(c, PROTO_LIST_IMAGES, &m, &e);
}

static int each_guest(struct each *e, const union proto_message *m)
{
	struct creel_guest g;

	guest_out(&g, &m->guest);
	return e->guest(e->arg, &g);
}

int creel_guests(struct creel *c, bool all, uint64_t lineage,
	int (*each)(void *arg, const struct creel_guest *g), void *arg)
{
	struct each e = {.type = PROTO_GUEST, .each = each_guest, .guest = each, .arg = arg};
	struct proto_list m = {.all = all, .lineage = lineage};

	return list(c, PROTO_LIST_GUESTS, &m, &e);
}

int creel_select_guests(struct creel *c, bool all, const char *selector,
	int (*each)(void *arg, const struct creel_guest *g), void *arg)
{
	struct each e = {.type = PROTO_GUEST, .each = each_guest, .guest = each, .arg = arg};
	struct proto_list m = {.all = all};

	if (!client_labels(c, m.selector, selector, LABELS_SELECTOR))
		return CREEL_INVALID;
	return list(c, PROTO_LIST_GUESTS, &m, &e);
}

static int each_snapshot(struct each *e, const union proto_message *m)
{
	struct creel_snapshot s;

	snapshot_out(&s, &m->snapshot);
	return e->snapshot(e->arg, &s);
}

int creel_snapshots(struct creel *c, uint64_t lineage,
	int (*each)(void *arg, const struct creel_snapshot *s), void *arg)
{
	struct each e = {
		.type = PROTO_SNAPSHOT, .each = each_snapshot, .snapshot = each, .arg = arg};
	struct proto_list m = {.lineage = lineage};

	return list(c, PROTO_LIST_SNAPSHOTS, &m, &e);
}

int creel_select_snapshots(struct creel *c, const char *selector,
	int (*each)(void *arg, const struct creel_snapshot *s), void *arg)
{
	struct each e = {
		.type = PROTO_SNAPSHOT, .each = each_snapshot, .snapshot = each, .arg = arg};
	struct proto_list m = {0};

	if (!client_labels(c, m.selector, selector, LABELS_SELECTOR))
		return CREEL_INVALID;
	return list(c, PROTO_LIST_SNAPSHOTS, &m, &e);
}

static int each_meter(struct each *e, const union proto_message *m)
{
	struct creel_meter out = {
		.count = m->meter.count,
		.ticks = m->meter.ticks,
		.last = m->meter.last,
		.min = m->meter.min,
		.max = m->meter.max,
	};

	client_text(out.name, sizeof(out.name), m->meter.name);
	return e->meter(e->arg, &out);
}

static int each_figure(struct each *e, const union proto_message *m)
{
	struct creel_figure out = {.below_us = m->figure.below_us, .value = m->figure.value};

	client_text(out.name, sizeof(out.name), m->figure.name);
	client_text(out.of, sizeof(out.of), m->figure.of);
	return e->figure(e->arg, &out);
}

int creel_figures(
	struct creel *c, int (*each)(void *arg, const struct creel_figure *f), void *arg)
{
	struct each e = {
		.type = PROTO_FIGURE, .last = PROTO_DONE, .each = each_figure, .figure = each, .arg = arg};

	return client_each(c, PROTO_GET_FIGURES, NULL, &e);
}

int creel_meters(
	struct creel *c, bool reset, int (*each)(void *arg, const struct creel_meter *m), void *arg)
{
	struct each e = {.type = PROTO_METER, .last = PROTO_DONE, .each = each_meter, .meter = each, .arg = arg};
	const struct proto_get_meters m = {.reset = reset};

	return client_each(c, PROTO_GET_METERS, &m, &e);
}

int client_each_result(struct each *e, const union proto_message *m)
{
	struct creel_result r = {
		.index = e->first + m->result.index,
		.id = m->result.id,
		.code = (enum creel_code)m->result.code,
	};

	if (m->result.index < e->seen)
		return 0;
	e->seen = m->result.index + 1;
	if (e->id)
		*e->id = r.id;
	client_text(r.text, sizeof(r.text), m->result.text);
	return e->result ? e->result(e->arg, &r) : 0;
}

int creel_run(struct creel *c, const char *image, const struct creel_options *options, uint64_t *id)
{
	struct each e = {
		.type = PROTO_RESULT, .last = PROTO_DONE, .each = client_each_result, .id = id};
	uint8_t args[PROTO_ARGS_MAX];
	struct proto_create m;
	int err = client_options(c, &m, options, args);

	*id = 0;
	if (err != CREEL_OK)
		return err;
	if (!client_ref(c, &m.source, CREEL_IMAGE, image))
		return CREEL_INVALID;
	return client_each(c, PROTO_RUN, &m, &e);
}

int client_end_count(struct creel *c, struct each *e, const struct frame *f)
{
	(void)c;
	if (e->made)
		*e->made = f->message.done.count;
	return CREEL_OK;
}

int creel_fork(struct creel *c, const char *source, const struct creel_options *options,
	uint32_t count, int (*each)(void *arg, const struct creel_result *r), void *arg,
	uint64_t *made)
{
	struct each e = {
		.type = PROTO_RESULT,
		.last = PROTO_DONE,
		.each = client_each_result,
		.end = client_end_count,
		.result = each,
		.arg = arg,
		.made = made,
	};
	uint8_t args[PROTO_ARGS_MAX];
	struct proto_create m;
	int err = client_options(c, &m, options, args);

	if (made)
		*made = 0;
	if (err != CREEL_OK)
		return err;
	if (!count || count > PROTO_COUNT_MAX)
		return client_fail(c, CREEL_INVALID, "can't fork %u: the count is 1 to %u", count,
			PROTO_COUNT_MAX);
	m.count = count;
	if (!client_ref(c, &m.source, CREEL_ANY, source))
		return CREEL_INVALID;
	return client_each(c, PROTO_FORK, &m, &e);
}

int creel_take_snapshot(
	struct creel *c, const char *guest, const char *name, bool public, uint64_t *id)
{
	struct each e = {
		.type = PROTO_RESULT, .last = PROTO_DONE, .each = client_each_result, .id = id};
	struct proto_take_snapshot m = {.key = client_key(), .public = public};

	*id = 0;
	if (!client_ref(c, &m.guest, CREEL_GUEST, guest) || !client_name(c, m.name, name))
		return CREEL_INVALID;
	return client_each(c, PROTO_TAKE_SNAPSHOT, &m, &e);
}
