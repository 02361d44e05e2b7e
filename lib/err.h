/*
 * The one set of error codes of the appliance. Functions return 0 or a value above for success and
 * one of these, negative, for failure. The guest ABI and the management protocol have codes of
 * their own, which never change; these may.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

enum err {
	OK = 0,
	ERR_INVALID = -1,   /* an argument or a message is malformed */
	ERR_NOMEM = -2,     /* the host has no frame above its reserve */
	ERR_LIMIT = -3,     /* a budget or a named limit is used up */
	ERR_NOENT = -4,     /* no such guest, snapshot, image, connection */
	ERR_EXIST = -5,     /* the name is taken */
	ERR_BUSY = -6,      /* in use, or in a state that forbids it */
	ERR_AGAIN = -7,     /* nothing now; retry after an event */
	ERR_FAULT = -8,     /* a guest address is outside the guest */
	ERR_UNSUPPORTED = -9,
	ERR_IO = -10,       /* a device misbehaved or timed out */
	ERR_PERM = -11,     /* not allowed to this caller */
	ERR_CLOSED = -12,   /* the peer has gone */
	ERR_TOOBIG = -13,   /* larger than the named maximum */
	ERR_RANGE = -14,    /* a number outside its range */
};

/* A short English phrase for `e`, never NULL. */
const char *err_str(int e);

#endif
