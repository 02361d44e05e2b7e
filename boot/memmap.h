/*
 * From the firmware's memory map to the ranges of the hand-over. Pure: the map is a firmware table,
 * unsorted, and may overlap or be absurd.
 */
#ifndef BOOT_MEMMAP_H
#define BOOT_MEMMAP_H

#include "boot/handover.h"

/* One entry of the firmware's map, reduced to what matters. */
struct memmap_entry {
	uint64_t base;
	uint64_t pages;
	bool ram;    /* memory of any kind, for ram_top */
	bool usable; /* ours once boot services are gone */
};

/* Below this nothing is used but the trampoline: firmware and BIOS relics live there. */
#define MEMMAP_LOW_END (1 * MIB)

/*
 * Sorts `entries` in place and fills ranges, range_count and ram_top of `info`. Where entries
 * overlap, the unusable one wins. Adjacent usable ones are merged; when more than BOOT_MAX_RANGES
 * remain, the smallest are given up. Returns the number of usable bytes.
 */
uint64_t memmap_build(struct boot_info *info, struct memmap_entry *entries, size_t count);

#endif
