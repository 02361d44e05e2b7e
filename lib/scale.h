/* Conversion between two clocks by one multiplication: 32.32 fixed point with a 128-bit product. */
#ifndef LIB_SCALE_H
#define LIB_SCALE_H

#include "lib/base.h"

struct scale {
	uint64_t factor; /* 2^32 times the ratio */
};

/*
 * Converts a clock of `from` ticks a second into one of `to`. Any two frequencies up to 100 GHz, whose
 * ratio is below 2^32; `from` is not 0.
 */
static inline struct scale scale_make(uint64_t from, uint64_t to)
{
	/* long division: the whole part, then 32 bits of fraction in steps that cannot overflow */
	uint64_t factor = to / from, rest = to % from;

	for (unsigned i = 0; i < 32; i++) {
		rest <<= 1;
		factor = factor << 1 | (rest >= from);
		rest -= rest >= from ? from : 0;
	}
	return (struct scale){ .factor = factor };
}

/* Rounds down; the result must fit 64 bits. */
static inline uint64_t scale_apply(struct scale s, uint64_t value)
{
	return (uint64_t)(((unsigned __int128)value * s.factor) >> 32);
}

#endif
