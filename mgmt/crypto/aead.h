/*
 * ChaCha20-Poly1305, RFC 8439 section 2.8, "AEAD Construction". Constant time; an opened message is
 * written only once its tag was found right.
 */
#ifndef MGMT_CRYPTO_AEAD_H
#define MGMT_CRYPTO_AEAD_H

#include "lib/chacha20.h"
#include "lib/err.h"

#define AEAD_KEY_SIZE   CHACHA20_KEY_SIZE
#define AEAD_NONCE_SIZE CHACHA20_NONCE_SIZE
#define AEAD_TAG_SIZE   16

/* Poly1305, RFC 8439 section 2.5: the tag of a message under a key that is used once. */
void poly1305(uint8_t tag[AEAD_TAG_SIZE], const uint8_t key[32], const void *data, size_t size);

/*
 * Writes size + AEAD_TAG_SIZE bytes. `size` is at most 1 GiB, far below where the block counter
 * ends. `out` is `in`, or before it, or apart from it.
 */
void aead_seal(uint8_t *out, const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
	const void *ad, size_t ad_size, const uint8_t *in, size_t size);

/*
 * Opens `size` bytes, the tag among them, and writes size - AEAD_TAG_SIZE. ERR_INVALID: too short,
 * or not sealed with this key, nonce and associated data; nothing was written. `out` as above.
 */
int aead_open(uint8_t *out, const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
	const void *ad, size_t ad_size, const uint8_t *in, size_t size) MUST_CHECK;

#endif
