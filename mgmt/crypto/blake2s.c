#include "mgmt/crypto/blake2s.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define ROUNDS 10

/* RFC 7693, section 2.6, "Initialization Vector". */
static const uint32_t iv[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* RFC 7693, section 2.7, "Message Schedule SIGMA". */
static const uint8_t sigma[ROUNDS][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint32_t rotr(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

/* RFC 7693, section 3.1, "Mixing Function G". */
static inline void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y)
{
	v[a] += v[b] + x; v[d] = rotr(v[d] ^ v[a], 16);
	v[c] += v[d];     v[b] = rotr(v[b] ^ v[c], 12);
	v[a] += v[b] + y; v[d] = rotr(v[d] ^ v[a], 8);
	v[c] += v[d];     v[b] = rotr(v[b] ^ v[c], 7);
}

/* RFC 7693, section 3.2, "Compression Function F"; `last` marks the final block. */
static void compress(struct blake2s *s, const uint8_t block[BLAKE2S_BLOCK_SIZE], bool last)
{
	uint32_t v[16], m[16];

	for (int i = 0; i < 16; i++)
		m[i] = load_le32(block + 4 * i);
	for (int i = 0; i < 8; i++) {
		v[i] = s->h[i];
		v[8 + i] = iv[i];
	}
	v[12] ^= (uint32_t)s->count;
	v[13] ^= (uint32_t)(s->count >> 32);
	if (last)
		v[14] = ~v[14];
	for (int i = 0; i < ROUNDS; i++) {
		const uint8_t *p = sigma[i];

		mix(v, 0, 4, 8, 12, m[p[0]], m[p[1]]);
		mix(v, 1, 5, 9, 13, m[p[2]], m[p[3]]);
		mix(v, 2, 6, 10, 14, m[p[4]], m[p[5]]);
		mix(v, 3, 7, 11, 15, m[p[6]], m[p[7]]);
		mix(v, 0, 5, 10, 15, m[p[8]], m[p[9]]);
		mix(v, 1, 6, 11, 12, m[p[10]], m[p[11]]);
		mix(v, 2, 7, 8, 13, m[p[12]], m[p[13]]);
		mix(v, 3, 4, 9, 14, m[p[14]], m[p[15]]);
	}
	for (int i = 0; i < 8; i++)
		s->h[i] ^= v[i] ^ v[8 + i];
	wipe(v, sizeof(v));
	wipe(m, sizeof(m));
}

void blake2s_init(struct blake2s *s, size_t out_size, const void *key, size_t key_size)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->h, iv, sizeof(s->h));
	/* RFC 7693, section 2.5, "Parameter Block": fanout and depth 1, key and hash size */
	s->h[0] ^= 0x01010000u | (uint32_t)key_size << 8 | (uint32_t)out_size;
	s->out_size = out_size;
	if (key_size) {
		memcpy(s->block, key, key_size);
		s->fill = BLAKE2S_BLOCK_SIZE;
	}
}

void blake2s_update(struct blake2s *s, const void *data, size_t size)
{
	const uint8_t *from = data;

	while (size) {
		/* a full block goes only when more follows: the last one is marked */
		if (s->fill == BLAKE2S_BLOCK_SIZE) {
			s->count += BLAKE2S_BLOCK_SIZE;
			compress(s, s->block, false);
			s->fill = 0;
		}

		size_t n = MIN(size, BLAKE2S_BLOCK_SIZE - s->fill);

		memcpy(s->block + s->fill, from, n);
		s->fill += n;
		from += n;
		size -= n;
	}
}

void blake2s_final(struct blake2s *s, uint8_t *out)
{
	uint8_t hash[BLAKE2S_HASH_SIZE];

	s->count += s->fill;
	memset(s->block + s->fill, 0, BLAKE2S_BLOCK_SIZE - s->fill);
	compress(s, s->block, true);
	for (int i = 0; i < 8; i++)
		store_le32(hash + 4 * i, s->h[i]);
	memcpy(out, hash, s->out_size);
	wipe(hash, sizeof(hash));
	wipe(s, sizeof(*s));
}

/* RFC 2104, section 2: H(K XOR opad, H(K XOR ipad, text)). */
void hmac_blake2s_init(struct hmac_blake2s *s, const uint8_t key[BLAKE2S_HASH_SIZE])
{
	memset(s->pad, 0x36, sizeof(s->pad));
	for (int i = 0; i < BLAKE2S_HASH_SIZE; i++)
		s->pad[i] ^= key[i];
	blake2s_init(&s->inner, BLAKE2S_HASH_SIZE, NULL, 0);
	blake2s_update(&s->inner, s->pad, sizeof(s->pad));
	for (int i = 0; i < BLAKE2S_BLOCK_SIZE; i++)
		s->pad[i] ^= 0x36 ^ 0x5c;
}

void hmac_blake2s_update(struct hmac_blake2s *s, const void *data, size_t size)
{
	blake2s_update(&s->inner, data, size);
}

void hmac_blake2s_final(struct hmac_blake2s *s, uint8_t out[BLAKE2S_HASH_SIZE])
{
	uint8_t hash[BLAKE2S_HASH_SIZE];

	blake2s_final(&s->inner, hash);
	blake2s_init(&s->inner, BLAKE2S_HASH_SIZE, NULL, 0);
	blake2s_update(&s->inner, s->pad, sizeof(s->pad));
	blake2s_update(&s->inner, hash, sizeof(hash));
	blake2s_final(&s->inner, out);
	wipe(hash, sizeof(hash));
	wipe(s, sizeof(*s));
}
