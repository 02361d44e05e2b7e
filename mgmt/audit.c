#include "mgmt/audit.h"

#include "boot/config.h"
#include "lib/string.h"

void audit_init(struct audit_ring *ring)
{
	ring->next = 1;
}

void audit_put(struct audit_ring *ring, const struct audit_record *record)
{
	struct audit_record *r = &ring->record[ring->next % AUDIT_RECORDS];

	*r = *record;
	r->seq = ring->next++;
}

struct audit_record *audit_newest(struct audit_ring *ring)
{
	return ring->next > 1 ? &ring->record[(ring->next - 1) % AUDIT_RECORDS] : NULL;
}

const struct audit_record *audit_after(const struct audit_ring *ring, uint64_t after)
{
	uint64_t oldest = ring->next > AUDIT_RECORDS ? ring->next - AUDIT_RECORDS : 1;

	/* (a number that is not reached yet may be any, up to the largest) */
	if (after >= ring->next - 1)
		return NULL;
	return &ring->record[MAX(after + 1, oldest) % AUDIT_RECORDS];
}

/* TAKE_SNAPSHOT becomes "take snapshot". */
static void spell(char *out, const char *name)
{
	size_t i = 0;

	for (; name[i] && i + 1 < PROTO_NAME_MAX; i++) {
		bool upper = name[i] >= 'A' && name[i] <= 'Z';

		out[i] = upper ? (char)(name[i] - 'A' + 'a') : name[i] == '_' ? ' ' : name[i];
	}
	out[i] = 0;
}

void audit_action_text(char *out, uint16_t action)
{
	const char *name = action == AUDIT_CONNECT   ? "connect"
			   : action == AUDIT_REFUSED ? "refused handshake"
						     : proto_type_name(action);

	spell(out, name ? name : "unknown");
}

void audit_object_text(char *out, const struct audit_record *r)
{
	static const char *const kinds[] = {
		[PROTO_ANY] = "",
		[PROTO_KIND_GUEST] = "guest ",
		[PROTO_KIND_SNAPSHOT] = "snapshot ",
		[PROTO_KIND_IMAGE] = "image ",
	};

	if (r->object)
		fmt(out, PROTO_TEXT_MAX, "%s%llu", kinds[r->kind], (unsigned long long)r->object);
	else
		fmt(out, PROTO_TEXT_MAX, "%s%s", r->name[0] ? kinds[r->kind] : "", r->name);
}

const char *audit_code_text(uint16_t code)
{
	static const char *const texts[PROTO_CODE_COUNT] = {
		[PROTO_OK] = "ok",
		[PROTO_E_INVALID] = "invalid",
		[PROTO_E_NOENT] = "no such thing",
		[PROTO_E_EXIST] = "name taken",
		[PROTO_E_BUSY] = "busy",
		[PROTO_E_NOMEM] = "no memory",
		[PROTO_E_LIMIT] = "limit",
		[PROTO_E_RETRY] = "not now",
		[PROTO_E_UNSUPPORTED] = "unsupported",
		[PROTO_E_DENIED] = "denied",
		[PROTO_E_CANCELLED] = "cancelled",
		[PROTO_E_TOOBIG] = "too big",
		[PROTO_E_PROTOCOL] = "protocol error",
		[PROTO_E_VERSION] = "version",
		[PROTO_E_TIMEOUT] = "timeout",
		[PROTO_E_INTERNAL] = "internal error",
	};

	return code < PROTO_CODE_COUNT && texts[code] ? texts[code] : "failed";
}

const char *audit_role_text(uint8_t role)
{
	static const char *const names[] = {
		[ROLE_NONE] = "none",
		[ROLE_VIEWER] = "viewer",
		[ROLE_OWNER] = "owner",
		[ROLE_OPERATOR] = "operator",
		[ROLE_ADMIN] = "admin",
	};

	return role < ARRAY_SIZE(names) ? names[role] : "none";
}
