/*
 * A token bucket: at most `burst` at once and one more each `interval_us`. It bounds what the
 * stack sends in answer to frames that anyone may forge.
 */
#ifndef NET_RATE_H
#define NET_RATE_H

#include "lib/base.h"

struct net_rate {
	uint64_t full_at; /* when the bucket will be full again; the past means full now */
	uint32_t burst;
	uint32_t interval_us;
};

static inline bool rate_allow(struct net_rate *r, uint64_t now)
{
	uint64_t full_at = MAX(r->full_at, now) + r->interval_us;

	if (full_at - now > (uint64_t)r->burst * r->interval_us)
		return false;
	r->full_at = full_at;
	return true;
}

#endif
