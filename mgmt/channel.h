/*
 * What a connection's bytes pass through. Below is a transport: TCP of the appliance, or a socket
 * of another system. Above, the server or the client library, and their frames. It runs the
 * handshake of mgmt/noise.h and carries bytes in its messages, each behind its length as 16 bits,
 * little-endian:
 *
 *     client -> host   the first handshake message, with an empty payload
 *     host -> client   the second, with an empty payload
 *     client -> host   an empty transport message, which proves that the client holds its key now
 *     both             transport messages; how the bytes are cut into them means nothing
 *
 * Until the proof has come, the host holds for a client what is in struct channel and nothing more,
 * so that a replayed first message costs a handshake and gains nothing. Whatever is wrong, the
 * channel tells the peer nothing: it is to be closed.
 */
#ifndef MGMT_CHANNEL_H
#define MGMT_CHANNEL_H

#include "mgmt/noise.h"

#define CHANNEL_PROLOGUE "creel-management 1" /* names the protocol and its version; no NUL */

#define CHANNEL_HEADER   2 /* the length before a message */
#define CHANNEL_OVERHEAD (CHANNEL_HEADER + NOISE_TAG_SIZE)
#define CHANNEL_SEND_MAX 2048 /* bytes that we put into one message: it is made on the stack */

/* Room that channel_read() must be given at least, once what it returned before was used up. */
#define CHANNEL_READ_MIN (CHANNEL_HEADER + NOISE_MESSAGE_MAX)

struct transport_ops {
	/* Bytes read, 0 if there are none now, ERR_CLOSED if no more will come. */
	int64_t (*read)(void *transport, uint8_t *buf, size_t size);
	/* Bytes taken, 0 if there is no room now, ERR_CLOSED if the peer has gone. */
	int64_t (*write)(void *transport, const uint8_t *buf, size_t size);
	/* Bytes that write() would take now. If fewer than `want`, it tells when there are more. */
	size_t (*room)(void *transport, size_t want);
	/* The last call for this transport. `abort`: what was written may be lost. */
	void (*close)(void *transport, bool abort);
};

/* Whom a host lets in. */
struct channel_client {
	uint8_t key[NOISE_KEY_SIZE];
	uint8_t role; /* enum config_role of boot/config.h */
	uint16_t owner; /* whose things are his: hv/guest.h */
};

/* What the sealed channels of a host share; it outlives them. */
struct channel_host {
	struct noise_keys keys;
	const struct channel_client *clients;
	size_t client_count;
	void (*random)(void *buf, size_t size);
};

enum channel_state {
	CHANNEL_HOST_FIRST,    /* a host waits for the first message */
	CHANNEL_HOST_ANSWER,   /* ... has it, and owes the second */
	CHANNEL_HOST_PROOF,    /* ... for the proof */
	CHANNEL_CLIENT_SECOND, /* a client waits for the second message */
	CHANNEL_SEALED,
	CHANNEL_OVER, /* something was wrong: only channel_close() is left */
};

struct channel {
	const struct transport_ops *ops;
	void *transport;
	enum channel_state state;
	bool drained;    /* the last channel_read() found that the transport had no bytes left */
	bool hold;       /* of a host: the second message waits until the owner says so */
	uint32_t parked; /* see channel_read() */
	const struct channel_host *host;
	const struct channel_client *client; /* of a host: who it is, from CHANNEL_HOST_PROOF on */
	union {
		struct noise_handshake handshake; /* of a client, until the second message */
		struct noise_session session;
	};
	uint8_t message[CHANNEL_HEADER + NOISE_FIRST_SIZE]; /* of the handshake, being received */
};

/* The host's end. channel_handshake() comes next. */
void channel_open_host(struct channel *c, const struct transport_ops *ops, void *transport,
	const struct channel_host *host);

/*
 * The client's end, to a host with the key `host_key`; `random` is 32 fresh random bytes. Sends the
 * first message. ERR_INVALID: that is no key. ERR_CLOSED: the transport has gone, or took less.
 */
int channel_open_client(struct channel *c, const struct transport_ops *ops, void *transport,
	const struct noise_keys *keys, const uint8_t host_key[NOISE_KEY_SIZE],
	const uint8_t random[NOISE_KEY_SIZE]) MUST_CHECK;

/* Bytes pass: the handshake is done. */
static inline bool channel_ready(const struct channel *c)
{
	return c->state == CHANNEL_SEALED;
}

/* What comes next takes as long as a handshake does, and `hold` keeps it from being done. */
static inline bool channel_owes_answer(const struct channel *c)
{
	return c->state == CHANNEL_HOST_ANSWER;
}

/*
 * Goes on with the handshake. OK: it is done. ERR_AGAIN: when the transport has bytes, or the owner
 * no longer holds the answer. Else the channel is over. ERR_PERM: an unknown client; ERR_INVALID: not
 * its handshake, or not with our key; ERR_CLOSED.
 */
int channel_handshake(struct channel *c) MUST_CHECK;

/*
 * Reads into buf and returns how many bytes for the reader came, which may be 0, or ERR_CLOSED or
 * ERR_INVALID (a forged or oversized message, the end of a key): the channel is over then.
 *
 * Behind these bytes lie c->parked more, of a message that is not whole yet. The caller leaves them
 * there, and the next call's `buf` is where they begin; so they move as the caller moves what it
 * has not used. `size` counts them too.
 */
int64_t channel_read(struct channel *c, uint8_t *buf, size_t size);

/* Bytes taken, 0 if there is no room now, ERR_CLOSED, or ERR_LIMIT at the end of the nonces. */
int64_t channel_write(struct channel *c, const uint8_t *buf, size_t size);

/* Closes the transport and wipes the keys. */
void channel_close(struct channel *c, bool abort);

#endif
