/*
 * Physical frames of the host: 4 KiB each, with one 8-byte record (reference count, kind, account).
 *
 * A frame is charged to an account (hv/budget.h) from allocation until it is freed. A freed frame
 * waits in quarantine until every core has dropped the translations it may hold through it (hv/tlb.h
 * tells the epochs), then it may be allocated again: zeroed, or wholly overwritten by its new owner.
 *
 * Pure: the pool is memory handed to frame_pool_init(), and physical addresses are offsets from
 * pool->base, which is 0 on the machine and an arena in the host's tests.
 */
#ifndef HV_FRAME_H
#define HV_FRAME_H

#include "hv/budget.h"
#include "lib/base.h"
#include "lib/err.h"

typedef uint64_t hpa_t; /* host physical address */

enum frame_kind {
	FRAME_FREE,
	FRAME_TABLE,  /* a table page of a memory tree */
	FRAME_DATA,   /* a page of guest memory */
	FRAME_STATE,  /* a guest's or a snapshot's struct */
	FRAME_STREAM, /* buffers of streams and messages */
	FRAME_IMAGE,  /* bytes of an uploaded image file */
	FRAME_HOST,   /* everything of our own */
	FRAME_KINDS,
};

enum frame_fill {
	FRAME_ZEROED,   /* all bytes are 0 */
	FRAME_OVERWRITE /* old bytes: the caller overwrites all 4096 before anyone else can see them */
};

struct frame_pool;

/*
 * Allocate one frame with reference count 1, charged to `account` (NULL: the host's own).
 * `core` picks the cache of free frames, `node` the NUMA node to prefer.
 * Returns 0 and the address in *out, or
 *   ERR_LIMIT  a budget above `account` is used up: budget_exceeded(account) tells which,
 *   ERR_NOMEM  free memory is at the reserve (frames of FRAME_HOST kind may go below it),
 *   ERR_AGAIN  frames are only in quarantine: a flush of all cores was requested, retry.
 */
int frame_alloc(struct frame_pool *pool, unsigned core, unsigned node, enum frame_kind kind,
	struct account *account, enum frame_fill fill, hpa_t *out) MUST_CHECK;

/* The frame's bytes. */
static inline void *frame_ptr(const struct frame_pool *pool, hpa_t hpa);

/* Take one more reference. ERR_LIMIT when the count would overflow; then nothing has changed. */
static inline int frame_get(struct frame_pool *pool, hpa_t hpa) MUST_CHECK;

/* The count, with acquire order: 1 means that the caller's reference is the only one. */
static inline uint32_t frame_refs(const struct frame_pool *pool, hpa_t hpa);

/* Drop one reference, with release order. True when it was the last: then the caller calls
 * frame_free(), after it has dropped what a table's entries refer to. */
static inline bool frame_put(struct frame_pool *pool, hpa_t hpa) MUST_CHECK;

/* Give a frame without references back: its account is credited, it goes into quarantine. */
void frame_free(struct frame_pool *pool, unsigned core, hpa_t hpa);

#endif
