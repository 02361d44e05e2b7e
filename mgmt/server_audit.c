/*
 * What gets into the audit ring, and how clients read it. Every request but those that only look
 * leaves a record when its answer is known, and so does every request that was denied.
 *
 * conn->auditing is the record of the request that is being worked on; the answers that pass through
 * conn_send() complete it. A request that goes on keeps its record in struct request.
 */
#include "mgmt/server_internal.h"

#include "mgmt/proto_fields.h"

#define RECORDS_PER_STEP 16

/* Looking needs no record. What is not here changes something. */
static bool looks(uint16_t type, const union proto_message *m)
{
	switch (type) {
	case PROTO_GET_INFO:
	case PROTO_GET_LOG:
	case PROTO_GET_AUDIT:
	case PROTO_LIST_IMAGES:
	case PROTO_LIST_GUESTS:
	case PROTO_LIST_SNAPSHOTS:
	case PROTO_GET:
	case PROTO_WAIT:
	case PROTO_BATCH: /* each thing that it does leaves a record: audit_item() */
		return true;
	case PROTO_GET_METERS:
		return !m->get_meters.reset;
	case PROTO_ATTACH:
		return !(m->attach.flags & PROTO_ATTACH_IN);
	default:
		return false;
	}
}

/* What it is done to: the first reference or name in the message. */
static void note_object(struct audit_record *r, uint16_t type, const union proto_message *m)
{
	const struct proto_layout *l = proto_layout(type);

	for (size_t i = 0; l && i < l->count; i++) {
		const uint8_t *at = (const uint8_t *)m + l->fields[i].offset;
		const struct proto_ref *ref = (const struct proto_ref *)at;

		if (l->fields[i].kind == FIELD_REF) {
			r->kind = ref->kind;
			r->object = ref->id;
			memcpy(r->name, ref->name, sizeof(r->name));
			return;
		}
		if (l->fields[i].kind == FIELD_NAME) {
			memcpy(r->name, at, sizeof(r->name));
			return;
		}
	}
}

static struct audit_record record_of(const struct conn *c, uint16_t action)
{
	return (struct audit_record){
		.address = c->from,
		.owner = conn_owner(c),
		.role = (uint8_t)conn_role(c),
		.action = action,
	};
}

static void keep(struct server *s, struct audit_record *r)
{
	r->wall_ns = host_wall_ns();
	audit_put(s->audit, r);
}

void audit_begin(struct conn *c, struct audit *a, uint64_t number, uint16_t type,
	const union proto_message *m)
{
	a->number = number;
	a->state = looks(type, m) ? AUDIT_LOOKS : AUDIT_OPEN;
	a->at_once = (type == PROTO_RUN || type == PROTO_FORK) && m->create.count == 1;
	a->record = record_of(c, type);
	if (a->state == AUDIT_OPEN)
		note_object(&a->record, type, m);
	c->auditing = a;
}

static void complete(struct conn *c, struct audit *a)
{
	a->state = AUDIT_DONE;
	keep(c->server, &a->record);
}

void audit_answer(
	struct conn *c, uint16_t type, uint16_t flags, uint64_t number, const void *message)
{
	struct audit *a = c->auditing;
	const struct proto_result *result = message;
	const struct proto_error *error = message;

	if (!a || a->number != number || a->state == AUDIT_DONE)
		return;
	if (type == PROTO_ERROR) {
		a->record.code = error->code;
		if (a->state == AUDIT_OPEN || error->code == PROTO_E_DENIED)
			complete(c, a);
		return;
	}
	if (a->state == AUDIT_LOOKS)
		return;
	if (type == PROTO_RESULT && result->code) {
		a->record.code = result->code;
	} else if (type == PROTO_RESULT) {
		a->record.count++;
		if (!a->record.made)
			a->record.made = result->id;
	} else if (type == PROTO_IMAGE) {
		a->record.made = ((const struct proto_image *)message)->id;
	}
	if (flags & PROTO_FINAL || (type == PROTO_RESULT && a->at_once))
		complete(c, a);
}

void audit_item(struct conn *c, uint16_t action, const struct proto_ref *ref, enum proto_code code)
{
	struct audit_record r = record_of(c, action);

	r.kind = ref->kind;
	r.object = ref->id;
	r.code = (uint16_t)code;
	memcpy(r.name, ref->name, sizeof(r.name));
	keep(c->server, &r);
}

void audit_abandon(struct request *r)
{
	if (r->audit.state != AUDIT_OPEN)
		return;
	r->audit.record.code = PROTO_E_CANCELLED;
	complete(r->conn, &r->audit);
}

/* One who comes in again and again only to look, as monitoring does, has one record, with the time of
 * the last: it would push out what others did. */
void audit_connect(struct conn *c)
{
	struct audit_record r = record_of(c, AUDIT_CONNECT);
	struct audit_record *last = audit_newest(c->server->audit);

	if (last && last->action == AUDIT_CONNECT && last->owner == r.owner &&
		last->address == r.address && last->count < UINT32_MAX) {
		last->wall_ns = host_wall_ns();
		last->count = MAX(last->count, 1u) + 1;
		return;
	}
	keep(c->server, &r);
}

/* ---- refused handshakes: anyone can cause them, so there is one record a second for all ---- */

static void flush_refused(struct server *s)
{
	struct audit_record r = {
		.action = AUDIT_REFUSED,
		.code = PROTO_E_DENIED,
		.address = s->handshake_refused_from,
		.count = s->handshakes_refused,
	};

	keep(s, &r);
	s->handshakes_refused = 0;
	s->handshakes_refused_due_us = s->now_us + AUDIT_REFUSED_US;
}

void audit_refused(struct conn *c)
{
	c->server->handshakes_refused++;
	c->server->handshake_refused_from = c->from;
}

void audit_poll(struct server *s)
{
	if (s->handshakes_refused && s->now_us >= s->handshakes_refused_due_us)
		flush_refused(s);
}

uint64_t audit_next_timer(const struct server *s)
{
	return s->handshakes_refused ? s->handshakes_refused_due_us : UINT64_MAX;
}

/* ---- reading ---- */

static void send_record(struct request *r, const struct audit_record *a)
{
	struct proto_audit m = {
		.seq = a->seq,
		.wall_ns = a->wall_ns,
		.address = a->address,
		.role = a->role,
		.code = a->code,
		.made = a->made,
		.count = a->count,
	};

	fmt(m.client, sizeof(m.client), "%s", owner_name(a->owner));
	audit_action_text(m.action, a->action);
	audit_object_text(m.object, a);
	conn_send(r->conn, PROTO_AUDIT, 0, r->number, &m);
}

static enum step audit_step(struct request *r)
{
	const struct audit_record *a = NULL;
	struct proto_done done = {0};

	for (int i = 0; i < RECORDS_PER_STEP; i++) {
		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		a = audit_after(r->conn->server->audit, r->list.ask.after);
		if (!a)
			break;
		send_record(r, a);
		r->list.ask.after = a->seq;
		r->list.count++;
	}
	if (a)
		return STEP_MORE;
	if (r->list.ask.all)
		return STEP_WAIT;
	done.count = r->list.count;
	done.next = r->list.ask.after;
	conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
	return STEP_OVER;
}

void audit_start(struct conn *c, uint64_t number, const struct proto_get_audit *m)
{
	struct request *r = request_new(c, number);

	if (!r)
		return;
	r->list = (struct list_state){.ask = {.after = m->after, .all = m->follow}};
	r->step = audit_step;
	if (m->follow)
		request_look(r);
	request_wake(r);
}
