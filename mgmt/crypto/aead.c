#include "mgmt/crypto/aead.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define POLY1305_BLOCK 16

typedef unsigned __int128 u128;

/*
 * Poly1305 modulo p = 2^130 - 5. The sum h is h[0] + h[1] 2^64 + h[2] 2^128, with h[2] at most 4
 * between blocks. Clamping leaves r below 2^124 with r[1] a multiple of 4, therefore
 * r[1] 2^128 = r[1]/4 2^130 = 5 r[1]/4 modulo p, which is s1.
 */
struct poly1305 {
	uint64_t r[2], s1, h[3];
	uint8_t pad[16]; /* "s" of the RFC */
};

static void poly1305_init(struct poly1305 *p, const uint8_t key[32])
{
	*p = (struct poly1305){
		.r = {load_le64(key) & 0x0ffffffc0fffffff, load_le64(key + 8) & 0x0ffffffc0ffffffc},
	};
	p->s1 = p->r[1] + (p->r[1] >> 2);
	memcpy(p->pad, key + 16, sizeof(p->pad));
}

/* h = (h + block) * r, for whole blocks; `top` is the bit above each, 1 but in a short last block.
 */
static void poly1305_blocks(struct poly1305 *p, const uint8_t *data, size_t blocks, uint64_t top)
{
	const uint64_t r0 = p->r[0], r1 = p->r[1], s1 = p->s1;
	uint64_t h0 = p->h[0], h1 = p->h[1], h2 = p->h[2];

	for (; blocks; blocks--, data += POLY1305_BLOCK) {
		u128 d0 = (u128)h0 + load_le64(data);
		u128 d1 = (u128)h1 + load_le64(data + 8) + (uint64_t)(d0 >> 64);

		h0 = (uint64_t)d0;
		h1 = (uint64_t)d1;
		h2 += (uint64_t)(d1 >> 64) + top;
		/* h2 is at most 6: its products stay below 2^64 */
		d0 = (u128)h0 * r0 + (u128)h1 * s1;
		d1 = (u128)h0 * r1 + (u128)h1 * r0 + h2 * s1 + (uint64_t)(d0 >> 64);
		h2 = h2 * r0 + (uint64_t)(d1 >> 64);
		/* what is above 2^130 comes back times 5 */
		d0 = (u128)(uint64_t)d0 + (h2 & ~3ull) + (h2 >> 2);
		d1 = (u128)(uint64_t)d1 + (uint64_t)(d0 >> 64);
		h0 = (uint64_t)d0;
		h1 = (uint64_t)d1;
		h2 = (h2 & 3) + (uint64_t)(d1 >> 64);
	}
	p->h[0] = h0;
	p->h[1] = h1;
	p->h[2] = h2;
}

/* A part of the message, filled up with zeros to whole blocks: RFC 8439 2.8, "pad16". */
static void poly1305_padded(struct poly1305 *p, const uint8_t *data, size_t size)
{
	uint8_t last[POLY1305_BLOCK] = {0};
	size_t rest = size % POLY1305_BLOCK;

	poly1305_blocks(p, data, size / POLY1305_BLOCK, 1);
	if (!rest)
		return;
	memcpy(last, data + size - rest, rest);
	poly1305_blocks(p, last, 1, 1);
	wipe(last, sizeof(last));
}

static void poly1305_final(struct poly1305 *p, uint8_t tag[AEAD_TAG_SIZE])
{
	/* h + 5 reaches 2^130 exactly when h >= p; its low bits are then those of h - p */
	u128 g0 = (u128)p->h[0] + 5;
	u128 g1 = (u128)p->h[1] + (uint64_t)(g0 >> 64);
	uint64_t mask = 0 - ((p->h[2] + (uint64_t)(g1 >> 64)) >> 2 & 1);
	uint64_t h0 = (p->h[0] & ~mask) | ((uint64_t)g0 & mask);
	uint64_t h1 = (p->h[1] & ~mask) | ((uint64_t)g1 & mask);
	u128 t0 = (u128)h0 + load_le64(p->pad);

	store_le64(tag, (uint64_t)t0);
	store_le64(tag + 8, h1 + load_le64(p->pad + 8) + (uint64_t)(t0 >> 64));
	wipe(p, sizeof(*p));
}

void poly1305(uint8_t tag[AEAD_TAG_SIZE], const uint8_t key[32], const void *data, size_t size)
{
	struct poly1305 p;
	uint8_t last[POLY1305_BLOCK] = {0};
	size_t rest = size % POLY1305_BLOCK;

	poly1305_init(&p, key);
	poly1305_blocks(&p, data, size / POLY1305_BLOCK, 1);
	if (rest) {
		memcpy(last, (const uint8_t *)data + size - rest, rest);
		last[rest] = 1;
		poly1305_blocks(&p, last, 1, 0);
		wipe(last, sizeof(last));
	}
	poly1305_final(&p, tag);
}

/* The tag of RFC 8439 2.8 over associated data and ciphertext. */
static void tag_of(uint8_t tag[AEAD_TAG_SIZE], const uint8_t key[AEAD_KEY_SIZE],
	const uint8_t nonce[AEAD_NONCE_SIZE], const void *ad, size_t ad_size, const uint8_t *text,
	size_t size)
{
	uint8_t block[CHACHA20_BLOCK_SIZE], sizes[POLY1305_BLOCK];
	struct poly1305 p;

	/* RFC 8439 2.6, "Generating the Poly1305 Key Using ChaCha20" */
	chacha20_block(block, key, 0, nonce);
	poly1305_init(&p, block);
	wipe(block, sizeof(block));
	poly1305_padded(&p, ad, ad_size);
	poly1305_padded(&p, text, size);
	store_le64(sizes, ad_size);
	store_le64(sizes + 8, size);
	poly1305_blocks(&p, sizes, 1, 1);
	poly1305_final(&p, tag);
}

void aead_seal(uint8_t *out, const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
	const void *ad, size_t ad_size, const uint8_t *in, size_t size)
{
	chacha20_xor(out, in, size, key, 1, nonce);
	tag_of(out + size, key, nonce, ad, ad_size, out, size);
}

int aead_open(uint8_t *out, const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
	const void *ad, size_t ad_size, const uint8_t *in, size_t size)
{
	uint8_t tag[AEAD_TAG_SIZE];
	uint64_t wrong;

	if (size < AEAD_TAG_SIZE)
		return ERR_INVALID;
	size -= AEAD_TAG_SIZE;
	tag_of(tag, key, nonce, ad, ad_size, in, size);
	wrong = (load_le64(tag) ^ load_le64(in + size)) |
		(load_le64(tag + 8) ^ load_le64(in + size + 8));
	wipe(tag, sizeof(tag));
	if (wrong)
		return ERR_INVALID;
	chacha20_xor(out, in, size, key, 1, nonce);
	return OK;
}
