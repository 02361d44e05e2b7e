/* Calls of libcreel for the host's operator. */
#include "mgmt/client/internal.h"

#include <stdio.h>

static void audit_out(struct creel_audit *a, const struct proto_audit *m)
{
	*a = (struct creel_audit){
		.seq = m->seq,
		.wall_ns = m->wall_ns,
		.role = (enum creel_role)m->role,
		.address = m->address,
		.code = (enum creel_code)m->code,
		.made = m->made,
		.count = m->count,
	};
	snprintf(a->client, sizeof(a->client), "%s", m->client);
	snprintf(a->action, sizeof(a->action), "%s", m->action);
	snprintf(a->object, sizeof(a->object), "%s", m->object);
}

struct audit_call {
	struct call call; /* the first, as client_call() needs it */
	uint64_t *after;
	int (*each)(void *arg, const struct creel_audit *a);
	void *arg;
};

static int audit_take(struct creel *c, struct call *k, const struct frame *f)
{
	struct audit_call *a = (struct audit_call *)k;
	struct creel_audit record;

	if (f->header.type == PROTO_DONE)
		return CREEL_OK;
	if (f->header.type != PROTO_AUDIT)
		return client_unexpected(c, f);
	audit_out(&record, &f->message.audit);
	*a->after = record.seq;
	return a->each(a->arg, &record) ? CALL_ENOUGH : CREEL_OK;
}

int creel_audit(struct creel *c, uint64_t *after, bool follow,
	int (*each)(void *arg, const struct creel_audit *a), void *arg)
{
	const struct proto_get_audit ask = {.after = *after, .follow = follow};
	struct audit_call a = {
		.call = {.take = audit_take}, .after = after, .each = each, .arg = arg};

	return client_call(c, PROTO_GET_AUDIT, &ask, &a.call, sizeof(a));
}

int creel_host_power(struct creel *c, enum creel_power action)
{
	const struct proto_host_power ask = {.action = (uint8_t)action};

	return client_do(c, PROTO_HOST_POWER, &ask);
}
