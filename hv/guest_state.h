/*
 * The life of a guest: how it comes to be, changes state and ends. Management reaches it through
 * hv/guest.h, guests through their hypercalls.
 */
#ifndef HV_GUEST_STATE_H
#define HV_GUEST_STATE_H

#include "hv/objects.h"

struct core;

/* Who asks for a guest, and what it may have. */
struct guest_request {
	const struct guest_options *options; /* NULL: like the parent */
	struct budget *under;   /* pays for the guest and holds its budget */
	uint64_t parent;        /* id of what it is made of */
	uint64_t memory;        /* bytes it may address; 0: as many as its origin */
	bool keep;              /* stays listed when it has stopped */
	bool count_child;       /* `parent` is the guest that forks itself, and may wait for its children */
};

/*
 * A new guest with a copy of what `from` is: memory, registers, clock. `from` runs nowhere, and belongs
 * to `origin`. On success *out is pinned and registered, but nobody else can hold it yet: the caller sets
 * what is left, then calls sched_admit() and unpins it.
 */
int guest_clone(struct core *core, struct object *origin, struct machine *from,
	const struct guest_request *request, struct guest **out);

/* Freeze what `g` (held, or off its core) is, as a new registered snapshot; *out is pinned. It belongs to
 * `owner`, and `under` pays for it: g's own budget, or one above it. */
int snapshot_take(struct core *core, struct guest *g, uint16_t owner, struct budget *under,
	const char *name, struct snapshot **out);

/* Make `g` (held, or off its core) what `s` froze. */
int snapshot_restore(struct core *core, struct guest *g, struct snapshot *s);

/* End a guest that is on no core and held, or is being taken off this one: frees all but its streams
 * and its struct. `text` of `size` bytes is put behind the reason, if it is not NULL. */
void guest_stop(struct core *core, struct guest *g, enum guest_stop stop, const char *text,
	size_t size);

/* To PAUSED, by itself: the guest is on this core. */
void guest_pause_self(struct core *core, struct guest *g, enum guest_stop why);

/* The clock of a guest goes on, or stands still; `now` is the host's TSC. g->lock is held. */
void guest_clock_start(struct guest *g, uint64_t now);
void guest_clock_stop(struct guest *g, uint64_t now);

/* Frees an object without pins: registry's release. */
void object_release(struct object *o, unsigned core);

/* What management asks for makes sense; else ERR_INVALID or ERR_RANGE, and a sentence. */
int guest_check_options(const struct guest_options *o);

/* Bytes that it may address. */
uint64_t machine_memory(const struct machine *m);

/* A sentence on why `g` is PAUSED or STOPPED; "" otherwise. */
void guest_reason(const struct guest *g, char *buf, size_t size);

/* Name and weight. ERR_INVALID, ERR_RANGE. On the boot core. */
int guest_check_options(const struct guest_options *o);

/* Sets what guest_last_error() returns on the boot core. Returns `err`. */
int guest_fail(struct core *core, int err, const char *format, ...) PRINTF(3, 4);

/* A client follows what `g` writes, and wants news of it: one that holds no output holds stderr, where
 * it is told of the end. g->lock is held. */
bool guest_followed(const struct guest *g);

/* Take `g` out of the registry if it is STOPPED, nobody reads its streams and it was not to be kept. */
void guest_drop_if_done(struct core *core, struct guest *g);

/* Tell management (hv/guest_stream.c). */
void news_add(struct core *core, struct guest *g, unsigned news); /* set of enum guest_news */
void news_forget(struct guest *g);
/* The same for what guests make, if anyone wants to know. */
void news_made(struct core *core, struct guest *g, unsigned news);

/* Lineage: parents' counts of children, and who waits for whose mailbox. Taken before any guest.lock. */
extern struct spinlock families;

#endif
