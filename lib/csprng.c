#include "lib/csprng.h"

#include "lib/string.h"
#include "lib/wipe.h"

static const uint8_t zero_nonce[CHACHA20_NONCE_SIZE];

/* The nonce of mixing differs from that of drawing, so the two never see the same block. */
static const uint8_t mix_nonce[CHACHA20_NONCE_SIZE] = { 'm', 'i', 'x' };

void csprng_init(struct csprng *g)
{
	memset(g, 0, sizeof(*g));
}

void csprng_mix(struct csprng *g, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint8_t block[CHACHA20_BLOCK_SIZE];

	for (size_t at = 0; at < size; at += CHACHA20_KEY_SIZE) {
		size_t n = MIN(size - at, (size_t)CHACHA20_KEY_SIZE);

		for (size_t i = 0; i < n; i++)
			g->key[i] ^= bytes[at + i];
		chacha20_block(block, g->key, 0, mix_nonce);
		memcpy(g->key, block, sizeof(g->key));
	}
	wipe(block, sizeof(block));
	/* what lies in the buffer was made before: it must not be drawn any more */
	wipe(g->buffer, sizeof(g->buffer));
	g->left = 0;
}

static void refill(struct csprng *g)
{
	for (uint32_t i = 0; i < CSPRNG_BUFFER / CHACHA20_BLOCK_SIZE; i++)
		chacha20_block(g->buffer + i * CHACHA20_BLOCK_SIZE, g->key, i, zero_nonce);
	memcpy(g->key, g->buffer, sizeof(g->key));
	wipe(g->buffer, sizeof(g->key));
	g->left = sizeof(g->buffer) - sizeof(g->key);
}

void csprng_read(struct csprng *g, void *out, size_t size)
{
	uint8_t *to = out;

	while (size) {
		if (!g->left)
			refill(g);

		size_t n = MIN(size, g->left);
		uint8_t *from = g->buffer + sizeof(g->buffer) - g->left;

		memcpy(to, from, n);
		wipe(from, n);
		g->left -= n;
		to += n;
		size -= n;
	}
}
