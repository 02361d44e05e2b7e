/*
 * Memory that is taken for ever before the frame pool gets the rest: cut from the ends of the
 * hand-over's ranges.
 */
#ifndef HV_BOOTMEM_H
#define HV_BOOTMEM_H

#include "boot/handover.h"

/* `size` zeroed bytes, page aligned, physically contiguous. Refuses the machine when no range has them. */
uint64_t bootmem_take(struct boot_info *info, uint64_t size);

/* Bytes in all ranges. */
uint64_t bootmem_left(const struct boot_info *info);

/* Keep the lowest `size` bytes and forget the rest. */
void bootmem_limit(struct boot_info *info, uint64_t size);

#endif
