/*
 * Requests that are a session with the agent in a Linux guest: a pipe both ways, whose bytes mean
 * nothing here. All sessions of a guest go over its one port (guest-sdk/linux/agent_link.h), and so
 * share a link, which tells apart whose bytes are whose.
 *
 * What comes from the port is the guest's and may be anything. Frames that don't decode, or are of no
 * session, are dropped; a session whose agent sends more than its client has room for is ended. An agent
 * is told of its client's credit a window at a time, so that what a slow client has not taken can wait
 * aside, and those of the same guest need not.
 */
#include "mgmt/server_internal.h"

#include "guest-sdk/linux/agent_link.h"

#define FRAMES_PER_STEP 16

/* A frame on its way in or out; there is one thread, and none outlives a call. */
static uint8_t wire[AGENT_WIRE];

static enum step agent_step(struct request *r);

bool request_is_agent(const struct request *r)
{
	return r->step == agent_step;
}

static int send_frame(struct request *r, uint8_t type, const void *payload, uint32_t size)
{
	uint32_t n = agent_encode(wire, type, r->agent.session, payload, size);

	return guest_agent_send(r->guest, wire, n);
}

static int send_number(struct request *r, uint8_t type, uint32_t value)
{
	uint8_t payload[4];

	agent_store(payload, value, sizeof(payload));
	return send_frame(r, type, payload, sizeof(payload));
}

/* ---- the link of a guest ---------------------------------------------------------------------- */

static struct request *session_of(struct server *s, uint64_t guest, uint64_t session)
{
	LIST_FOR_EACH(it, &s->watchers[guest & s->watch_mask])
	{
		struct request *r = LIST_ENTRY(it, struct request, watch);

		if (r->guest == guest && request_is_agent(r) &&
			(!session || r->agent.session == session))
			return r;
	}
	return NULL;
}

/* From what is written from now on. */
static int link_open(struct server *s, uint64_t guest, struct agent_link **out)
{
	struct request *other = session_of(s, guest, 0);
	struct agent_link *l = other ? other->agent.link : pool_take(&s->links);
	struct guest_info info;

	if (!l)
		return ERR_AGAIN;
	*out = l;
	if (other) {
		l->sessions++;
		return OK;
	}
	*l = (struct agent_link){.guest = guest, .sessions = 1};
	l->slot = guest_reader_open(guest, STREAM_AGENT_OUT, &l->position);
	int err = l->slot < 0 ? l->slot : guest_get(guest, &info);

	if (err < 0) {
		if (l->slot >= 0)
			guest_reader_close(guest, STREAM_AGENT_OUT, l->slot);
		block_free(s, &s->links, l);
		return err;
	}
	l->position = MAX(l->position, info.stream_bytes[STREAM_AGENT_OUT]);
	guest_reader_done(guest, STREAM_AGENT_OUT, l->slot, l->position);
	return OK;
}

static void link_close(struct server *s, struct agent_link *l)
{
	if (--l->sessions)
		return;
	guest_reader_close(l->guest, STREAM_AGENT_OUT, l->slot);
	block_free(s, &s->links, l);
}

/* Ends a session at its next step. */
static void session_ends(struct request *r, enum agent_end end)
{
	if (r->agent.end == AGENT_GOES_ON)
		r->agent.end = (uint8_t)end;
	request_wake(r);
}

/* Sends the client up to `size` bytes of the agent's; how many, as its connection has room. */
static uint32_t give(struct request *r, const uint8_t *data, uint32_t size)
{
	const size_t head = PROTO_HEADER_SIZE + PROTO_DATA_FIXED;
	uint32_t n = MIN(size, conn_data_room(r->conn));
	uint8_t *at = n ? conn_room(r->conn, head + n) : NULL;

	if (!at)
		return 0;
	memcpy(at + head, data, n);
	conn_sent(r->conn, proto_encode_data_head(at, r->number, PROTO_STREAM_OUT, false,
				   r->agent.out_position, n));
	r->agent.out_position += n;
	if (!r->conn->in_turn)
		conn_wake(r->conn);
	return n;
}

/* What its connection has no room for waits here, so that the other sessions go on. False: no block is free. */
static bool keep_late(struct request *r, const uint8_t *data, uint32_t size)
{
	struct agent_state *t = &r->agent;

	if (!t->late)
		t->late = pool_take(&r->conn->server->late);
	if (!t->late)
		return false;
	memmove(t->late, t->late + t->late_head, t->late_size);
	t->late_head = 0;
	memcpy(t->late + t->late_size, data, size);
	t->late_size += size;
	return true;
}

static void give_late(struct request *r)
{
	struct agent_state *t = &r->agent;
	uint32_t n;

	while (t->late_size && (n = give(r, t->late + t->late_head, t->late_size))) {
		t->late_head += n;
		t->late_size -= n;
	}
	if (t->late_size)
		return;
	block_free(r->conn->server, &r->conn->server->late, t->late);
	t->late = NULL;
	t->late_head = 0;
}

/* Passes on what of the frame has not been. False: its client has to take something first. */
static bool pass_on(struct request *r, struct agent_link *l, const struct agent_frame *f)
{
	struct agent_state *t = &r->agent;

	if (t->end != AGENT_GOES_ON)
		return true;
	if (!l->passed && f->size > t->allowed) {
		session_ends(r, AGENT_BROKE_RULE);
		return true;
	}
	uint32_t left = f->size - l->passed, n = t->late_size ? 0 : give(r, f->payload + l->passed, left);

	if (n < left && keep_late(r, f->payload + l->passed + n, left - n))
		n = left;
	l->passed += n;
	t->allowed -= n;
	if (l->passed < f->size || t->late_size)
		request_wake(r);
	return l->passed == f->size;
}

/* The agent that answered is gone; the one that has been started knows of those that were not answered. */
static void agent_restarted(struct server *s, uint64_t guest)
{
	LIST_FOR_EACH(it, &s->watchers[guest & s->watch_mask])
	{
		struct request *r = LIST_ENTRY(it, struct request, watch);

		if (r->guest == guest && request_is_agent(r) && r->agent.answered)
			session_ends(r, AGENT_RESTARTED);
	}
}

/* False: it stays, for a client that has to take something first. */
static bool link_frame(struct server *s, struct agent_link *l, uint32_t size)
{
	struct agent_frame f;
	struct request *r;

	if (!agent_decode(wire, size, &f))
		return true;
	if (f.type == AGENT_HELLO && f.size == 8 && !agent_load(f.payload, 8))
		agent_restarted(s, l->guest);
	if (!f.session)
		return true;
	r = session_of(s, l->guest, f.session);
	if (!r)
		return true;
	r->agent.answered = true;
	if (f.type == AGENT_DATA && f.size)
		return pass_on(r, l, &f);
	if (f.type == AGENT_END)
		session_ends(r, AGENT_ENDED);
	return true;
}

/* Hands frames to the sessions of the guest. True: there may be more. */
static bool link_pump(struct server *s, struct agent_link *l)
{
	for (int i = 0; i < FRAMES_PER_STEP; i++) {
		bool end;
		int64_t n = guest_output(
			l->guest, STREAM_AGENT_OUT, &l->position, wire, sizeof(wire), &end);
		uint32_t size = 0;

		while (n > 0 && size < n && wire[size])
			size++;
		if (n <= 0 || (size == n && size < sizeof(wire)))
			return false;
		bool whole = size < n;

		if (whole && !l->skipping && !link_frame(s, l, size))
			return false;
		l->skipping = !whole;
		l->passed = 0;
		l->position += size + whole;
		guest_reader_done(l->guest, STREAM_AGENT_OUT, l->slot, l->position);
	}
	return true;
}

/* ---- sessions --------------------------------------------------------------------------------- */

static void agent_release(struct request *r)
{
	struct agent_state *t = &r->agent;

	/* An agent that takes nothing does not learn of it, and has nobody to tell either. */
	if (t->opened && t->end != AGENT_ENDED)
		(void)send_frame(r, AGENT_CLOSE, NULL, 0);
	link_close(r->conn->server, t->link);
	block_free(r->conn->server, &r->conn->server->input, t->block);
	block_free(r->conn->server, &r->conn->server->late, t->late);
}

/* What the client said, and the room that it has, to the agent. An error: the guest takes nothing now. */
static int send_news(struct request *r)
{
	struct agent_state *t = &r->agent;
	uint32_t under_way = t->allowed + t->late_size;
	uint32_t more = MIN(t->fresh, SERVER_AGENT_WINDOW - under_way);
	int err = OK;

	if (!t->opened || (more && under_way <= SERVER_AGENT_WINDOW / 2)) {
		err = send_number(r, t->opened ? AGENT_CREDIT : AGENT_OPEN, more);
		if (err)
			return err;
		t->opened = true;
		t->allowed += more;
		t->fresh -= more;
	}
	while (t->block_size) {
		uint32_t n = MIN(t->block_size, (uint32_t)AGENT_PAYLOAD);

		err = send_frame(r, AGENT_DATA, t->block + t->block_head, n);
		if (err)
			return err;
		t->block_head += n;
		t->block_size -= n;
		t->owed += n;
	}
	if (t->input_end && !t->end_sent) {
		err = send_frame(r, AGENT_END, NULL, 0);
		t->end_sent = !err;
	}
	return err;
}

static void give_credit(struct request *r)
{
	struct agent_state *t = &r->agent;
	struct proto_credit credit = {.stream = PROTO_STREAM_IN, .bytes = t->owed};

	if (t->owed < SERVER_INPUT_CREDIT / 2 || t->input_end)
		return;
	t->credit += t->owed;
	t->owed = 0;
	conn_send(r->conn, PROTO_CREDIT, 0, r->number, &credit);
}

static enum step tell_end(struct request *r, const struct guest_info *info)
{
	struct proto_done done = {.count = 1};

	switch ((enum agent_end)r->agent.end) {
	case AGENT_ENDED:
		conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
		break;
	case AGENT_ROLLED_BACK:
		conn_error(r->conn, r->number, PROTO_E_BUSY,
			"guest %llu was rolled back, and the command with it",
			(unsigned long long)r->guest);
		break;
	case AGENT_RESTARTED:
		conn_error(r->conn, r->number, PROTO_E_BUSY,
			"the agent in guest %llu has ended, and was started anew",
			(unsigned long long)r->guest);
		break;
	case AGENT_BROKE_RULE:
		conn_error(r->conn, r->number, PROTO_E_BUSY,
			"the agent in guest %llu sent more than it may",
			(unsigned long long)r->guest);
		break;
	case AGENT_GOES_ON:
		conn_error(r->conn, r->number, PROTO_E_BUSY, "guest %llu has stopped%s%s",
			(unsigned long long)r->guest, info->reason[0] ? ": " : "", info->reason);
		break;
	}
	return STEP_OVER;
}

static enum step agent_step(struct request *r)
{
	struct agent_state *t = &r->agent;
	struct guest_info info;
	int err = guest_get(r->guest, &info);

	if (err < 0) {
		request_error(r->conn, r->number, err);
		return STEP_OVER;
	}
	give_late(r);
	bool more = link_pump(r->conn->server, t->link);

	if (!t->late_size && (t->end != AGENT_GOES_ON || (info.state == GUEST_STOPPED && !more)))
		return tell_end(r, &info);
	if (info.state != GUEST_STOPPED) {
		err = send_news(r);
		if (err == ERR_UNSUPPORTED || err == ERR_NOENT) {
			request_error(r->conn, r->number, err);
			return STEP_OVER;
		}
		/* Without memory now, nothing tells when there is some. */
		if (err < 0 && err != ERR_AGAIN)
			request_look(r);
		give_credit(r);
	}
	return more || t->late_size ? STEP_MORE : STEP_WAIT;
}

void agent_input(struct request *r, const struct proto_data *m)
{
	struct agent_state *t = &r->agent;

	if (m->stream != PROTO_STREAM_IN || t->input_end || m->bytes.size > t->credit ||
		m->position != t->input_position) {
		conn_fatal(r->conn, r->number, PROTO_E_PROTOCOL,
			"input must be in order, within its credit and before its end");
		return;
	}
	memmove(t->block, t->block + t->block_head, t->block_size);
	t->block_head = 0;
	if (m->bytes.size)
		memcpy(t->block + t->block_size, m->bytes.data, m->bytes.size);
	t->block_size += m->bytes.size;
	t->credit -= m->bytes.size;
	t->input_position += m->bytes.size;
	t->input_end = m->end;
	request_wake(r);
}

uint32_t *agent_credit(struct request *r, uint8_t stream)
{
	return stream == PROTO_STREAM_OUT ? &r->agent.fresh : NULL;
}

void agent_rolled_back(struct server *s, uint64_t guest)
{
	LIST_FOR_EACH(it, &s->watchers[guest & s->watch_mask])
	{
		struct request *r = LIST_ENTRY(it, struct request, watch);

		if (r->guest == guest && request_is_agent(r))
			session_ends(r, AGENT_ROLLED_BACK);
	}
}

void agent_start(struct conn *c, uint64_t number, const struct proto_agent *m)
{
	struct server *s = c->server;
	struct proto_result result = {0};
	struct agent_link *link;
	struct request *r;

	if (!ref_resolve(c, number, &m->guest, 1u << PROTO_KIND_GUEST, true, &result.id, NULL))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	void *block = pool_take(&s->input);
	int err = block ? link_open(s, result.id, &link) : ERR_AGAIN;

	if (err < 0) {
		block_free(s, &s->input, block);
		stream_error(c, number, err);
		request_free(r);
		return;
	}
	r->agent = (struct agent_state){
		.link = link,
		.session = ++s->last_session,
		.block = block,
		.fresh = m->credit,
		.owed = SERVER_INPUT_CREDIT,
	};
	r->step = agent_step;
	r->release = agent_release;
	request_watch(r, result.id);
	conn_send(c, PROTO_RESULT, 0, number, &result);
	request_wake(r);
}
