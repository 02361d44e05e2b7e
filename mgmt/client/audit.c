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

int creel_audit(struct creel *c, uint64_t *after, bool follow,
	int (*each)(void *arg, const struct creel_audit *a), void *arg)
{
	const struct proto_get_audit ask = {.after = *after, .follow = follow};
	struct creel_audit record;
	uint64_t request;
	struct frame f;
	int err = client_request(c, PROTO_GET_AUDIT, &ask, &request);

	while (err == CREEL_OK) {
		err = client_receive(c, request, &f);
		if (err != CREEL_OK || f.header.type == PROTO_DONE)
			break;
		if (f.header.type != PROTO_AUDIT)
			return client_unexpected(c, &f);
		audit_out(&record, &f.message.audit);
		*after = record.seq;
		if (each(arg, &record))
			return client_cancel(c, request);
	}
	return err;
}

int creel_host_power(struct creel *c, enum creel_power action)
{
	const struct proto_host_power ask = {.action = (uint8_t)action};
	uint64_t request;
	struct frame f;
	int err = client_request(c, PROTO_HOST_POWER, &ask, &request);

	if (err == CREEL_OK)
		err = client_receive(c, request, &f);
	if (err == CREEL_OK && f.header.type != PROTO_DONE)
		return client_unexpected(c, &f);
	return err;
}
