/* Calls of libcreel that act on many things, and those for labels and timeouts. */
#include "mgmt/client/internal.h"

#include <string.h>

bool client_labels(struct creel *c, char out[LABELS_SIZE], const char *labels, enum labels_kind kind)
{
	const char *wrong = labels ? labels_check(labels, kind) : NULL;

	if (wrong)
		client_fail(c, CREEL_INVALID, "\"%s\": %s", labels, wrong);
	else
		client_text(out, LABELS_SIZE, labels ? labels : "");
	return !wrong;
}

int creel_label(struct creel *c, const char *what, const char *set, const char *remove)
{
	struct proto_label m = {.key = client_key()};

	if (!client_ref(c, &m.ref, CREEL_ANY, what) ||
		!client_labels(c, m.set, set, LABELS_PAIRS) ||
		!client_labels(c, m.remove, remove, LABELS_KEYS))
		return CREEL_INVALID;
	return client_do(c, PROTO_LABEL, &m);
}

int creel_set_timeout(struct creel *c, const char *guest, uint64_t ns, bool running)
{
	struct proto_set_limit m = {
		.key = client_key(), .timeout_ns = ns, .timeout_running = running};

	if (!client_ref(c, &m.guest, CREEL_GUEST, guest))
		return CREEL_INVALID;
	return client_do(c, PROTO_SET_LIMIT, &m);
}

/* ---- many ---- */

/* As many of the targets as fit into one request, from *at on. */
static int add_refs(struct creel *c, struct proto_batch *m, uint8_t refs[PROTO_ARGS_MAX],
	const char *const *targets, size_t count, size_t *at)
{
	m->refs = (struct proto_blob){.data = refs};
	for (; *at < count; ++*at) {
		struct proto_ref ref;
		size_t size;

		if (!client_ref(c, &ref, CREEL_ANY, targets[*at]))
			return CREEL_INVALID;
		size = proto_ref_put(refs + m->refs.size, PROTO_ARGS_MAX - m->refs.size, &ref);
		if (!size)
			break;
		m->refs.size += (uint32_t)size;
	}
	return CREEL_OK;
}

static int act_on_targets(struct creel *c, struct proto_batch *m, struct each *e,
	const char *const *targets, size_t count, uint64_t *done)
{
	uint8_t refs[PROTO_ARGS_MAX];
	uint64_t of_this = 0;
	int err = CREEL_OK;

	for (size_t at = 0; at < count && err == CREEL_OK;) {
		e->first = (uint32_t)at;
		e->seen = 0;
		err = add_refs(c, m, refs, targets, count, &at);
		if (err != CREEL_OK)
			break;
		m->key = client_key();
		if (c->async_done) {
			if (at < count)
				return client_fail(c, CREEL_TOOBIG,
					"%zu targets don't fit into one request", count);
			return client_each(c, PROTO_BATCH, m, e);
		}
		e->made = &of_this;
		err = client_each(c, PROTO_BATCH, m, e);
		if (done)
			*done += of_this;
	}
	return err;
}

int creel_act(struct creel *c, enum creel_action action, bool force, const char *const *targets,
	size_t count, const char *selector, int (*each)(void *arg, const struct creel_result *r),
	void *arg, uint64_t *done)
{
	static const uint16_t types[] = {
		[CREEL_PAUSE] = PROTO_PAUSE,
		[CREEL_RESUME] = PROTO_RESUME,
		[CREEL_KILL] = PROTO_KILL,
		[CREEL_REMOVE] = PROTO_REMOVE,
	};
	struct proto_batch m = {.key = client_key(), .action = types[action], .force = force};
	struct each e = {
		.type = PROTO_RESULT,
		.last = PROTO_DONE,
		.each = client_each_result,
		.end = client_end_count,
		.result = each,
		.arg = arg,
		.made = done,
	};

	if (done)
		*done = 0;
	if (!selector)
		return act_on_targets(c, &m, &e, targets, count, done);
	if (!client_labels(c, m.selector, selector, LABELS_SELECTOR))
		return CREEL_INVALID;
	if (!selector[0] || count)
		return client_fail(c, CREEL_INVALID,
			selector[0] ? "give targets or a selector, not both"
				    : "an empty selector would mean everything");
	return client_each(c, PROTO_BATCH, &m, &e);
}
