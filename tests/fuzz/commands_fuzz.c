/*
 * What a host and its clients say to creel-agent in a guest: bytes as they come, frames of any type and
 * session, messages of any contents, while commands write, read and end, freezes run out and the port
 * is slow. No session gets more than its credit, none is answered that was not opened, and neither
 * memory nor descriptors stay behind.
 */
#include "tests/fake_agent_system.h"

#include <sanitizer/common_interface_defs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDS       8
#define MOST_HELD (2u << 20) /* bytes of the agent's, whatever is said */

size_t __sanitizer_get_current_allocated_bytes(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

/* What the agent may send, by session. */
static struct {
	bool open;
	uint64_t credit;
} host[IDS];

static uint8_t from_agent[AGENT_WIRE];
static uint32_t from_size;

static void must(bool good)
{
	if (!good)
		abort();
}

static uint8_t next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static uint32_t take(struct input *in, uint8_t *to, size_t most)
{
	size_t n = most < in->left ? most : in->left;

	memcpy(to, in->at, n);
	in->at += n;
	in->left -= n;
	return (uint32_t)n;
}

/* ---- the host --------------------------------------------------------------------------------- */

static void look_at(uint8_t *wire, uint32_t size)
{
	struct agent_frame f;

	if (!size)
		return;
	must(agent_decode(wire, size, &f));
	if (f.type == AGENT_HELLO) {
		must(f.session == 0 && f.size == 8);
		return;
	}
	must(f.session > 0 && f.session < IDS && host[f.session].open);
	if (f.type == AGENT_DATA) {
		must(f.size && f.size <= host[f.session].credit);
		host[f.session].credit -= f.size;
		return;
	}
	must(f.type == AGENT_END && !f.size);
	host[f.session].open = false;
}

/* Takes up to so many bytes of the port. */
static void drain(int port, size_t most)
{
	uint8_t byte;

	while (most-- && recv(port, &byte, 1, 0) == 1) {
		if (byte) {
			must(from_size < sizeof(from_agent));
			from_agent[from_size++] = byte;
		} else {
			look_at(from_agent, from_size);
			from_size = 0;
		}
	}
}

/* All that the agent has for the port. */
static void settle(int port)
{
	do {
		must(link_write());
		drain(port, SIZE_MAX);
	} while (!link_idle());
}

/* A frame, with what it means to what the host may expect. */
static void say(int port, uint8_t type, uint64_t session, uint8_t *payload, uint32_t size)
{
	bool known = session > 0 && session < IDS;

	/* (the bookkeeping here ends at IDS) */
	if (type == AGENT_OPEN && !known)
		return;
	/* What is on its way is of the time before. */
	if (type == AGENT_RESET || type == AGENT_CLOSE || type == AGENT_OPEN)
		settle(port);
	fake_agent_hears(port, type, session, payload, size);
	if (type == AGENT_RESET && size == sizeof(struct agent_reset))
		memset(host, 0, sizeof(host));
	if (type == AGENT_CLOSE && known)
		host[session].open = false;
	if (!known || size != 4)
		return;
	if (type == AGENT_OPEN && !host[session].open) {
		host[session].open = true;
		host[session].credit = agent_load(payload, 4);
	} else if (type == AGENT_CREDIT && host[session].open) {
		host[session].credit += agent_load(payload, 4);
	}
}

static void say_frame(int port, struct input *in)
{
	uint8_t payload[sizeof(struct agent_reset) + 64] = {0}, how = next(in);
	uint64_t session = next(in) % (IDS + 1);
	uint32_t size = how & 0x20 ? 4 : how & 0x40 ? (uint32_t)sizeof(struct agent_reset) : next(in);

	size = size < sizeof(payload) ? size : (uint32_t)sizeof(payload);
	take(in, payload, size);
	say(port, how % 8, session, payload, size);
}

/* A message with a true head, in as many frames as the input wants. */
static void say_message(int port, struct input *in)
{
	static const uint8_t types[] = {AGENT_EXEC, AGENT_STDIN, AGENT_STDIN_END, AGENT_SIGNAL,
		AGENT_RESIZE, AGENT_FREEZE, AGENT_THAW, 0x55};
	uint8_t how = next(in), message[300] = {0};
	uint64_t session = next(in) % IDS;
	uint32_t size = take(in, message + AGENT_MESSAGE_HEAD, next(in)), cut = how >> 4;

	agent_store(message, how & 8 ? size + next(in) : size + 1, 4);
	message[4] = types[how & 7];
	size += AGENT_MESSAGE_HEAD;
	cut = cut < size ? cut : size;
	say(port, AGENT_DATA, session, message, cut);
	say(port, AGENT_DATA, session, message + cut, size - cut);
}

/* One that begins a command, or a freeze. */
static void say_first(int port, struct input *in)
{
	uint8_t how = next(in), message[64] = {0};
	uint64_t session = 1 + next(in) % (IDS - 1);
	uint32_t size = AGENT_EXEC_FIXED + 4;

	agent_store(message, 1 << (how & 16), 4);
	say(port, AGENT_OPEN, session, message, 4);
	message[4] = how & 1 ? AGENT_FREEZE : AGENT_EXEC;
	agent_store(message + AGENT_MESSAGE_HEAD, how & 1 ? 10000 : how >> 1 & 7, 4);
	if (how & 1) {
		size = 4;
	} else {
		message[AGENT_MESSAGE_HEAD + 4] = 0;
		message[AGENT_MESSAGE_HEAD + 13] = 1;
		message[AGENT_MESSAGE_HEAD + AGENT_EXEC_FIXED + 1] = 'c';
		size -= how & 8 ? 0 : 1; /* with AGENT_EXEC_USER, an empty user */
	}
	agent_store(message, size + 1, 4);
	say(port, AGENT_DATA, session, message, AGENT_MESSAGE_HEAD + size);
}

/* Bytes as they come, up to a zero. */
static void say_bytes(int port, struct input *in)
{
	uint8_t bytes[250], copy[sizeof(bytes)];
	uint32_t n = take(in, bytes, next(in) % sizeof(bytes));
	struct agent_frame f;

	n = (uint32_t)strnlen((const char *)bytes, n);
	memcpy(copy, bytes, n);
	if (agent_decode(copy, n, &f)) {
		say(port, f.type, f.session, (uint8_t *)(uintptr_t)f.payload, f.size);
		return;
	}
	must(write(port, bytes, n) == (ssize_t)n && write(port, "", 1) == 1);
	fake_agent_hears(port, 0, 0, NULL, 0);
}

/* ---- the commands ----------------------------------------------------------------------------- */

static void command_acts(struct input *in)
{
	static uint8_t bytes[8192];
	uint8_t how = next(in);
	struct fake_child *c = &fake_children[how & 7];

	if (!c->used)
		return;
	switch (how >> 4) {
	case 0:
		fake_child_ends(c, next(in) << (how & 8));
		break;
	case 1:
		while (c->in >= 0 && read(c->in, bytes, sizeof(bytes)) > 0)
			;
		break;
	case 2:
		if (c->err >= 0)
			(void)!write(c->err, bytes, next(in) * 32u);
		break;
	case 3:
		if (c->in >= 0)
			close(c->in);
		c->in = -1;
		break;
	default:
		(void)!write(c->out, bytes, next(in) * 32u);
		break;
	}
}

static void act(int port, struct input *in)
{
	switch (next(in) % 8) {
	case 0:
		say_frame(port, in);
		break;
	case 1:
	case 2:
		say_message(port, in);
		break;
	case 3:
		say_first(port, in);
		break;
	case 4:
	case 5:
		command_acts(in);
		break;
	case 6:
		freeze_end();
		break;
	case 7:
		say_bytes(port, in);
		break;
	}
	fake_agent_turn();
	drain(port, next(in) & 1 ? SIZE_MAX : 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	size_t before = __sanitizer_get_current_allocated_bytes();

	if (size > 20000)
		return 0;
	memset(host, 0, sizeof(host));
	from_size = 0;

	int port = fake_agent_begin();

	while (in.left) {
		act(port, &in);
		must(__sanitizer_get_current_allocated_bytes() < before + MOST_HELD);
	}
	settle(port);
	fake_agent_end(port);
	return 0;
}
