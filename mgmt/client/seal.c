/*
 * The seal of libcreel's connections: mgmt/channel.h over a blocking socket, which connection.c opens
 * and closes.
 */
#include "mgmt/client/internal.h"

#include "lib/wipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* 0: its time was up, which the socket's option sets. */
static int64_t socket_read(void *transport, uint8_t *buf, size_t size)
{
	struct creel *c = transport;
	ssize_t n;

	do
		n = recv(c->fd, buf, size, c->no_wait ? MSG_DONTWAIT : 0);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	c->timed_out = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	c->broken = n < 0 ? errno : 0;
	return c->timed_out ? 0 : ERR_CLOSED;
}

/* What the channel writes is gathered here, and sent by client_seal_flush(). */
static int64_t socket_write(void *transport, const uint8_t *buf, size_t size)
{
	struct creel *c = transport;

	if (size > c->wire_room - c->wire_size) {
		size_t room = 2 * (c->wire_room + size);
		uint8_t *wire = realloc(c->wire, room);

		if (!wire)
			return ERR_CLOSED;
		c->wire = wire;
		c->wire_room = room;
	}
	memcpy(c->wire + c->wire_size, buf, size);
	c->wire_size += size;
	return (int64_t)size;
}

static size_t socket_room(void *transport, size_t want)
{
	(void)transport;
	return want;
}

static const struct transport_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.room = socket_room,
};

int client_seal_flush(struct creel *c)
{
	size_t sent = 0;

	while (sent < c->wire_size) {
		ssize_t n = send(c->fd, c->wire + sent, c->wire_size - sent,
			MSG_NOSIGNAL | (c->no_wait ? MSG_DONTWAIT : 0));

		if (n < 0 && errno == EAGAIN && c->no_wait)
			break;
		if (n < 0 && errno != EINTR)
			return client_lost(c, CREEL_CONNECTION,
				"the connection to the host broke: %s", strerror(errno));
		if (n > 0)
			sent += (size_t)n;
	}
	memmove(c->wire, c->wire + sent, c->wire_size - sent);
	c->wire_size -= sent;
	return CREEL_OK;
}

/* Who closes in the middle of the handshake is a host that knows one of the keys not. */
static int refused(struct creel *c, int status, const char *address, const uint8_t *host_key,
	const struct noise_keys *keys)
{
	char theirs[CREEL_KEY_TEXT_SIZE], ours[CREEL_KEY_TEXT_SIZE];

	creel_key_text(theirs, host_key);
	creel_key_text(ours, keys->public);
	if (status == ERR_AGAIN)
		return client_lost(c, CREEL_TIMEOUT, "%s does not answer the handshake", address);
	if (status == ERR_CLOSED && c->broken && c->broken != ECONNRESET)
		return client_lost(c, CREEL_CONNECTION, "the connection to %s broke: %s", address,
			strerror(c->broken));
	if (status == ERR_CLOSED)
		return client_lost(c, CREEL_DENIED,
			"the host did not accept: its key is not %s, or yours is not authorised "
			"(yours is %s)",
			theirs, ours);
	return client_lost(c, CREEL_DENIED, "what answers at %s does not have the key %s", address,
		theirs);
}

static int open_channel(struct creel *c, const char *address, const struct noise_keys *keys,
	const uint8_t host_key[CREEL_KEY_SIZE])
{
	uint8_t random[NOISE_KEY_SIZE];
	int err = client_random(c, random, sizeof(random)), status;

	if (err != CREEL_OK)
		return err;
	status = channel_open_client(&c->channel, &socket_ops, c, keys, host_key, random);
	wipe(random, sizeof(random));
	if (status != OK)
		return client_lost(c, CREEL_INVALID, "the host's key is no key");
	err = client_seal_flush(c);
	if (err != CREEL_OK)
		return err;
	status = channel_handshake(&c->channel);
	/* the proof goes with the hello */
	return status == OK ? CREEL_OK : refused(c, status, address, host_key, keys);
}

int client_seal(struct creel *c, const char *address, const uint8_t host_key[CREEL_KEY_SIZE],
	const uint8_t private[CREEL_KEY_SIZE])
{
	struct noise_keys keys;
	int err;

	c->wire_size = 0;
	noise_keys_from(&keys, private);
	err = open_channel(c, address, &keys, host_key);
	wipe(&keys, sizeof(keys));
	return err;
}
