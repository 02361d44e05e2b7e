/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): the keyed function
 * behind initial sequence numbers, SYN cookies, ephemeral ports and the connection table, so that
 * nobody who lacks the key can foresee or collide them.
 */
#ifndef NET_SIPHASH_H
#define NET_SIPHASH_H

#include "lib/base.h"

struct siphash_key {
	uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
