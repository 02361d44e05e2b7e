#include "lib/chacha20.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define DOUBLE_ROUNDS 10

static uint32_t rotl(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

/* RFC 8439 2.1, "The ChaCha Quarter Round". */
static inline void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b; *d = rotl(*d ^ *a, 16);
	*c += *d; *b = rotl(*b ^ *c, 12);
	*a += *b; *d = rotl(*d ^ *a, 8);
	*c += *d; *b = rotl(*b ^ *c, 7);
}

/* RFC 8439 2.3, the state before the rounds. */
static void start_state(uint32_t s[16], const uint8_t key[CHACHA20_KEY_SIZE], uint32_t counter,
	const uint8_t nonce[CHACHA20_NONCE_SIZE])
{
	/* "expand 32-byte k" */
	static const uint32_t constant[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

	for (unsigned i = 0; i < 4; i++)
		s[i] = constant[i];
	for (unsigned i = 0; i < 8; i++)
		s[4 + i] = load_le32(key + 4 * i);
	s[12] = counter;
	for (unsigned i = 0; i < 3; i++)
		s[13 + i] = load_le32(nonce + 4 * i);
}

/* The rounds, on words that the compiler can keep in registers, and the sum with the start. */
static void rounds(uint32_t out[16], const uint32_t s[16])
{
	uint32_t x0 = s[0], x1 = s[1], x2 = s[2], x3 = s[3];
	uint32_t x4 = s[4], x5 = s[5], x6 = s[6], x7 = s[7];
	uint32_t x8 = s[8], x9 = s[9], x10 = s[10], x11 = s[11];
	uint32_t x12 = s[12], x13 = s[13], x14 = s[14], x15 = s[15];

	for (unsigned i = 0; i < DOUBLE_ROUNDS; i++) {
		quarter_round(&x0, &x4, &x8, &x12);
		quarter_round(&x1, &x5, &x9, &x13);
		quarter_round(&x2, &x6, &x10, &x14);
		quarter_round(&x3, &x7, &x11, &x15);
		quarter_round(&x0, &x5, &x10, &x15);
		quarter_round(&x1, &x6, &x11, &x12);
		quarter_round(&x2, &x7, &x8, &x13);
		quarter_round(&x3, &x4, &x9, &x14);
	}
	out[0] = x0 + s[0], out[1] = x1 + s[1], out[2] = x2 + s[2], out[3] = x3 + s[3];
	out[4] = x4 + s[4], out[5] = x5 + s[5], out[6] = x6 + s[6], out[7] = x7 + s[7];
	out[8] = x8 + s[8], out[9] = x9 + s[9], out[10] = x10 + s[10], out[11] = x11 + s[11];
	out[12] = x12 + s[12], out[13] = x13 + s[13], out[14] = x14 + s[14], out[15] = x15 + s[15];
}

void chacha20_block(uint8_t out[CHACHA20_BLOCK_SIZE], const uint8_t key[CHACHA20_KEY_SIZE],
	uint32_t counter, const uint8_t nonce[CHACHA20_NONCE_SIZE])
{
	uint32_t start[16], stream[16];

	start_state(start, key, counter, nonce);
	rounds(stream, start);
	for (unsigned i = 0; i < 16; i++)
		store_le32(out + 4 * i, stream[i]);
	wipe(stream, sizeof(stream));
	wipe(start, sizeof(start));
}

void chacha20_xor(uint8_t *dst, const uint8_t *src, size_t size,
	const uint8_t key[CHACHA20_KEY_SIZE], uint32_t counter,
	const uint8_t nonce[CHACHA20_NONCE_SIZE])
{
	uint32_t start[16], stream[16];

	start_state(start, key, counter, nonce);
	while (size) {
		size_t n = MIN(size, (size_t)CHACHA20_BLOCK_SIZE);

		rounds(stream, start);
		start[12]++;
		for (size_t i = 0; i < n / 4; i++)
			store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ stream[i]);
		for (size_t i = n & ~(size_t)3; i < n; i++)
			dst[i] = (uint8_t)(src[i] ^ stream[i / 4] >> 8 * (i % 4));
		dst += n;
		src += n;
		size -= n;
	}
	wipe(stream, sizeof(stream));
	wipe(start, sizeof(start));
}
