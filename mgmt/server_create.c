/* Requests that make guests out of images, guests and snapshots. */
#include "mgmt/server_internal.h"

static enum step create_step(struct request *r);

static void create_release(struct request *r)
{
	block_free(r->conn->server, &r->conn->server->args, r->create.args);
	r->create.args = NULL;
}

static int make_guest(struct server *s, const struct create_state *k, uint64_t *id)
{
	struct guest_options options = k->options;

	if (k->count > 1 && options.name[0]) {
		size_t n = strlen(options.name);

		fmt(options.name + n, sizeof(options.name) - n, "-%u", k->index + 1);
	}
	int err = k->type == PROTO_RUN ? guest_run(k->source, &options, id)
				       : guest_fork(k->source, &options, id);

	if (err == OK)
		event_of(s, PROTO_KIND_GUEST, *id, PROTO_EVENT_CREATED);
	return err;
}

static enum step create_step(struct request *r)
{
	struct create_state *k = &r->create;

	for (int i = 0; i < SERVER_ITEMS_PER_STEP && k->index < k->count; i++, k->index++) {
		struct proto_result result = {.index = k->index};
		int err;

		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		admit_charge(r->conn, 1);
		if (r->entry && keys_result(r->entry, k->index, &result)) {
			k->made += result.id != 0;
			conn_send(r->conn, PROTO_RESULT, 0, r->number, &result);
			continue;
		}
		err = make_guest(r->conn->server, k, &result.id);
		if (err < 0) {
			result.id = 0;
			result.code = (uint16_t)code_of(err);
			(void)uploads_give_way(r->conn->server, err);
			fmt(result.text, sizeof(result.text), "%s", text_of(err));
		} else {
			k->made++;
		}
		conn_send(r->conn, PROTO_RESULT, 0, r->number, &result);
	}
	if (k->index < k->count)
		return STEP_MORE;
	struct proto_done done = {.count = k->made};

	conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
	return STEP_OVER;
}

/* One guest: its answer is a plain error, or its id. */
static void create_one(struct conn *c, uint64_t number, const struct create_state *k)
{
	struct proto_result result = {0};
	struct proto_done done = {.count = 1};
	int err = make_guest(c->server, k, &result.id);

	if (err < 0) {
		request_error(c, number, err);
		return;
	}
	conn_send(c, PROTO_RESULT, 0, number, &result);
	conn_send(c, PROTO_DONE, PROTO_FINAL, number, &done);
}

/*
 * One guest with its streams on this request. It is made paused, so that its readers are there
 * before it writes its first byte.
 */
static void create_attached(
	struct conn *c, uint64_t number, struct create_state *k, const struct proto_create *m)
{
	const uint64_t from[2] = {0, 0};
	struct proto_result result = {0};
	struct request *r = request_new(c, number);
	uint8_t flags = (uint8_t)(m->attach | PROTO_ATTACH_FOLLOW | PROTO_ATTACH_HOLD);
	bool remove = k->options.remove_when_stopped, paused = k->options.paused;
	int err;

	if (!r)
		return;
	k->options.paused = true;
	k->options.remove_when_stopped = false;
	err = make_guest(c->server, k, &result.id);
	if (err < 0)
		goto fail;
	err = stream_open(r, result.id, flags, m->credit, from);
	if (err == OK && !paused)
		err = guest_resume(result.id);
	if (err < 0) {
		stream_error(c, number, err);
		request_free(r);
		guest_kill(result.id);
		guest_remove(result.id);
		return;
	}
	r->stream.remove = remove;
	r->stream.close_input = k->options.input_open;
	conn_send(c, PROTO_RESULT, 0, number, &result);
	request_wake(r);
	return;
fail:
	request_error(c, number, err);
	request_free(r);
}

_Static_assert(PROTO_ARGS_MAX + LABELS_SIZE <= BLOCK_SIZE, "a block has both");

/* Many guests, in slices; the arguments are kept for as long. */
static void create_many(struct conn *c, uint64_t number, const struct create_state *k)
{
	struct request *r = request_new(c, number);

	if (!r)
		return;
	r->create = *k;
	r->release = create_release;
	if (k->options.args_size || k->options.labels) {
		r->create.args = pool_take(&c->server->args);
		if (!r->create.args) {
			conn_error(c, number, PROTO_E_RETRY,
				"%u batches with arguments of their own are going on, all the host "
				"holds",
				c->server->args.count);
			request_free(r);
			return;
		}
		if (k->options.args_size)
			memcpy(r->create.args, k->options.args, k->options.args_size);
		if (k->options.labels) {
			memcpy(r->create.args + PROTO_ARGS_MAX, k->options.labels, LABELS_SIZE);
			r->create.options.labels = (const char *)r->create.args + PROTO_ARGS_MAX;
		}
		r->create.options.args = (const char *)r->create.args;
	}
	r->step = create_step;
	request_wake(r);
}

static void fill_options(struct guest_options *o, const struct proto_create *m)
{
	*o = (struct guest_options){
		.memory = m->memory,
		.max_pages = m->max_pages,
		.max_guests = m->max_guests,
		.max_snapshots = m->max_snapshots,
		.weight = m->weight,
		.paused = m->flags & PROTO_CREATE_PAUSED,
		.remove_when_stopped = m->flags & PROTO_CREATE_REMOVE,
		.input_open = m->flags & PROTO_CREATE_INPUT,
		.timeout_ns = m->timeout_ns,
		.timeout_running = m->flags & PROTO_CREATE_TIMEOUT_RUNNING,
		.labels = m->labels[0] ? m->labels : NULL,
		.args = (const char *)m->args.data,
		.args_size = m->args.size,
		.argc = m->argc,
		.envc = m->envc,
	};
	memcpy(o->name, m->name, sizeof(o->name));
}

void create_start(
	struct conn *c, uint64_t number, enum proto_type type, const struct proto_create *m)
{
	const size_t suffix = sizeof("-100000") - 1;
	struct create_state k = {.type = type, .count = m->count};
	unsigned kinds = type == PROTO_RUN ? 1u << PROTO_KIND_IMAGE
					   : 1u << PROTO_KIND_GUEST | 1u << PROTO_KIND_SNAPSHOT;

	if (m->count > 1 && strlen(m->name) + suffix >= PROTO_NAME_MAX) {
		conn_error(c, number, PROTO_E_TOOBIG,
			"the name is too long for a prefix: %u characters leave no room for the "
			"number",
			(unsigned)strlen(m->name));
		return;
	}
	if (!pairs_right(c, number, m->labels) ||
		!ref_resolve(c, number, &m->source, kinds, false, &k.source, NULL))
		return;
	fill_options(&k.options, m);
	k.options.owner = conn_owner(c);
	if (m->count > 1)
		create_many(c, number, &k);
	else if (m->attach)
		create_attached(c, number, &k, m);
	else
		create_one(c, number, &k);
}
