/* Instants in UTC as people and RFC 3339 write them. Pure. */
#ifndef LIB_UTC_H
#define LIB_UTC_H

#include "lib/base.h"

#define UTC_TEXT_SIZE 32 /* holds any, with its terminator */

/* "2026-11-21T10:53:30.123456Z" of `ns` since 1970; returns its length. */
size_t utc_text(char out[UTC_TEXT_SIZE], uint64_t ns);

#endif
