/*
 * Guest memory: a persistent tree made of the hardware's own tables (DESIGN, "The memory tree").
 *
 * A tree is its root frame. Table and data frames are reference counted; the write bit of an entry is
 * clear wherever what lies below may be shared, and the hardware ANDs permissions along the walk.
 * To share a tree is to clear the write bits in the root's entries and take one more reference on the
 * root itself; sharers keep one root until one of them writes.
 *
 * One tree is used by one caller at a time (its guest is stopped meanwhile). Different trees that
 * share frames may be used at once from several cores.
 */
#ifndef HV_GMEM_H
#define HV_GMEM_H

#include "hv/frame.h"
#include "lib/base.h"

typedef uint64_t gpa_t; /* guest physical address: a number, never a pointer */

/* What sets EPT and NPT apart, for the one walker. Bits 0 (present or read) and 1 (write) mean the
 * same in both. */
struct pt_format {
	const char *name;
	uint64_t table_bits; /* of an entry that points to a table, without write */
	uint64_t leaf_bits;  /* of an entry that points to a data page, without write */
	uint64_t write_bit;
	uint64_t address_mask;
};

extern const struct pt_format pt_format_ept, pt_format_npt;

enum gmem_access { GMEM_READ, GMEM_WRITE, GMEM_EXEC };

#endif
