/*
 * A random generator with fast key erasure on top of ChaCha20: each refill makes a buffer of key
 * stream whose first 32 bytes replace the key at once, and bytes are wiped as they are given out. Who
 * learns the state later can compute nothing that was drawn before.
 *
 * Pure and not locked: one owner each.
 */
#ifndef LIB_CSPRNG_H
#define LIB_CSPRNG_H

#include "lib/chacha20.h"

#define CSPRNG_BUFFER (8 * CHACHA20_BLOCK_SIZE)

struct csprng {
	uint8_t key[CHACHA20_KEY_SIZE];
	uint8_t buffer[CSPRNG_BUFFER];
	size_t left; /* bytes of the buffer's end that have not been given out */
};

/* A state that knows nothing yet: csprng_mix() comes next. */
void csprng_init(struct csprng *g);

/* Stir in `size` bytes of whatever quality: they can add to what the key hides, and never take away. */
void csprng_mix(struct csprng *g, const void *data, size_t size);

void csprng_read(struct csprng *g, void *out, size_t size);

#endif
