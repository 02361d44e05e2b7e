/*
 * One action on many guests and snapshots, which a list of references or a selector of labels names,
 * with an answer for each; and labels themselves.
 */
#include "mgmt/server_internal.h"

/* NULL: right; else the client has been told. */
static bool labels_right(struct conn *c, uint64_t number, const char *labels, enum labels_kind kind)
{
	const char *wrong = labels_check(labels, kind);

	if (wrong)
		conn_error(c, number, PROTO_E_INVALID, "%s", wrong);
	return !wrong;
}

bool selector_right(struct conn *c, uint64_t number, const char *selector)
{
	return labels_right(c, number, selector, LABELS_SELECTOR);
}

bool pairs_right(struct conn *c, uint64_t number, const char *labels)
{
	return labels_right(c, number, labels, LABELS_PAIRS);
}

void label(struct conn *c, uint64_t number, const struct proto_label *m)
{
	const unsigned kinds = 1u << PROTO_KIND_GUEST | 1u << PROTO_KIND_SNAPSHOT;
	uint64_t id;

	if (pairs_right(c, number, m->set) && labels_right(c, number, m->remove, LABELS_KEYS) &&
		ref_resolve(c, number, &m->ref, kinds, true, &id, NULL))
		request_done(c, number, thing_label(id, m->set, m->remove));
}

int act_on(struct conn *c, uint16_t action, enum proto_kind kind, uint64_t id)
{
	int err;

	switch (action) {
	case PROTO_REMOVE_IMAGE:
		return remove_and_tell(c->server, PROTO_KIND_IMAGE, id, image_remove);
	case PROTO_PAUSE:
		return guest_pause(id);
	case PROTO_RESUME:
		return guest_resume(id);
	case PROTO_KILL:
		return guest_kill(id);
	default:
		err = remove_and_tell(c->server, kind, id,
			kind == PROTO_KIND_GUEST ? guest_remove : snapshot_remove);
		/* A guest that is gone has no news. */
		watchers_wake(c->server, id);
		return err;
	}
}

/* ---- many ---- */

static unsigned kinds_of(uint16_t action)
{
	return action == PROTO_REMOVE ? 1u << PROTO_KIND_GUEST | 1u << PROTO_KIND_SNAPSHOT
				      : 1u << PROTO_KIND_GUEST;
}

static void tell(struct request *r, uint64_t id, enum proto_code code, const char *text)
{
	struct proto_result result = {
		.index = r->batch.index++,
		.id = id,
		.code = (uint16_t)code,
	};

	if (code == PROTO_OK)
		r->batch.done++;
	else
		fmt(result.text, sizeof(result.text), "%s", text);
	conn_send(r->conn, PROTO_RESULT, 0, r->number, &result);
}

static void act_and_tell(struct request *r, enum proto_kind kind, uint64_t id)
{
	struct batch_state *b = &r->batch;
	const struct proto_ref ref = {.kind = (uint8_t)kind, .id = id};
	struct guest_info info;
	int err;

	if (b->force && kind == PROTO_KIND_GUEST && guest_get(id, &info) == OK &&
		info.state != GUEST_STOPPED)
		(void)guest_kill(id);
	err = act_on(r->conn, b->action, kind, id);
	audit_item(r->conn, b->action, &ref, code_of(err));
	tell(r, id, code_of(err), err < 0 ? text_of(err) : "");
}

/* The next reference. False: that was all. */
static bool next_ref(struct request *r)
{
	struct batch_state *b = &r->batch;
	char text[PROTO_TEXT_MAX];
	enum proto_code code;
	struct proto_ref ref;
	enum proto_kind kind;
	uint64_t id;

	if (!proto_ref_next(&b->at, &b->left, &ref))
		return false;
	code = ref_find(r->conn, &ref, kinds_of(b->action), true, &id, &kind, text);
	if (code == PROTO_OK) {
		act_and_tell(r, kind, id);
	} else {
		audit_item(r->conn, b->action, &ref, code);
		tell(r, ref.id, code, text);
	}
	return true;
}

/* Of guests: those that the action could change. */
static bool wanted(const struct batch_state *b, const struct guest_info *g)
{
	switch (b->action) {
	case PROTO_PAUSE:
		return g->state == GUEST_RUNNABLE || g->state == GUEST_WAITING;
	case PROTO_RESUME:
		return g->state == GUEST_PAUSED;
	case PROTO_KILL:
		return g->state != GUEST_STOPPED;
	default:
		return true;
	}
}

/* The next guest or snapshot, whether or not it is selected. False: that was all. */
static bool next_selected(struct request *r)
{
	struct batch_state *b = &r->batch;
	const char *selector = (const char *)b->block;
	struct snapshot_info snapshot;
	struct guest_info guest;

	if (!b->snapshots) {
		if (guest_next(b->after, &guest) == OK) {
			b->after = guest.id;
			if (conn_changes(r->conn, guest.owner) && wanted(b, &guest) &&
				labels_match(guest.labels, selector))
				act_and_tell(r, PROTO_KIND_GUEST, guest.id);
			return true;
		}
		b->snapshots = true;
		b->after = 0;
	}
	if (b->action != PROTO_REMOVE || snapshot_next(b->after, &snapshot) < 0)
		return false;
	b->after = snapshot.id;
	if (conn_changes(r->conn, snapshot.owner) && labels_match(snapshot.labels, selector))
		act_and_tell(r, PROTO_KIND_SNAPSHOT, snapshot.id);
	return true;
}

static enum step batch_step(struct request *r)
{
	struct batch_state *b = &r->batch;

	for (int i = 0; i < SERVER_ITEMS_PER_STEP; i++) {
		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		admit_charge(r->conn, 1);
		if (!(b->by_label ? next_selected(r) : next_ref(r))) {
			struct proto_done done = {.count = b->done};

			conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
			return STEP_OVER;
		}
	}
	return STEP_MORE;
}

static void batch_release(struct request *r)
{
	block_free(r->conn->server, &r->conn->server->args, r->batch.block);
}

void batch_start(struct conn *c, uint64_t number, const struct proto_batch *m)
{
	struct request *r;

	if (!selector_right(c, number, m->selector))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	r->batch = (struct batch_state){
		.action = m->action,
		.force = m->force,
		.by_label = m->selector[0] != 0,
		.block = pool_take(&c->server->args),
		.left = m->refs.size,
	};
	if (!r->batch.block) {
		conn_error(c, number, PROTO_E_RETRY, "%u batches are going on, all the host holds",
			c->server->args.count);
		request_free(r);
		return;
	}
	r->batch.at = r->batch.block;
	if (r->batch.by_label)
		memcpy(r->batch.block, m->selector, sizeof(m->selector));
	else
		memcpy(r->batch.block, m->refs.data, m->refs.size);
	r->release = batch_release;
	r->step = batch_step;
	request_wake(r);
}
