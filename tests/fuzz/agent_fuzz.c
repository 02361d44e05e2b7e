/*
 * What a hostile guest says at its agent's port, to a server with clients in sessions: bytes as they
 * come, or frames of any type, session and contents. No client gets more than it gave credit for, and
 * nothing stays behind.
 */
#include "guest-sdk/linux/agent_link.h"
#include "tests/unit/mgmt_client.h"

#define CREDIT   1000
#define SESSIONS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void begin(struct client *c, uint64_t *guest)
{
	struct proto_create run = create_of("linux");
	struct proto_agent agent = {.credit = CREDIT};
	struct answer a;

	world_begin(NULL);
	client_open(c);
	put_script(c, 1, "linux", "agent\n");
	client_send(c, PROTO_RUN, 2, &run);
	settle();
	client_expect(c, PROTO_RESULT, 2, &a);
	*guest = a.m.result.id;
	client_expect(c, PROTO_DONE, 2, &a);
	agent.guest.id = *guest;
	for (uint64_t i = 0; i < SESSIONS; i++)
		client_send(c, PROTO_AGENT, 10 + i, &agent);
	settle();
}

/* One frame of the input: a byte each for type, session and size, then its payload. */
static size_t say_frame(uint64_t guest, const uint8_t *data, size_t size)
{
	uint8_t wire[AGENT_WIRE];
	uint32_t n = size < 3 ? 0 : (uint32_t)MIN((size_t)data[2] * 8, size - 3);

	if (size < 3)
		return size;
	fake_agent_say(guest, wire, agent_encode(wire, data[0] & 15, data[1] & 7, data + 3, n));
	return 3 + n;
}

static void take_answers(struct client *c)
{
	uint64_t got[SESSIONS] = {0};
	struct answer a;

	while (client_next(c, &a)) {
		uint64_t i = a.header.request - 10;

		if (i >= SESSIONS)
			abort();
		if (a.header.type == PROTO_DATA)
			got[i] += a.m.data.bytes.size;
		if (got[i] > CREDIT)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client c;
	uint64_t guest;

	if (!size || size > 65536)
		return 0;
	begin(&c, &guest);
	bool raw = data[0] & 1;

	for (size_t at = 1; at < size;) {
		size_t n = raw ? fake_agent_say(guest, data + at, MIN(size - at, (size_t)500))
			       : say_frame(guest, data + at, size - at);

		at += n ? n : 1;
		settle();
	}
	take_answers(&c);
	client_end(&c);
	world_check_idle();
	world_end();
	return 0;
}
