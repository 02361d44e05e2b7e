#include "tests/unit/mgmt_client.h"
#include "mgmt/server_internal.h"

struct server server;
uint64_t now_us;
uint32_t client_address;
static void *arena;

static int64_t wire_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, c->to_size - c->to_read);

	CHECK(!c->closed);
	if (c->chunk)
		n = MIN(n, c->chunk);
	if (!n)
		return c->gone ? ERR_CLOSED : 0;
	memcpy(buf, c->to + c->to_read, n);
	c->to_read += n;
	return (int64_t)n;
}

static int64_t wire_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, c->from_limit - c->from_size);

	CHECK(!c->closed && size);
	if (c->gone)
		return ERR_CLOSED;
	if (c->chunk)
		n = MIN(n, c->chunk);
	memcpy(c->from + c->from_size, buf, n);
	c->from_size += n;
	return (int64_t)n;
}

/* Those who ask leave c->chunk alone: what there is room for is taken. */
static size_t wire_room(void *transport, size_t want)
{
	struct client *c = transport;

	(void)want;
	return c->from_limit - c->from_size;
}

static void wire_close(void *transport, bool abort)
{
	struct client *c = transport;

	CHECK(!c->closed);
	c->closed = true;
	c->reset = abort;
}

const struct transport_ops wire_ops = {
	.read = wire_read,
	.write = wire_write,
	.room = wire_room,
	.close = wire_close,
};

void world_begin(const struct server_config *config)
{
	static const struct channel_client admin = {.role = ROLE_ADMIN, .owner = OWNER_HOST};
	static const struct channel_host host = {.clients = &admin, .client_count = 1};
	static const struct server_config small = {
		.connections = 16, .requests = 144, .buffers = 6, .inputs = 4};
	struct server_config with_keys = config ? *config : small;
	size_t size;

	if (!with_keys.host)
		with_keys.host = &host;
	config = &with_keys;
	size = server_memory(config);

	fake_reset();
	now_us = 1000;
	arena = aligned_alloc(16, align_up(size, 16));
	CHECK_EQ(server_init(&server, config, arena, size - 1), ERR_NOMEM);
	CHECK_EQ(server_init(&server, config, arena, size), OK);
}

void world_check_idle(void)
{
	struct fake_counts counts;

	/* what is left to tell of refused handshakes; and what was kept of uploads goes by itself */
	now_us += SERVER_KEPT_US;
	poll_once();
	CHECK_EQ(server.kept_bytes, 0);

	fake_count(&counts);
	CHECK_EQ(counts.readers, 0);
	CHECK_EQ(counts.uploads, 0);
	CHECK_EQ(server.connections, 0);
	CHECK_EQ(server.receive.used, 0);
	CHECK_EQ(server.send.used, 0);
	CHECK_EQ(server.input.used, 0);
	CHECK_EQ(server.args.used, 0);
	CHECK_EQ(server.late.used, 0);
	CHECK_EQ(server.request_pool.used, 0);
	CHECK_EQ(server_next_timer(&server), UINT64_MAX);
	for (uint64_t i = 0; i <= server.watch_mask; i++)
		CHECK(list_empty(&server.watchers[i]));
}

void world_end(void)
{
	server_stop(&server);
	world_check_idle();
	fake_reset();
	free(arena);
}

bool poll_once(void)
{
	return server_poll(&server, now_us);
}

void settle(void)
{
	for (int quiet = 0, i = 0; quiet < 3; i++) {
		bool busy = fake_tick();

		busy = poll_once() || busy;
		quiet = busy ? 0 : quiet + 1;
		/* a guest that spins is busy for ever */
		if (i == 20000)
			break;
	}
}

int client_try(struct client *c)
{
	*c = (struct client){
		.to = malloc(WIRE_SIZE),
		.from = malloc(WIRE_SIZE),
		.from_limit = WIRE_SIZE,
	};
	return server_accept(&server, &wire_ops, c, client_address, now_us, &c->conn);
}

void client_connect(struct client *c)
{
	CHECK_EQ(client_try(c), OK);
}

static void say_hello(struct client *c)
{
	const struct proto_hello hello = {
		.magic = PROTO_MAGIC,
		.version_min = 1,
		.version_max = 3,
		.client = "test",
	};
	struct answer a;

	client_send(c, PROTO_HELLO, 0, &hello);
	settle();
	client_expect(c, PROTO_WELCOME, 0, &a);
	CHECK_EQ(a.m.welcome.version, PROTO_VERSION);
	CHECK_EQ(a.m.welcome.frame_max, PROTO_FRAME_MAX);
}

void client_open(struct client *c)
{
	client_connect(c);
	say_hello(c);
}

void client_open_as(struct client *c, enum config_role role, const char *name)
{
	client_open(c);
	/* as the handshake would, once it knows the client's key */
	c->identity = (struct channel_client){.role = (uint8_t)role, .owner = fake_owner(name)};
	c->conn->channel.client = &c->identity;
}

void client_end(struct client *c)
{
	if (!c->closed) {
		c->gone = true;
		server_event(&server, c->conn);
		settle();
		CHECK(c->closed);
	}
	free(c->to);
	free(c->from);
}

void client_bytes(struct client *c, const void *data, size_t size)
{
	CHECK(size <= WIRE_SIZE - c->to_size);
	memcpy(c->to + c->to_size, data, size);
	c->to_size += size;
	if (!c->closed)
		server_event(&server, c->conn);
}

void client_send(struct client *c, uint16_t type, uint64_t request, const void *message)
{
	uint8_t frame[PROTO_FRAME_MAX];
	size_t n = proto_encode(frame, sizeof(frame), type, 0, request, message);

	CHECK(n);
	client_bytes(c, frame, n);
}

bool client_next(struct client *c, struct answer *a)
{
	size_t left = c->from_size - c->from_read;
	int err = proto_header(c->from + c->from_read, left, &a->header);

	CHECK(err != ERR_INVALID);
	if (err < 0 || a->header.length > left)
		return false;
	CHECK_EQ(proto_decode(&a->header, c->from + c->from_read, &a->m), OK);
	c->from_read += a->header.length;
	return true;
}

void client_expect(struct client *c, uint16_t type, uint64_t request, struct answer *a)
{
	if (!client_next(c, a)) {
		fprintf(stderr, "no answer, but a %s was expected\n", proto_type_name(type));
		CHECK(false);
	}
	if (a->header.type != type) {
		fprintf(stderr, "a %s, but a %s was expected: %s\n",
			proto_type_name(a->header.type), proto_type_name(type),
			a->header.type == PROTO_ERROR ? a->m.error.text : "");
		CHECK(false);
	}
	CHECK_EQ(a->header.request, request);
}

void client_expect_error(struct client *c, uint64_t request, enum proto_code code)
{
	struct answer a;

	client_expect(c, PROTO_ERROR, request, &a);
	CHECK_EQ(a.m.error.code, code);
	CHECK_EQ(a.header.flags, PROTO_FINAL);
	CHECK(strlen(a.m.error.text) > 5);
}

void client_do(struct client *c, uint16_t type, uint64_t request, const void *message)
{
	struct answer a;

	client_send(c, type, request, message);
	settle();
	client_expect(c, PROTO_DONE, request, &a);
	CHECK_EQ(a.header.flags, PROTO_FINAL);
}

void put_announce(struct proto_put *put, const void *bytes, size_t size)
{
	struct blake2s s;

	put->size = size;
	blake2s_init(&s, sizeof(put->hash), NULL, 0);
	blake2s_update(&s, bytes, size);
	blake2s_final(&s, put->hash);
}

void put_script(struct client *c, uint64_t request, const char *name, const char *script)
{
	struct proto_put put = {.size = 0};
	struct proto_data data = {
		.stream = PROTO_STREAM_UPLOAD,
		.bytes = {(const uint8_t *)script, (uint32_t)strlen(script)},
	};
	struct answer a;

	put_announce(&put, script, strlen(script));
	snprintf(put.name, sizeof(put.name), "%s", name);
	client_send(c, PROTO_PUT, request, &put);
	client_send(c, PROTO_DATA, request, &data);
	client_send(c, PROTO_PUT_COMMIT, request, NULL);
	settle();
	client_expect(c, PROTO_UPLOAD, request, &a);
	client_expect(c, PROTO_IMAGE, request, &a);
	CHECK_STR(a.m.image.name, name);
}

struct proto_create create_of(const char *source)
{
	struct proto_create m = {.count = 1};

	snprintf(m.source.name, sizeof(m.source.name), "%s", source);
	return m;
}
