/* HKDF of the Noise specification, section 4.3: with HMAC-BLAKE2s and two outputs. */
#ifndef MGMT_CRYPTO_HKDF_H
#define MGMT_CRYPTO_HKDF_H

#include "mgmt/crypto/blake2s.h"

#define HKDF_SIZE BLAKE2S_HASH_SIZE

/* `size` is 0 or 32, as Noise has it. An output may be the chaining key. */
void hkdf(uint8_t out1[HKDF_SIZE], uint8_t out2[HKDF_SIZE], const uint8_t chaining_key[HKDF_SIZE],
	const void *input, size_t size);

#endif
