/*
 * Device registers and I/O ports. Functions, not macros on volatile pointers, because this is the
 * seam at which the host tests put a model device: they link their own instead of io.c.
 *
 * Each access has exactly the width in its name, happens once, and is ordered with all accesses to
 * memory around it: stores to a ring made before an mmio_write are visible to the device that the
 * write wakes up (registers are mapped uncached: SDM Vol 3, "Strengthening or Weakening the
 * Memory-Ordering Model").
 */
#ifndef DRIVERS_IO_H
#define DRIVERS_IO_H

#include "lib/base.h"

uint8_t mmio_read8(const volatile void *at);
uint16_t mmio_read16(const volatile void *at);
uint32_t mmio_read32(const volatile void *at);
void mmio_write8(volatile void *at, uint8_t value);
void mmio_write16(volatile void *at, uint16_t value);
void mmio_write32(volatile void *at, uint32_t value);

uint32_t port_in32(uint16_t port);
void port_out32(uint16_t port, uint32_t value);

/* A breath between two looks at something that is not ready. */
static inline void io_relax(void)
{
	__builtin_ia32_pause();
}

#endif
