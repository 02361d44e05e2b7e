/* Clearing of secrets that the compiler may not leave out. */
#ifndef LIB_WIPE_H
#define LIB_WIPE_H

#include "lib/string.h"

static inline void wipe(void *p, size_t n)
{
	memset(p, 0, n);
	__asm__ volatile("" :: "r"(p) : "memory");
}

#endif
