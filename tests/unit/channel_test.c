/* Sealed channels over pipes in memory that are slow, short, and sometimes hostile. */
#include "mgmt/channel.h"

#include "tests/unit/test.h"

#define PIPE_SIZE 65536

/* One direction: bytes from head to tail. */
struct pipe {
	uint8_t bytes[PIPE_SIZE];
	size_t head, tail;
	size_t chunk;  /* a read gives at most so many */
	size_t room;   /* so many may lie in it */
	size_t wanted; /* what its writer last wished for */
	bool closed;
};

struct end {
	struct pipe *in, *out;
	bool aborted;
};

static int64_t end_read(void *transport, uint8_t *buf, size_t size)
{
	struct pipe *p = ((struct end *)transport)->in;
	size_t n = MIN(size, p->chunk);

	n = MIN(n, p->tail - p->head);

	if (!n && p->closed)
		return ERR_CLOSED;
	memcpy(buf, p->bytes + p->head, n);
	p->head += n;
	return (int64_t)n;
}

static size_t end_room(void *transport, size_t want)
{
	struct pipe *p = ((struct end *)transport)->out;

	p->wanted = want;
	return p->room - (p->tail - p->head);
}

static int64_t end_write(void *transport, const uint8_t *buf, size_t size)
{
	struct pipe *p = ((struct end *)transport)->out;
	size_t n = MIN(size, p->room - (p->tail - p->head));

	if (p->closed)
		return ERR_CLOSED;
	if (p->head == p->tail)
		p->head = p->tail = 0;
	CHECK(p->tail + n <= PIPE_SIZE);
	memcpy(p->bytes + p->tail, buf, n);
	p->tail += n;
	return (int64_t)n;
}

static void end_close(void *transport, bool abort)
{
	((struct end *)transport)->aborted = abort;
}

static const struct transport_ops ops = {
	.read = end_read,
	.write = end_write,
	.room = end_room,
	.close = end_close,
};

static uint8_t next_random;

static void some_random(void *buf, size_t size)
{
	next_random = (uint8_t)(next_random + 8);
	memset(buf, next_random, size);
}

/* A host with three clients, and the first of them on a connection to it. */
static struct pipe to_host, to_client;
static struct end host_end, client_end;
static struct channel host_channel, client_channel;
static struct channel_host host;
static struct channel_client clients[3];
static struct noise_keys client_keys[3];

static void begin(void)
{
	uint8_t random[32];

	to_host.head = to_host.tail = to_client.head = to_client.tail = 0;
	to_host.closed = to_client.closed = false;
	to_host.chunk = to_client.chunk = to_host.room = to_client.room = PIPE_SIZE;
	host_end = (struct end){.in = &to_host, .out = &to_client};
	client_end = (struct end){.in = &to_client, .out = &to_host};
	for (uint8_t i = 0; i < 3; i++) {
		memset(random, 0x50 + 8 * i, 32);
		noise_keys_from(&client_keys[i], random);
		memcpy(clients[i].key, client_keys[i].public, 32);
		clients[i].role = (uint8_t)(i + 1);
	}
	memset(random, 0x70, 32);
	noise_keys_from(&host.keys, random);
	host.clients = clients;
	host.client_count = 3;
	host.random = some_random;
	channel_open_host(&host_channel, &ops, &host_end, &host);
}

static void dial(const struct noise_keys *keys)
{
	uint8_t random[32];

	some_random(random, 32);
	CHECK_EQ(channel_open_client(
			 &client_channel, &ops, &client_end, keys, host.keys.public, random),
		OK);
}

static void connect_both(void)
{
	int a = ERR_AGAIN, b = ERR_AGAIN;

	begin();
	dial(&client_keys[1]);
	for (int i = 0; i < 400 && (a == ERR_AGAIN || b == ERR_AGAIN); i++) {
		a = channel_handshake(&host_channel);
		b = channel_handshake(&client_channel);
	}
	CHECK_EQ(a, OK);
	CHECK_EQ(b, OK);
}

/* Sends `size` bytes with `from` and receives them with `to`, whose buffer is as small as allowed.
 */
static void carry(struct channel *from, struct channel *to, size_t size)
{
	static uint8_t text[PIPE_SIZE], buf[2 * CHANNEL_READ_MIN];
	size_t sent = 0, got = 0;

	for (size_t i = 0; i < size; i++)
		text[i] = (uint8_t)(i * 7 + size);
	while (got < size) {
		int64_t n = channel_write(from, text + sent, size - sent);

		CHECK(n >= 0);
		sent += (size_t)n;
		n = channel_read(to, buf, CHANNEL_READ_MIN);
		CHECK(n >= 0 && (size_t)n + got <= size);
		CHECK(memcmp(buf, text + got, (size_t)n) == 0);
		got += (size_t)n;
		memmove(buf, buf + n, to->parked);
	}
	CHECK_EQ(sent, size);
	CHECK_EQ(to->parked, 0);
}

TEST(client_and_host_agree)
{
	connect_both();
	CHECK(host_channel.client == &clients[1]);
	CHECK_EQ(host_channel.client->role, 2);
	for (size_t size = 1; size < 40000; size = size * 3 + 1) {
		carry(&client_channel, &host_channel, size);
		carry(&host_channel, &client_channel, size);
	}
}

TEST(slow_and_narrow_transports)
{
	for (size_t chunk = 1; chunk < 60; chunk += 7) {
		begin();
		to_host.chunk = to_client.chunk = chunk;
		to_host.room = to_client.room = 100 + chunk;
		dial(&client_keys[0]);
		for (int i = 0; i < 400; i++) {
			CHECK(channel_handshake(&host_channel) != ERR_INVALID);
			CHECK(channel_handshake(&client_channel) != ERR_INVALID);
		}
		CHECK_EQ(client_channel.state, CHANNEL_SEALED);
		CHECK_EQ(host_channel.state, CHANNEL_SEALED);
		carry(&client_channel, &host_channel, 3000);
		carry(&host_channel, &client_channel, 3000);
	}
}

TEST(no_room_is_no_error)
{
	connect_both();
	to_client.room = CHANNEL_OVERHEAD;
	CHECK_EQ(channel_write(&host_channel, (const uint8_t *)"abc", 3), 0);
	/* or nobody would say when to go on */
	CHECK_EQ(to_client.wanted, CHANNEL_OVERHEAD + 3);
	to_client.room = CHANNEL_OVERHEAD + 2;
	CHECK_EQ(channel_write(&host_channel, (const uint8_t *)"abc", 3), 2);
}

/* The host says nothing to whom it does not know, and the client's key is asked for once. */
TEST(unknown_client)
{
	struct noise_keys stranger;
	uint8_t random[32] = {0x11};

	begin();
	noise_keys_from(&stranger, random);
	dial(&stranger);
	CHECK_EQ(channel_handshake(&host_channel), ERR_PERM);
	CHECK_EQ(to_client.tail, 0);
	CHECK_EQ(channel_handshake(&host_channel), ERR_CLOSED);
	CHECK_EQ(channel_read(&host_channel, random, 32), ERR_CLOSED);
	CHECK_EQ(channel_write(&host_channel, random, 32), ERR_CLOSED);
}

TEST(wrong_host_key)
{
	begin();
	dial(&client_keys[0]);
	memset(host.keys.private, 0x33, 32);
	x25519_public(host.keys.public, host.keys.private);
	CHECK_EQ(channel_handshake(&host_channel), ERR_INVALID);
	CHECK_EQ(to_client.tail, 0);
	to_client.closed = true;
	CHECK_EQ(channel_handshake(&client_channel), ERR_CLOSED);
}

/* All that a client of another protocol, or none, may say first. */
TEST(noise_that_is_no_handshake)
{
	uint64_t seed = 5;

	for (int round = 0; round < 300; round++) {
		int status;

		begin();
		to_host.tail = test_random(&seed) % 300;
		for (size_t i = 0; i < to_host.tail; i++)
			to_host.bytes[i] = (uint8_t)test_random(&seed);
		if (round % 3 == 0) {
			to_host.bytes[0] = NOISE_FIRST_SIZE;
			to_host.bytes[1] = 0;
		}
		status = channel_handshake(&host_channel);
		CHECK(status == ERR_INVALID || (status == ERR_AGAIN && to_host.tail < 98));
		CHECK_EQ(to_client.tail, 0);
	}
}

/* Whoever replays all that a client ever sent gets a second message, and can do nothing with it. */
TEST(replayed_client)
{
	static uint8_t seen[256];
	size_t first, size;

	begin();
	dial(&client_keys[0]);
	first = to_host.tail;
	memcpy(seen, to_host.bytes, first);
	CHECK_EQ(channel_handshake(&host_channel), ERR_AGAIN);
	CHECK_EQ(channel_handshake(&client_channel), OK);
	CHECK_EQ(channel_write(&client_channel, (const uint8_t *)"kill", 4), 4);
	size = first + to_host.tail - to_host.head;
	CHECK(size <= sizeof(seen));
	memcpy(seen + first, to_host.bytes + to_host.head, size - first);
	CHECK_EQ(channel_handshake(&host_channel), OK);

	begin();
	memcpy(to_host.bytes, seen, size);
	to_host.tail = size;
	CHECK_EQ(channel_handshake(&host_channel), ERR_INVALID);
	CHECK_EQ(host_channel.state, CHANNEL_OVER);
}

TEST(every_wrong_bit_of_a_message)
{
	static uint8_t buf[CHANNEL_READ_MIN];

	for (size_t bit = 0; bit < 8 * (CHANNEL_OVERHEAD + 5); bit++) {
		int64_t n;

		connect_both();
		to_host.head = to_host.tail = 0;
		CHECK_EQ(channel_write(&client_channel, (const uint8_t *)"hello", 5), 5);
		to_host.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		n = channel_read(&host_channel, buf, sizeof(buf));
		/* a length that is too long by less than the limit waits for more */
		CHECK(n == ERR_INVALID || (n == 0 && bit < 16));
	}
}

TEST(message_lengths_at_their_limits)
{
	static uint8_t buf[CHANNEL_READ_MIN];
	static const size_t bad[] = {0, NOISE_TAG_SIZE - 1, NOISE_MESSAGE_MAX + 1, 0xffff};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		connect_both();
		to_host.bytes[to_host.tail++] = (uint8_t)bad[i];
		to_host.bytes[to_host.tail++] = (uint8_t)(bad[i] >> 8);
		CHECK_EQ(channel_read(&host_channel, buf, sizeof(buf)), ERR_INVALID);
		CHECK_EQ(channel_read(&host_channel, buf, sizeof(buf)), ERR_CLOSED);
	}
	/* the largest message of the protocol fits into the smallest buffer that is allowed */
	connect_both();
	to_host.head = to_host.tail = 0;
	to_host.bytes[0] = NOISE_MESSAGE_MAX & 0xff;
	to_host.bytes[1] = NOISE_MESSAGE_MAX >> 8;
	CHECK_EQ(
		noise_seal(&client_channel.session.send, to_host.bytes + 2, buf, NOISE_PAYLOAD_MAX),
		OK);
	to_host.tail = CHANNEL_READ_MIN;
	CHECK_EQ(channel_read(&host_channel, buf, CHANNEL_READ_MIN), NOISE_PAYLOAD_MAX);
}

TEST(nonces_that_are_used_up_end_it)
{
	static const struct noise_session none;
	static uint8_t buf[CHANNEL_READ_MIN];

	connect_both();
	client_channel.session.send.n = host_channel.session.receive.n = UINT64_MAX - 1;
	CHECK_EQ(channel_write(&client_channel, (const uint8_t *)"last", 4), 4);
	CHECK_EQ(channel_read(&host_channel, buf, sizeof(buf)), 4);
	CHECK(channel_write(&client_channel, (const uint8_t *)"more", 4) < 0);
	CHECK_EQ(channel_write(&client_channel, (const uint8_t *)"more", 4), ERR_CLOSED);
	CHECK(memcmp(&client_channel.session, &none, sizeof(none)) == 0);
	/* and nothing is taken beyond, whatever a peer would seal it with */
	memset(to_host.bytes + to_host.tail, 0, CHANNEL_OVERHEAD);
	to_host.bytes[to_host.tail] = NOISE_TAG_SIZE;
	to_host.tail += CHANNEL_OVERHEAD;
	CHECK_EQ(channel_read(&host_channel, buf, sizeof(buf)), ERR_INVALID);
	CHECK_EQ(channel_read(&host_channel, buf, sizeof(buf)), ERR_CLOSED);
}

TEST(closing_wipes_keys)
{
	static const struct noise_session none;

	connect_both();
	channel_close(&host_channel, true);
	CHECK(host_end.aborted);
	CHECK(memcmp(&host_channel.session, &none, sizeof(none)) == 0);
	CHECK_EQ(channel_write(&host_channel, (const uint8_t *)"x", 1), ERR_CLOSED);
}
