/* One connection: bytes in, frames out of them, and its share of each poll. */
#include "mgmt/server_internal.h"

static void free_receive(struct conn *c)
{
	if (!c->rx)
		return;
	c->party->receive_held--;
	block_free(c->server, &c->server->receive, c->rx);
	c->rx = NULL;
}

static void free_send(struct conn *c)
{
	if (!c->tx)
		return;
	c->party->send_held--;
	block_free(c->server, &c->server->send, c->tx);
	c->tx = NULL;
}

void conn_close(struct conn *c, bool abort)
{
	struct server *s = c->server;

	LIST_FOR_EACH_SAFE(it, tmp, &c->requests)
	request_free(LIST_ENTRY(it, struct request, link));
	for (enum server_timer i = 0; i < TIMER_COUNT; i++)
		timer_stop(c, i);
	list_remove(&c->link);
	c->open = false;
	s->connections--;
	admit_leave(c);
	channel_close(&c->channel, abort);
	free_receive(c);
	free_send(c);
	list_push_back(&s->free_conns, &c->link);
}

bool conn_flush(struct conn *c)
{
	while (c->tx_head < c->tx_tail) {
		int64_t n = channel_write(&c->channel, c->tx + c->tx_head, c->tx_tail - c->tx_head);

		if (n < 0) {
			conn_close(c, true);
			return false;
		}
		if (n == 0) {
			if (list_empty(&c->timers[TIMER_SEND].link))
				timer_start(c, TIMER_SEND);
			return true;
		}
		c->tx_head += (uint32_t)n;
		timer_stop(c, TIMER_SEND);
	}
	c->tx_head = c->tx_tail = 0;
	if (c->closing) {
		conn_close(c, false);
		return false;
	}
	return true;
}

uint8_t *conn_room(struct conn *c, size_t size)
{
	if (!c->tx) {
		c->tx = admit_buffer(c, &c->server->send, &c->party->send_held);
		if (!c->tx)
			return NULL;
	}
	if (BLOCK_SIZE - c->tx_tail < size && c->tx_head) {
		memmove(c->tx, c->tx + c->tx_head, c->tx_tail - c->tx_head);
		c->tx_tail -= c->tx_head;
		c->tx_head = 0;
	}
	return BLOCK_SIZE - c->tx_tail < size ? NULL : c->tx + c->tx_tail;
}

void conn_sent(struct conn *c, size_t size)
{
	c->tx_tail += (uint32_t)size;
}

void conn_send(struct conn *c, uint16_t type, uint16_t flags, uint64_t request, const void *message)
{
	uint8_t *at = conn_room(c, PROTO_ANSWER_MAX);

	audit_answer(c, type, flags, request, message);
	if (c->entry)
		keys_note(c, type, flags, message);
	if (at)
		conn_sent(c, proto_encode(at, PROTO_ANSWER_MAX, type, flags, request, message));
}

uint32_t conn_data_room(struct conn *c)
{
	/* Keeps room for the frames that follow the data. */
	const uint32_t reserve = PROTO_HEADER_SIZE + PROTO_DATA_FIXED + PROTO_ANSWER_MAX;

	if (!conn_room(c, CONN_ROOM))
		return 0;
	return MIN(BLOCK_SIZE - c->tx_tail - reserve, (uint32_t)PROTO_DATA_MAX);
}

static void send_error(
	struct conn *c, uint64_t request, enum proto_code code, uint32_t retry_ms,
	const char *format, va_list ap)
{
	struct proto_error e = {.code = (uint16_t)code, .retry_ms = retry_ms};

	vfmt(e.text, sizeof(e.text), format, ap);
	conn_send(c, PROTO_ERROR, PROTO_FINAL, request, &e);
}

static uint32_t retry_of(enum proto_code code)
{
	return code == PROTO_E_RETRY || code == PROTO_E_NOMEM ? SERVER_RETRY_MS : 0;
}

void conn_refuse(struct conn *c, uint64_t request, uint32_t retry_ms, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(c, request, PROTO_E_RETRY, retry_ms, format, ap);
	va_end(ap);
}

void conn_error(struct conn *c, uint64_t request, enum proto_code code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(c, request, code, retry_of(code), format, ap);
	va_end(ap);
}

void conn_fatal(struct conn *c, uint64_t request, enum proto_code code, const char *format, ...)
{
	va_list ap;

	if (c->closing)
		return;
	va_start(ap, format);
	send_error(c, request, code, retry_of(code), format, ap);
	va_end(ap);
	c->server->broken++;
	c->closing = true;
	admit_drop(c);
	LIST_FOR_EACH_SAFE(it, tmp, &c->requests)
	request_free(LIST_ENTRY(it, struct request, link));
	for (enum server_timer i = 0; i < TIMER_COUNT; i++)
		timer_stop(c, i);
	timer_start(c, TIMER_SEND);
	if (!c->in_turn)
		conn_wake(c);
}

static void hello(struct conn *c, const struct proto_header *h, const uint8_t *frame)
{
	union proto_message m;

	if (h->type != PROTO_HELLO || h->request || h->flags || proto_decode(h, frame, &m) < 0) {
		conn_fatal(c, 0, PROTO_E_PROTOCOL,
			"the first frame must be the hello of Creel's management protocol");
		return;
	}
	if (m.hello.version_min > PROTO_VERSION || m.hello.version_max < PROTO_VERSION) {
		conn_fatal(c, 0, PROTO_E_VERSION,
			"this host speaks version %u of the protocol, the client %u to %u",
			PROTO_VERSION, m.hello.version_min, m.hello.version_max);
		return;
	}
	if (!admit_enter(c)) {
		conn_fatal(c, 0, PROTO_E_RETRY, "this client has as many connections as it may");
		return;
	}
	struct host_info info;
	struct proto_welcome w = {
		.magic = PROTO_MAGIC,
		.version = PROTO_VERSION,
		.frame_max = PROTO_FRAME_MAX,
		.requests_max = SERVER_REQUESTS_PER_CONN,
	};

	host_info(&info, OWNER_HOST);
	w.boot_id[0] = info.boot_id[0];
	w.boot_id[1] = info.boot_id[1];
	fmt(w.host, sizeof(w.host), "creel %s", info.version);
	fmt(w.client, sizeof(w.client), "%s", owner_name(conn_owner(c)));
	w.role = (uint8_t)conn_role(c);
	conn_send(c, PROTO_WELCOME, 0, 0, &w);
	c->greeted = true;
	audit_connect(c);
	timer_stop(c, TIMER_HELLO);
}

/* Handles whole frames at the start of rx, and says in frame_left whether one had to stay. */
static void conn_frames(struct conn *c)
{
	struct proto_header h;
	uint32_t used = 0;

	c->frame_left = false;
	for (int i = 0; !c->closing; i++) {
		int err = proto_header(c->rx + used, c->rx_size - used, &h);

		if (err == ERR_INVALID) {
			conn_fatal(c, 0, PROTO_E_PROTOCOL,
				"a frame of %u bytes with flags 0x%x is none of this protocol",
				h.length, h.flags);
			break;
		}
		if (err < 0 || h.length > c->rx_size - used)
			break;
		c->frame_left = i == SERVER_FRAMES_PER_TURN || !conn_room(c, CONN_ROOM);
		if (c->frame_left)
			break;
		if (c->greeted)
			request_frame(c, &h, c->rx + used);
		else
			hello(c, &h, c->rx + used);
		used += h.length;
	}
	c->rx_size -= used;
	memmove(c->rx, c->rx + used, c->rx_size + c->channel.parked);
	/* A frame that has begun has to end in time; one that waits for us does not. */
	if ((!c->rx_size && !c->channel.parked) || c->frame_left || c->closing)
		timer_stop(c, TIMER_FRAME);
	else if (used || list_empty(&c->timers[TIMER_FRAME].link))
		timer_start(c, TIMER_FRAME);
}

/* False: the connection has gone, and its client was told nothing. */
static bool conn_handshake(struct conn *c)
{
	int status = channel_handshake(&c->channel);

	if (status == ERR_AGAIN && channel_owes_answer(&c->channel)) {
		if (!admit_handshake(c))
			return true;
		c->channel.hold = false;
		status = channel_handshake(&c->channel);
	}
	if (status == ERR_AGAIN)
		c->readable = false;
	else if (status != OK) {
		if (status != ERR_CLOSED)
			audit_refused(c);
		conn_close(c, true);
	}
	return status == OK || status == ERR_AGAIN;
}

/* Reads once, and handles a bounded number of frames. False: the connection has gone. */
static bool conn_receive(struct conn *c)
{
	if (c->closing || (!c->readable && !c->frame_left))
		return true;
	if (!channel_ready(&c->channel)) {
		if (!conn_handshake(c))
			return false;
		if (!channel_ready(&c->channel))
			return true;
	}
	if (!c->rx)
		c->rx = admit_buffer(c, &c->server->receive, &c->party->receive_held);
	if (!c->rx)
		return true;
	if (c->readable && c->rx_size + c->channel.parked < RX_SIZE) {
		int64_t n = channel_read(&c->channel, c->rx + c->rx_size, RX_SIZE - c->rx_size);

		if (n < 0) {
			conn_close(c, true);
			return false;
		}
		/* What came may have been an empty message, and more may follow it. */
		c->readable = !c->channel.drained;
		c->rx_size += (uint32_t)n;
		if (n)
			c->active_us = c->server->now_us;
	}
	conn_frames(c);
	return true;
}

void conn_trim(struct conn *c)
{
	if (!c->rx_size && !c->channel.parked)
		free_receive(c);
	if (c->tx_head == c->tx_tail)
		free_send(c);
}

static bool conn_starved(const struct conn *c)
{
	const struct server *s = c->server;
	const struct party *p = c->party;

	return (!c->tx && !admit_has_buffer(c, &s->send, p->send_held)) ||
	       (!c->rx && !admit_has_buffer(c, &s->receive, p->receive_held));
}

/* False: the connection has gone. */
static bool conn_serve(struct conn *c)
{
	if (!conn_flush(c) || !conn_receive(c))
		return false;
	admit_work(c);
	if (!conn_flush(c))
		return false;
	conn_trim(c);
	return true;
}

/* Work that is not in line: for want of a buffer, or of room to answer. */
static bool conn_held_up(const struct conn *c)
{
	return list_empty(&c->work) &&
	       (!list_empty(&c->ready_requests) || !list_empty(&c->tickets));
}

bool conn_turn(struct conn *c)
{
	c->in_turn = true;
	bool open = conn_serve(c);

	c->in_turn = false;
	if (!open || c->closing || !list_empty(&c->link))
		return false;
	if (!c->frame_left && !c->readable && !conn_held_up(c))
		return false;
	if (conn_starved(c)) {
		list_remove(&c->link);
		list_push_back(&c->server->starved, &c->link);
		return false;
	}
	/* Without room to answer, the transport says when to go on. */
	return conn_room(c, CONN_ROOM) != NULL;
}
