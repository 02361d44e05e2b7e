/*
 * Physical frames of the host: 4 KiB each, with one 8-byte record (reference count, kind, account).
 *
 * A frame is charged to an account (hv/budget.h) from allocation until it is freed. A freed frame
 * waits in quarantine until every core has dropped the translations it may hold through it (hv/tlb.h
 * tells the epochs), then it may be allocated again: zeroed, or wholly overwritten by its new owner.
 *
 * Each core has a small cache of free frames and a list of freed ones, which other cores can't reach;
 * behind them is a shared pool under one lock, taken once for FRAME_BATCH frames. RAM that was never used is handed out last,
 * in order of address, and not touched before. `core` is always the index of the calling core.
 *
 * Pure: the pool is memory handed to frame_pool_init(), and physical addresses are offsets from
 * pool->base, which is 0 on the machine and an arena in the host's tests.
 */
#ifndef HV_FRAME_H
#define HV_FRAME_H

#include "hv/budget.h"
#include "hv/tlb.h"
#include "lib/base.h"
#include "lib/err.h"
#include "lib/spinlock.h"

typedef uint64_t hpa_t; /* host physical address */

enum frame_kind {
	FRAME_FREE,
	FRAME_TABLE,  /* a table page of a memory tree */
	FRAME_DATA,   /* a page of guest memory */
	FRAME_STATE,  /* a guest's or a snapshot's struct */
	FRAME_STREAM, /* buffers of streams and messages */
	FRAME_IMAGE,  /* a page of an image: of its file, while that comes, or of what guests begin with */
	FRAME_HOST,   /* everything of our own */
	FRAME_KINDS,
};

enum frame_fill {
	FRAME_ZEROED,   /* all bytes are 0 */
	FRAME_OVERWRITE /* old bytes: the caller overwrites all 4096 before anyone else can see them */
};

#define FRAME_BATCH            64      /* frames moved between a core and the shared pool at once */
#define FRAME_FREED_BATCH      256     /* frames freed on a core before it tells the others */
#define FRAME_QUARANTINE_BATCH 2048    /* freed frames that end an epoch; any do when memory is short */
#define FRAME_QUARANTINE_SLOTS 16
#define FRAME_ZERO_TARGET      4096    /* frame_zero_some() keeps about this many ready */
#define FRAME_MAX_RANGES       256
#define FRAME_MAX_CORES        0x8000u
/* A count that has got here grows no more. The upper half of the 32 bits is room for cores that raise
 * it at the same moment, see that they went too far, and take it back: so it never wraps. */
#define FRAME_REFS_MAX         INT32_MAX

#define FRAME_KIND_BITS 4
#define FRAME_KIND_MASK ((1u << FRAME_KIND_BITS) - 1)

/* Not initialised before the frame is first allocated. */
struct frame {
	uint32_t refs; /* atomic; in a free frame, the number of the next one of its list (0: the last) */
	uint32_t tag;  /* kind, and the account's index << FRAME_KIND_BITS */
};

/* Frames linked through their records, by number (address >> PAGE_SHIFT). */
struct frame_list {
	uint32_t head, tail;
	uint64_t count;
};

/* A run of RAM that was never handed out. */
struct frame_range {
	hpa_t base;
	uint64_t size;
};

struct frame_core {
	struct frame_list dirty, zeroed; /* ready, at most FRAME_BATCH each */
	struct frame_list freed;         /* not yet in the shared quarantine */
	uint32_t credit_account;         /* freed frames not yet credited, all of this account */
	uint32_t credit_count;
	int64_t used[FRAME_KINDS]; /* allocated less freed here; [FRAME_FREE] is not used */
} ALIGNED(64);

struct frame_quarantine {
	struct frame_list list;
	uint64_t epoch; /* all of them were freed before it ended */
};

struct gmem_host;

struct frame_pool {
	uint8_t *base;
	struct frame *records; /* by frame number */
	struct frame_core *cores;
	struct tlb_host *tlb;
	struct ledger ledger;
	struct gmem_host *gmem; /* hv/gmem.c */
	uint64_t total;         /* frames under management */
	unsigned max_cores;
	bool pressed; /* atomic: an allocation failed; cores hand over what they freed at once */

	/* Asks a core to leave its guest soon, and run tlb_enter() or tlb_promise(). May be NULL. */
	void (*kick)(void *context, unsigned core);
	void *kick_context;

	struct spinlock lock; /* covers all below */
	struct frame_list dirty, zeroed;
	struct frame_quarantine quarantine[FRAME_QUARANTINE_SLOTS]; /* a ring, oldest first */
	unsigned quarantine_first, quarantine_used;
	uint64_t quarantined;
	struct frame_range ranges[FRAME_MAX_RANGES];
	unsigned range_first, range_count;
	uint64_t untouched; /* frames in ranges[] */
	uint64_t contiguous; /* frames taken by frame_alloc_contiguous() and the records */
	uint64_t reserve;
};

struct frame_stats {
	uint64_t total;
	uint64_t used[FRAME_KINDS]; /* [FRAME_FREE]: free, caches of all cores included */
	uint64_t quarantined, zeroed, reserve;
};

/*
 * `ranges` is usable RAM, page aligned, ascending, not overlapping; the records, the per-core state
 * and the ledger's table are taken out of it. Address 0 is never handed out. `reserve` frames are kept
 * for FRAME_HOST. `tlb` is ready and has `max_cores` cores. ERR_INVALID: a bad range; ERR_NOMEM: too
 * little.
 */
int frame_pool_init(struct frame_pool *pool, void *base, const struct frame_range *ranges,
	unsigned range_count, unsigned max_cores, uint64_t reserve, struct tlb_host *tlb) MUST_CHECK;

/*
 * Allocate one frame with reference count 1, charged to `account` (NULL: the host's own).
 * `core` picks the cache of free frames, `node` the NUMA node to prefer (one pool so far).
 * Returns 0 and the address in *out, or
 *   ERR_LIMIT  a budget above `account` is used up: budget_exceeded(account->budget) tells which,
 *   ERR_NOMEM  free memory is at the reserve (frames of FRAME_HOST kind may go below it),
 *   ERR_AGAIN  frames are only in quarantine, for other cores: a flush was requested, retry.
 */
int frame_alloc(struct frame_pool *pool, unsigned core, unsigned node, enum frame_kind kind,
	struct account *account, enum frame_fill fill, hpa_t *out) MUST_CHECK;

/*
 * `count` adjacent zeroed frames of FRAME_HOST kind, aligned to `align` bytes (a power of two, at least
 * a page), from RAM that was never used: for start-up. They are never freed. ERR_NOMEM when no run is
 * long enough.
 */
int frame_alloc_contiguous(struct frame_pool *pool, uint64_t count, uint64_t align,
	hpa_t *out) MUST_CHECK;

/* Zero up to `max` free frames for later; returns how many were. For idle cores. */
unsigned frame_zero_some(struct frame_pool *pool, unsigned core, unsigned max);

/* Give what this core caches to the shared pool and to the quarantine. For a core that goes idle for
 * long, or while memory is short (pool->pressed). */
void frame_core_drain(struct frame_pool *pool, unsigned core);

void frame_pool_stats(struct frame_pool *pool, struct frame_stats *out);
uint64_t frame_pool_free(struct frame_pool *pool);

/* The frame's bytes. Added as numbers: base is NULL on the machine itself, where an addition to the
 * pointer would tell the compiler that the sum is NULL too, or never looked at. */
static inline void *frame_ptr(const struct frame_pool *pool, hpa_t hpa)
{
	return (void *)((uintptr_t)pool->base + hpa);
}

/* The frame that begins at `ptr`. */
static inline hpa_t frame_hpa(const struct frame_pool *pool, const void *ptr)
{
	return (hpa_t)((const uint8_t *)ptr - pool->base);
}

static inline struct frame *frame_record(const struct frame_pool *pool, hpa_t hpa)
{
	return &pool->records[hpa >> PAGE_SHIFT];
}

/* Take one more reference. ERR_LIMIT when the count would overflow; then nothing has changed. */
static inline int MUST_CHECK frame_get(struct frame_pool *pool, hpa_t hpa)
{
	uint32_t *refs = &frame_record(pool, hpa)->refs;

	if (UNLIKELY(__atomic_load_n(refs, __ATOMIC_RELAXED) >= FRAME_REFS_MAX))
		return ERR_LIMIT;
	__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
	return 0;
}

/*
 * The same for a frame that tables point to. Nothing is refused: each table has one entry at most for a
 * frame, and frames are numbered in 32 bits, so that there are fewer tables than a count can count.
 */
static inline void frame_get_child(struct frame *f)
{
	__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
}

/* The count, with acquire order: 1 means that the caller's reference is the only one. */
static inline uint32_t frame_refs(const struct frame_pool *pool, hpa_t hpa)
{
	return __atomic_load_n(&frame_record(pool, hpa)->refs, __ATOMIC_ACQUIRE);
}

/* Drop one reference, with release order. True when it was the last: then the caller calls
 * frame_free(), after it has dropped what a table's entries refer to. */
static inline bool MUST_CHECK frame_put(struct frame_pool *pool, hpa_t hpa)
{
	return __atomic_sub_fetch(&frame_record(pool, hpa)->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

/* The same, cheaper where the last reference is usual: whoever sees a count of one holds that one, and
 * needs no locked operation. The count stays as it is when true is returned. */
static inline bool MUST_CHECK frame_drop_record(struct frame *f)
{
	return __atomic_load_n(&f->refs, __ATOMIC_ACQUIRE) == 1 ||
		__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

static inline bool MUST_CHECK frame_drop(struct frame_pool *pool, hpa_t hpa)
{
	return frame_drop_record(frame_record(pool, hpa));
}

/* Give a frame without references back: its account is credited, it goes into quarantine. */
void frame_free(struct frame_pool *pool, unsigned core, hpa_t hpa);

/*
 * Drop one reference on each frame that `n` words name in their bits from 12 up, where they are not 0,
 * and free those that have none left: the entries of a leaf table. Then frame_settle().
 */
void frame_drop_many(struct frame_pool *pool, unsigned core, const uint64_t *words, unsigned n);

/* frame_free() for many: credits are gathered until frame_settle(), which the caller must call soon. */
void frame_free_later(struct frame_pool *pool, unsigned core, hpa_t hpa);
void frame_settle(struct frame_pool *pool, unsigned core);

#endif
