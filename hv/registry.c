#include "hv/registry.h"

#include "lib/string.h"

void registry_init(struct registry *r, struct object **by_id, struct object **by_name,
	uint64_t buckets, void (*release)(struct object *, unsigned core))
{
	*r = (struct registry){
		.by_id = by_id,
		.by_name = by_name,
		.mask = buckets - 1,
		.next_id = 1,
		.release = release,
	};
	for (unsigned kind = 0; kind < OBJECT_KINDS; kind++) {
		list_init(&r->all[kind]);
		r->last[kind] = &r->all[kind];
	}
}

/* FNV-1a, with kind and owner mixed in: names are unique within both only. */
static uint64_t name_hash(const char *name, unsigned kind, unsigned owner)
{
	uint64_t h = 0xcbf29ce484222325ull ^ kind ^ owner << 8;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	return h;
}

static struct object **id_slot(struct registry *r, uint64_t id)
{
	struct object **at = &r->by_id[id & r->mask];

	while (*at && (*at)->id != id)
		at = &(*at)->id_next;
	return at;
}

static struct object **name_slot(
	struct registry *r, const char *name, unsigned kind, unsigned owner)
{
	struct object **at = &r->by_name[name_hash(name, kind, owner) & r->mask];

	while (*at && !((*at)->kind == kind && (*at)->owner == owner &&
			      strcmp((*at)->name, name) == 0))
		at = &(*at)->name_next;
	return at;
}

uint64_t registry_new_id(struct registry *r)
{
	return __atomic_fetch_add(&r->next_id, 1, __ATOMIC_RELAXED);
}

static uint64_t id_at(struct list *node)
{
	return LIST_ENTRY(node, struct object, all)->id;
}

/* Ids are handed out before objects are added, so that two adders may come in the wrong order. */
static void insert_by_id(struct registry *r, struct object *o)
{
	struct list *head = &r->all[o->kind], *before = head->prev;

	while (before != head && id_at(before) > o->id)
		before = before->prev;
	list_push_front(before, &o->all);
}

static void count(struct registry *r, const struct object *o, int n)
{
	__atomic_store_n(&r->count[o->kind], r->count[o->kind] + (uint64_t)n, __ATOMIC_RELAXED);
}

int registry_add(struct registry *r, struct object *o)
{
	if (!o->id)
		o->id = registry_new_id(r);
	o->pins = 2;
	spin_lock(&r->lock);
	if (o->name[0]) {
		struct object **at = name_slot(r, o->name, o->kind, o->owner);

		if (*at) {
			spin_unlock(&r->lock);
			return ERR_EXIST;
		}
		o->name_next = NULL;
		*at = o;
	}
	struct object **bucket = &r->by_id[o->id & r->mask];

	o->id_next = *bucket;
	*bucket = o;
	insert_by_id(r, o);
	count(r, o, 1);
	spin_unlock(&r->lock);
	return OK;
}

bool registry_remove(struct registry *r, struct object *o)
{
	spin_lock(&r->lock);
	struct object **at = id_slot(r, o->id);
	bool here = *at == o;

	if (here) {
		*at = o->id_next;
		if (o->name[0])
			*name_slot(r, o->name, o->kind, o->owner) = o->name_next;
		if (r->last[o->kind] == &o->all)
			r->last[o->kind] = o->all.prev;
		list_remove(&o->all);
		count(r, o, -1);
	}
	spin_unlock(&r->lock);
	return here;
}

struct object *registry_find_any(struct registry *r, uint64_t id)
{
	spin_lock(&r->lock);
	struct object *o = *id_slot(r, id);

	if (o)
		object_pin(o);
	spin_unlock(&r->lock);
	return o;
}

struct object *registry_find(struct registry *r, uint64_t id, enum object_kind kind)
{
	spin_lock(&r->lock);
	struct object *o = *id_slot(r, id);

	if (o && o->kind != kind)
		o = NULL;
	if (o)
		object_pin(o);
	spin_unlock(&r->lock);
	return o;
}

struct object *registry_find_name(
	struct registry *r, const char *name, enum object_kind kind, uint16_t owner)
{
	spin_lock(&r->lock);
	struct object *o = *name_slot(r, name, kind, owner);

	if (o)
		object_pin(o);
	spin_unlock(&r->lock);
	return o;
}

/*
 * The last of `kind` with an id of at most `after`, or the list's head. Who goes through a list and
 * removes what he finds comes back with an id that is gone, and from next to where he was.
 */
static struct list *place_of(struct registry *r, uint64_t after, enum object_kind kind)
{
	struct list *head = &r->all[kind], *at = r->last[kind];
	struct object *o = *id_slot(r, after);

	if (!after)
		return head;
	if (o && o->kind == kind)
		return &o->all;
	while (at != head && id_at(at) > after)
		at = at->prev;
	while (at->next != head && id_at(at->next) <= after)
		at = at->next;
	return at;
}

struct object *registry_next(struct registry *r, uint64_t after, enum object_kind kind)
{
	struct object *found = NULL;

	spin_lock(&r->lock);
	struct list *at = place_of(r, after, kind);

	r->last[kind] = at;
	if (at->next != &r->all[kind]) {
		found = LIST_ENTRY(at->next, struct object, all);
		object_pin(found);
	}
	spin_unlock(&r->lock);
	return found;
}

void object_unpin(struct registry *r, struct object *o, unsigned core)
{
	if (__atomic_sub_fetch(&o->pins, 1, __ATOMIC_ACQ_REL) == 0)
		r->release(o, core);
}

bool object_name_valid(const char *name)
{
	bool only_digits = true;
	size_t n = 0;

	for (; name[n]; n++) {
		char c = name[n];
		bool digit = c >= '0' && c <= '9';
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (n == GUEST_NAME_MAX - 1)
			return false;
		if (!digit && !letter && c != '_' && c != '.' && c != '-')
			return false;
		only_digits = only_digits && digit;
	}
	return n == 0 || !only_digits;
}
