/*
 * What hv/gmem.c and hv/gmem_reap.c share: dropped tables on their way to be freed, and counters.
 * Nobody else includes this.
 */
#ifndef HV_GMEM_REAP_H
#define HV_GMEM_REAP_H

#include "hv/gmem.h"
#include "lib/spinlock.h"

#define GMEM_LEVELS  4   /* the root is at level 4, leaf tables at level 1 */
#define GMEM_ENTRIES 512 /* of a table */

/* Where freeing a tree has got to: one table a level, the lowest last. */
struct reap_place {
	hpa_t table;
	unsigned next; /* entry to look at */
	unsigned level;
};

struct gmem_core {
	struct gmem_stats stats; /* written by this core only */
	struct reap_place stack[GMEM_LEVELS];
	unsigned depth;
} ALIGNED(64);

struct gmem_host {
	struct spinlock lock; /* covers heads */
	/* Tables without references, their children not yet dropped, by level; linked by frame number
	 * through the records, as their bytes are still needed. */
	uint32_t heads[GMEM_LEVELS + 1];
	uint32_t queued;  /* atomic: tables on the lists */
	uint32_t pending; /* atomic: these, and those that cores are freeing now */
	struct gmem_core *cores;
};

/* `table` has no reference left. Drops and frees all below it, and itself, later. */
void gmem_reap_push(struct frame_pool *pool, hpa_t table, unsigned level);

#endif
