/* Requests: their table, their errors, and those that are answered at once. */
#include "mgmt/server_internal.h"

enum proto_code code_of(int err)
{
	switch (err) {
	case OK:
		return PROTO_OK;
	case ERR_INVALID:
	case ERR_RANGE:
		return PROTO_E_INVALID;
	case ERR_NOENT:
		return PROTO_E_NOENT;
	case ERR_EXIST:
		return PROTO_E_EXIST;
	case ERR_BUSY:
		return PROTO_E_BUSY;
	case ERR_NOMEM:
		return PROTO_E_NOMEM;
	case ERR_LIMIT:
		return PROTO_E_LIMIT;
	case ERR_AGAIN:
		return PROTO_E_RETRY;
	case ERR_UNSUPPORTED:
		return PROTO_E_UNSUPPORTED;
	case ERR_PERM:
		return PROTO_E_DENIED;
	case ERR_TOOBIG:
		return PROTO_E_TOOBIG;
	default:
		return PROTO_E_INTERNAL;
	}
}

const char *text_of(int err)
{
	const char *text = guest_last_error();

	return text && text[0] ? text : err_str(err);
}

void request_error(struct conn *c, uint64_t number, int err)
{
	if (uploads_give_way(c->server, err))
		conn_refuse(c, number, SERVER_RETRY_MS, "uploads that were cut off gave way: %s",
			text_of(err));
	else
		conn_error(c, number, code_of(err), "%s", text_of(err));
}

void request_done(struct conn *c, uint64_t number, int err)
{
	struct proto_done done = {.count = 1};

	if (err < 0)
		request_error(c, number, err);
	else
		conn_send(c, PROTO_DONE, PROTO_FINAL, number, &done);
}

struct request *request_new(struct conn *c, uint64_t number)
{
	struct request *r;

	if (c->request_count == SERVER_REQUESTS_PER_CONN) {
		conn_error(c, number, PROTO_E_LIMIT,
			"%u requests of this connection are in progress, which is the limit",
			SERVER_REQUESTS_PER_CONN);
		return NULL;
	}
	if (!admit_request(c)) {
		conn_error(c, number, PROTO_E_RETRY,
			"%u requests of this client are in progress, all that it may have",
			c->party->requests);
		return NULL;
	}
	r = pool_take(&c->server->request_pool);
	if (!r) {
		conn_error(c, number, PROTO_E_RETRY,
			"the host has %u requests in progress, all it holds",
			c->server->config.requests);
		return NULL;
	}
	*r = (struct request){.conn = c, .number = number};
	list_init(&r->ready);
	list_init(&r->watch);
	list_init(&r->look);
	list_push_back(&c->requests, &r->link);
	c->request_count++;
	c->party->requests++;
	return r;
}

struct request *request_find(struct conn *c, uint64_t number)
{
	LIST_FOR_EACH(it, &c->requests)
	{
		struct request *r = LIST_ENTRY(it, struct request, link);

		if (r->number == number)
			return r;
	}
	return NULL;
}

void request_free(struct request *r)
{
	audit_abandon(r);
	if (r->release)
		r->release(r);
	keys_release(r);
	list_remove(&r->link);
	list_remove(&r->ready);
	list_remove(&r->watch);
	list_remove(&r->look);
	r->conn->request_count--;
	r->conn->party->requests--;
	block_free(r->conn->server, &r->conn->server->request_pool, r);
}

static void want_turn(struct conn *c)
{
	if (!c->in_turn && list_empty(&c->link))
		conn_wake(c);
}

void request_wake(struct request *r)
{
	if (list_empty(&r->ready))
		list_push_back(&r->conn->ready_requests, &r->ready);
	want_turn(r->conn);
}

void request_supplant(struct request *r)
{
	struct conn *c = r->conn;

	if (!conn_room(c, PROTO_ANSWER_MAX)) {
		conn_close(c, true); /* it would wait for ever */
		return;
	}
	conn_error(c, r->number, PROTO_E_CANCELLED, "it was asked for anew");
	request_free(r);
	want_turn(c);
}

void request_watch(struct request *r, uint64_t guest)
{
	struct server *s = r->conn->server;

	r->guest = guest;
	list_push_back(&s->watchers[guest & s->watch_mask], &r->watch);
}

void request_look(struct request *r)
{
	if (list_empty(&r->look))
		list_push_back(&r->conn->server->looking, &r->look);
}

#define GUEST_ONLY    (1u << PROTO_KIND_GUEST)
#define SNAPSHOT_ONLY (1u << PROTO_KIND_SNAPSHOT)
#define IMAGE_ONLY    (1u << PROTO_KIND_IMAGE)

static void act(struct conn *c, uint64_t number, uint16_t type, const struct proto_act *m)
{
	unsigned kinds = type == PROTO_REMOVE_IMAGE ? IMAGE_ONLY
			 : type == PROTO_REMOVE     ? GUEST_ONLY | SNAPSHOT_ONLY
						    : GUEST_ONLY;
	enum proto_kind kind;
	uint64_t id;

	if (type == PROTO_REMOVE_IMAGE && upload_remove(c, m->ref.id)) {
		request_done(c, number, OK);
		return;
	}
	if (!ref_resolve(c, number, &m->ref, kinds, true, &id, &kind))
		return;
	request_done(c, number, act_on(c, type, kind, id));
}

static void take_snapshot(struct conn *c, uint64_t number, const struct proto_take_snapshot *m)
{
	struct proto_result result = {0};
	uint64_t id;
	int err;

	if (!pairs_right(c, number, m->labels) ||
		!ref_resolve(c, number, &m->guest, GUEST_ONLY, true, &id, NULL))
		return;
	err = guest_snapshot(id, conn_owner(c), m->name, &result.id);
	if (err == OK && m->public)
		err = thing_publish(result.id, true);
	if (err == OK && m->labels[0] && (err = thing_label(result.id, m->labels, "")) < 0)
		(void)snapshot_remove(result.id);
	if (err < 0) {
		request_error(c, number, err);
		return;
	}
	event_of_news(c->server, id, NEWS_SNAPSHOT);
	conn_send(c, PROTO_RESULT, 0, number, &result);
	request_done(c, number, OK);
}

static void rollback(struct conn *c, uint64_t number, const struct proto_rollback *m)
{
	uint64_t guest, snapshot;

	if (ref_resolve(c, number, &m->guest, GUEST_ONLY, true, &guest, NULL) &&
		ref_resolve(c, number, &m->snapshot, SNAPSHOT_ONLY, false, &snapshot, NULL)) {
		int err = guest_rollback(guest, snapshot);

		if (err == OK) {
			agent_rolled_back(c->server, guest);
			event_of(c->server, PROTO_KIND_GUEST, guest, PROTO_EVENT_ROLLED_BACK);
		}
		request_done(c, number, err);
	}
}

static void set_limit(struct conn *c, uint64_t number, const struct proto_set_limit *m)
{
	uint64_t id;
	int err;

	if (!ref_resolve(c, number, &m->guest, GUEST_ONLY, true, &id, NULL))
		return;
	err = guest_limit(id, m->max_pages, m->max_guests, m->weight);
	if (err == OK && m->timeout_ns)
		err = guest_timeout(id, m->timeout_ns, m->timeout_running);
	request_done(c, number, err);
}

/* Adds to a credit, beside which `other` is outstanding; false when the sum is above what the protocol
 * allows. */
static bool credit_add(uint32_t *credit, uint64_t other, uint32_t bytes)
{
	if (bytes + other + *credit > PROTO_CREDIT_MAX)
		return false;
	*credit += bytes;
	return true;
}

static void request_credit(struct request *r, const struct proto_credit *m)
{
	uint32_t *credit = request_is_stream(r)  ? stream_credit(r, m->stream)
			   : request_is_agent(r) ? agent_credit(r, m->stream)
						 : log_credit(r, m->stream);
	/* What its agent has been told of, and its client has not got. */
	uint64_t other = request_is_agent(r) ? r->agent.allowed + r->agent.late_size : 0;

	if (!credit)
		conn_fatal(r->conn, r->number, PROTO_E_PROTOCOL,
			"credit for stream %u, which this request does not send", m->stream);
	else if (!credit_add(credit, other, m->bytes))
		conn_fatal(r->conn, r->number, PROTO_E_PROTOCOL, "more credit than %u bytes",
			PROTO_CREDIT_MAX);
	else
		request_wake(r);
}

/* A frame that belongs to a request in progress. */
static void request_continue(struct request *r, uint16_t type, const union proto_message *m)
{
	struct conn *c = r->conn;

	switch (type) {
	case PROTO_CANCEL:
		conn_error(r->conn, r->number, PROTO_E_CANCELLED, "cancelled");
		if (request_is_put(r))
			put_abandon(r);
		else
			request_free(r);
		break;
	case PROTO_CREDIT:
		request_credit(r, &m->credit);
		break;
	case PROTO_DATA:
		if (request_is_put(r))
			put_data(r, &m->data);
		else if (request_is_stream(r))
			stream_input(r, &m->data);
		else if (request_is_agent(r))
			agent_input(r, &m->data);
		else
			conn_fatal(
				r->conn, r->number, PROTO_E_PROTOCOL, "this request takes no data");
		break;
	case PROTO_PUT_COMMIT:
		c->entry = r->entry;
		if (request_is_put(r))
			put_commit(r);
		else
			conn_fatal(
				r->conn, r->number, PROTO_E_PROTOCOL, "this request is no upload");
		c->entry = NULL;
		break;
	default:
		conn_fatal(r->conn, r->number, PROTO_E_PROTOCOL,
			"the request with this number is still in progress");
		break;
	}
}

/* A frame for a request that waits. It has no streams yet, and no credit. */
static void ticket_continue(struct conn *c, struct ticket *t, uint16_t type)
{
	if (type == PROTO_CANCEL) {
		conn_error(c, t->number, PROTO_E_CANCELLED, "cancelled");
		ticket_free(c, t);
	} else {
		conn_fatal(c, t->number, PROTO_E_PROTOCOL,
			"the request with this number waits to begin, and takes nothing yet");
	}
}

/* Frames that belong to a request, and start none. */
static bool continues(uint16_t type)
{
	return type == PROTO_DATA || type == PROTO_CREDIT || type == PROTO_CANCEL ||
	       type == PROTO_PUT_COMMIT;
}

static void dispatch(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m)
{
	/* For a request that is over, which the client didn't know when it sent this. */
	if (type == PROTO_DATA || type == PROTO_CREDIT || type == PROTO_CANCEL ||
		type == PROTO_PUT_COMMIT)
		return;
	if (type == PROTO_HELLO || type >= PROTO_WELCOME) {
		conn_fatal(c, number, PROTO_E_PROTOCOL, "%s is not for a client to send",
			proto_type_name(type));
		return;
	}
	if (!role_allows(c, number, type, m) || keys_answer(c, number, type, m))
		return;
	c->many = (type == PROTO_RUN || type == PROTO_FORK) && m->create.count > 1;
	switch (type) {
	case PROTO_GET_INFO:
		info_send(c, number);
		break;
	case PROTO_GET_METERS:
		meters_start(c, number, &m->get_meters);
		break;
	case PROTO_GET_FIGURES:
		figures_start(c, number);
		break;
	case PROTO_GET_LOG:
		log_start(c, number, &m->get_log);
		break;
	case PROTO_GET_AUDIT:
		audit_start(c, number, &m->get_audit);
		break;
	case PROTO_HOST_POWER:
		request_done(c, number,
			host_power(m->host_power.action == PROTO_POWER_REBOOT ? HOST_REBOOT
									      : HOST_POWER_OFF));
		break;
	case PROTO_PUT:
		put_start(c, number, &m->put);
		break;
	case PROTO_RUN:
	case PROTO_FORK:
		create_start(c, number, type, &m->create);
		break;
	case PROTO_REMOVE_IMAGE:
	case PROTO_PAUSE:
	case PROTO_RESUME:
	case PROTO_KILL:
	case PROTO_REMOVE:
		act(c, number, type, &m->act);
		break;
	case PROTO_TAKE_SNAPSHOT:
		take_snapshot(c, number, &m->take_snapshot);
		break;
	case PROTO_ROLLBACK:
		rollback(c, number, &m->rollback);
		break;
	case PROTO_SET_LIMIT:
		set_limit(c, number, &m->set_limit);
		break;
	case PROTO_LIST_IMAGES:
	case PROTO_LIST_GUESTS:
	case PROTO_LIST_SNAPSHOTS:
		list_start(c, number, type, &m->list);
		break;
	case PROTO_GET:
		get_send(c, number, &m->get);
		break;
	case PROTO_ATTACH:
		attach_start(c, number, &m->attach);
		break;
	case PROTO_AGENT:
		agent_start(c, number, &m->agent);
		break;
	case PROTO_WAIT:
		wait_start(c, number, &m->get);
		break;
	case PROTO_GET_EVENTS:
		events_start(c, number, &m->get_events);
		break;
	case PROTO_LABEL:
		label(c, number, &m->label);
		break;
	case PROTO_BATCH:
		batch_start(c, number, &m->batch);
		break;
	case PROTO_PUBLISH:
		publish(c, number, &m->publish);
		break;
	}
	keys_begun(c, number);
}

static enum server_work work_of(uint16_t type)
{
	switch (type) {
	case PROTO_RUN:
		return WORK_RUN;
	case PROTO_FORK:
		return WORK_FORK;
	case PROTO_TAKE_SNAPSHOT:
		return WORK_SNAPSHOT;
	case PROTO_ROLLBACK:
		return WORK_ROLLBACK;
	case PROTO_KILL:
		return WORK_KILL;
	case PROTO_LIST_GUESTS:
	case PROTO_LIST_IMAGES:
	case PROTO_LIST_SNAPSHOTS:
		return WORK_LIST;
	default:
		return WORK_OTHER;
	}
}

void request_start(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m,
	uint64_t since_us)
{
	enum server_work kind = work_of(type);
	struct audit audit;
	struct request *r;

	audit_begin(c, &audit, number, type, m);
	dispatch(c, number, type, m);
	c->auditing = NULL;
	r = request_find(c, number);
	if (r)
		r->audit = audit;
	if (r && kind != WORK_OTHER && !request_is_stream(r)) {
		/* It goes on, and tells how long it took when it is over. */
		r->kind = kind;
		r->since_us = since_us;
	} else {
		admit_latency(c->server, kind, since_us);
	}
}

void request_frame(struct conn *c, const struct proto_header *h, const uint8_t *frame)
{
	union proto_message m;
	struct request *r;
	struct ticket *t;
	int err;

	if (h->flags || !h->request) {
		conn_fatal(c, h->request, PROTO_E_PROTOCOL,
			"a request needs a number above 0 and no flags");
		return;
	}
	err = proto_decode(h, frame, &m);
	if (err == ERR_UNSUPPORTED) {
		conn_error(c, h->request, PROTO_E_UNSUPPORTED,
			"this host knows no request of type 0x%x", h->type);
		return;
	}
	if (err < 0) {
		conn_fatal(c, h->request, PROTO_E_PROTOCOL, "the payload of this %s is malformed",
			proto_type_name(h->type));
		return;
	}
	r = request_find(c, h->request);
	t = r ? NULL : admit_find(c, h->request);
	if (r) {
		c->auditing = &r->audit;
		request_continue(r, h->type, &m);
		c->auditing = NULL;
	}
	if (t)
		ticket_continue(c, t, h->type);
	else if (!r && !continues(h->type))
		admit_frame(c, h, frame, &m);
	/* else it is for a request that is over, which the client didn't know when it sent this */
}
