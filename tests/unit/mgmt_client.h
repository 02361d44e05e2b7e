/*
 * The other end of the management server in its tests: connections that are two buffers, a server
 * with few of everything over the fake hypervisor, and frames in and out of it.
 */
#ifndef TESTS_UNIT_MGMT_CLIENT_H
#define TESTS_UNIT_MGMT_CLIENT_H

#include "boot/config.h"
#include "mgmt/proto.h"
#include "mgmt/server.h"
#include "tests/fake_hv.h"
#include "tests/unit/test.h"

#define WIRE_SIZE (1024 * 1024)

struct client {
	struct conn *conn;
	struct channel_client identity;
	uint8_t *to, *from; /* to and from the server */
	size_t to_size, to_read, from_size, from_read;
	size_t from_limit;        /* from takes so many bytes in all: a client that does not read */
	size_t chunk;             /* bytes a read or write moves at most; 0: all */
	bool gone, closed, reset; /* by us; by the server */
};

struct answer {
	struct proto_header header;
	union proto_message m;
};

extern struct server server;
extern uint64_t now_us;
extern uint32_t client_address; /* of those that connect */
extern const struct transport_ops wire_ops;

/* A fresh world; `config` NULL: small defaults. */
void world_begin(const struct server_config *config);
/* Nothing of any client is left, but the guests and snapshots that they made. */
void world_check_idle(void);
void world_end(void);
/* Polls, and lets guests run, until nothing moves. */
void settle(void);
/* One poll. */
bool poll_once(void);

int client_try(struct client *c);
/* Connects and says hello. */
void client_open(struct client *c);
/* The same for a client that creel.conf has with that role and name. */
void client_open_as(struct client *c, enum config_role role, const char *name);
void client_connect(struct client *c);
/* Frees; a server that still holds it is told first. */
void client_end(struct client *c);
void client_bytes(struct client *c, const void *data, size_t size);
void client_send(struct client *c, uint16_t type, uint64_t request, const void *message);
/* The next frame; false: none. */
bool client_next(struct client *c, struct answer *a);
/* The next frame, which is of `type` and `request`. */
void client_expect(struct client *c, uint16_t type, uint64_t request, struct answer *a);
/* An ERROR of `code`. */
void client_expect_error(struct client *c, uint64_t request, enum proto_code code);
/* Sends, settles and expects a final DONE. */
void client_do(struct client *c, uint16_t type, uint64_t request, const void *message);

/* Size and hash of what is to be uploaded. */
void put_announce(struct proto_put *put, const void *bytes, size_t size);

/* Uploads a script as an image. */
void put_script(struct client *c, uint64_t request, const char *name, const char *script);
struct proto_create create_of(const char *source);

#endif
