#include "tests/unit/mgmt_peer.h"

static struct noise_keys keys[PEER_KEYS + 1];
static struct channel_client clients[PEER_KEYS];
static struct channel_host host;

static void random_bytes(void *buf, size_t size)
{
	static uint64_t state = 4711;

	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)test_random(&state);
}

static int64_t peer_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, c->from_size - c->from_read);

	memcpy(buf, c->from + c->from_read, n);
	c->from_read += n;
	if (c->from_read == c->from_size)
		c->from_read = c->from_size = 0;
	return n || !c->closed ? (int64_t)n : ERR_CLOSED;
}

static int64_t peer_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;

	if (c->to_read == c->to_size)
		c->to_read = c->to_size = 0;
	client_bytes(c, buf, size);
	return (int64_t)size;
}

static size_t peer_room(void *transport, size_t want)
{
	struct client *c = transport;

	(void)want;
	return WIRE_SIZE - c->to_size;
}

static void peer_close(void *transport, bool abort)
{
	(void)transport;
	(void)abort;
}

static const struct transport_ops peer_ops = {
	.read = peer_read,
	.write = peer_write,
	.room = peer_room,
	.close = peer_close,
};

void peer_world(const struct server_config *config, const uint8_t *roles, size_t count)
{
	struct server_config with_keys = *config;
	uint8_t random[NOISE_KEY_SIZE];

	CHECK(count <= PEER_KEYS);
	random_bytes(random, sizeof(random));
	noise_keys_from(&host.keys, random);
	for (size_t i = 0; i <= PEER_KEYS; i++) {
		random_bytes(random, sizeof(random));
		noise_keys_from(&keys[i], random);
	}
	for (size_t i = 0; i < count; i++) {
		memcpy(clients[i].key, keys[i].public, NOISE_KEY_SIZE);
		clients[i].role = roles[i];
	}
	host.clients = clients;
	host.client_count = count;
	host.random = random_bytes;
	with_keys.host = &host;
	world_begin(&with_keys);
}

void peer_dial(struct peer *p, size_t key, uint32_t from)
{
	uint8_t random[NOISE_KEY_SIZE];

	random_bytes(random, sizeof(random));
	client_address = from;
	p->size = p->read = 0;
	client_connect(&p->c);
	CHECK_EQ(channel_open_client(&p->sealed, &peer_ops, &p->c, &keys[key], host.keys.public,
			 random),
		OK);
}

int peer_handshake(struct peer *p)
{
	return channel_handshake(&p->sealed);
}

void peer_open(struct peer *p, size_t key, uint32_t from)
{
	const struct proto_hello hello = {
		.magic = PROTO_MAGIC,
		.version_min = PROTO_VERSION,
		.version_max = PROTO_VERSION,
		.client = "test",
	};
	struct answer a;

	peer_dial(p, key, from);
	settle();
	CHECK_EQ(peer_handshake(p), OK);
	peer_send(p, PROTO_HELLO, 0, &hello);
	settle();
	CHECK(peer_next(p, &a));
	CHECK_EQ(a.header.type, PROTO_WELCOME);
}

void peer_send(struct peer *p, uint16_t type, uint64_t request, const void *message)
{
	uint8_t frame[PROTO_FRAME_MAX];
	size_t size = proto_encode(frame, sizeof(frame), type, 0, request, message);

	CHECK(size);
	CHECK_EQ(channel_write(&p->sealed, frame, size), (int64_t)size);
}

static bool next_in_buffer(struct peer *p, struct answer *a)
{
	if (proto_header(p->buf + p->read, p->size - p->read, &a->header) < 0 ||
		a->header.length > p->size - p->read)
		return false;
	CHECK_EQ(proto_decode(&a->header, p->buf + p->read, &a->m), OK);
	p->read += a->header.length;
	return true;
}

bool peer_next(struct peer *p, struct answer *a)
{
	while (!next_in_buffer(p, a)) {
		memmove(p->buf, p->buf + p->read, p->size - p->read + p->sealed.parked);
		p->size -= p->read;
		p->read = 0;
		uint32_t parked = p->sealed.parked;
		int64_t n = channel_read(&p->sealed, p->buf + p->size, sizeof(p->buf) - p->size);

		if (n < 0 || (n == 0 && p->sealed.parked == parked))
			return false;
		p->size += (size_t)n;
	}
	return true;
}

void peer_end(struct peer *p)
{
	client_end(&p->c);
}
