/*
 * The host's own page tables: every physical address that we use, at the same virtual address, each
 * with the least rights that will do. Nothing is writable and executable. Page 0 is never mapped.
 *
 * Built on the boot core before other cores start. Later only new device memory is added, which
 * needs no flush anywhere; callers serialise.
 */
#ifndef HV_HOSTMAP_H
#define HV_HOSTMAP_H

#include "boot/handover.h"
#include "lib/base.h"

enum hostmap_rights {
	HOSTMAP_NONE, /* not mapped */
	HOSTMAP_READ,
	HOSTMAP_WRITE, /* and read */
	HOSTMAP_EXEC,  /* and read */
};

enum hostmap_cache {
	HOSTMAP_WRITE_BACK,
	HOSTMAP_UNCACHED,        /* device registers */
	HOSTMAP_WRITE_COMBINING, /* the frame buffer */
};

/* Build the tables in the hand-over's scratch memory; core_setup_registers() switches to them. */
void hostmap_init(const struct boot_info *info);

/* When the scratch memory is used up: where further table pages come from. Returns a zeroed page, or 0. */
void hostmap_set_allocator(uint64_t (*alloc_page)(void));

/* Give [physical, physical + size), rounded out to pages, these rights. Panics when there is no memory
 * for the tables, so `size` is ours or bounded by the caller. */
void hostmap_set(uint64_t physical, uint64_t size, enum hostmap_rights rights,
	enum hostmap_cache cache);

/*
 * Make device registers reachable, uncached. Returns their address, or NULL when the range wraps,
 * lies above what the processor can address, or touches RAM.
 */
void *hostmap_mmio(uint64_t physical, uint64_t size);

/* Make a firmware table readable. NULL when the range wraps or is above the address space. */
const void *hostmap_firmware(uint64_t physical, uint64_t size);

void hostmap_unmap_page(uint64_t address);

/* May the byte at `address` be read without a fault? Walks whatever tables are loaded. */
bool hostmap_readable(uint64_t address);

/* The value for CR3; below 4 GiB, so that processors that start can load it. */
uint64_t hostmap_root(void);

/* EFER, PAT and CR3 of the core that this runs on. */
void hostmap_setup_core(void);

#endif
