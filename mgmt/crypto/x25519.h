/*
 * X25519, RFC 7748: Diffie-Hellman on Curve25519. Constant time: no branch and no address depends
 * on a scalar or a coordinate. The scalar and the ladder's state are wiped from the stack.
 */
#ifndef MGMT_CRYPTO_X25519_H
#define MGMT_CRYPTO_X25519_H

#include "lib/base.h"
#include "lib/err.h"

#define X25519_SIZE 32

/*
 * out = scalar * point, of any 32 bytes each. ERR_INVALID: the result is all zero, because the
 * point has low order and the "secret" is known to everybody; `out` is zero then. `out` may be an
 * input.
 */
int x25519(uint8_t out[X25519_SIZE], const uint8_t scalar[X25519_SIZE],
	const uint8_t point[X25519_SIZE]) MUST_CHECK;

/* The public key that belongs to a private key, which is any 32 random bytes. */
void x25519_public(uint8_t out[X25519_SIZE], const uint8_t scalar[X25519_SIZE]);

#endif
