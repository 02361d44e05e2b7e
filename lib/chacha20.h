/*
 * ChaCha20, RFC 8439 section 2.4: the block function and the cipher. Constant time: no branch, no
 * address depends on the key or the data.
 */
#ifndef LIB_CHACHA20_H
#define LIB_CHACHA20_H

#include "lib/base.h"

#define CHACHA20_KEY_SIZE   32
#define CHACHA20_NONCE_SIZE 12
#define CHACHA20_BLOCK_SIZE 64

/* One block of key stream: RFC 8439, "The ChaCha20 Block Function". */
void chacha20_block(uint8_t out[CHACHA20_BLOCK_SIZE], const uint8_t key[CHACHA20_KEY_SIZE],
	uint32_t counter, const uint8_t nonce[CHACHA20_NONCE_SIZE]);

/*
 * dst = src XOR key stream, from block `counter` on; `dst` is `src`, or before it, or apart from it.
 * The caller keeps `size` below (2^32 - counter) blocks, so that the counter never wraps.
 */
void chacha20_xor(uint8_t *dst, const uint8_t *src, size_t size,
	const uint8_t key[CHACHA20_KEY_SIZE], uint32_t counter,
	const uint8_t nonce[CHACHA20_NONCE_SIZE]);

#endif
