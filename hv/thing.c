/* What guests, snapshots and images have in common for management: whose they are, and their names. */
#include "hv/core.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"

static void unpin(struct object *o)
{
	object_unpin(&hv.registry, o, cores[0]->id);
}

static const uint8_t object_kinds[] = {
	[THING_GUEST] = OBJECT_GUEST,
	[THING_SNAPSHOT] = OBJECT_SNAPSHOT,
	[THING_IMAGE] = OBJECT_IMAGE,
};

int thing_look(uint64_t id, struct thing_brief *brief)
{
	struct object *o = registry_find_any(&hv.registry, id);
	int err = ERR_NOENT;

	for (unsigned kind = THING_GUEST; o && kind <= THING_IMAGE; kind++) {
		if (o->kind != object_kinds[kind])
			continue;
		*brief = (struct thing_brief){(enum thing_kind)kind, o->owner, o->public};
		err = OK;
	}
	if (o)
		unpin(o);
	return err;
}

int thing_find(enum thing_kind kind, uint16_t owner, const char *name, uint64_t *id)
{
	struct object *o = registry_find_name(
		&hv.registry, name, (enum object_kind)object_kinds[kind], owner);

	if (!o)
		return ERR_NOENT;
	*id = o->id;
	unpin(o);
	return OK;
}

int thing_label(uint64_t id, const char *set, const char *remove)
{
	struct object *o = registry_find_any(&hv.registry, id);
	bool guest = o && o->kind == OBJECT_GUEST;
	int err = OK;

	if (!o || (!guest && o->kind != OBJECT_SNAPSHOT)) {
		err = guest_fail(cores[0], ERR_NOENT, "no guest or snapshot %lu", id);
		goto out;
	}
	/* Its forks copy them, on whatever core it runs. */
	if (guest)
		guest_hold(guest_of(o), cores[0]);
	if (!labels_change(o->labels, set, remove))
		err = guest_fail(cores[0], ERR_RANGE,
			"%lu would have more than %d labels, or more than %d characters of them", id,
			LABELS_MAX, LABELS_SIZE - 1);
	if (guest)
		guest_unhold(guest_of(o));
out:
	if (o)
		unpin(o);
	return err;
}

int thing_publish(uint64_t id, bool public)
{
	struct object *o = registry_find_any(&hv.registry, id);
	int err = OK;

	if (!o || (o->kind != OBJECT_SNAPSHOT && o->kind != OBJECT_IMAGE))
		err = guest_fail(cores[0], ERR_NOENT, "no snapshot or image %lu", id);
	else
		o->public = public;
	if (o)
		unpin(o);
	return err;
}
