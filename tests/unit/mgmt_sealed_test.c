/* The server behind sealed channels: who gets in, and what those who don't can cost it. */
#include "mgmt/audit.h"
#include "boot/config.h"
#include "mgmt/channel.h"
#include "tests/unit/mgmt_client.h"

static struct noise_keys client_keys, stranger_keys;
static struct channel_client clients[1];
static struct channel_host host;
static struct channel sealed; /* the client's end */

static void test_bytes(void *buf, size_t size)
{
	static uint64_t state = 77;

	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)test_random(&state);
}

static int64_t client_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, c->from_size - c->from_read);

	memcpy(buf, c->from + c->from_read, n);
	c->from_read += n;
	return n || !c->closed ? (int64_t)n : ERR_CLOSED;
}

static int64_t client_write(void *transport, const uint8_t *buf, size_t size)
{
	client_bytes(transport, buf, size);
	return (int64_t)size;
}

static size_t client_room(void *transport, size_t want)
{
	(void)transport;
	(void)want;
	return WIRE_SIZE / 4;
}

static void client_close(void *transport, bool abort)
{
	(void)transport;
	(void)abort;
}

static const struct transport_ops client_ops = {
	.read = client_read,
	.write = client_write,
	.room = client_room,
	.close = client_close,
};

static void sealed_world(void)
{
	struct server_config config = {
		.connections = 100, .requests = 128, .buffers = 4, .inputs = 4, .host = &host};
	uint8_t random[32];

	test_bytes(random, 32);
	noise_keys_from(&host.keys, random);
	test_bytes(random, 32);
	noise_keys_from(&client_keys, random);
	test_bytes(random, 32);
	noise_keys_from(&stranger_keys, random);
	memcpy(clients[0].key, client_keys.public, 32);
	clients[0].role = ROLE_ADMIN;
	host.clients = clients;
	host.client_count = 1;
	host.random = test_bytes;
	world_begin(&config);
}

/* Connects and sends the first message. */
static void dial(struct client *c, const struct noise_keys *keys)
{
	uint8_t random[32];

	test_bytes(random, 32);
	client_connect(c);
	CHECK_EQ(channel_open_client(&sealed, &client_ops, c, keys, host.keys.public, random), OK);
	settle();
}

static void say(uint16_t type, uint64_t request, const void *message)
{
	uint8_t frame[PROTO_FRAME_MAX];
	size_t size = proto_encode(frame, sizeof(frame), type, 0, request, message);

	CHECK_EQ(channel_write(&sealed, frame, size), (int64_t)size);
	settle();
}

/* The next frame, whole in what the server has sent. */
static uint16_t hear(void)
{
	static uint8_t buf[4 * CHANNEL_READ_MIN];
	struct proto_header h;
	int64_t n = channel_read(&sealed, buf, sizeof(buf));

	CHECK(n > 0);
	CHECK_EQ(sealed.parked, 0);
	CHECK_EQ(proto_header(buf, (size_t)n, &h), OK);
	CHECK(h.length <= (uint64_t)n);
	return h.type;
}

static const struct proto_hello hello = {
	.magic = PROTO_MAGIC,
	.version_min = PROTO_VERSION,
	.version_max = PROTO_VERSION,
	.client = "test",
};

TEST(sealed_client_is_served)
{
	struct client c;

	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	say(PROTO_HELLO, 0, &hello);
	CHECK_EQ(hear(), PROTO_WELCOME);
	for (uint64_t i = 1; i < 50; i++) {
		say(PROTO_GET_INFO, i, NULL);
		CHECK_EQ(hear(), PROTO_INFO);
	}
	CHECK_EQ(server.strangers, 0);
	client_end(&c);
	settle();
	world_end();
}

/* Messages that come byte by byte, and frames that begin in one message and end in the next. */
TEST(cuts_mean_nothing)
{
	uint8_t frames[2 * PROTO_FRAME_MAX];
	struct client c;
	size_t size;

	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	size = proto_encode(frames, sizeof(frames), PROTO_HELLO, 0, 0, &hello);
	size += proto_encode(frames + size, sizeof(frames) - size, PROTO_GET_INFO, 0, 1, NULL);
	for (size_t i = 0; i < size; i++) {
		size_t before = c.to_size, all;

		CHECK_EQ(channel_write(&sealed, frames + i, 1), 1);
		all = c.to_size;
		for (c.to_size = before; c.to_size < all; c.to_size++) {
			server_event(&server, c.conn);
			settle();
		}
	}
	server_event(&server, c.conn);
	settle();
	CHECK_EQ(hear(), PROTO_WELCOME);
	CHECK(!c.closed);
	client_end(&c);
	settle();
	world_end();
}

TEST(strangers_hear_nothing)
{
	struct client c;

	sealed_world();
	dial(&c, &stranger_keys);
	CHECK(c.closed && c.reset);
	CHECK_EQ(c.from_size, 0);
	client_end(&c);

	/* a client of the plain protocol */
	client_connect(&c);
	client_send(&c, PROTO_HELLO, 0, &hello);
	settle();
	CHECK(c.closed && c.reset);
	CHECK_EQ(c.from_size, 0);
	client_end(&c);
	settle();

	/* the first is recorded at once, and what comes within a second of that together */
	CHECK_EQ(server.audit->next, 2);
	CHECK_EQ(server_next_timer(&server), now_us + AUDIT_REFUSED_US);
	now_us += AUDIT_REFUSED_US;
	settle();
	for (uint64_t seq = 1; seq <= 2; seq++) {
		const struct audit_record *r = audit_after(server.audit, seq - 1);

		CHECK(r && r->action == AUDIT_REFUSED && r->count == 1);
		CHECK_EQ(r->address, client_address);
	}
	CHECK_EQ(server.audit->next, 3);
	world_end();
}

/* Who stops in the middle of the handshake holds no buffer, and goes in silence at the deadline. */
TEST(half_a_handshake)
{
	struct client c;

	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(c.from_size, CHANNEL_HEADER + NOISE_SECOND_SIZE);
	client_bytes(&c, "\x10", 1);
	settle();
	CHECK_EQ(server.receive.used + server.send.used, 0);
	now_us += SERVER_HELLO_US + 1;
	settle();
	CHECK(c.closed && c.reset);
	CHECK_EQ(c.from_size, CHANNEL_HEADER + NOISE_SECOND_SIZE);
	client_end(&c);
	settle();
	world_end();
}

/* A client that stops in the middle of a message has as long for it as for a frame. */
TEST(half_a_message)
{
	struct client c;

	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	say(PROTO_HELLO, 0, &hello);
	client_bytes(&c, "\x40", 1);
	settle();
	CHECK_EQ(server.receive.used, 1);
	now_us += SERVER_FRAME_US + 1;
	settle();
	CHECK(c.closed);
	CHECK_EQ(server.receive.used, 0);
	client_end(&c);
	settle();
	world_end();
}

/* Many who say nothing displace each other, and not who is inside. */
TEST(a_flood_of_strangers)
{
	static struct client flood[SERVER_STRANGERS + 20];
	struct client c;

	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	say(PROTO_HELLO, 0, &hello);
	CHECK_EQ(hear(), PROTO_WELCOME);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++) {
		client_address = (uint32_t)i;
		client_connect(&flood[i]);
		settle();
		CHECK(server.strangers <= SERVER_STRANGERS);
	}
	CHECK(flood[0].closed && flood[19].closed && !flood[20].closed);
	say(PROTO_GET_INFO, 1, NULL);
	CHECK_EQ(hear(), PROTO_INFO);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++)
		client_end(&flood[i]);
	client_end(&c);
	settle();
	world_end();
}

/* A frame that is none, inside a good seal, is answered; a bad seal is not. */
TEST(nonsense_inside_and_outside)
{
	uint8_t nonsense[64];
	struct client c;
	size_t before;

	memset(nonsense, 0xa5, sizeof(nonsense));
	sealed_world();
	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	CHECK_EQ(channel_write(&sealed, nonsense, sizeof(nonsense)), sizeof(nonsense));
	settle();
	CHECK_EQ(hear(), PROTO_ERROR);
	CHECK(c.closed);
	client_end(&c);

	dial(&c, &client_keys);
	CHECK_EQ(channel_handshake(&sealed), OK);
	say(PROTO_HELLO, 0, &hello);
	before = c.from_size;
	client_bytes(&c, "\x20\x00", 2);
	client_bytes(&c, nonsense, 32);
	settle();
	CHECK(c.closed && c.reset);
	CHECK_EQ(c.from_size, before);
	client_end(&c);
	settle();
	world_end();
}
