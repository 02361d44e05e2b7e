/*
 * All guests, snapshots and images of this host, by id, by name and in the order of their ids. Ids
 * come from one counter and are never used again; names are unique within a kind and an owner (hv/owner.h).
 *
 * A found object is pinned: it stays in memory until object_unpin(). Removal takes it out of the
 * registry at once; the memory goes with the last pin.
 */
#ifndef HV_REGISTRY_H
#define HV_REGISTRY_H

#include "hv/guest.h"
#include "lib/base.h"
#include "lib/err.h"
#include "lib/labels.h"
#include "lib/list.h"
#include "lib/spinlock.h"

enum object_kind { OBJECT_GUEST, OBJECT_SNAPSHOT, OBJECT_IMAGE, OBJECT_UPLOAD, OBJECT_KINDS };

struct object {
	uint64_t id;
	uint64_t parent;  /* what it was made of, 0: nothing that has an id */
	uint64_t lineage; /* id of the first guest of its line */
	uint64_t image;   /* id of the image that the line began as */
	uint64_t created_ns;
	struct list all;
	struct object *id_next, *name_next; /* hash chains */
	uint32_t pins; /* atomic; one of them is the registry's */
	uint8_t kind;  /* enum object_kind */
	bool public;   /* all owners may look at it and run or fork it; only management sets it */
	uint16_t owner;
	char name[GUEST_NAME_MAX];
	char labels[LABELS_SIZE]; /* of guests and snapshots; of a guest: only while it is held */
};

struct registry {
	struct spinlock lock; /* covers all below, and the links of all objects */
	struct list all[OBJECT_KINDS];   /* ascending ids */
	struct list *last[OBJECT_KINDS]; /* of these, behind which registry_next() looked last */
	struct object **by_id, **by_name;
	uint64_t mask;        /* buckets - 1 */
	uint64_t next_id;
	uint64_t count[OBJECT_KINDS]; /* atomic, for registry_count() */
	/* Frees an object whose last pin is gone. */
	void (*release)(struct object *object, unsigned core);
};

/* `buckets` is a power of two; both tables are zeroed and have that many entries. */
void registry_init(struct registry *r, struct object **by_id, struct object **by_name,
	uint64_t buckets, void (*release)(struct object *, unsigned core));

/* An id that no object of this host ever had. */
uint64_t registry_new_id(struct registry *r);

/* Give `o` (kind and name set, id from registry_new_id() or 0) to the registry, which holds one pin; the
 * caller has another, as others can find and remove it from here on. ERR_EXIST: the name is taken by
 * another of its kind and owner, and there is no pin. */
int registry_add(struct registry *r, struct object *o);

/* Take `o` out. False: someone else did already. Its registry pin passes to the caller. */
bool registry_remove(struct registry *r, struct object *o);

/* Pinned, or NULL. */
struct object *registry_find(struct registry *r, uint64_t id, enum object_kind kind);
struct object *registry_find_any(struct registry *r, uint64_t id);
struct object *registry_find_name(
	struct registry *r, const char *name, enum object_kind kind, uint16_t owner);
/* The first of `kind` whose id is above `after`: at hand if that is there, or near where the last call
 * looked. */
struct object *registry_next(struct registry *r, uint64_t after, enum object_kind kind);

static inline uint64_t registry_count(const struct registry *r, enum object_kind kind)
{
	return __atomic_load_n(&r->count[kind], __ATOMIC_RELAXED);
}

static inline void object_pin(struct object *o)
{
	__atomic_fetch_add(&o->pins, 1, __ATOMIC_RELAXED);
}

void object_unpin(struct registry *r, struct object *o, unsigned core);

/* True for "" and for up to GUEST_NAME_MAX - 1 characters of [A-Za-z0-9_.-] which are not all digits:
 * a name must not look like an id. */
bool object_name_valid(const char *name);

#endif
