#include "lib/chacha20.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define DOUBLE_ROUNDS 10

static uint32_t rotl(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

/* RFC 8439 2.1, "The ChaCha Quarter Round". */
static void quarter_round(uint32_t s[16], unsigned a, unsigned b, unsigned c, unsigned d)
{
	s[a] += s[b]; s[d] = rotl(s[d] ^ s[a], 16);
	s[c] += s[d]; s[b] = rotl(s[b] ^ s[c], 12);
	s[a] += s[b]; s[d] = rotl(s[d] ^ s[a], 8);
	s[c] += s[d]; s[b] = rotl(s[b] ^ s[c], 7);
}

void chacha20_block(uint8_t out[CHACHA20_BLOCK_SIZE], const uint8_t key[CHACHA20_KEY_SIZE],
	uint32_t counter, const uint8_t nonce[CHACHA20_NONCE_SIZE])
{
	/* "expand 32-byte k" */
	uint32_t start[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	uint32_t s[16];

	for (unsigned i = 0; i < 8; i++)
		start[4 + i] = load_le32(key + 4 * i);
	start[12] = counter;
	for (unsigned i = 0; i < 3; i++)
		start[13 + i] = load_le32(nonce + 4 * i);
	for (unsigned i = 0; i < 16; i++)
		s[i] = start[i];
	for (unsigned i = 0; i < DOUBLE_ROUNDS; i++) {
		quarter_round(s, 0, 4, 8, 12);
		quarter_round(s, 1, 5, 9, 13);
		quarter_round(s, 2, 6, 10, 14);
		quarter_round(s, 3, 7, 11, 15);
		quarter_round(s, 0, 5, 10, 15);
		quarter_round(s, 1, 6, 11, 12);
		quarter_round(s, 2, 7, 8, 13);
		quarter_round(s, 3, 4, 9, 14);
	}
	for (unsigned i = 0; i < 16; i++)
		store_le32(out + 4 * i, s[i] + start[i]);
	wipe(s, sizeof(s));
	wipe(start, sizeof(start));
}

void chacha20_xor(uint8_t *dst, const uint8_t *src, size_t size,
	const uint8_t key[CHACHA20_KEY_SIZE], uint32_t counter,
	const uint8_t nonce[CHACHA20_NONCE_SIZE])
{
	uint8_t stream[CHACHA20_BLOCK_SIZE];

	for (size_t at = 0; at < size; at += sizeof(stream)) {
		size_t n = MIN(size - at, sizeof(stream));

		chacha20_block(stream, key, counter++, nonce);
		for (size_t i = 0; i < n; i++)
			dst[at + i] = (uint8_t)(src[at + i] ^ stream[i]);
	}
	wipe(stream, sizeof(stream));
}
