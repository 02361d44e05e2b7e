/* libcreel: events. */
#include "mgmt/client/internal.h"

static int each_event(struct each *e, const union proto_message *m)
{
	const struct proto_event *in = &m->event;
	struct creel_event out = {
		.time_ns = in->time_ns,
		.lost = in->lost,
		.what = (enum creel_what)in->what,
		.kind = (enum creel_kind)in->kind,
		.id = in->id,
		.parent = in->parent,
		.state = (enum creel_state)in->state,
		.stop = (enum creel_stop)in->stop,
		.exit_status = in->exit_status,
	};

	client_text(out.name, sizeof(out.name), in->name);
	client_text(out.owner, sizeof(out.owner), in->owner);
	client_text(out.reason, sizeof(out.reason), in->reason);
	client_text(out.labels, sizeof(out.labels), in->labels);
	return e->event(e->arg, &out);
}

int creel_events(struct creel *c, const char *selector,
	int (*each)(void *arg, const struct creel_event *e), void *arg)
{
	struct each e = {.type = PROTO_EVENT, .last = PROTO_DONE, .each = each_event, .event = each, .arg = arg};
	struct proto_get_events m = {{0}};

	if (!client_labels(c, m.selector, selector, LABELS_SELECTOR))
		return CREEL_INVALID;
	return client_each(c, PROTO_GET_EVENTS, &m, &e);
}
