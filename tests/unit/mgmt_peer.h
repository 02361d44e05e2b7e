/*
 * Sealed clients of the management server in its tests: a world with a key for each of a few clients,
 * and peers that connect with them and speak frames.
 */
#ifndef TESTS_UNIT_MGMT_PEER_H
#define TESTS_UNIT_MGMT_PEER_H

#include "mgmt/channel.h"
#include "tests/unit/mgmt_client.h"

#define PEER_KEYS 8 /* of clients; one more key is nobody's */

struct peer {
	struct client c;
	struct channel sealed;
	uint8_t buf[4 * CHANNEL_READ_MIN]; /* heard and not yet read */
	size_t size, read;
};

/* As world_begin(), for clients with these roles; `config` says nothing of keys. */
void peer_world(const struct server_config *config, const uint8_t *roles, size_t count);

/* Connects from address `from` with key number `key` and sends the first message. */
void peer_dial(struct peer *p, size_t key, uint32_t from);
/* Goes on with the handshake: OK once it is done. */
int peer_handshake(struct peer *p);
/* All of it, and the hello. */
void peer_open(struct peer *p, size_t key, uint32_t from);
void peer_send(struct peer *p, uint16_t type, uint64_t request, const void *message);
/* The next frame that has come; false: none. */
bool peer_next(struct peer *p, struct answer *a);
void peer_end(struct peer *p);

#endif
