/* Admission: nothing is dropped, what is refused is told at once, and no client starves another. */
#include "mgmt/server_internal.h"
#include "tests/unit/mgmt_peer.h"

/* As in boot/config.h. */
enum { OWNER = 2, OPERATOR, ADMIN };

#define PEERS 8
#define ASKED 1024 /* requests of a peer, at most */

static struct peer peers[PEERS];

enum fate { OPEN, DONE, REFUSED };

/* What became of a peer's requests, which are numbered from 1. */
struct tally {
	enum fate fate[ASKED + 1];
	uint64_t results, done, refused;
	uint32_t retry_ms; /* of the last refusal */
};

static struct tally tallies[PEERS];

static void hear(int i)
{
	struct tally *t = &tallies[i];
	struct answer a;

	while (peer_next(&peers[i], &a)) {
		uint64_t n = a.header.request;

		CHECK(n >= 1 && n <= ASKED);
		CHECK_EQ(t->fate[n], OPEN);
		if (a.header.type == PROTO_RESULT) {
			CHECK(a.m.result.id);
			t->results++;
			continue;
		}
		if (!(a.header.flags & PROTO_FINAL))
			continue;
		if (a.header.type == PROTO_ERROR) {
			CHECK_EQ(a.m.error.code, PROTO_E_RETRY);
			CHECK(a.m.error.retry_ms >= SERVER_RETRY_MIN_MS);
			t->retry_ms = a.m.error.retry_ms;
			t->fate[n] = REFUSED;
			t->refused++;
		} else {
			t->fate[n] = DONE;
			t->done++;
		}
	}
}

static void hear_all(int count)
{
	for (int i = 0; i < count; i++)
		hear(i);
}

static const struct server_config plenty = {
	.connections = 256, .requests = 1024, .buffers = 64, .inputs = 8};

/* `count` peers, each a client with the role, and an image named "a" for them. */
static void begin(const uint8_t *roles, int count)
{
	struct proto_put put = {.name = "a"};
	struct proto_data data = {
		.stream = PROTO_STREAM_UPLOAD, .bytes = {(const uint8_t *)"wait\n", 5}};
	struct answer a;

	put_announce(&put, data.bytes.data, data.bytes.size);
	peer_world(&plenty, roles, (size_t)count);
	memset(tallies, 0, sizeof(tallies));
	for (int i = 0; i < count; i++)
		peer_open(&peers[i], (size_t)i, (uint32_t)i + 1);
	peer_send(&peers[0], PROTO_PUT, 1, &put);
	peer_send(&peers[0], PROTO_DATA, 1, &data);
	peer_send(&peers[0], PROTO_PUT_COMMIT, 1, NULL);
	settle();
	while (peer_next(&peers[0], &a))
		CHECK(a.header.type == PROTO_UPLOAD || a.header.type == PROTO_IMAGE);
}

static void end(int count)
{
	/* all go at once, before more of what they asked for is done */
	for (int i = 0; i < count; i++) {
		peers[i].c.gone = true;
		if (!peers[i].c.closed)
			server_event(&server, peers[i].c.conn);
	}
	poll_once();
	for (int i = 0; i < count; i++)
		peer_end(&peers[i]);
	settle();
	world_check_idle();
	CHECK_EQ(server.tickets.used, 0);
	CHECK_EQ(server.large_tickets.used, 0);
	for (int i = 0; i < SERVER_ROLES; i++)
		CHECK_EQ(server.queued[i], 0);
	world_end();
}

static struct proto_create runs(uint32_t count)
{
	struct proto_create m = create_of("a");

	m.count = count;
	m.flags = PROTO_CREATE_PAUSED;
	return m;
}

/*
 * Three times what the host takes: batches that are as many as may wait, three times over, from six
 * clients. Some are accepted, and succeed; the others are refused long before those are done. No
 * accepted one waits for more than what was in the queues before it.
 */
TEST(three_times_too_much)
{
	const uint8_t roles[6] = {ADMIN, OPERATOR, OPERATOR, OWNER, OWNER, OWNER};
	const struct proto_create batch = runs(20);
	const int asked = 3 * SERVER_REQUESTS_PER_CONN;
	uint64_t refused[6], most_polls;
	int polls = 0;

	begin(roles, 6);
	for (int i = 0; i < 6; i++) {
		for (int n = 1; n <= asked; n++)
			peer_send(&peers[i], PROTO_RUN, (uint64_t)n, &batch);
	}
	/* 16 frames a turn: so many polls bring in all frames, and refuse what must be */
	for (int i = 0; i <= asked / SERVER_FRAMES_PER_TURN + 3; i++, polls++)
		poll_once();
	hear_all(6);
	for (int i = 0; i < 6; i++) {
		refused[i] = tallies[i].refused;
		CHECK(refused[i] >= (uint64_t)asked / 3);
		CHECK(tallies[i].done < (uint64_t)asked / 2);
		CHECK(server.parties[1 + i].queued <= SERVER_QUEUE_PER_CLIENT);
	}
	/* the weakest client gets its share of each poll */
	most_polls = SERVER_REQUESTS_PER_CONN * 22 / SERVER_CREDIT * 2;
	while (poll_once()) {
		CHECK((uint64_t)polls++ < most_polls);
		hear_all(6);
	}
	hear_all(6);
	for (int i = 0; i < 6; i++) {
		struct tally *t = &tallies[i];

		CHECK_EQ(t->refused, refused[i]);
		CHECK_EQ(t->done + t->refused, asked);
		CHECK_EQ(t->results, 20 * t->done);
	}
	end(6);
}

/* Who has nothing waiting is answered in the next poll, whatever others have asked for. */
TEST(nobody_waits_for_a_greedy_client)
{
	const uint8_t roles[3] = {ADMIN, ADMIN, OWNER};
	const struct proto_create large = runs(30000), one = runs(1);

	begin(roles, 3);
	for (uint64_t n = 1; n <= SERVER_REQUESTS_PER_CONN; n++) {
		peer_send(&peers[0], PROTO_RUN, n, &large);
		peer_send(&peers[1], PROTO_RUN, n, &large);
	}
	for (int i = 0; i < 10; i++)
		poll_once();
	for (uint64_t n = 1; n <= 50; n++) {
		uint64_t before = tallies[2].done;

		peer_send(&peers[2], PROTO_RUN, n, &one);
		poll_once();
		hear(2);
		CHECK_EQ(tallies[2].done, before + 1);
	}
	CHECK_EQ(tallies[2].refused, 0);
	end(3);
}

/* Clients that always want more get guests by the weight of their roles. */
TEST(shares_follow_the_roles)
{
	const uint8_t roles[3] = {ADMIN, OPERATOR, OWNER};
	const struct proto_create large = runs(50000);

	begin(roles, 3);
	for (int i = 0; i < 3; i++)
		peer_send(&peers[i], PROTO_RUN, 1, &large);
	for (int i = 0; i < 100; i++) {
		poll_once();
		hear_all(3);
	}
	uint64_t unit = tallies[2].results;

	CHECK(unit >= 100 * SERVER_CREDIT / 2);
	CHECK(tallies[1].results > unit * 95 / 100 && tallies[1].results < unit * 105 / 100);
	CHECK(tallies[0].results > unit * 19 / 10 && tallies[0].results < unit * 21 / 10);
	end(3);
}

/* A second connection gives a client no second share. */
TEST(a_client_is_its_key)
{
	const uint8_t roles[2] = {OPERATOR, OPERATOR};
	const struct proto_create large = runs(50000);

	begin(roles, 2);
	for (int i = 2; i < 6; i++)
		peer_open(&peers[i], 0, 9);
	peer_send(&peers[0], PROTO_RUN, 1, &large);
	peer_send(&peers[1], PROTO_RUN, 1, &large);
	for (int i = 2; i < 6; i++)
		peer_send(&peers[i], PROTO_RUN, 1, &large);
	for (int i = 0; i < 100; i++) {
		poll_once();
		hear_all(6);
	}
	uint64_t first = tallies[0].results, second = tallies[1].results;

	for (int i = 2; i < 6; i++)
		first += tallies[i].results;
	CHECK(first < second * 11 / 10 && second < first * 11 / 10);
	end(6);
}

/* All that one client can hold leaves the other what it has for sure. */
TEST(what_each_client_has_for_sure)
{
	const uint8_t roles[2] = {OWNER, OWNER};
	static struct peer many[256];
	struct proto_get wait = {.ref = {.name = "g"}};
	struct proto_create make = runs(1);
	uint64_t got = 0;
	int in = 0;

	begin(roles, 2);
	snprintf(make.name, sizeof(make.name), "g");
	peer_send(&peers[1], PROTO_RUN, 1, &make);
	settle();
	hear(1);
	CHECK_EQ(tallies[1].done, 1);

	/* connections */
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		struct proto_hello hello = {.magic = PROTO_MAGIC, .version_min = 1, .version_max = 1};
		struct answer a;

		client_address = 7;
		peer_dial(&many[i], 0, 7);
		settle();
		CHECK_EQ(peer_handshake(&many[i]), OK);
		peer_send(&many[i], PROTO_HELLO, 0, &hello);
		settle();
		CHECK(peer_next(&many[i], &a));
		in += a.header.type == PROTO_WELCOME;
		if (a.header.type != PROTO_WELCOME) {
			CHECK_EQ(a.m.error.code, PROTO_E_RETRY);
			CHECK(many[i].c.closed);
		}
	}
	CHECK_EQ(in, plenty.connections - 2 * SERVER_SURE_CONNECTIONS - 1);

	/* requests that are in progress for long */
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		for (uint64_t n = 1; n <= 8 && !many[i].c.closed; n++)
			peer_send(&many[i], PROTO_WAIT, n, &wait);
		settle();
	}
	CHECK(server.request_pool.used <= plenty.requests - 2 * SERVER_SURE_REQUESTS);
	for (uint64_t n = 2; n < 2 + SERVER_SURE_REQUESTS; n++)
		peer_send(&peers[1], PROTO_WAIT, n, &wait);
	settle();
	got = peers[1].c.conn->request_count;
	CHECK_EQ(got, SERVER_SURE_REQUESTS);

	/* buffers, by messages that are never whole */
	for (size_t i = 0; i < plenty.buffers; i++) {
		client_bytes(&many[i].c, "\x40", 1);
		settle();
	}
	CHECK(server.receive.used <= plenty.buffers - 2 * SERVER_SURE_BUFFERS);
	peer_send(&peers[1], PROTO_GET_INFO, 100, NULL);
	settle();
	hear(1);
	CHECK_EQ(tallies[1].fate[100], DONE);
	now_us += SERVER_FRAME_US + 1;
	settle();
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		peer_end(&many[i]);
	end(2);
}

/* Requests from number `from` on, some of which have to wait. */
static void fill_line(uint64_t from)
{
	const struct proto_create one = runs(1);

	for (uint64_t n = from; n < from + 14; n++)
		peer_send(&peers[0], PROTO_RUN, n, &one);
	poll_once();
	CHECK(server.tickets.used >= 8);
}

/* The code that request `n` ended with, once it has. */
static enum proto_code last_of(uint64_t n)
{
	struct answer a;

	for (int i = 0; i < 10; i++, settle()) {
		while (peer_next(&peers[0], &a)) {
			if (a.header.request == n && a.header.flags & PROTO_FINAL)
				return a.header.type == PROTO_ERROR ? a.m.error.code : PROTO_OK;
		}
	}
	return PROTO_CODE_COUNT;
}

/* What waits can be cancelled, and takes nothing else. */
TEST(a_request_that_waits)
{
	const uint8_t roles[1] = {OWNER};
	const struct proto_create large = runs(3000);
	struct proto_create one = runs(1);
	const struct proto_credit more = {.stream = PROTO_STREAM_OUT, .bytes = 1};
	static uint8_t args[PROTO_ARGS_MAX];

	begin(roles, 1);
	memset(args, 'x', sizeof(args));
	args[sizeof(args) - 1] = 0;
	peer_send(&peers[0], PROTO_RUN, 1, &large);
	poll_once();
	fill_line(2);
	one.argc = 1;
	one.args = (struct proto_blob){args, sizeof(args)};
	peer_send(&peers[0], PROTO_RUN, 100, &one);
	poll_once();
	CHECK_EQ(server.large_tickets.used, 1);
	peer_send(&peers[0], PROTO_CANCEL, 100, NULL);
	poll_once();
	CHECK_EQ(server.large_tickets.used, 0);
	CHECK_EQ(last_of(100), PROTO_E_CANCELLED);

	/* a long one is carried out whole */
	peer_send(&peers[0], PROTO_RUN, 101, &one);
	poll_once();
	peer_send(&peers[0], PROTO_CANCEL, 1, NULL);
	settle();
	CHECK_EQ(last_of(101), PROTO_OK);

	peer_send(&peers[0], PROTO_RUN, 1, &large);
	poll_once();
	fill_line(50);
	peer_send(&peers[0], PROTO_RUN, 102, &one);
	peer_send(&peers[0], PROTO_CREDIT, 102, &more);
	settle();
	CHECK_EQ(last_of(102), PROTO_E_PROTOCOL);
	CHECK(peers[0].c.closed);
	end(1);
}

/* Latencies are counted once for each request that has an end of its own. */
TEST(latencies_are_counted)
{
	const uint8_t roles[1] = {OWNER};
	const struct proto_create one = runs(1), many = runs(100);
	const struct proto_list list = {.all = 1};
	uint64_t sum = 0;

	begin(roles, 1);
	peer_send(&peers[0], PROTO_RUN, 1, &one);
	peer_send(&peers[0], PROTO_RUN, 2, &many);
	peer_send(&peers[0], PROTO_LIST_GUESTS, 3, &list);
	peer_send(&peers[0], PROTO_GET_INFO, 4, NULL);
	settle();
	CHECK_EQ(server.latency[WORK_RUN].count, 2);
	CHECK_EQ(server.latency[WORK_LIST].count, 1);
	for (int i = 0; i < SERVER_BUCKETS; i++)
		sum += server.latency[WORK_RUN].bucket[i];
	CHECK_EQ(sum, 2);
	end(1);
}

/* A message of no bytes is one, and does not hide what follows it. */
TEST(an_empty_message_before_the_end)
{
	const uint8_t roles[1] = {OWNER};
	uint8_t message[CHANNEL_OVERHEAD] = {NOISE_TAG_SIZE};

	begin(roles, 1);
	CHECK_EQ(noise_seal(&peers[0].sealed.session.send, message + CHANNEL_HEADER, NULL, 0), OK);
	peers[0].c.gone = true;
	client_bytes(&peers[0].c, message, sizeof(message));
	settle();
	CHECK(peers[0].c.closed);
	end(1);
}

/* ---- strangers ---- */

/* Half-open connections, and strangers with a good first message, from one address. */
TEST(a_flood_from_one_address_hurts_itself)
{
	const uint8_t roles[1] = {OWNER};
	static struct peer flood[3 * SERVER_STRANGERS];
	static struct peer half;

	begin(roles, 1);
	peer_dial(&half, 0, 5);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++) {
		peer_dial(&flood[i], PEER_KEYS, 666);
		CHECK(server.strangers <= SERVER_STRANGERS_PER_ADDRESS + 1);
	}
	CHECK(!half.c.closed);
	for (int i = 0; i < 3; i++)
		poll_once();
	/* it was first in line, and does not wait for the flood */
	CHECK_EQ(peer_handshake(&half), OK);
	settle();
	CHECK_EQ(peers[0].c.closed, false);
	CHECK(server.handshakes <= 2 + SERVER_HANDSHAKE_BURST);
	peer_open(&peers[1], 0, 5);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++)
		peer_end(&flood[i]);
	peer_end(&half);
	peer_end(&peers[1]);
	end(1);
}

/* Handshakes that fail are slowed down, of their address alone, and one a poll. */
TEST(handshakes_have_a_rate)
{
	const uint8_t roles[1] = {OWNER};
	static struct peer flood[2 * SERVER_HANDSHAKE_BURST];
	struct peer *p = &peers[1];
	uint64_t before, in_time;

	begin(roles, 1);
	before = server.handshakes;
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++) {
		peer_dial(&flood[i], PEER_KEYS, 666);
		poll_once();
		poll_once();
	}
	CHECK_EQ(server.handshakes - before, SERVER_HANDSHAKE_BURST);
	CHECK_EQ(server.strangers, SERVER_STRANGERS_PER_ADDRESS);
	/* another address is not */
	peer_dial(p, PEER_KEYS, 667);
	settle();
	CHECK(p->c.closed);
	peer_end(p);
	/* with time it may go on */
	before = server.handshakes;
	peer_dial(p, PEER_KEYS, 666);
	settle();
	CHECK(!p->c.closed);
	in_time = server_next_timer(&server);
	CHECK(in_time <= now_us + SERVER_LOOK_US);
	now_us += 2 * SERVER_HANDSHAKE_INTERVAL_US;
	settle();
	CHECK_EQ(server.handshakes - before, 2);
	now_us += SERVER_HELLO_US + 1;
	settle();
	CHECK(p->c.closed);
	peer_end(p);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++)
		peer_end(&flood[i]);
	end(1);
}

/* Those who are let in take nothing from their address, however many they are. */
TEST(good_handshakes_are_free)
{
	const uint8_t roles[1] = {OWNER};

	begin(roles, 1);
	for (int i = 0; i < 3 * SERVER_HANDSHAKE_BURST; i++) {
		peer_open(&peers[1], 0, 42);
		peer_end(&peers[1]);
	}
	CHECK_EQ(server.handshakes_slowed, 0);
	end(1);
}

/* First messages that were heard on the wire, and are sent again: all they get is the handshake. */
TEST(replayed_first_messages)
{
	const uint8_t roles[2] = {OWNER, OWNER};
	static struct client flood[SERVER_STRANGERS];
	uint8_t message[CHANNEL_HEADER + NOISE_FIRST_SIZE];

	begin(roles, 2);
	peer_dial(&peers[2], 0, 8);
	memcpy(message, peers[2].c.to, sizeof(message));
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++) {
		client_address = 666;
		client_connect(&flood[i]);
		client_bytes(&flood[i], message, sizeof(message));
	}
	for (int i = 0; i < 2 * SERVER_STRANGERS; i++) {
		poll_once();
		/* in the middle of it, others come in */
		if (i == 2)
			peer_open(&peers[3], 1, 9);
	}
	CHECK_EQ(server.receive.used, 0);
	CHECK_EQ(server.parties[1].conns, 1);
	now_us += SERVER_HELLO_US + 1;
	settle();
	CHECK_EQ(server.strangers, 0);
	for (size_t i = 0; i < ARRAY_SIZE(flood); i++) {
		CHECK(flood[i].closed);
		client_end(&flood[i]);
	}
	peer_end(&peers[2]);
	peer_end(&peers[3]);
	end(2);
}
