#include "hv/dev/kvmclock.h"

#include "lib/bytes.h"
#include "lib/string.h"

#define NS_PER_MS  1000000ull
#define NS_PER_S   1000000000ull
#define STABLE     1 /* the flag: all processors' clocks agree */
#define WALL_SIZE  12

uint64_t kvmclock_ns(uint64_t tsc, uint64_t khz)
{
	return tsc / khz * NS_PER_MS + tsc % khz * NS_PER_MS / khz;
}

/* The guest computes ns = (tsc << shift) * mul >> 32, with a negative shift to the right. */
unsigned kvmclock_time(uint8_t page[KVMCLOCK_SIZE], uint64_t tsc, uint64_t khz)
{
	uint64_t ns = NS_PER_MS, ticks = khz;
	int8_t shift = 0;

	while (ns >= ticks) { /* the multiplier is a fraction below 1 */
		ticks *= 2;
		shift++;
	}
	while (2 * ns < ticks) {
		ns *= 2;
		shift--;
	}
	memset(page, 0, KVMCLOCK_SIZE);
	store_le32(page, 2); /* version: even, so it is not being changed */
	store_le64(page + 8, tsc);
	store_le64(page + 16, kvmclock_ns(tsc, khz));
	store_le32(page + 24, (uint32_t)((ns << 32) / ticks));
	page[28] = (uint8_t)shift;
	page[29] = STABLE;
	return KVMCLOCK_SIZE;
}

unsigned kvmclock_wall(uint8_t page[KVMCLOCK_SIZE], uint64_t boot_ns)
{
	store_le32(page, 2);
	store_le32(page + 4, (uint32_t)(boot_ns / NS_PER_S));
	store_le32(page + 8, (uint32_t)(boot_ns % NS_PER_S));
	return WALL_SIZE;
}
