/*
 * BLAKE2s, RFC 7693: a hash of up to 32 bytes, optionally keyed, and HMAC (RFC 2104) with it, which
 * is what Noise asks for. No branch and no address depends on the data or the key.
 */
#ifndef MGMT_CRYPTO_BLAKE2S_H
#define MGMT_CRYPTO_BLAKE2S_H

#include "lib/base.h"

#define BLAKE2S_HASH_SIZE  32
#define BLAKE2S_KEY_SIZE   32
#define BLAKE2S_BLOCK_SIZE 64

struct blake2s {
	uint32_t h[8];
	uint64_t count; /* bytes that have been compressed */
	uint8_t block[BLAKE2S_BLOCK_SIZE];
	size_t fill; /* bytes in block; the last block stays here until the end */
	size_t out_size;
};

/* A hash of `out_size` (1 to 32) bytes with a key of `key_size` (0 to 32) bytes. */
void blake2s_init(struct blake2s *s, size_t out_size, const void *key, size_t key_size);
void blake2s_update(struct blake2s *s, const void *data, size_t size);
/* Writes the hash, and wipes the state. */
void blake2s_final(struct blake2s *s, uint8_t *out);

/* HMAC-BLAKE2s, "HMAC-HASH" of the Noise specification. `out` may be the key. */
struct hmac_blake2s {
	struct blake2s inner;
	uint8_t pad[BLAKE2S_BLOCK_SIZE];
};

void hmac_blake2s_init(struct hmac_blake2s *s, const uint8_t key[BLAKE2S_HASH_SIZE]);
void hmac_blake2s_update(struct hmac_blake2s *s, const void *data, size_t size);
void hmac_blake2s_final(struct hmac_blake2s *s, uint8_t out[BLAKE2S_HASH_SIZE]);

#endif
