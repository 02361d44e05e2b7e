/* The port: frames in and out of its bytes. */
#include "guest-sdk/linux/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int port = -1;
static uint8_t in[2 * AGENT_WIRE];
static size_t in_size;
static bool skipping; /* more came without a zero than a frame has */
static struct bytes out;

uint8_t *bytes_room(struct bytes *b, size_t size)
{
	if (b->begin == b->end)
		b->begin = b->end = 0;
	if (b->room - b->end < size && b->begin) {
		memmove(b->data, b->data + b->begin, b->end - b->begin);
		b->end -= b->begin;
		b->begin = 0;
	}
	if (b->room - b->end < size) {
		size_t room = 2 * (b->end + size);
		uint8_t *data = realloc(b->data, room);

		if (!data)
			abort();
		b->data = data;
		b->room = room;
	}
	return b->data + b->end;
}

void bytes_add(struct bytes *b, const void *data, size_t size)
{
	if (!size)
		return;
	memcpy(bytes_room(b, size), data, size);
	b->end += size;
}

void bytes_take(struct bytes *b, size_t size)
{
	b->begin += size;
}

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){0};
}

static void say_hello(uint64_t generation)
{
	uint8_t payload[8];

	agent_store(payload, generation, sizeof(payload));
	link_send(AGENT_HELLO, 0, payload, sizeof(payload));
}

/* Another one may have been at the port, in the middle of a frame. */
void link_open(int fd)
{
	port = fd;
	in_size = 0;
	skipping = false;
	bytes_free(&out);
	bytes_add(&out, "", 1);
	say_hello(0);
}

int link_fd(void)
{
	return port;
}

bool link_idle(void)
{
	return !bytes_size(&out);
}

bool link_full(void)
{
	return bytes_size(&out) >= LINK_MAX;
}

void link_send(uint8_t type, uint64_t session, const void *payload, uint32_t size)
{
	uint8_t *to = bytes_room(&out, AGENT_WIRE);

	out.end += agent_encode(to, type, session, payload, size);
}

/* A reset: what is under way is of the guest that we were. Its zero keeps the reader in step. */
static void reset(const struct agent_frame *f)
{
	struct agent_reset r;

	if (f->size != sizeof(r))
		return;
	memcpy(&r, f->payload, sizeof(r));
	r.name[sizeof(r.name) - 1] = '\0';
	unique_reset(&r);
	sessions_abandon();
	bytes_free(&out);
	bytes_add(&out, "", 1);
	say_hello(r.generation);
	memset(&r, 0, sizeof(r));
}

static void frame(uint8_t *wire, uint32_t size)
{
	struct agent_frame f;

	if (!agent_decode(wire, size, &f))
		return;
	if (f.type == AGENT_RESET)
		reset(&f);
	else
		session_frame(&f);
}

static void frames(void)
{
	size_t from = 0;
	uint8_t *zero;

	while ((zero = memchr(in + from, 0, in_size - from))) {
		size_t end = (size_t)(zero - in);

		if (!skipping)
			frame(in + from, (uint32_t)(end - from));
		skipping = false;
		from = end + 1;
	}
	in_size -= from;
	memmove(in, in + from, in_size);
	if (in_size >= AGENT_WIRE) {
		in_size = 0;
		skipping = true;
	}
}

bool link_read(void)
{
	ssize_t n = read(port, in + in_size, sizeof(in) - in_size);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	in_size += (size_t)n;
	frames();
	return true;
}

bool link_write(void)
{
	while (bytes_size(&out)) {
		ssize_t n = write(port, out.data + out.begin, bytes_size(&out));

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		bytes_take(&out, (size_t)n);
	}
	return true;
}
