/*
 * What a client may do, by its role, and which things it may see and change, by their owner. A client
 * of role owner sees what is its own, what is public, and the images of the boot volume; all else is
 * not there for it: not in lists, not in counts, and whoever asks for it by id or name gets the answer
 * that an id or name has which never was.
 */
#include "mgmt/server_internal.h"

#define VIEWER   (1u << ROLE_VIEWER)
#define OWNER    (1u << ROLE_OWNER)
#define OPERATOR (1u << ROLE_OPERATOR)
#define ADMIN    (1u << ROLE_ADMIN)

#define ALL  (VIEWER | OWNER | OPERATOR | ADMIN)
#define ACT  (OWNER | OPERATOR | ADMIN)
#define HOST (VIEWER | OPERATOR | ADMIN) /* looks at what all owners do */

/* A request that is not here is for nobody. */
static const uint8_t allowed[] = {
	[PROTO_GET_INFO] = ALL,
	[PROTO_GET_METERS] = HOST,
	[PROTO_GET_LOG] = HOST,
	[PROTO_GET_AUDIT] = OPERATOR | ADMIN,
	[PROTO_HOST_POWER] = ADMIN,
	[PROTO_GET_FIGURES] = HOST,
	[PROTO_PUT] = ACT,
	[PROTO_LIST_IMAGES] = ALL,
	[PROTO_REMOVE_IMAGE] = ACT,
	[PROTO_RUN] = ACT,
	[PROTO_FORK] = ACT,
	[PROTO_TAKE_SNAPSHOT] = ACT,
	[PROTO_ROLLBACK] = ACT,
	[PROTO_PAUSE] = ACT,
	[PROTO_RESUME] = ACT,
	[PROTO_KILL] = ACT,
	[PROTO_REMOVE] = ACT,
	[PROTO_SET_LIMIT] = ACT,
	[PROTO_PUBLISH] = ACT,
	[PROTO_LABEL] = ACT,
	[PROTO_BATCH] = ACT,
	[PROTO_LIST_GUESTS] = ALL,
	[PROTO_LIST_SNAPSHOTS] = ALL,
	[PROTO_GET] = ALL,
	[PROTO_ATTACH] = ALL,
	[PROTO_WAIT] = ALL,
	[PROTO_GET_EVENTS] = ALL,
	[PROTO_AGENT] = ACT,
};

enum config_role conn_role(const struct conn *c)
{
	return (enum config_role)c->channel.client->role;
}

uint16_t conn_owner(const struct conn *c)
{
	return c->channel.client->owner;
}

/* What is more than to look, in requests that look. */
static bool only_looks(uint16_t type, const union proto_message *m)
{
	switch (type) {
	case PROTO_GET_METERS:
		return !m->get_meters.reset;
	case PROTO_ATTACH:
		return !(m->attach.flags & (PROTO_ATTACH_IN | PROTO_ATTACH_HOLD));
	default:
		return true;
	}
}

bool role_allows(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m)
{
	enum config_role role = conn_role(c);

	if (type < ARRAY_SIZE(allowed) && (allowed[type] & 1u << role) &&
		(role != ROLE_VIEWER || only_looks(type, m)))
		return true;
	conn_error(c, number, PROTO_E_DENIED, "role %s does not allow this %s", audit_role_text((uint8_t)role),
		proto_type_name(type));
	return false;
}

bool conn_sees_all(const struct conn *c)
{
	return conn_role(c) != ROLE_OWNER;
}

bool conn_sees(const struct conn *c, enum proto_kind kind, uint16_t owner, bool public)
{
	return conn_sees_all(c) || owner == conn_owner(c) || public ||
	       (kind == PROTO_KIND_IMAGE && owner == OWNER_HOST);
}

bool conn_changes(const struct conn *c, uint16_t owner)
{
	return conn_role(c) != ROLE_OWNER || owner == conn_owner(c);
}

_Static_assert((int)THING_GUEST == PROTO_KIND_GUEST && (int)THING_SNAPSHOT == PROTO_KIND_SNAPSHOT &&
		       (int)THING_IMAGE == PROTO_KIND_IMAGE,
	"kinds are the same on the wire");

static const char *kind_name(unsigned kinds)
{
	switch (kinds) {
	case 1u << PROTO_KIND_GUEST:
		return "guest";
	case 1u << PROTO_KIND_SNAPSHOT:
		return "snapshot";
	case 1u << PROTO_KIND_IMAGE:
		return "image";
	case 1u << PROTO_KIND_GUEST | 1u << PROTO_KIND_SNAPSHOT:
		return "guest or snapshot";
	case 1u << PROTO_KIND_SNAPSHOT | 1u << PROTO_KIND_IMAGE:
		return "snapshot or image";
	default:
		return "guest, snapshot or image";
	}
}

/* What a reference was found to mean. */
struct found {
	unsigned kinds; /* bits 1 << enum proto_kind */
	unsigned same;  /* most things of one kind that have the name */
	uint64_t id;
	struct thing_brief brief;
};

static void find_id(const struct conn *c, uint64_t id, unsigned kinds, struct found *f)
{
	f->id = id;
	if (thing_look(id, &f->brief) == OK && (kinds & 1u << f->brief.kind) &&
		conn_sees(c, (enum proto_kind)f->brief.kind, f->brief.owner, f->brief.public)) {
		f->kinds = 1u << f->brief.kind;
		f->same = 1;
	}
}

/* Ids are never 0, so that looking for what has no such name costs as much as what is hidden. */
static bool find_of(const struct conn *c, enum thing_kind kind, uint16_t owner, const char *name,
	struct found *f)
{
	struct thing_brief brief;
	uint64_t id = 0;

	(void)thing_find(kind, owner, name, &id);
	if (thing_look(id, &brief) < 0 ||
		!conn_sees(c, (enum proto_kind)kind, brief.owner, brief.public))
		return false;
	f->kinds |= 1u << kind;
	f->id = id;
	f->brief = brief;
	return true;
}

/* What is the client's own goes before what others have under that name. */
static void find_name(const struct conn *c, enum thing_kind kind, const char *name, struct found *f)
{
	unsigned n = 0;

	if (find_of(c, kind, conn_owner(c), name, f)) {
		f->same = MAX(f->same, 1u);
		return;
	}
	if (kind == THING_GUEST && !conn_sees_all(c))
		return;
	for (uint16_t owner = 0; owner < owner_count(); owner++) {
		if (owner != conn_owner(c))
			n += find_of(c, kind, owner, name, f);
	}
	f->same = MAX(f->same, n);
}

enum proto_code ref_find(struct conn *c, const struct proto_ref *ref, unsigned kinds, bool change,
	uint64_t *id, enum proto_kind *kind, char text[PROTO_TEXT_MAX])
{
	unsigned wanted = ref->kind == PROTO_ANY ? kinds : kinds & 1u << ref->kind;
	struct found f = {0};

	if (ref->id)
		find_id(c, ref->id, wanted, &f);
	for (unsigned k = THING_GUEST; !ref->id && k <= THING_IMAGE; k++) {
		if (wanted & 1u << k)
			find_name(c, (enum thing_kind)k, ref->name, &f);
	}
	const char *name = kind_name(f.kinds ? f.kinds : wanted ? wanted : kinds);

	*id = f.id;
	*kind = (enum proto_kind)f.brief.kind;
	if (!f.kinds && ref->id) {
		fmt(text, PROTO_TEXT_MAX, "there is no %s %llu", name, (unsigned long long)ref->id);
		return PROTO_E_NOENT;
	}
	if (!f.kinds) {
		fmt(text, PROTO_TEXT_MAX, "there is no %s named %s", name, ref->name);
		return PROTO_E_NOENT;
	}
	if (f.kinds & (f.kinds - 1)) {
		fmt(text, PROTO_TEXT_MAX, "%s names a %s: give the id", ref->name,
			f.kinds & 1u << PROTO_KIND_GUEST ? "guest and something else"
							 : "snapshot and an image");
		return PROTO_E_INVALID;
	}
	if (f.same > 1) {
		fmt(text, PROTO_TEXT_MAX, "%u owners have a %s named %s: give the id", f.same, name,
			ref->name);
		return PROTO_E_INVALID;
	}
	if (change && !conn_changes(c, f.brief.owner)) {
		fmt(text, PROTO_TEXT_MAX, "%s %llu is not yours to change", name,
			(unsigned long long)f.id);
		return PROTO_E_DENIED;
	}
	return PROTO_OK;
}

bool ref_resolve(struct conn *c, uint64_t number, const struct proto_ref *ref, unsigned kinds,
	bool change, uint64_t *id, enum proto_kind *kind)
{
	char text[PROTO_TEXT_MAX];
	enum proto_kind any;
	enum proto_code code = ref_find(c, ref, kinds, change, id, kind ? kind : &any, text);

	if (code != PROTO_OK)
		conn_error(c, number, code, "%s", text);
	return code == PROTO_OK;
}

void publish(struct conn *c, uint64_t number, const struct proto_publish *m)
{
	const unsigned kinds = 1u << PROTO_KIND_SNAPSHOT | 1u << PROTO_KIND_IMAGE;
	uint64_t id;

	if (ref_resolve(c, number, &m->ref, kinds, true, &id, NULL))
		request_done(c, number, thing_publish(id, m->public));
}
