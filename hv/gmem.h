/*
 * Guest memory: a persistent tree made of the hardware's own tables (DESIGN, "The memory tree").
 *
 * A tree is its root frame. Table and data frames are reference counted; the write bit of an entry is
 * clear wherever what lies below may be shared, and the hardware ANDs permissions along the walk.
 * To share a tree is to clear the write bits in the root's entries and take one more reference on the
 * root itself; sharers keep one root until one of them writes.
 *
 * One tree is used by one caller at a time (its guest is stopped meanwhile). Different trees that
 * share frames may be used at once from several cores. `core` is the calling core. The whole story is
 * in docs/memory.md.
 */
#ifndef HV_GMEM_H
#define HV_GMEM_H

#include "hv/frame.h"
#include "lib/base.h"

typedef uint64_t gpa_t; /* guest physical address: a number, never a pointer */

/* What sets EPT and NPT apart, for the one walker. Flags are in an entry's low 12 bits and nowhere
 * else, an entry that is not there is 0, and bits 0 (present or read) and 1 (write) mean the same. */
struct pt_format {
	const char *name;
	uint64_t table_bits; /* of an entry that points to a table, without write */
	uint64_t leaf_bits;  /* of an entry that points to a data page, without write */
};

#define PT_PRESENT 1ull
#define PT_WRITE   2ull

extern const struct pt_format pt_format_ept, pt_format_npt;

enum gmem_access { GMEM_READ, GMEM_WRITE, GMEM_EXEC };

#define GMEM_MAX_EXTENTS 4
#define GMEM_ADDRESS_BITS 48 /* four levels */

/* Where a guest has memory: page aligned. */
struct gmem_extent {
	gpa_t base;
	uint64_t size;
};

struct gmem {
	struct frame_pool *pool;
	const struct pt_format *format;
	struct account *account; /* pays for new frames; not owned */
	enum frame_kind page_kind; /* what new pages are counted as: FRAME_DATA, or FRAME_IMAGE */
	hpa_t root;
	uint64_t tlb_gen;  /* grows whenever a cached translation may be wrong; for tlb_enter() */
	uint64_t root_gen; /* tlb_gen when the root came fresh from the pool; 0: someone else may know it */
	struct gmem_extent extents[GMEM_MAX_EXTENTS]; /* ascending, not overlapping */
	unsigned extent_count;
};

/* What one fault took. All 0: it was spurious, the tree allowed the access already. */
struct gmem_fault_result {
	uint8_t tables_copied;
	uint8_t tables_created;
	uint8_t pages_copied;
	uint8_t pages_created;
	uint8_t raised; /* write bits set where nothing was shared */
};

/* Per core, sums since start. */
struct gmem_stats {
	uint64_t faults;
	uint64_t tables_copied, tables_created, pages_copied, pages_created, raised, spurious;
	uint64_t frames_reaped;
};

/* Once, after frame_pool_init(). ERR_NOMEM. */
int gmem_host_init(struct frame_pool *pool) MUST_CHECK;

/* An empty tree; pages appear zeroed when they are first touched. ERR_INVALID for bad extents, or
 * as frame_alloc(). */
int gmem_create(struct gmem *m, struct frame_pool *pool, unsigned core,
	const struct pt_format *format, struct account *account, const struct gmem_extent *extents,
	unsigned extent_count) MUST_CHECK;

/*
 * Make `copy` a tree with the same contents; for a fork and for a snapshot. O(1), allocates nothing.
 * `account` pays for what `copy` will allocate. For a snapshot the caller lets it have m's account,
 * then gives `m` a fresh one. ERR_LIMIT when FRAME_REFS_MAX trees share this root; then nothing has
 * changed.
 */
int gmem_share(struct gmem *m, struct gmem *copy, struct account *account) MUST_CHECK;

/* Drop what `m` has and share `snapshot` instead. ERR_LIMIT as above; then nothing has changed. */
int gmem_rollback(struct gmem *m, unsigned core, struct gmem *snapshot) MUST_CHECK;

/* Give the tree up. O(1): what nobody else holds is queued for gmem_reap(). */
void gmem_drop(struct gmem *m, unsigned core);

/*
 * Free what was dropped, up to `steps` table entries. True when more remains. For idle cores, and
 * between slices.
 */
bool gmem_reap(struct frame_pool *pool, unsigned core, unsigned steps);
/* True while dropped trees wait, on whichever core. */
bool gmem_reap_pending(struct frame_pool *pool);

/*
 * Make an access possible: the guest faulted on it. `result` may be NULL.
 * Returns 0 (enter again), or
 *   ERR_FAULT  the address is outside the extents,
 *   ERR_LIMIT  the account's budget is used up,
 *   ERR_NOMEM  the host is at its reserve,
 *   ERR_AGAIN  memory is on its way back: enter again, the fault repeats.
 * After an error the tree is whole and the same fault can be tried again.
 */
int gmem_fault(struct gmem *m, unsigned core, gpa_t gpa, enum gmem_access access,
	struct gmem_fault_result *result) MUST_CHECK;

/* ERR_FAULT unless [gpa, gpa + len) lies in one extent. */
int gmem_check(const struct gmem *m, gpa_t gpa, uint64_t len) MUST_CHECK;

/* The page that holds `gpa`, to be read only, or NULL where nothing was ever touched (it reads as 0)
 * or nothing can be. Good until the tree changes. */
const void *gmem_page(const struct gmem *m, gpa_t gpa);

/* The page that holds `gpa`, private to this tree, to be written. Errors as gmem_fault(). Good until
 * the tree changes or is shared. */
int gmem_page_for_write(struct gmem *m, unsigned core, gpa_t gpa, void **out) MUST_CHECK;

/* Copy out of or into guest memory. Reading creates nothing. ERR_FAULT before anything is copied;
 * other errors of gmem_write() may leave a part written. */
int gmem_read(const struct gmem *m, gpa_t gpa, void *buf, uint64_t len) MUST_CHECK;
int gmem_write(struct gmem *m, unsigned core, gpa_t gpa, const void *buf, uint64_t len) MUST_CHECK;

void gmem_stats(struct frame_pool *pool, struct gmem_stats *out);

#endif
