/* Sessions with a guest's agent, whose port they share: slow clients, and credit on its way. */
#include "guest-sdk/linux/agent_link.h"
#include "tests/unit/mgmt_client.h"

#define CREDIT (256u * 1024)
#define WINDOW SERVER_AGENT_WINDOW

/* Runs a guest with an agent, which is played here. */
static uint64_t guest_with_agent(struct client *c)
{
	struct proto_create run = create_of("linux");
	struct answer a;

	put_script(c, 1, "linux", "agent\n");
	client_send(c, PROTO_RUN, 2, &run);
	settle();
	client_expect(c, PROTO_RESULT, 2, &a);
	uint64_t guest = a.m.result.id;

	client_expect(c, PROTO_DONE, 2, &a);
	return guest;
}

static void open_session(struct client *c, uint64_t guest, uint64_t request)
{
	struct proto_agent agent = {.guest.id = guest, .credit = CREDIT};
	struct answer a;

	client_send(c, PROTO_AGENT, request, &agent);
	settle();
	client_expect(c, PROTO_RESULT, request, &a);
	client_expect(c, PROTO_CREDIT, request, &a);
}

/* What the agent has been sent: the last session that was opened, and its credit and what came to it. */
static uint64_t hear(uint64_t guest, uint64_t session, uint32_t *credit)
{
	static uint8_t wire[AGENT_WIRE];
	uint8_t byte;
	uint32_t n = 0;

	while (fake_agent_take(guest, &byte, 1)) {
		struct agent_frame f;

		wire[n++] = byte;
		if (byte)
			continue;
		if (agent_decode(wire, n - 1, &f)) {
			if (f.type == AGENT_OPEN)
				session = f.session;
			if (f.session == session && (f.type == AGENT_OPEN || f.type == AGENT_CREDIT))
				*credit += (uint32_t)agent_load(f.payload, 4);
		}
		n = 0;
	}
	return session;
}

static void write_frame(uint64_t guest, uint64_t session, uint32_t size)
{
	static uint8_t wire[AGENT_WIRE], payload[AGENT_PAYLOAD];

	memset(payload, 'x', sizeof(payload));
	uint32_t n = agent_encode(wire, AGENT_DATA, session, payload, size);

	CHECK_EQ(fake_agent_say(guest, wire, n), n);
}

static uint32_t say(uint64_t guest, uint64_t session, uint32_t size)
{
	size = MIN(size, (uint32_t)AGENT_PAYLOAD);
	write_frame(guest, session, size);
	settle();
	return size;
}

/* All that came for a request; the last frame in `a`. */
static uint64_t bytes_for(struct client *c, uint64_t request, struct answer *a)
{
	uint64_t n = 0;

	while (client_next(c, a)) {
		CHECK_EQ(a->header.request, request);
		if (a->header.type == PROTO_DATA) {
			CHECK_EQ(a->m.data.position, n);
			n += a->m.data.bytes.size;
		}
	}
	return n;
}

static void end_session(uint64_t guest, uint64_t session)
{
	uint8_t wire[64];

	fake_agent_say(guest, wire, agent_encode(wire, AGENT_END, session, NULL, 0));
	settle();
}

TEST(agent_output_for_a_client_that_takes_nothing_holds_nobody_up)
{
	struct client slow, other;
	struct answer a;
	uint32_t credit = 0, sent = 0, other_credit = 0;

	world_begin(NULL);
	client_open(&slow);
	client_open(&other);
	uint64_t guest = guest_with_agent(&other);

	open_session(&slow, guest, 3);
	uint64_t first = hear(guest, 0, &credit);

	open_session(&other, guest, 4);
	uint64_t second = hear(guest, 0, &other_credit);

	CHECK(first && second && first != second);
	slow.from_limit = slow.from_size;
	/* as long as it may, it goes on */
	while (credit > sent) {
		sent += say(guest, first, credit - sent);
		hear(guest, first, &credit);
	}
	CHECK(credit < CREDIT);
	CHECK_EQ(say(guest, second, 100), 100);
	CHECK_EQ(bytes_for(&other, 4, &a), 100);

	/* all of it is there for it when it takes it, and then the end */
	end_session(guest, first);
	slow.from_limit = WIRE_SIZE;
	server_event(&server, slow.conn);
	settle();
	CHECK_EQ(bytes_for(&slow, 3, &a), sent);
	CHECK(a.header.type == PROTO_DONE && (a.header.flags & PROTO_FINAL));
	client_end(&slow);
	client_end(&other);
	world_end();
}

TEST(an_agent_is_told_of_credit_a_window_at_a_time)
{
	struct client c;
	struct answer a;
	uint32_t credit = 0, sent = 0;

	world_begin(NULL);
	client_open(&c);
	uint64_t guest = guest_with_agent(&c);

	open_session(&c, guest, 3);
	uint64_t session = hear(guest, 0, &credit);

	while (sent < CREDIT) {
		CHECK(credit > sent && credit - sent <= WINDOW);
		sent += say(guest, session, credit - sent);
		hear(guest, session, &credit);
	}
	CHECK_EQ(credit, CREDIT);
	end_session(guest, session);
	CHECK_EQ(bytes_for(&c, 3, &a), CREDIT);
	client_end(&c);
	world_end();
}

/* Whoever's turn it is carries the frames of all. */
TEST(an_agent_is_told_of_credit_also_when_others_carried_its_output)
{
	struct client c, other;
	struct answer a;
	uint32_t credit = 0, other_credit = 0;

	world_begin(NULL);
	client_open(&other);
	client_open(&c);
	uint64_t guest = guest_with_agent(&c);

	open_session(&other, guest, 4);
	hear(guest, 0, &other_credit);
	open_session(&c, guest, 3);
	uint64_t session = hear(guest, 0, &credit);

	for (uint32_t sent = 0; sent < CREDIT;) {
		CHECK(credit > sent);
		for (int i = 0; i < 32 && sent < credit; i++, sent += 1024)
			write_frame(guest, session, 1024);
		settle();
		hear(guest, session, &credit);
	}
	CHECK_EQ(bytes_for(&c, 3, &a), CREDIT);
	client_end(&c);
	client_end(&other);
	world_end();
}

TEST(slow_sessions_that_are_cut_off_leave_nothing)
{
	struct client c;
	uint32_t credit = 0, sent = 0;

	world_begin(NULL);
	client_open(&c);
	uint64_t guest = guest_with_agent(&c);

	open_session(&c, guest, 3);
	uint64_t session = hear(guest, 0, &credit);

	c.from_limit = c.from_size;
	while (credit > sent) {
		sent += say(guest, session, credit - sent);
		hear(guest, session, &credit);
	}
	CHECK_EQ(server.late.used, 1);
	client_end(&c);
	CHECK_EQ(server.late.used, 0);
	world_end();
}

TEST(sessions_of_an_agent_that_was_started_anew_end)
{
	static const uint8_t none[8];
	struct client c;
	struct answer a;
	uint8_t wire[64];
	uint32_t credit = 0;

	world_begin(NULL);
	client_open(&c);
	uint64_t guest = guest_with_agent(&c);

	open_session(&c, guest, 3);
	say(guest, hear(guest, 0, &credit), 10);
	client_expect(&c, PROTO_DATA, 3, &a);
	open_session(&c, guest, 4);
	uint64_t waits = hear(guest, 0, &credit);

	fake_agent_say(guest, wire, agent_encode(wire, AGENT_HELLO, 0, none, sizeof(none)));
	settle();
	client_expect_error(&c, 3, PROTO_E_BUSY);
	/* what it had not answered may still wait in the port */
	say(guest, waits, 10);
	client_expect(&c, PROTO_DATA, 4, &a);
	end_session(guest, waits);
	client_expect(&c, PROTO_DONE, 4, &a);
	client_end(&c);
	world_end();
}
