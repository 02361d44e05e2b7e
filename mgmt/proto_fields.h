/* The layout of each message as a table: what proto.c walks, and what the tests fill at random. */
#ifndef MGMT_PROTO_FIELDS_H
#define MGMT_PROTO_FIELDS_H

#include "mgmt/proto.h"

enum proto_field_kind {
	FIELD_INTEGER,
	FIELD_STRING,
	FIELD_NAME,
	FIELD_BYTES,
	FIELD_REF,
	FIELD_BLOB
};

struct proto_field {
	const char *name;
	enum proto_field_kind kind;
	uint16_t offset, size; /* of the member */
	uint64_t low, high;    /* of an integer */
};

struct proto_layout {
	const char *name;
	const struct proto_field
		*fields; /* in the order of the wire, which is that of the struct */
	size_t count;
	size_t size; /* of the struct */
};

/* NULL: no such type. */
const struct proto_layout *proto_layout(uint16_t type);

#endif
