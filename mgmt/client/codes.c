/* What libcreel is, and what its codes are called. */
#include "lib/version.h"
#include "mgmt/client/creel.h"

const char *creel_version(void)
{
	return CREEL_VERSION;
}

const char *creel_code_name(int code)
{
	switch ((enum creel_code)code) {
	case CREEL_OK:
		return "ok";
	case CREEL_INVALID:
		return "invalid";
	case CREEL_NOENT:
		return "not found";
	case CREEL_EXIST:
		return "exists";
	case CREEL_BUSY:
		return "busy";
	case CREEL_NOMEM:
		return "no memory";
	case CREEL_LIMIT:
		return "limit";
	case CREEL_RETRY:
		return "try again";
	case CREEL_UNSUPPORTED:
		return "unsupported";
	case CREEL_DENIED:
		return "denied";
	case CREEL_CANCELLED:
		return "cancelled";
	case CREEL_TOOBIG:
		return "too big";
	case CREEL_PROTOCOL:
		return "protocol error";
	case CREEL_BAD_VERSION:
		return "no common version";
	case CREEL_TIMEOUT:
		return "timeout";
	case CREEL_INTERNAL:
		return "internal error";
	case CREEL_CONNECTION:
		return "no connection";
	case CREEL_LOCAL:
		return "local error";
	case CREEL_EXEC:
		return "not started";
	}
	return "unknown";
}
