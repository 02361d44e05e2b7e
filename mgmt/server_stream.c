/* Requests that carry a guest's streams, or wait for it to stop. */
#include "mgmt/server_internal.h"

static enum step stream_step(struct request *r);

bool request_is_stream(const struct request *r)
{
	return r->step == stream_step;
}

static enum guest_stream output_stream(int i)
{
	return i ? STREAM_ERR : STREAM_OUT;
}

static void stream_release(struct request *r)
{
	struct stream_state *t = &r->stream;

	for (int i = 0; i < 2; i++) {
		if (t->output[i].slot >= 0)
			guest_reader_close(r->guest, output_stream(i), t->output[i].slot);
	}
	if (t->keeper >= 0)
		guest_reader_close(r->guest, STREAM_ERR, t->keeper);
	if (t->close_input)
		guest_input_end(r->guest);
	block_free(r->conn->server, &r->conn->server->input, t->block);
}

int stream_open(
	struct request *r, uint64_t guest, uint8_t flags, uint32_t credit, const uint64_t from[2])
{
	const uint8_t wanted[2] = {PROTO_ATTACH_OUT, PROTO_ATTACH_ERR};
	struct stream_state *t = &r->stream;
	int err = OK;

	*t = (struct stream_state){.follow = flags & PROTO_ATTACH_FOLLOW, .keeper = -1};
	for (int i = 0; i < 2; i++) {
		struct output_state *o = &t->output[i];

		*o = (struct output_state){
			.wanted = flags & wanted[i],
			.slot = -1,
			.position = from[i],
			.until = t->follow ? UINT64_MAX : 0,
			.credit = credit,
		};
		if (!o->wanted || !(flags & PROTO_ATTACH_HOLD))
			continue;
		uint64_t oldest;

		o->slot = guest_reader_open(guest, output_stream(i), &oldest);
		if (o->slot < 0)
			err = o->slot;
		else
			o->position = MAX(o->position, oldest);
	}
	if (err == OK && (flags & PROTO_ATTACH_IN)) {
		t->block = pool_take(&r->conn->server->input);
		t->input = true;
		t->owed = SERVER_INPUT_CREDIT;
		if (!t->block)
			err = ERR_AGAIN;
	}
	if (t->follow && !(flags & PROTO_ATTACH_HOLD)) {
		uint64_t oldest;

		/* One that is removed when it stops must not go before we have seen how it did. */
		t->keeper = guest_reader_open(guest, STREAM_ERR, &oldest);
		if (t->keeper < 0)
			request_look(r);
	}
	r->release = stream_release;
	r->step = stream_step;
	request_watch(r, guest);
	return err;
}

void stream_error(struct conn *c, uint64_t number, int err)
{
	if (err == ERR_AGAIN)
		conn_error(c, number, PROTO_E_RETRY,
			"the host holds input for %u requests, all that it can",
			c->server->config.inputs);
	else
		request_error(c, number, err);
}

/* ---- output ---- */

enum pumped { PUMP_SENT, PUMP_EMPTY, PUMP_NO_CREDIT, PUMP_NO_ROOM, PUMP_FAILED };

static void send_end(struct request *r, int i)
{
	struct proto_data end = {
		.stream = (uint8_t)output_stream(i),
		.end = 1,
		.position = r->stream.output[i].position,
	};

	r->stream.output[i].ended = true;
	conn_send(r->conn, PROTO_DATA, 0, r->number, &end);
}

/* Sends what there is of one output stream, as far as credit and room go. */
static enum pumped pump_output(struct request *r, int i, int *err)
{
	const size_t head = PROTO_HEADER_SIZE + PROTO_DATA_FIXED;
	struct output_state *o = &r->stream.output[i];
	uint32_t room = conn_data_room(r->conn);
	bool end = false;

	if (!room)
		return PUMP_NO_ROOM;
	if (o->position >= o->until) {
		send_end(r, i);
		return PUMP_SENT;
	}
	if (!o->credit)
		return PUMP_NO_CREDIT;
	uint8_t *at = conn_room(r->conn, head + room);
	uint64_t size = MIN(o->credit, o->until - o->position);
	int64_t n = guest_output(
		r->guest, output_stream(i), &o->position, at + head, MIN(room, size), &end);

	if (n < 0) {
		*err = (int)n;
		return PUMP_FAILED;
	}
	if (n > 0) {
		conn_sent(r->conn, proto_encode_data_head(at, r->number, (uint8_t)output_stream(i),
					   false, o->position, (uint32_t)n));
		o->position += (uint64_t)n;
		o->credit -= (uint32_t)n;
		if (o->slot >= 0)
			guest_reader_done(r->guest, output_stream(i), o->slot, o->position);
		return PUMP_SENT;
	}
	if (end || !r->stream.follow) {
		send_end(r, i);
		return PUMP_SENT;
	}
	return PUMP_EMPTY;
}

/* ---- input ---- */

static void drain_input(struct request *r)
{
	struct stream_state *t = &r->stream;

	if (t->block_size) {
		int64_t n = guest_input(r->guest, t->block + t->block_head, t->block_size);

		/* A guest that takes no more, ever, must not hold its client up; one that can't
		 * now, for want of memory, has no news when it can. */
		if (n == ERR_CLOSED || n == ERR_NOENT)
			n = t->block_size;
		else if (n < 0 && n != ERR_AGAIN)
			request_look(r);
		if (n > 0) {
			t->block_head += (uint32_t)n;
			t->block_size -= (uint32_t)n;
			t->owed += (uint32_t)n;
		}
	}
	if (!t->block_size && t->input_end && t->close_input) {
		guest_input_end(r->guest);
		t->close_input = false;
	}
	if (t->owed >= SERVER_INPUT_CREDIT / 2 && !t->input_end) {
		struct proto_credit credit = {.stream = PROTO_STREAM_IN, .bytes = t->owed};

		t->credit += t->owed;
		t->owed = 0;
		conn_send(r->conn, PROTO_CREDIT, 0, r->number, &credit);
	}
}

void stream_input(struct request *r, const struct proto_data *m)
{
	struct stream_state *t = &r->stream;

	if (!t->input || m->stream != PROTO_STREAM_IN || t->input_end ||
		m->bytes.size > t->credit || m->position != t->input_position) {
		conn_fatal(r->conn, r->number, PROTO_E_PROTOCOL,
			"input must be asked for, in order, within its credit and before its end");
		return;
	}
	memmove(t->block, t->block + t->block_head, t->block_size);
	t->block_head = 0;
	if (m->bytes.size)
		memcpy(t->block + t->block_size, m->bytes.data, m->bytes.size);
	t->block_size += m->bytes.size;
	t->credit -= m->bytes.size;
	t->input_position += m->bytes.size;
	if (m->end) {
		t->input_end = true;
		t->close_input = true;
	}
	drain_input(r);
}

/* ---- the whole ---- */

static struct proto_status status_message(const struct guest_info *g)
{
	struct proto_status m = {
		.id = g->id,
		.state = (uint8_t)g->state,
		.stop = (uint8_t)g->stop,
		.exit_status = g->exit_status,
	};

	fmt(m.reason, sizeof(m.reason), "%s", g->reason);
	return m;
}

/* Tells of a stop, which is final, or of a pause that a limit made. */
static enum step tell_state(struct request *r, bool outputs_over)
{
	struct stream_state *t = &r->stream;
	struct guest_info info;
	int err = guest_get(r->guest, &info);

	if (err < 0) {
		request_error(r->conn, r->number, err);
		return STEP_OVER;
	}
	if (t->keeper >= 0)
		guest_reader_done(r->guest, STREAM_ERR, t->keeper, info.stream_bytes[STREAM_ERR]);
	struct proto_status m = status_message(&info);

	if (info.state == GUEST_STOPPED || (outputs_over && !t->follow)) {
		if (!outputs_over)
			return STEP_WAIT;
		conn_send(r->conn, PROTO_STATUS, PROTO_FINAL, r->number, &m);
		return STEP_OVER;
	}
	enum guest_stop pause = info.state == GUEST_PAUSED ? info.stop : STOP_NONE;

	if (pause != (enum guest_stop)t->stop_told) {
		t->stop_told = (uint8_t)pause;
		conn_send(r->conn, PROTO_STATUS, 0, r->number, &m);
	}
	return STEP_WAIT;
}

static void remove_guest(struct request *r)
{
	uint64_t guest = r->guest;

	/* Readers would keep it. */
	r->stream.close_input = false;
	stream_release(r);
	r->release = NULL;
	guest_remove(guest);
}

static enum step stream_step(struct request *r)
{
	struct stream_state *t = &r->stream;
	bool over = true, more = false;
	int err = OK;

	if (t->input)
		drain_input(r);
	for (int i = 0; i < 2; i++) {
		if (!t->output[i].wanted || t->output[i].ended)
			continue;
		switch (pump_output(r, i, &err)) {
		case PUMP_FAILED:
			request_error(r->conn, r->number, err);
			return STEP_OVER;
		case PUMP_SENT:
		case PUMP_NO_ROOM:
			more = true;
			break;
		case PUMP_EMPTY:
		case PUMP_NO_CREDIT:
			break;
		}
		over = over && t->output[i].ended;
	}
	if (more && !over)
		return STEP_MORE;
	enum step step = tell_state(r, over);

	if (step == STEP_OVER && t->remove)
		remove_guest(r);
	return step;
}

uint32_t *stream_credit(struct request *r, uint8_t stream)
{
	if (stream == PROTO_STREAM_OUT && r->stream.output[0].wanted)
		return &r->stream.output[0].credit;
	if (stream == PROTO_STREAM_ERR && r->stream.output[1].wanted)
		return &r->stream.output[1].credit;
	return NULL;
}

void attach_start(struct conn *c, uint64_t number, const struct proto_attach *m)
{
	uint64_t from[2] = {m->out_position, m->err_position};
	struct proto_result result = {0};
	struct guest_info info;
	struct request *r;
	int err;

	if (!ref_resolve(c, number, &m->guest, 1u << PROTO_KIND_GUEST, false, &result.id, NULL))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	err = guest_get(result.id, &info);
	if (m->flags & PROTO_ATTACH_NOW) {
		from[0] = info.stream_bytes[STREAM_OUT];
		from[1] = info.stream_bytes[STREAM_ERR];
	}
	if (err == OK)
		err = stream_open(r, result.id, m->flags, m->credit, from);
	for (int i = 0; i < 2 && !r->stream.follow; i++)
		r->stream.output[i].until = info.stream_bytes[output_stream(i)];
	if (err < 0) {
		stream_error(c, number, err);
		request_free(r);
		return;
	}
	conn_send(c, PROTO_RESULT, 0, number, &result);
	request_wake(r);
}

void wait_start(struct conn *c, uint64_t number, const struct proto_get *m)
{
	const uint64_t from[2] = {0, 0};
	struct request *r;
	uint64_t id;

	if (!ref_resolve(c, number, &m->ref, 1u << PROTO_KIND_GUEST, false, &id, NULL))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	/* Streams of which none is wanted: what is left is to follow the guest until it stops. */
	stream_open(r, id, PROTO_ATTACH_FOLLOW, 0, from);
	request_wake(r);
}
