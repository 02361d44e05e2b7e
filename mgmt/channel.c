#include "mgmt/channel.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define PROOF_SIZE NOISE_TAG_SIZE /* an empty transport message */

void channel_open_host(struct channel *c, const struct transport_ops *ops, void *transport,
	const struct channel_host *host)
{
	*c = (struct channel){
		.ops = ops, .transport = transport, .state = CHANNEL_HOST_FIRST, .host = host};
}

/* The one way out of everything that goes wrong. */
static int over(struct channel *c, int status)
{
	c->state = CHANNEL_OVER;
	c->parked = 0;
	c->client = NULL;
	wipe(&c->handshake, sizeof(c->handshake));
	return status;
}

/* ---- the handshake ----------------------------------------------------------------------------
 */

/* Writes a message of the handshake, header included. A transport that is new has room for it. */
static int send_whole(struct channel *c, uint8_t *message, size_t size)
{
	store_le16(message, (uint16_t)(size - CHANNEL_HEADER));
	return c->ops->write(c->transport, message, size) == (int64_t)size ? OK : ERR_CLOSED;
}

/* OK: a message of `size` bytes, and of no other size, is in c->message behind its header. */
static int receive_whole(struct channel *c, size_t size)
{
	const size_t whole = CHANNEL_HEADER + size;

	while (c->parked < whole) {
		/* Never beyond this message: what follows it is not the handshake's. */
		int64_t n = c->ops->read(c->transport, c->message + c->parked, whole - c->parked);

		if (n < 0)
			return ERR_CLOSED;
		if (n == 0)
			return ERR_AGAIN;
		c->parked += (uint32_t)n;
		if (c->parked >= CHANNEL_HEADER && load_le16(c->message) != size)
			return ERR_INVALID;
	}
	c->parked = 0;
	return OK;
}

static int send_proof(struct channel *c)
{
	uint8_t message[CHANNEL_HEADER + PROOF_SIZE];
	int status = noise_seal(&c->session.send, message + CHANNEL_HEADER, NULL, 0);

	return status == OK ? send_whole(c, message, sizeof(message)) : status;
}

int channel_open_client(struct channel *c, const struct transport_ops *ops, void *transport,
	const struct noise_keys *keys, const uint8_t host_key[NOISE_KEY_SIZE],
	const uint8_t random[NOISE_KEY_SIZE])
{
	uint8_t message[CHANNEL_HEADER + NOISE_FIRST_SIZE];
	int status;

	*c = (struct channel){.ops = ops, .transport = transport, .state = CHANNEL_CLIENT_SECOND};
	noise_initiator(
		&c->handshake, keys, host_key, CHANNEL_PROLOGUE, sizeof(CHANNEL_PROLOGUE) - 1);
	status = noise_write_first(&c->handshake, random, NULL, 0, message + CHANNEL_HEADER);
	if (status == OK)
		status = send_whole(c, message, sizeof(message));
	return status == OK ? OK : over(c, status);
}

/* Looks at every key to its end, so that the time tells nothing about which are known. */
static bool find_client(void *ctx, const uint8_t rs[NOISE_KEY_SIZE])
{
	struct channel *c = ctx;

	for (size_t i = 0; i < c->host->client_count; i++) {
		uint8_t differ = 0;

		for (size_t j = 0; j < NOISE_KEY_SIZE; j++)
			differ |= c->host->clients[i].key[j] ^ rs[j];
		if (!differ)
			c->client = &c->host->clients[i];
	}
	return c->client != NULL;
}

/* The handshake lives on the stack here: between messages a host holds only the session. */
static int host_answer(struct channel *c)
{
	struct noise_handshake hs;
	uint8_t random[NOISE_KEY_SIZE], message[CHANNEL_HEADER + NOISE_SECOND_SIZE];
	int status;

	noise_responder(&hs, &c->host->keys, CHANNEL_PROLOGUE, sizeof(CHANNEL_PROLOGUE) - 1);
	status = noise_read_first(
		&hs, c->message + CHANNEL_HEADER, NOISE_FIRST_SIZE, NULL, find_client, c);
	if (status != OK)
		return status; /* hs was wiped */
	c->host->random(random, sizeof(random));
	status = noise_write_second(&hs, random, NULL, 0, message + CHANNEL_HEADER);
	wipe(random, sizeof(random));
	if (status != OK)
		return status;
	noise_split(&hs, false, &c->session);
	c->state = CHANNEL_HOST_PROOF;
	return send_whole(c, message, sizeof(message));
}

static int host_first(struct channel *c)
{
	int status = receive_whole(c, NOISE_FIRST_SIZE);

	if (status == OK)
		c->state = CHANNEL_HOST_ANSWER;
	return status;
}

static int host_proof(struct channel *c)
{
	int status = receive_whole(c, PROOF_SIZE);

	if (status == OK)
		status = noise_open(
			&c->session.receive, c->message, c->message + CHANNEL_HEADER, PROOF_SIZE);
	if (status == OK)
		c->state = CHANNEL_SEALED;
	return status;
}

static int client_second(struct channel *c)
{
	struct noise_session session;
	int status = receive_whole(c, NOISE_SECOND_SIZE);

	if (status == OK)
		status = noise_read_second(
			&c->handshake, c->message + CHANNEL_HEADER, NOISE_SECOND_SIZE, NULL);
	if (status != OK)
		return status;
	/* the session takes the place of the handshake, which this wipes */
	noise_split(&c->handshake, true, &session);
	c->session = session;
	wipe(&session, sizeof(session));
	c->state = CHANNEL_SEALED;
	return send_proof(c);
}

int channel_handshake(struct channel *c)
{
	int status = OK;

	while (status == OK && !channel_ready(c)) {
		switch (c->state) {
		case CHANNEL_HOST_FIRST:
			status = host_first(c);
			break;
		case CHANNEL_HOST_ANSWER:
			status = c->hold ? ERR_AGAIN : host_answer(c);
			break;
		case CHANNEL_HOST_PROOF:
			status = host_proof(c);
			break;
		case CHANNEL_CLIENT_SECOND:
			status = client_second(c);
			break;
		default:
			status = ERR_CLOSED;
			break;
		}
	}
	return status == OK || status == ERR_AGAIN ? status : over(c, status);
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/*
 * Opens the whole messages among the c->parked bytes at buf, one after the other, each to the end
 * of what was opened before. Returns the bytes opened, or an error.
 */
static int64_t open_messages(struct channel *c, uint8_t *buf)
{
	uint8_t *from = buf, *to = buf, *end = buf + c->parked;

	while (end - from >= CHANNEL_HEADER) {
		size_t size = load_le16(from);
		int status;

		if (size < NOISE_TAG_SIZE || size > NOISE_MESSAGE_MAX)
			return ERR_INVALID;
		if ((size_t)(end - from) < CHANNEL_HEADER + size)
			break;
		status = noise_open(&c->session.receive, to, from + CHANNEL_HEADER, size);
		if (status != OK)
			return ERR_INVALID;
		from += CHANNEL_HEADER + size;
		to += size - NOISE_TAG_SIZE;
	}
	c->parked = (uint32_t)(end - from);
	memmove(to, from, c->parked);
	return to - buf;
}

int64_t channel_read(struct channel *c, uint8_t *buf, size_t size)
{
	int64_t n;

	if (c->state != CHANNEL_SEALED)
		return ERR_CLOSED;
	n = c->ops->read(c->transport, buf + c->parked, size - c->parked);
	if (n < 0)
		return over(c, ERR_CLOSED);
	c->drained = n == 0;
	c->parked += (uint32_t)n;
	n = open_messages(c, buf);
	return n < 0 ? over(c, (int)n) : n;
}

int64_t channel_write(struct channel *c, const uint8_t *buf, size_t size)
{
	uint8_t message[CHANNEL_OVERHEAD + CHANNEL_SEND_MAX];
	size_t room, done = 0;

	if (c->state != CHANNEL_SEALED)
		return ERR_CLOSED;
	/* A message that was sealed has to go, and whole: only what there is room for is sealed. */
	while (done < size) {
		size_t n = MIN(size - done, (size_t)CHANNEL_SEND_MAX);
		int status;

		room = c->ops->room(c->transport, CHANNEL_OVERHEAD + n);
		if (room <= CHANNEL_OVERHEAD)
			break;
		n = MIN(n, room - CHANNEL_OVERHEAD);
		status = noise_seal(&c->session.send, message + CHANNEL_HEADER, buf + done, n);
		if (status == OK)
			status = send_whole(c, message, CHANNEL_OVERHEAD + n);
		if (status != OK)
			return over(c, status);
		done += n;
	}
	return (int64_t)done;
}

void channel_close(struct channel *c, bool abort)
{
	c->ops->close(c->transport, abort);
	over(c, OK);
}
