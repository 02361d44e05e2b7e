/* Sessions of creel-agent, beside each other on a system of paper. */
#include "tests/fake_agent_system.h"
#include "tests/unit/test.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define CREDIT (1u << 20)

static int port;

static void open_with(uint64_t session, uint32_t credit)
{
	uint8_t payload[4];

	agent_store(payload, credit, 4);
	fake_agent_hears(port, AGENT_OPEN, session, payload, sizeof(payload));
}

static void say(uint64_t session, uint8_t type, const void *payload, uint32_t size)
{
	uint8_t message[512];

	agent_store(message, size + 1, 4);
	message[4] = type;
	memcpy(message + AGENT_MESSAGE_HEAD, payload, size);
	fake_agent_hears(port, AGENT_DATA, session, message, AGENT_MESSAGE_HEAD + size);
	fake_agent_turn();
}

static void ask_freeze(uint64_t session)
{
	const uint8_t ms[4] = {0x10, 0x27};

	say(session, AGENT_FREEZE, ms, sizeof(ms));
}

/* A command without input and environment. */
static void ask_exec(uint64_t session)
{
	uint8_t exec[AGENT_EXEC_FIXED + 3] = {[13] = 1, [AGENT_EXEC_FIXED + 1] = 'c'};

	say(session, AGENT_EXEC, exec, sizeof(exec));
}

/* The type of the first message that the agent has for a session, 0: none; all that it said is taken. */
static uint8_t answer(uint64_t session)
{
	uint8_t wire[AGENT_WIRE], type = 0;
	uint32_t n = 0;

	while (recv(port, wire + n, 1, 0) == 1) {
		struct agent_frame f;

		if (wire[n++])
			continue;
		if (n > 1) {
			CHECK(agent_decode(wire, n - 1, &f));
			if (f.type == AGENT_DATA && f.session == session && !type)
				type = f.payload[4];
		}
		n = 0;
	}
	return type;
}

TEST(a_command_says_what_it_wrote_and_how_it_ended)
{
	port = fake_agent_begin();
	open_with(1, CREDIT);
	ask_exec(1);
	CHECK_EQ(answer(1), AGENT_STARTED);
	CHECK(write(fake_children[0].out, "x", 1) == 1);
	fake_agent_turn();
	CHECK_EQ(answer(1), AGENT_STDOUT);
	fake_child_ends(&fake_children[0], 0);
	fake_agent_turn();
	CHECK_EQ(answer(1), AGENT_EXIT);
	fake_agent_end(port);
}

TEST(a_freeze_is_ended_by_whom_it_was_begun_for)
{
	const uint8_t none = 0;

	port = fake_agent_begin();
	open_with(1, CREDIT);
	open_with(2, 0);
	ask_freeze(1);
	CHECK_EQ(answer(1), AGENT_FROZEN);
	/* refused, and told so as soon as there is credit for it */
	ask_freeze(2);
	fake_agent_hears(port, AGENT_CLOSE, 2, NULL, 0);
	CHECK(fake_frozen);
	/* one whose time has run out says later that it may go on */
	freeze_end();
	open_with(3, CREDIT);
	ask_freeze(3);
	CHECK_EQ(answer(3), AGENT_FROZEN);
	say(1, AGENT_THAW, &none, 0);
	CHECK(fake_frozen);
	fake_agent_hears(port, AGENT_CLOSE, 1, NULL, 0);
	CHECK(fake_frozen);
	say(3, AGENT_THAW, &none, 0);
	CHECK(!fake_frozen);
	fake_agent_end(port);
}

TEST(a_command_that_waits_for_a_freeze_to_end_holds_no_more_than_messages_are_long)
{
	static uint8_t more[AGENT_PAYLOAD];

	port = fake_agent_begin();
	open_with(1, CREDIT);
	open_with(2, CREDIT);
	ask_freeze(1);
	ask_exec(2);
	for (int i = 0; i < 1000; i++)
		fake_agent_hears(port, AGENT_DATA, 2, more, sizeof(more));
	fake_agent_turn();
	CHECK_EQ(answer(2), AGENT_ERROR);
	fake_agent_end(port);
}

TEST(what_nobody_waits_for_is_closed)
{
	port = fake_agent_begin();
	open_with(1, CREDIT);
	ask_exec(1);
	CHECK_EQ(answer(1), AGENT_STARTED);

	/* a process that the command left behind goes on to write */
	int left = dup(fake_children[0].out);

	fake_agent_hears(port, AGENT_CLOSE, 1, NULL, 0);
	CHECK_EQ(fake_children[0].signalled, SIGHUP);
	fake_child_ends(&fake_children[0], 0);
	CHECK(write(left, "x", 1) == 1);
	fake_agent_turn();
	CHECK(write(left, "x", 1) < 0);
	close(left);
	fake_agent_end(port);
}

TEST(an_agent_that_starts_says_so_first)
{
	uint8_t wire[64];
	struct agent_frame f;
	uint32_t n = 0;

	port = fake_agent_begin();
	fake_agent_turn();
	/* behind the rest of a frame that another one may have left */
	CHECK(recv(port, wire, 1, 0) == 1 && wire[0] == 0);
	while (n < sizeof(wire) && recv(port, wire + n, 1, 0) == 1 && wire[n])
		n++;
	CHECK(agent_decode(wire, n, &f));
	CHECK(f.type == AGENT_HELLO && f.size == 8 && agent_load(f.payload, 8) == 0);
	fake_agent_end(port);
}

/* All that it takes at once, with one too many. */
TEST(a_session_too_many_ends_before_it_began)
{
	struct agent_frame f;
	uint8_t wire[AGENT_WIRE];
	uint32_t n = 0;

	port = fake_agent_begin();
	fake_agent_turn();
	answer(0);
	for (uint64_t i = 1; i <= SESSIONS_MAX + 1; i++)
		open_with(i, CREDIT);
	fake_agent_turn();
	while (n < sizeof(wire) && recv(port, wire + n, 1, 0) == 1 && wire[n])
		n++;
	CHECK(agent_decode(wire, n, &f));
	CHECK(f.type == AGENT_END && f.session == SESSIONS_MAX + 1);
	fake_agent_end(port);
}
