/* The primitives of the sealed channel against the vectors of their RFCs, and their edges. */
#include "mgmt/crypto/aead.h"
#include "mgmt/crypto/hkdf.h"
#include "mgmt/crypto/x25519.h"
#include "tests/unit/hex.h"
#include "tests/unit/test.h"

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return !any;
}

/* RFC 7748, section 5.2, "Test Vectors". */
TEST(x25519_is_that_of_the_rfc)
{
	static const char *const rows[][3] = {
		{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t k[32], u[32], out[32];

		unhex(rows[i][0], k, 32);
		unhex(rows[i][1], u, 32);
		CHECK_EQ(x25519(out, k, u), OK);
		CHECK_HEX(out, 32, rows[i][2]);
	}
}

TEST(x25519_iterated)
{
	uint8_t k[32] = {9}, u[32] = {9}, out[32];

	for (int i = 1; i <= 1000; i++) {
		CHECK_EQ(x25519(out, k, u), OK);
		memcpy(u, k, 32);
		memcpy(k, out, 32);
		if (i == 1)
			CHECK_HEX(k, 32,
				"422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
	}
	CHECK_HEX(k, 32, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* RFC 7748, section 6.1, "Curve25519". */
TEST(x25519_agreement)
{
	uint8_t a[32], b[32], pa[32], pb[32], ka[32], kb[32];

	unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", a, 32);
	unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", b, 32);
	x25519_public(pa, a);
	x25519_public(pb, b);
	CHECK_HEX(pa, 32, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
	CHECK_HEX(pb, 32, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	CHECK_EQ(x25519(ka, a, pb), OK);
	CHECK_EQ(x25519(kb, b, pa), OK);
	CHECK_HEX(ka, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
	CHECK(memcmp(ka, kb, 32) == 0);
}

/* Every point of order 1, 2, 4 or 8, on the curve or its twist, in each of its encodings. */
TEST(x25519_refuses_points_of_low_order)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	uint64_t seed = 1;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(points); i++) {
		uint8_t k[32], u[32], out[32];

		unhex(points[i / 2], u, 32);
		if (i & 1)
			u[31] |= 0x80; /* a bit that must not count */
		for (int n = 0; n < 32; n++)
			k[n] = (uint8_t)test_random(&seed);
		memset(out, 0xff, 32);
		CHECK_EQ(x25519(out, k, u), ERR_INVALID);
		CHECK(all_zero(out, 32));
	}
}

/* A coordinate from p on is taken modulo p: 9 and p + 9 are the same point. */
TEST(x25519_takes_coordinates_modulo_p)
{
	uint8_t k[32] = {1, 2, 3}, nine[32] = {9}, u[32], a[32], b[32];

	memset(u, 0xff, 32);
	u[0] = 0xf6;
	u[31] = 0x7f;
	CHECK_EQ(x25519(a, k, nine), OK);
	CHECK_EQ(x25519(b, k, u), OK);
	CHECK(memcmp(a, b, 32) == 0);
	/* out may be an input */
	CHECK_EQ(x25519(k, k, nine), OK);
	CHECK(memcmp(a, k, 32) == 0);
}

/* RFC 8439, section 2.5.2, and appendix A.3, test vectors 7 to 11: the ends of the modulus. */
TEST(poly1305_is_that_of_the_rfc)
{
	static const char *const rows[][3] = {
		{"85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
			"43727970746f6772617068696320466f72756d2052657365617263682047726f7570",
			"a8061dc1305136c6c22b8baf0c0127a9"},
		{"0200000000000000000000000000000000000000000000000000000000000000",
			"ffffffffffffffffffffffffffffffff", "03000000000000000000000000000000"},
		{"02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
			"02000000000000000000000000000000", "03000000000000000000000000000000"},
		{"0100000000000000000000000000000000000000000000000000000000000000",
			"fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff"
			"11000000000000000000000000000000",
			"05000000000000000000000000000000"},
		{"0100000000000000000000000000000000000000000000000000000000000000",
			"fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe"
			"01010101010101010101010101010101",
			"00000000000000000000000000000000"},
		{"0200000000000000000000000000000000000000000000000000000000000000",
			"fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t key[32], data[64], tag[16];
		size_t size = strlen(rows[i][1]) / 2;

		unhex(rows[i][0], key, 32);
		unhex(rows[i][1], data, size);
		poly1305(tag, key, data, size);
		CHECK_HEX(tag, 16, rows[i][2]);
	}
}

/* RFC 8439, section 2.8.2, "Example and Test Vector for AEAD_CHACHA20_POLY1305". */
TEST(aead_is_that_of_the_rfc)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	uint8_t key[32], nonce[12], ad[12], out[130], back[114];

	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t)(0x80 + i);
	unhex("070000004041424344454647", nonce, 12);
	unhex("50515253c0c1c2c3c4c5c6c7", ad, 12);
	aead_seal(out, key, nonce, ad, 12, (const uint8_t *)text, 114);
	CHECK_HEX(out, 130,
		"d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
		"3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
		"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
		"3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
	CHECK_EQ(aead_open(back, key, nonce, ad, 12, out, 130), OK);
	CHECK(memcmp(back, text, 114) == 0);
}

/* Every size around the blocks; every single wrong bit is noticed, and nothing is written then. */
TEST(aead_notices_every_bit)
{
	uint8_t key[32] = {7}, nonce[12] = {3}, ad[20] = {1}, text[200], out[216], back[200];
	uint64_t seed = 2;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)test_random(&seed);
	for (size_t size = 0; size <= sizeof(text); size += size < 20 ? 1 : 13) {
		size_t sealed = size + AEAD_TAG_SIZE;

		aead_seal(out, key, nonce, ad, size % 21, text, size);
		for (size_t bit = 0; bit < 8 * sealed; bit++) {
			memset(back, 0xaa, sizeof(back));
			out[bit / 8] ^= (uint8_t)(1u << bit % 8);
			CHECK_EQ(aead_open(back, key, nonce, ad, size % 21, out, sealed),
				ERR_INVALID);
			out[bit / 8] ^= (uint8_t)(1u << bit % 8);
			for (size_t i = 0; i < size; i++)
				CHECK_EQ(back[i], 0xaa);
		}
		for (size_t shorter = 0; shorter < sealed; shorter++)
			CHECK_EQ(aead_open(back, key, nonce, ad, size % 21, out, shorter),
				ERR_INVALID);
		nonce[11] ^= 1;
		CHECK_EQ(aead_open(back, key, nonce, ad, size % 21, out, sealed), ERR_INVALID);
		nonce[11] ^= 1;
		CHECK_EQ(
			aead_open(back, key, nonce, ad, (size + 1) % 21, out, sealed), ERR_INVALID);
		/* in place, and to a place before */
		CHECK_EQ(aead_open(back, key, nonce, ad, size % 21, out, sealed), OK);
		CHECK(memcmp(back, text, size) == 0);
		memmove(out + 2, out, sealed < 214 ? sealed : 214);
		if (sealed <= 214) {
			CHECK_EQ(aead_open(out, key, nonce, ad, size % 21, out + 2, sealed), OK);
			CHECK(memcmp(out, text, size) == 0);
		}
	}
}

/* RFC 7693, appendix B, "Example of BLAKE2s Computation". */
TEST(blake2s_of_abc)
{
	struct blake2s s;
	uint8_t out[32];

	blake2s_init(&s, 32, NULL, 0);
	blake2s_update(&s, "abc", 3);
	blake2s_final(&s, out);
	CHECK_HEX(out, 32, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	CHECK(all_zero((const uint8_t *)&s, sizeof(s)));
}

/* RFC 7693, appendix E, "selftest_seq". */
static void selftest_seq(uint8_t *out, size_t size, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed, b = 1;

	for (size_t i = 0; i < size; i++) {
		uint32_t t = a + b;

		a = b;
		b = t;
		out[i] = (uint8_t)(t >> 24);
	}
}

/* RFC 7693, appendix E, "BLAKE2b and BLAKE2s Self-Test Module C Source": the grand hash. */
TEST(blake2s_self_test_of_the_rfc)
{
	static const size_t md_size[] = {16, 20, 28, 32}, in_size[] = {0, 3, 64, 65, 255, 1024};
	struct blake2s all, one;
	uint8_t in[1024], md[32], key[32];

	blake2s_init(&all, 32, NULL, 0);
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 6; j++) {
			for (int keyed = 0; keyed < 2; keyed++) {
				selftest_seq(in, in_size[j], (uint32_t)in_size[j]);
				selftest_seq(key, md_size[i], (uint32_t)md_size[i]);
				blake2s_init(&one, md_size[i], key, keyed ? md_size[i] : 0);
				blake2s_update(&one, in, in_size[j]);
				blake2s_final(&one, md);
				blake2s_update(&all, md, md_size[i]);
			}
		}
	}
	blake2s_final(&all, md);
	CHECK_HEX(md, 32, "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

/* However a message is cut, its hash is the same. */
TEST(blake2s_in_pieces)
{
	uint8_t in[200], whole[32], cut[32];
	uint64_t seed = 3;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)test_random(&seed);
	for (size_t size = 0; size <= sizeof(in); size++) {
		struct blake2s s;

		blake2s_init(&s, 32, NULL, 0);
		blake2s_update(&s, in, size);
		blake2s_final(&s, whole);
		blake2s_init(&s, 32, NULL, 0);
		for (size_t at = 0; at < size;) {
			size_t n = MIN((size_t)(test_random(&seed) % 80), size - at);

			blake2s_update(&s, in + at, n);
			at += n;
		}
		blake2s_final(&s, cut);
		CHECK(memcmp(whole, cut, 32) == 0);
	}
}

/* The outputs are what HMAC makes of each other, also when they overwrite the chaining key. */
TEST(hkdf_chains_hmac)
{
	uint8_t ck[32] = {5}, in[32] = {6}, temp[32], want1[32], want2[32], out2[32];
	struct hmac_blake2s h;

	hmac_blake2s_init(&h, ck);
	hmac_blake2s_update(&h, in, 32);
	hmac_blake2s_final(&h, temp);
	hmac_blake2s_init(&h, temp);
	hmac_blake2s_update(&h, "\x01", 1);
	hmac_blake2s_final(&h, want1);
	hmac_blake2s_init(&h, temp);
	hmac_blake2s_update(&h, want1, 32);
	hmac_blake2s_update(&h, "\x02", 1);
	hmac_blake2s_final(&h, want2);
	hkdf(ck, out2, ck, in, 32);
	CHECK(memcmp(ck, want1, 32) == 0);
	CHECK(memcmp(out2, want2, 32) == 0);
}
