/*
 * The management server: clients that break rules, stall, vanish, or are many. Each costs at most
 * its own connection, and leaves nothing behind.
 */
#include "lib/bytes.h"
#include "tests/unit/mgmt_client.h"

static const struct proto_hello hello = {.magic = PROTO_MAGIC, .version_min = 1, .version_max = 1};

/* The connection was told why and closed. */
static void expect_fatal(struct client *c, enum proto_code code)
{
	struct answer a;

	settle();
	do
		CHECK(client_next(c, &a));
	while (a.header.type != PROTO_ERROR);
	CHECK_EQ(a.m.error.code, code);
	CHECK(strlen(a.m.error.text) > 5);
	CHECK(c->closed && !c->reset);
	client_end(c);
	world_check_idle();
}

TEST(first_frames_that_are_no_hello)
{
	static const char web[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct proto_hello other = hello;
	struct client c;

	world_begin(NULL);
	client_connect(&c);
	client_bytes(&c, web, sizeof(web));
	expect_fatal(&c, PROTO_E_PROTOCOL);
	client_connect(&c);
	client_send(&c, PROTO_GET_INFO, 1, NULL);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	client_connect(&c);
	client_send(&c, PROTO_HELLO, 1, &hello);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	other.version_min = 2;
	other.version_max = 9;
	client_connect(&c);
	client_send(&c, PROTO_HELLO, 0, &other);
	expect_fatal(&c, PROTO_E_VERSION);
	other = hello;
	other.magic--;
	client_connect(&c);
	client_send(&c, PROTO_HELLO, 0, &other);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	world_end();
}

static void raw_frame(
	struct client *c, uint32_t length, uint16_t type, uint16_t flags, uint64_t request)
{
	uint8_t frame[64] = {0};

	store_le32(frame, length);
	store_le16(frame + 4, type);
	store_le16(frame + 6, flags);
	store_le64(frame + 8, request);
	client_bytes(c, frame, length < PROTO_HEADER_SIZE ? PROTO_HEADER_SIZE : MIN(length, 64u));
}

TEST(frames_that_break_the_rules)
{
	static const struct {
		uint32_t length;
		uint16_t type, flags;
		uint64_t request;
	} bad[] = {
		{15, PROTO_GET_INFO, 0, 1}, {PROTO_FRAME_MAX + 1, PROTO_GET_INFO, 0, 1},
		{16, PROTO_GET_INFO, 2, 1}, {16, PROTO_GET_INFO, PROTO_FINAL, 1},
		{16, PROTO_GET_INFO, 0, 0}, {17, PROTO_GET_INFO, 0, 1}, /* long */
		{16, PROTO_KILL, 0, 1},                                 /* short */
		{40, PROTO_RUN, 0, 1}, {16 + 20, PROTO_DONE, 0, 1},
		{16 + 16, PROTO_DONE, 0, 1}, /* well-formed, but not for a client */
	};
	struct client c;
	struct answer a;

	world_begin(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		client_open(&c);
		raw_frame(&c, bad[i].length, bad[i].type, bad[i].flags, bad[i].request);
		expect_fatal(&c, PROTO_E_PROTOCOL);
	}
	/* a request of a later version is refused alone */
	client_open(&c);
	raw_frame(&c, 32, 0x6f, 0, 1);
	client_send(&c, PROTO_GET_INFO, 2, NULL);
	settle();
	client_expect_error(&c, 1, PROTO_E_UNSUPPORTED);
	client_expect(&c, PROTO_INFO, 2, &a);
	client_send(&c, PROTO_HELLO, 0, &hello);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	world_end();
}

/* A guest that waits for input, attached to by request 2. */
static void open_attached(struct client *c)
{
	struct proto_create run = create_of("cat");
	struct answer a;

	client_open(c);
	put_script(c, 1, "cat", "cat\n");
	run.attach = PROTO_ATTACH_IN | PROTO_ATTACH_OUT;
	run.flags = PROTO_CREATE_INPUT;
	run.credit = 1000;
	client_send(c, PROTO_RUN, 2, &run);
	settle();
	client_expect(c, PROTO_RESULT, 2, &a);
	client_expect(c, PROTO_CREDIT, 2, &a);
	CHECK_EQ(a.m.credit.bytes, SERVER_INPUT_CREDIT);
}

TEST(streams_and_credit_that_break_the_rules)
{
	static uint8_t bytes[SERVER_INPUT_CREDIT + 1];
	const struct proto_blob all = {bytes, SERVER_INPUT_CREDIT + 1}, some = {bytes, 5};
	const struct proto_data bad[] = {
		{PROTO_STREAM_IN, 0, 0, all},   /* above the credit */
		{PROTO_STREAM_IN, 0, 1, some},  /* not where the stream is */
		{PROTO_STREAM_OUT, 0, 0, some}, /* the wrong way */
		{PROTO_STREAM_UPLOAD, 0, 0, some},
	};
	const struct proto_credit credits[] = {
		{PROTO_STREAM_OUT,
			PROTO_CREDIT_MAX}, /* together with the first 1000 above the limit */
		{PROTO_STREAM_IN, 1},
		{PROTO_STREAM_ERR, 1}, /* not asked for */
		{PROTO_STREAM_LOG, 1},
	};
	struct proto_data end = {.stream = PROTO_STREAM_IN, .end = 1};
	struct client c;

	world_begin(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		open_attached(&c);
		client_send(&c, PROTO_DATA, 2, &bad[i]);
		expect_fatal(&c, PROTO_E_PROTOCOL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(credits); i++) {
		open_attached(&c);
		client_send(&c, PROTO_CREDIT, 2, &credits[i]);
		expect_fatal(&c, PROTO_E_PROTOCOL);
	}
	open_attached(&c);
	client_send(&c, PROTO_DATA, 2, &end);
	client_send(&c, PROTO_DATA, 2, &end);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	open_attached(&c);
	client_send(&c, PROTO_PUT_COMMIT, 2, NULL);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	open_attached(&c);
	client_send(&c, PROTO_GET_INFO, 2, NULL); /* a number that is in use */
	expect_fatal(&c, PROTO_E_PROTOCOL);
	world_end();
}

/* Also of what the agent has been told already. */
TEST(credit_for_an_agent_has_an_end)
{
	struct proto_create run = create_of("linux");
	struct proto_agent agent = {.credit = PROTO_CREDIT_MAX - 10};
	struct proto_credit credit = {.stream = PROTO_STREAM_OUT, .bytes = 10};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "linux", "agent\n");
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	agent.guest.id = a.m.result.id;
	client_expect(&c, PROTO_DONE, 2, &a);
	client_send(&c, PROTO_AGENT, 3, &agent);
	settle();
	client_expect(&c, PROTO_RESULT, 3, &a);
	client_expect(&c, PROTO_CREDIT, 3, &a);
	client_send(&c, PROTO_CREDIT, 3, &credit);
	settle();
	CHECK(!c.closed);
	credit.bytes = 1;
	client_send(&c, PROTO_CREDIT, 3, &credit);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	world_end();
}

TEST(uploads_that_break_the_rules)
{
	struct proto_put put = {.name = "x", .size = 10};
	struct proto_data data = {
		.stream = PROTO_STREAM_UPLOAD, .bytes = {(const uint8_t *)"12345678901", 11}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	client_send(&c, PROTO_PUT, 1, &put);
	client_send(&c, PROTO_DATA, 1, &data);
	client_send(&c, PROTO_DATA, 1, &data); /* for a request that is over */
	client_send(&c, PROTO_PUT_COMMIT, 1, NULL);
	settle();
	client_expect(&c, PROTO_UPLOAD, 1, &a);
	client_expect_error(&c, 1, PROTO_E_TOOBIG);
	CHECK(!client_next(&c, &a));
	client_send(&c, PROTO_PUT, 2, &put);
	client_send(&c, PROTO_PUT_COMMIT, 2, NULL);
	settle();
	client_expect(&c, PROTO_UPLOAD, 2, &a);
	client_expect_error(&c, 2, PROTO_E_INVALID);
	for (uint64_t i = 10; i < 10 + SERVER_UPLOADS_PER_CONN; i++) {
		client_send(&c, PROTO_PUT, i, &put);
		settle();
		client_expect(&c, PROTO_UPLOAD, i, &a);
	}
	client_send(&c, PROTO_PUT, 20, &put);
	settle();
	client_expect_error(&c, 20, PROTO_E_LIMIT);
	put.size = UINT64_MAX;
	client_send(&c, PROTO_CANCEL, 10, NULL);
	client_send(&c, PROTO_PUT, 21, &put);
	settle();
	client_expect_error(&c, 10, PROTO_E_CANCELLED);
	client_expect_error(&c, 21, PROTO_E_TOOBIG);
	/* an image that is none */
	data.bytes = (struct proto_blob){(const uint8_t *)"a\0b\0", 4};
	put_announce(&put, data.bytes.data, 4);
	client_send(&c, PROTO_PUT, 22, &put);
	client_send(&c, PROTO_DATA, 22, &data);
	client_send(&c, PROTO_PUT_COMMIT, 22, NULL);
	settle();
	client_expect(&c, PROTO_UPLOAD, 22, &a);
	client_expect_error(&c, 22, PROTO_E_INVALID);
	data.position = 3;
	client_send(&c, PROTO_DATA, 11, &data);
	expect_fatal(&c, PROTO_E_PROTOCOL);
	world_end();
}

TEST(a_slow_client_loses_its_connection)
{
	static const uint8_t half[10] = {32};
	struct proto_put put = {.name = "x", .size = 10};
	struct client c;
	struct answer a;

	world_begin(NULL);
	/* no hello, also when it trickles */
	client_connect(&c);
	settle();
	CHECK_EQ(server_next_timer(&server), now_us + SERVER_HELLO_US);
	for (int i = 0; i < 5; i++) {
		now_us += SERVER_HELLO_US / 5 - 1;
		client_bytes(&c, "\x20", 1);
		poll_once();
		CHECK(!c.closed);
	}
	now_us += 5;
	expect_fatal(&c, PROTO_E_TIMEOUT);

	/* half a frame, a byte now and then */
	client_open(&c);
	for (int i = 0; i < 10; i++) {
		client_bytes(&c, &half[i], 1);
		poll_once();
		now_us += SERVER_FRAME_US / 10;
	}
	expect_fatal(&c, PROTO_E_TIMEOUT);

	/* an upload that stands still */
	client_open(&c);
	client_send(&c, PROTO_PUT, 1, &put);
	settle();
	now_us += SERVER_UPLOAD_US;
	expect_fatal(&c, PROTO_E_TIMEOUT);

	/* but one that only waits is left alone */
	client_open(&c);
	client_send(&c, PROTO_GET_INFO, 1, NULL);
	settle();
	client_expect(&c, PROTO_INFO, 1, &a);
	CHECK_EQ(server_next_timer(&server), UINT64_MAX);
	now_us += 1000ull * SERVER_IDLE_US;
	settle();
	CHECK(!c.closed);
	client_end(&c);
	world_end();
}

TEST(a_client_that_does_not_read_stops_only_itself)
{
	struct proto_create run = create_of("many");
	struct proto_list list = {.all = 1};
	struct client lazy, c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "many", "wait\n");
	run.count = 500;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	while (client_next(&c, &a))
		;
	client_open(&lazy);
	lazy.from_limit = lazy.from_size + 100;
	for (uint64_t i = 1; i < 20; i++)
		client_send(&lazy, PROTO_LIST_GUESTS, i, &list);
	settle();
	/* it holds one buffer each way, and asks for no polls */
	CHECK(!poll_once());
	CHECK(server.send.used == 1 && server.receive.used <= 1);
	now_us += SERVER_SEND_US - 1;
	client_send(&c, PROTO_LIST_GUESTS, 3, &list);
	settle();
	for (int i = 0; i < 500; i++)
		client_expect(&c, PROTO_GUEST, 3, &a);
	client_expect(&c, PROTO_DONE, 3, &a);
	CHECK(!lazy.closed);
	now_us += 1;
	settle();
	CHECK(lazy.closed && lazy.reset);
	client_end(&lazy);
	client_end(&c);
	world_end();
}

TEST(a_client_that_reads_late_gets_everything)
{
	struct proto_create run = create_of("many");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "many", "wait\n");
	run.count = 2000;
	client_send(&c, PROTO_RUN, 2, &run);
	for (uint32_t seen = 0, done = 0; !done;) {
		c.from_limit = c.from_size + 700;
		server_event(&server, c.conn);
		settle();
		while (client_next(&c, &a)) {
			if (a.header.type == PROTO_RESULT)
				CHECK_EQ(a.m.result.index, seen++);
			else
				done = 1;
		}
		CHECK(!done || seen == 2000);
	}
	CHECK_EQ(a.header.type, PROTO_DONE);
	client_end(&c);
	world_end();
}

TEST(limits_of_requests_and_connections)
{
	struct proto_get wait = {.ref = {.name = "w", .kind = PROTO_KIND_GUEST}};
	struct client c[8], strangers[8], more;
	struct answer a;

	world_begin(NULL);
	client_open(&c[0]);
	struct proto_create run = create_of("w");

	put_script(&c[0], 1, "w", "wait\n");
	snprintf(run.name, sizeof(run.name), "w");
	client_send(&c[0], PROTO_RUN, 2, &run);
	settle();
	while (client_next(&c[0], &a))
		;
	for (uint64_t i = 0; i < SERVER_REQUESTS_PER_CONN; i++)
		client_send(&c[0], PROTO_WAIT, 100 + i, &wait);
	client_send(&c[0], PROTO_WAIT, 99, &wait);
	settle();
	client_expect_error(&c[0], 99, PROTO_E_LIMIT);
	client_open(&c[1]);
	for (uint64_t i = 0; i < 64; i++)
		client_send(&c[1], PROTO_WAIT, 100 + i, &wait);
	client_open(&c[2]);
	client_send(&c[2], PROTO_WAIT, 1, &wait);
	settle();
	client_expect(&c[2], PROTO_ERROR, 1, &a);
	CHECK_EQ(a.m.error.code, PROTO_E_RETRY);
	CHECK_EQ(a.m.error.retry_ms, SERVER_RETRY_MS);
	for (int i = 3; i < 8; i++)
		client_open(&c[i]);
	for (int i = 0; i < 8; i++)
		client_connect(&strangers[i]);
	/* all are taken, and none has been idle for long */
	CHECK_EQ(client_try(&more), ERR_LIMIT);
	CHECK(more.closed && more.reset);
	client_end(&more);
	now_us += SERVER_IDLE_US;
	client_send(&c[2], PROTO_GET_INFO, 2, NULL);
	settle();
	for (int i = 0; i < 8; i++) {
		client_end(&strangers[i]);
		client_connect(&strangers[i]);
	}
	client_open(&more);
	/* the one that was idle longest made room */
	CHECK(c[3].closed && !c[2].closed && !c[4].closed && !c[0].closed);
	client_end(&more);
	for (int i = 0; i < 8; i++) {
		client_end(&c[i]);
		client_end(&strangers[i]);
	}
	world_end();
}

TEST(readers_and_inputs_run_out)
{
	struct proto_attach attach = {
		.guest = {.name = "w", .kind = PROTO_KIND_GUEST},
		.flags = PROTO_ATTACH_OUT | PROTO_ATTACH_HOLD | PROTO_ATTACH_FOLLOW,
	};
	struct proto_create run = create_of("w");
	struct fake_counts before, after;
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "w", "wait\n");
	snprintf(run.name, sizeof(run.name), "w");
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	while (client_next(&c, &a))
		;
	for (uint64_t i = 0; i < STREAM_MAX_READERS; i++) {
		client_send(&c, PROTO_ATTACH, 10 + i, &attach);
		settle();
		client_expect(&c, PROTO_RESULT, 10 + i, &a);
	}
	client_send(&c, PROTO_ATTACH, 30, &attach);
	settle();
	client_expect_error(&c, 30, PROTO_E_LIMIT);
	/* a guest that can't be attached to as asked is not left behind */
	run.name[0] = 0;
	run.attach = PROTO_ATTACH_IN;
	for (uint64_t i = 0; i < 4; i++)
		client_send(&c, PROTO_RUN, 40 + i, &run);
	settle();
	while (client_next(&c, &a))
		CHECK(a.header.type != PROTO_ERROR);
	fake_count(&before);
	client_send(&c, PROTO_RUN, 50, &run);
	settle();
	client_expect_error(&c, 50, PROTO_E_RETRY);
	fake_count(&after);
	CHECK_EQ(before.guests, after.guests);
	client_end(&c);
	world_end();
}

TEST(few_buffers_serve_many_connections)
{
	const struct server_config tight = {
		.connections = 40, .requests = 64, .buffers = 2, .inputs = 1};
	struct proto_create run = create_of("prog");
	struct client c[32];
	struct answer a;

	world_begin(&tight);
	for (int i = 0; i < 32; i++)
		client_open(&c[i]);
	put_script(&c[0], 1, "prog", "flood 3000\n");
	run.attach = PROTO_ATTACH_OUT;
	run.credit = 10000;
	for (int i = 0; i < 32; i++)
		client_send(&c[i], PROTO_RUN, 2, &run);
	settle();
	for (int i = 0; i < 32; i++) {
		do
			CHECK(client_next(&c[i], &a));
		while (!(a.header.flags & PROTO_FINAL));
		CHECK_EQ(a.header.type, PROTO_STATUS);
		client_end(&c[i]);
	}
	world_end();
}

/* A client's whole life as bytes, for the tests that cut it short or spoil it. */
static size_t conversation(uint8_t *out, size_t *boundaries, size_t *count)
{
	static const char script[] = "echo hi\ncat\nflood 9000\n";
	const struct proto_blob text = {(const uint8_t *)script, sizeof(script) - 1};
	struct proto_put put = {.name = "i", .size = sizeof(script) - 1};
	struct proto_data upload = {.stream = PROTO_STREAM_UPLOAD, .bytes = text};
	struct proto_data input = {.stream = PROTO_STREAM_IN, .bytes = text};
	struct proto_data end = {.stream = PROTO_STREAM_IN, .end = 1, .position = text.size};
	struct proto_create run = create_of("i"), fork = create_of("g");
	struct proto_attach attach = {.guest = {.name = "g", .kind = PROTO_KIND_GUEST},
		.flags = PROTO_ATTACH_OUT | PROTO_ATTACH_HOLD | PROTO_ATTACH_FOLLOW,
		.credit = 50};
	struct proto_take_snapshot snap = {.guest = attach.guest, .name = "s"};
	struct proto_get wait = {.ref = attach.guest};
	struct proto_get_log log = {.follow = 1, .credit = 1000};
	struct proto_list list = {.all = 1};
	const struct {
		uint16_t type;
		uint64_t request;
		const void *m;
	} frames[] = {
		{PROTO_HELLO, 0, &hello},
		{PROTO_PUT, 1, &put},
		{PROTO_DATA, 1, &upload},
		{PROTO_PUT_COMMIT, 1, NULL},
		{PROTO_PUT, 2, &put},
		{PROTO_DATA, 2, &upload},
		{PROTO_RUN, 3, &run},
		{PROTO_ATTACH, 4, &attach},
		{PROTO_WAIT, 5, &wait},
		{PROTO_GET_LOG, 6, &log},
		{PROTO_TAKE_SNAPSHOT, 7, &snap},
		{PROTO_FORK, 8, &fork},
		{PROTO_LIST_GUESTS, 9, &list},
		{PROTO_DATA, 3, &input},
		{PROTO_DATA, 3, &end},
		{PROTO_CANCEL, 2, NULL},
		{PROTO_CANCEL, 5, NULL},
		{PROTO_GET_INFO, 11, NULL},
	};
	size_t n = 0;

	snprintf(run.name, sizeof(run.name), "g");
	run.attach = 7;
	run.flags = PROTO_CREATE_INPUT;
	run.credit = 5000;
	fork.source.kind = PROTO_KIND_GUEST;
	fork.count = 300;
	fork.argc = 1;
	fork.args = (struct proto_blob){(const uint8_t *)"fork", 5};
	for (*count = 0; *count < ARRAY_SIZE(frames); ++*count) {
		boundaries[*count] = n;
		n += proto_encode(out + n, PROTO_FRAME_MAX, frames[*count].type, 0,
			frames[*count].request, frames[*count].m);
	}
	boundaries[*count] = n;
	return n;
}

static uint8_t talk[32 * 1024];

static void vanish_after(size_t size, bool settled)
{
	struct client c;

	world_begin(NULL);
	client_connect(&c);
	client_bytes(&c, talk, size);
	if (settled)
		settle();
	else
		poll_once();
	client_end(&c);
	world_check_idle();
	world_end();
}

TEST(clients_that_vanish_leave_nothing)
{
	size_t boundaries[32], count, size = conversation(talk, boundaries, &count);

	for (size_t i = 0; i <= count; i++) {
		for (size_t extra = 0; extra <= 20; extra += 5) {
			if (boundaries[i] + extra <= size) {
				vanish_after(boundaries[i] + extra, true);
				vanish_after(boundaries[i] + extra, false);
			}
		}
	}
}

TEST(hostile_bytes_end_in_an_error_or_an_answer)
{
	size_t boundaries[32], count, size = conversation(talk, boundaries, &count);
	uint8_t spoiled[sizeof(talk)];
	uint64_t seed = 42;

	world_begin(NULL);
	for (int round = 0; round < 1500; round++) {
		struct client c;
		struct answer a;
		size_t n = 0;

		/* frames left out, doubled and out of order, then bytes changed */
		for (size_t i = 0; i < count; i++) {
			size_t k =
				i && test_random(&seed) % 6 == 0 ? test_random(&seed) % count : i;
			size_t length = boundaries[k + 1] - boundaries[k];

			if (n + length > sizeof(spoiled))
				break;
			memcpy(spoiled + n, talk + boundaries[k], length);
			n += length;
		}
		for (uint64_t i = test_random(&seed) % 4; i; i--)
			spoiled[boundaries[1] + test_random(&seed) % (n - boundaries[1])] =
				(uint8_t)test_random(&seed);
		client_connect(&c);
		c.chunk = test_random(&seed) % 3 ? 0 : 1 + test_random(&seed) % 50;
		client_bytes(&c, spoiled, n);
		for (int i = 0; i < 60; i++) {
			fake_tick();
			poll_once();
		}
		while (client_next(&c, &a))
			;
		client_end(&c);
		world_check_idle();
		if (round % 10 == 9)
			fake_reset();
	}
	CHECK(size > 0);
	world_end();
}
