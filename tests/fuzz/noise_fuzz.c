/*
 * libFuzzer over the handshake of a sealed channel, on either side. The input says how the bytes that a
 * good peer sends are cut, changed, repeated or replaced on their way. A side ends in the sealed state
 * only if what came to it was what the peer sent, and then what one seals the other opens.
 */
#include "mgmt/channel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WIRE_MAX 4096

/* What stands before each change. */
enum change {
	CHANGE_XOR,    /* offset, value */
	CHANGE_CUT,    /* offset: the rest is lost */
	CHANGE_INSERT, /* offset, count, bytes */
	CHANGE_REPEAT, /* all of it once more */
	CHANGES,
};

struct input {
	const uint8_t *data;
	size_t size;
};

/* One direction of a wire, and the channel that reads it. */
struct side {
	struct channel channel;
	uint8_t in[WIRE_MAX], sent[WIRE_MAX];
	size_t in_size, in_read, sent_size;
	bool closed;
};

static struct noise_keys host_keys, client_keys;
static struct channel_client client;
static struct channel_host host;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void fixed_bytes(void *buf, size_t size)
{
	memset(buf, 0x5a, size);
}

static int64_t side_read(void *transport, uint8_t *buf, size_t size)
{
	struct side *s = transport;
	size_t n = MIN(size, s->in_size - s->in_read);

	must(!s->closed);
	memcpy(buf, s->in + s->in_read, n);
	s->in_read += n;
	return (int64_t)n;
}

static int64_t side_write(void *transport, const uint8_t *buf, size_t size)
{
	struct side *s = transport;

	must(!s->closed && size <= WIRE_MAX - s->sent_size);
	memcpy(s->sent + s->sent_size, buf, size);
	s->sent_size += size;
	return (int64_t)size;
}

static size_t side_room(void *transport, size_t want)
{
	struct side *s = transport;

	(void)want;
	return WIRE_MAX - s->sent_size;
}

static void side_close(void *transport, bool abort)
{
	struct side *s = transport;

	(void)abort;
	s->closed = true;
}

static const struct transport_ops ops = {
	.read = side_read, .write = side_write, .room = side_room, .close = side_close};

static uint8_t byte(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

/* One change to what is in `wire`. */
static void change(struct input *in, uint8_t *wire, size_t *size)
{
	enum change kind = byte(in) % CHANGES;
	size_t at = *size ? byte(in) % *size : 0, n;

	switch (kind) {
	case CHANGE_XOR:
		if (*size)
			wire[at] ^= byte(in);
		break;
	case CHANGE_CUT:
		*size = at;
		break;
	case CHANGE_INSERT:
		n = byte(in);
		n = MIN(n, in->size);
		n = MIN(n, WIRE_MAX - *size);
		memmove(wire + at + n, wire + at, *size - at);
		memcpy(wire + at, in->data, n);
		in->data += n;
		in->size -= n;
		*size += n;
		break;
	default:
		n = MIN(*size, WIRE_MAX - *size);
		memmove(wire + *size, wire, n);
		*size += n;
		break;
	}
}

/* Carries what `from` has sent to `to`, with so many changes. True: as it was. */
static bool carry(struct input *in, struct side *from, struct side *to, unsigned changes)
{
	uint8_t wire[WIRE_MAX];
	size_t size = from->sent_size;
	bool same;

	memcpy(wire, from->sent, size);
	while (changes--)
		change(in, wire, &size);
	same = size == from->sent_size && !memcmp(wire, from->sent, size);
	from->sent_size = 0;
	must(size <= WIRE_MAX - to->in_size);
	memcpy(to->in + to->in_size, wire, size);
	to->in_size += size;
	return same;
}

static int go_on(struct side *s)
{
	int status = channel_handshake(&s->channel);

	must(status == OK || status == ERR_AGAIN || status == ERR_CLOSED ||
		status == ERR_INVALID || status == ERR_PERM);
	must((status == OK) == channel_ready(&s->channel));
	return status;
}

/* What one seals, the other opens. */
static void talk(struct side *from, struct side *to)
{
	static uint8_t buf[2 * CHANNEL_READ_MIN];
	struct input none = {0};

	to->in_size = to->in_read = 0;
	must(channel_write(&from->channel, (const uint8_t *)"hello", 5) == 5);
	carry(&none, from, to, 0);
	must(channel_read(&to->channel, buf, sizeof(buf)) == 5 && !memcmp(buf, "hello", 5));
}

static void start(void)
{
	static bool done;
	uint8_t random[NOISE_KEY_SIZE];

	if (done)
		return;
	done = true;
	memset(random, 1, sizeof(random));
	noise_keys_from(&host_keys, random);
	memset(random, 2, sizeof(random));
	noise_keys_from(&client_keys, random);
	memcpy(client.key, client_keys.public, sizeof(client.key));
	host = (struct channel_host){
		.keys = host_keys, .clients = &client, .client_count = 1, .random = fixed_bytes};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct side ours, theirs;
	struct input in = {data, size};
	uint8_t random[NOISE_KEY_SIZE], plan = byte(&in);

	start();
	memset(random, 3, sizeof(random));
	memset(&ours, 0, sizeof(ours));
	memset(&theirs, 0, sizeof(theirs));
	channel_open_host(&ours.channel, &ops, &ours, &host);
	must(channel_open_client(&theirs.channel, &ops, &theirs, &client_keys, host_keys.public,
		     random) == OK);

	bool first = carry(&in, &theirs, &ours, plan & 3);
	int status = go_on(&ours);

	/* A host answers a first message that was the client's, whatever follows it. */
	must(!first || ours.channel.state == CHANNEL_HOST_PROOF);
	bool second = carry(&in, &ours, &theirs, plan >> 2 & 3);
	int end = go_on(&theirs);

	must(end != OK || ours.channel.state != CHANNEL_HOST_FIRST);
	must(!(first && second) || end == OK);
	bool third = carry(&in, &theirs, &ours, plan >> 4 & 3);

	if (status == ERR_AGAIN)
		status = go_on(&ours);
	must(!(first && second && third) || status == OK);
	if (status == OK && end == OK && first && second && third) {
		talk(&theirs, &ours);
		talk(&ours, &theirs);
	}
	channel_close(&ours.channel, true);
	channel_close(&theirs.channel, true);
	return 0;
}
