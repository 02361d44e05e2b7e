/*
 * The audit ring: who did what to what, from where, when, and how it ended. A record has a number,
 * counted from 1 and never used again; the oldest are overwritten, and a reader that comes late sees
 * by the numbers how many it missed. Pure.
 */
#ifndef MGMT_AUDIT_H
#define MGMT_AUDIT_H

#include "mgmt/proto.h"

#define AUDIT_RECORDS 2048u /* kept; a power of two */

/* What is no request of enum proto_type. */
enum audit_action {
	AUDIT_CONNECT = 0x1000, /* a client came in */
	AUDIT_REFUSED = 0x1001, /* handshakes failed: `count` of them, the last from `address` */
};

struct audit_record {
	uint64_t seq;
	uint64_t wall_ns;   /* UTC since 1970 */
	uint32_t address;   /* of the client, host byte order */
	uint16_t owner;     /* the client's: owner_name() */
	uint16_t action;    /* enum proto_type or enum audit_action */
	uint16_t code;      /* enum proto_code: how it ended, or the last error of many */
	uint8_t role;       /* enum config_role */
	uint8_t kind;       /* enum proto_kind of what it was done to */
	uint64_t object;    /* its id; 0: it was named */
	char name[PROTO_NAME_MAX];
	uint64_t made;      /* id of what was made, the first of several; 0: nothing */
	uint32_t count;     /* how many were made, or refused, or how often it came in (0: once) */
};

struct audit_ring {
	uint64_t next; /* number of the next record */
	struct audit_record record[AUDIT_RECORDS];
};

void audit_init(struct audit_ring *ring);

/* Numbers the record and keeps it. */
void audit_put(struct audit_ring *ring, const struct audit_record *record);

/* The one that was kept last, which may still change; NULL: none. Valid until the next audit_put(). */
struct audit_record *audit_newest(struct audit_ring *ring);

/* The oldest record that is kept with a number above `after`; NULL: none. Valid until the next
 * audit_put(). */
const struct audit_record *audit_after(const struct audit_ring *ring, uint64_t after);

/* "fork", "take snapshot", "refused handshake". `out` has PROTO_NAME_MAX bytes. */
void audit_action_text(char *out, uint16_t action);

/* "guest 17", "image hello"; "" for none. `out` has PROTO_TEXT_MAX bytes. */
void audit_object_text(char *out, const struct audit_record *r);

/* "ok", "no such thing", "denied". */
const char *audit_code_text(uint16_t code);

const char *audit_role_text(uint8_t role);

#endif
