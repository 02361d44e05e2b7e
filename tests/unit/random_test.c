/* ChaCha20 against RFC 8439, and the generator on top of it. */
#include "lib/chacha20.h"
#include "lib/csprng.h"
#include "tests/unit/test.h"

static void hex(const char *text, uint8_t *out, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned v;

		CHECK(sscanf(text + 2 * i, "%2x", &v) == 1);
		out[i] = (uint8_t)v;
	}
}

static void fill_key(uint8_t key[32])
{
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
}

/* RFC 8439 2.3.2, "Test Vector for the ChaCha20 Block Function". */
TEST(chacha20_block_is_that_of_the_rfc)
{
	uint8_t key[32], nonce[12], want[64], out[64];

	fill_key(key);
	hex("000000090000004a00000000", nonce, 12);
	hex("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
	    "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e", want, 64);
	chacha20_block(out, key, 1, nonce);
	CHECK(memcmp(out, want, 64) == 0);
}

/* RFC 8439 appendix A.1, test vectors 1 and 2. */
TEST(chacha20_block_of_a_zero_key)
{
	uint8_t key[32] = {0}, nonce[12] = {0}, want[64], out[64];

	hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
	    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586", want, 64);
	chacha20_block(out, key, 0, nonce);
	CHECK(memcmp(out, want, 64) == 0);
	hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
	    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f", want, 64);
	chacha20_block(out, key, 1, nonce);
	CHECK(memcmp(out, want, 64) == 0);
}

/* RFC 8439 2.4.2, "Example and Test Vector for the ChaCha20 Cipher". */
TEST(chacha20_xor_is_that_of_the_rfc)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	uint8_t key[32], nonce[12], want[114], out[114];

	CHECK_EQ(sizeof(text) - 1, 114);
	fill_key(key);
	hex("000000000000004a00000000", nonce, 12);
	hex("6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
	    "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8"
	    "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
	    "5af90bbf74a35be6b40b8eedf2785e42874d", want, 114);
	chacha20_xor(out, (const uint8_t *)text, 114, key, 1, nonce);
	CHECK(memcmp(out, want, 114) == 0);
	chacha20_xor(out, out, 114, key, 1, nonce);
	CHECK(memcmp(out, text, 114) == 0);
}

TEST(csprng_depends_on_every_mixed_byte)
{
	uint8_t seed[100] = {0}, base[32], other[32];
	struct csprng g;

	csprng_init(&g);
	csprng_mix(&g, seed, sizeof(seed));
	csprng_read(&g, base, sizeof(base));
	for (unsigned i = 0; i < sizeof(seed); i++) {
		seed[i] ^= 1;
		csprng_init(&g);
		csprng_mix(&g, seed, sizeof(seed));
		csprng_read(&g, other, sizeof(other));
		CHECK(memcmp(base, other, sizeof(base)) != 0);
		seed[i] ^= 1;
	}
}

TEST(csprng_reads_the_same_stream_in_any_pieces)
{
	static uint8_t whole[5000], pieces[5000];
	struct csprng g;
	uint64_t state = 1;

	csprng_init(&g);
	csprng_mix(&g, "seed", 4);
	csprng_read(&g, whole, sizeof(whole));
	csprng_init(&g);
	csprng_mix(&g, "seed", 4);
	for (size_t at = 0; at < sizeof(pieces);) {
		size_t n = 1 + test_random(&state) % 700;

		if (n > sizeof(pieces) - at)
			n = sizeof(pieces) - at;
		csprng_read(&g, pieces + at, n);
		at += n;
	}
	CHECK(memcmp(whole, pieces, sizeof(whole)) == 0);
}

/* Neither the key nor the buffer still holds what was drawn. */
TEST(csprng_forgets_what_it_gave)
{
	uint8_t out[16];
	struct csprng g;

	csprng_init(&g);
	csprng_mix(&g, "seed", 4);
	for (unsigned round = 0; round < 100; round++) {
		csprng_read(&g, out, sizeof(out));
		for (size_t i = 0; i + sizeof(out) <= sizeof(g); i++)
			CHECK(memcmp((const uint8_t *)&g + i, out, sizeof(out)) != 0);
	}
}

TEST(csprng_mix_drops_the_buffer)
{
	uint8_t a[64], b[64];
	struct csprng g, h;

	csprng_init(&g);
	csprng_mix(&g, "seed", 4);
	csprng_read(&g, a, 1);
	h = g;
	csprng_mix(&g, "more", 4);
	csprng_read(&g, a, sizeof(a));
	csprng_read(&h, b, sizeof(b));
	CHECK(memcmp(a, b, sizeof(a)) != 0);
}

TEST(csprng_bits_are_balanced)
{
	static uint8_t out[65536];
	unsigned ones = 0;
	struct csprng g;

	csprng_init(&g);
	csprng_read(&g, out, sizeof(out));
	for (size_t i = 0; i < sizeof(out); i++)
		ones += (unsigned)__builtin_popcount(out[i]);
	/* five standard deviations of 524288 fair coins */
	CHECK(ones > 262144 - 1810 && ones < 262144 + 1810);
}
