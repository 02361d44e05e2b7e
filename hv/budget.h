/*
 * Budgets and accounts: who pays for a frame.
 *
 * A budget is a set of limits. Budgets nest: a charge counts against the budget and all above it, and
 * is refused if any of them is used up. So a guest that forks itself divides what it has.
 * An account is what a frame's record names: the holder of frames (one guest, one snapshot) under a
 * budget. When a snapshot is taken of a guest, the guest's account passes to the snapshot and the
 * guest gets a fresh one: all its frames changed hands in O(1). An account lives on, without an
 * owner, until its last frame is freed. A budget lives while an account, a child or a holder needs it.
 *
 * All operations are safe from several cores; counts never pass a limit, and a charge counts on all
 * levels or on none. Structs come out of slabs that grow a frame at a time (host's own, FRAME_STATE)
 * and are used again.
 *
 * Lock order: account.lock, then nothing; ledger.lock, then the frame pool's.
 */
#ifndef HV_BUDGET_H
#define HV_BUDGET_H

#include "lib/base.h"
#include "lib/err.h"
#include "lib/spinlock.h"

#define BUDGET_UNLIMITED UINT64_MAX
#define BUDGET_MAX_DEPTH 9 /* host, owner, and seven generations; deeper ones share the seventh's */

enum budget_kind {
	BUDGET_PAGES, /* frames of any kind, 4 KiB each */
	BUDGET_GUESTS,
	BUDGET_SNAPSHOTS,
	BUDGET_KINDS,
};

struct frame_pool;

struct budget {
	struct budget *parent; /* NULL at the host's root; next free one in the slab */
	uint64_t limit[BUDGET_KINDS];
	uint64_t used[BUDGET_KINDS]; /* atomic; includes all that is charged below */
	uint32_t refs;               /* atomic */
	uint32_t depth;              /* 1 at the root */
};

#define ACCOUNT_INDEX_BITS 28 /* what a frame record has room for */
#define ACCOUNT_NONE       0  /* the index of "the host's own" */

struct account {
	struct budget *budget; /* holds a reference; next free one in the slab */
	uint64_t pages;        /* frames that name this account */
	uint32_t index;        /* never changes, never ACCOUNT_NONE */
	struct spinlock lock;  /* covers budget, pages, owned */
	bool owned;
};

/* The slabs and the account table, one per frame pool. Zero it, then frame_pool_init() does the rest. */
struct ledger {
	struct spinlock lock; /* covers all below; the table's pointers are also read without it */
	struct account ***top;
	uint32_t next_index; /* accounts below it exist */
	struct account *free_accounts;
	struct budget *free_budgets;
};

/*
 * A new budget under `parent` (NULL: a root), with one reference for the caller. At BUDGET_MAX_DEPTH
 * the parent itself is returned, with one more reference, and `limit` has no effect.
 * Fails as frame_alloc() does when a slab must grow.
 */
int budget_create(struct frame_pool *pool, unsigned core, struct budget *parent,
	const uint64_t limit[BUDGET_KINDS], struct budget **out) MUST_CHECK;
void budget_get(struct budget *budget);
void budget_put(struct frame_pool *pool, struct budget *budget);

/* Charge `n` to the budget and all above it, or to none: ERR_LIMIT. */
int budget_charge(struct budget *budget, enum budget_kind kind, uint64_t n) MUST_CHECK;
void budget_uncharge(struct budget *budget, enum budget_kind kind, uint64_t n);

/* A limit may be set below what is used: then nothing more is granted until enough has been freed. */
void budget_set_limit(struct budget *budget, enum budget_kind kind, uint64_t limit);
uint64_t budget_limit(const struct budget *budget, enum budget_kind kind);
uint64_t budget_used(const struct budget *budget, enum budget_kind kind);

/* The lowest budget, from `budget` upwards, that would refuse `n` more now; NULL if none would. */
struct budget *budget_exceeded(struct budget *budget, enum budget_kind kind, uint64_t n);

/*
 * A new empty account under `budget`, owned by the caller. ERR_LIMIT when all 2^28 - 1 exist, or as
 * frame_alloc() when a slab must grow.
 */
int account_create(struct frame_pool *pool, unsigned core, struct budget *budget,
	struct account **out) MUST_CHECK;
/* The owner lets go: the account ends now, or with its last frame. */
void account_release(struct frame_pool *pool, struct account *account);

/* Let `budget` pay, from now on, for all that `account` holds. ERR_LIMIT: it can't; nothing changed. */
int account_move(struct frame_pool *pool, struct account *account,
	struct budget *budget) MUST_CHECK;

uint64_t account_pages(struct account *account);

/* For hv/frame.c: frames come and go. */
int account_charge(struct account *account, uint64_t pages) MUST_CHECK;
void account_uncharge(struct frame_pool *pool, struct account *account, uint64_t pages);
/* The account of an index that a live frame names. */
struct account *account_lookup(struct frame_pool *pool, uint32_t index);
/* Called once, by frame_pool_init(). */
int ledger_init(struct frame_pool *pool) MUST_CHECK;

#endif
