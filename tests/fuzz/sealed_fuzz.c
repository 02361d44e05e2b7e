/*
 * libFuzzer over the management server as clients see it that have a good key: the input is a script of
 * what two of them send inside the seal, frames and nonsense, cut as it likes, and of time that passes.
 * The server runs on pretended guests. In the end the clients vanish, and nothing of theirs is left.
 */
#include "lib/bytes.h"
#include "mgmt/server_internal.h"
#include "tests/fake_hv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENTS  2
#define WIRE_MAX 65536
#define TURNS    40 /* polls and ticks at the end, so that what goes on for long gets far */

/* What stands before each step of the script. */
enum step_kind {
	STEP_FRAME,  /* client, type, request, length, payload: a frame with a good header */
	STEP_BYTES,  /* client, length, bytes inside the seal */
	STEP_FORGED, /* client, length, bytes outside of it */
	STEP_POLL,
	STEP_TICK, /* guests run */
	STEP_TIME, /* passes, in units of 50 ms */
	STEP_READ, /* client: it takes what was sent to it */
	STEP_AGAIN, /* client: vanishes, and comes anew */
	STEPS,
};

struct client {
	struct conn *conn;
	struct noise_session session;
	uint8_t to[WIRE_MAX];
	size_t to_size, to_read, from_size;
	bool gone, closed;
};

static struct client clients[CLIENTS];
static struct channel_client known[CLIENTS];
static struct channel_host host;
static struct server server;
static uint64_t now;
static void *arena;

static const struct server_config config = {
	.connections = 8, .requests = 32, .buffers = 6, .inputs = 4, .host = &host};

#define must(holds) must_at(holds, __LINE__)

static void must_at(bool holds, int line)
{
	if (holds)
		return;
	fprintf(stderr, "line %d: what must hold does not\n", line);
	abort();
}

static int64_t wire_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, c->to_size - c->to_read);

	must(!c->closed);
	memcpy(buf, c->to + c->to_read, n);
	c->to_read += n;
	return !n && c->gone ? ERR_CLOSED : (int64_t)n;
}

static size_t wire_room(void *transport, size_t want)
{
	struct client *c = transport;

	(void)want;
	return WIRE_MAX - c->from_size;
}

static int64_t wire_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;

	(void)buf;
	must(!c->closed && size <= wire_room(c, size));
	c->from_size += size;
	return c->gone ? ERR_CLOSED : (int64_t)size;
}

static void wire_close(void *transport, bool abort)
{
	struct client *c = transport;

	(void)abort;
	must(!c->closed);
	c->closed = true;
}

static const struct transport_ops ops = {
	.read = wire_read, .write = wire_write, .room = wire_room, .close = wire_close};

/* ---- clients ---- */

static void send_sealed(struct client *c, const uint8_t *data, size_t size)
{
	uint8_t *at = c->to + c->to_size;

	if (c->closed || size > WIRE_MAX - c->to_size - CHANNEL_OVERHEAD)
		return;
	store_le16(at, (uint16_t)(size + NOISE_TAG_SIZE));
	must(noise_seal(&c->session.send, at + CHANNEL_HEADER, data, size) == OK);
	c->to_size += CHANNEL_OVERHEAD + size;
	server_event(&server, c->conn);
}

static void say_hello(struct client *c)
{
	const struct proto_hello hello = {
		.magic = PROTO_MAGIC, .version_min = 1, .version_max = PROTO_VERSION};
	uint8_t frame[256];

	send_sealed(c, frame, proto_encode(frame, sizeof(frame), PROTO_HELLO, 0, 0, &hello));
}

/* Without the handshake, which costs a thousand times what the rest does and has a fuzzer of its own. */
static void connect_client(struct client *c)
{
	size_t i = (size_t)(c - clients);
	struct noise_cipher up = {.k = {1}}, down = {.k = {2}};

	memset(c, 0, sizeof(*c));
	if (server_accept(&server, &ops, c, (uint32_t)i, now, &c->conn) != OK)
		return;
	c->session = (struct noise_session){.send = up, .receive = down};
	c->conn->channel.session = (struct noise_session){.send = down, .receive = up};
	c->conn->channel.client = &known[i];
	c->conn->channel.state = CHANNEL_SEALED;
	say_hello(c);
}

static void vanish(struct client *c)
{
	if (c->closed)
		return;
	c->gone = true;
	server_event(&server, c->conn);
	for (int i = 0; i < TURNS && !c->closed; i++)
		server_poll(&server, now);
	/* One that waits for a buffer, which others hold, has not been looked at. */
	for (int i = 0; i < 4 && !c->closed; i++) {
		now += SERVER_UPLOAD_US;
		for (int j = 0; j < TURNS; j++)
			server_poll(&server, now);
	}
	must(c->closed);
}

/* ---- the script ---- */

struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t byte(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

static size_t take(struct input *in, size_t n, const uint8_t **at)
{
	n = MIN(n, in->size);
	*at = in->data;
	in->data += n;
	in->size -= n;
	return n;
}

static void frame_step(struct input *in, struct client *c)
{
	uint8_t frame[PROTO_HEADER_SIZE + 512];
	uint16_t type = byte(in);
	uint64_t request = byte(in) & 7;
	const uint8_t *payload;
	size_t n = take(in, byte(in) * 2u, &payload);

	store_le32(frame, (uint32_t)(PROTO_HEADER_SIZE + n));
	store_le16(frame + 4, type);
	store_le16(frame + 6, 0);
	store_le64(frame + 8, request);
	memcpy(frame + PROTO_HEADER_SIZE, payload, n);
	send_sealed(c, frame, PROTO_HEADER_SIZE + n);
}

static void forged_step(struct input *in, struct client *c)
{
	const uint8_t *bytes;
	size_t n = take(in, byte(in), &bytes);

	if (c->closed || n > WIRE_MAX - c->to_size)
		return;
	memcpy(c->to + c->to_size, bytes, n);
	c->to_size += n;
	server_event(&server, c->conn);
}

static void step(struct input *in)
{
	uint8_t head = byte(in);
	struct client *c = &clients[head / STEPS % CLIENTS];
	const uint8_t *bytes;
	size_t n;

	switch (head % STEPS) {
	case STEP_FRAME:
		frame_step(in, c);
		break;
	case STEP_BYTES:
		n = take(in, byte(in), &bytes);
		send_sealed(c, bytes, n);
		break;
	case STEP_FORGED:
		forged_step(in, c);
		break;
	case STEP_POLL:
		server_poll(&server, now);
		break;
	case STEP_TICK:
		fake_tick();
		break;
	case STEP_TIME:
		now += byte(in) * 50000u;
		break;
	case STEP_READ:
		c->from_size = 0;
		if (!c->closed)
			server_event(&server, c->conn);
		break;
	default:
		vanish(c);
		connect_client(c);
		break;
	}
}

static void must_be_idle(void)
{
	struct fake_counts counts;

	now += SERVER_KEPT_US; /* and what was kept of uploads has gone */
	server_poll(&server, now);
	fake_count(&counts);
	must(!server.kept_bytes);
	must(!counts.readers && !counts.uploads);
	must(!server.connections && !server.strangers);
	must(!server.receive.used && !server.send.used && !server.input.used);
	must(!server.args.used && !server.request_pool.used);
	must(!server.tickets.used && !server.large_tickets.used);
	must(server_next_timer(&server) == UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	size_t arena_size;

	host = (struct channel_host){.clients = known, .client_count = CLIENTS};
	for (uint8_t i = 0; i < CLIENTS; i++)
		known[i].role = (uint8_t)(4 - i);
	arena_size = server_memory(&config);
	if (!arena)
		arena = aligned_alloc(16, align_up(arena_size, 16));
	now = 1000;
	fake_reset();
	fake_guest_limit(200);
	must(server_init(&server, &config, arena, arena_size) == OK);
	for (int i = 0; i < CLIENTS; i++)
		connect_client(&clients[i]);
	server_poll(&server, now);
	while (in.size)
		step(&in);
	for (int i = 0; i < TURNS; i++) {
		fake_tick();
		server_poll(&server, now);
	}
	for (int i = 0; i < CLIENTS; i++)
		vanish(&clients[i]);
	server_stop(&server);
	must_be_idle();
	fake_reset();
	return 0;
}
