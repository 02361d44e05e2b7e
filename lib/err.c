#include "lib/err.h"

#include "lib/base.h"

const char *err_str(int e)
{
	static const char *const text[] = {
		[-OK] = "ok",
		[-ERR_INVALID] = "invalid argument",
		[-ERR_NOMEM] = "host memory is at its reserve",
		[-ERR_LIMIT] = "limit reached",
		[-ERR_NOENT] = "not found",
		[-ERR_EXIST] = "already exists",
		[-ERR_BUSY] = "in use",
		[-ERR_AGAIN] = "try again",
		[-ERR_FAULT] = "address outside the guest",
		[-ERR_UNSUPPORTED] = "not supported",
		[-ERR_IO] = "device error",
		[-ERR_PERM] = "not permitted",
		[-ERR_CLOSED] = "closed by the peer",
		[-ERR_TOOBIG] = "too big",
		[-ERR_RANGE] = "out of range",
	};

	if (e > 0 || e <= -(int)ARRAY_SIZE(text))
		return "unknown error";
	return text[-e];
}
