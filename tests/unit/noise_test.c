/* The handshake and its session: the published vectors, and everything that must not work. */
#include "mgmt/noise.h"

#include "tests/unit/hex.h"
#include "tests/unit/test.h"

static const char prologue[] = "test 1";

static bool everybody(void *ctx, const uint8_t rs[NOISE_KEY_SIZE])
{
	memcpy(ctx, rs, NOISE_KEY_SIZE);
	return true;
}

static bool nobody(void *ctx, const uint8_t rs[NOISE_KEY_SIZE])
{
	memcpy(ctx, rs, NOISE_KEY_SIZE);
	return false;
}

static bool all_zero(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint8_t any = 0;

	for (size_t i = 0; i < size; i++)
		any |= p[i];
	return !any;
}

/* Two sides, of fixed keys, before their first message. */
struct pair {
	struct noise_keys client_keys, host_keys;
	struct noise_handshake client, host;
	uint8_t client_random[32], host_random[32];
	uint8_t seen[32]; /* the client's key as the host learned it */
	uint8_t first[NOISE_FIRST_SIZE + 64], second[NOISE_SECOND_SIZE + 64];
	struct noise_session client_session, host_session;
};

static void pair_init(struct pair *p)
{
	uint8_t random[32];

	memset(p, 0, sizeof(*p));
	memset(random, 1, sizeof(random));
	noise_keys_from(&p->client_keys, random);
	memset(random, 2, sizeof(random));
	noise_keys_from(&p->host_keys, random);
	memset(p->client_random, 3, 32);
	memset(p->host_random, 4, 32);
	noise_initiator(
		&p->client, &p->client_keys, p->host_keys.public, prologue, sizeof(prologue));
	noise_responder(&p->host, &p->host_keys, prologue, sizeof(prologue));
}

static void pair_shake(struct pair *p)
{
	pair_init(p);
	CHECK_EQ(noise_write_first(&p->client, p->client_random, NULL, 0, p->first), OK);
	CHECK_EQ(noise_read_first(&p->host, p->first, NOISE_FIRST_SIZE, NULL, everybody, p->seen),
		OK);
	CHECK_EQ(noise_write_second(&p->host, p->host_random, NULL, 0, p->second), OK);
	CHECK_EQ(noise_read_second(&p->client, p->second, NOISE_SECOND_SIZE, NULL), OK);
	CHECK(memcmp(p->client.symmetric.h, p->host.symmetric.h, 32) == 0);
	noise_split(&p->client, true, &p->client_session);
	noise_split(&p->host, false, &p->host_session);
	CHECK(all_zero(&p->client, sizeof(p->client)));
	CHECK(all_zero(&p->host, sizeof(p->host)));
}

/*
 * Published by the Cacophony project for Noise_IK_25519_ChaChaPoly_BLAKE2s. Its handshake_hash is
 * the one after the first message; the one after the second is from dissononce.
 */
static const char vector_prologue[] = "John Galt";
static const char *const vector_messages[][2] = {
	{"4c756477696720766f6e204d69736573",
		"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
		"0b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adb"
		"fc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4e"
		"ca690f6d896f543be02c996ab2b86b76"},
	{"4d757272617920526f746862617264",
		"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
		"d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c"},
	{"462e20412e20486179656b", "2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b"},
	{"4361726c204d656e676572", "d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3"},
	{"4a65616e2d426170746973746520536179",
		"a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe"},
	{"457567656e2042f6686d20766f6e2042617765726b",
		"2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156"},
};

static void keys_of(struct noise_keys *keys, const char *private)
{
	uint8_t random[32];

	unhex(private, random, 32);
	noise_keys_from(keys, random);
}

TEST(published_vector)
{
	static const char hash[] =
		"48f3cb8bc9319da4ba1e9933991b1c4ed4034f1f126a76d3a1fbcfd7f94248d4";
	struct noise_keys si, sr;
	struct noise_handshake i, r;
	struct noise_session session_i, session_r;
	uint8_t ei[32], er[32], seen[32], text[64], got[64], sealed[256];
	size_t n;

	keys_of(&si, "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
	keys_of(&sr, "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
	CHECK_HEX(
		sr.public, 32, "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
	unhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a", ei, 32);
	unhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b", er, 32);
	noise_initiator(&i, &si, sr.public, vector_prologue, sizeof(vector_prologue) - 1);
	noise_responder(&r, &sr, vector_prologue, sizeof(vector_prologue) - 1);

	n = strlen(vector_messages[0][0]) / 2;
	unhex(vector_messages[0][0], text, n);
	CHECK_EQ(noise_write_first(&i, ei, text, n, sealed), OK);
	CHECK_HEX(sealed, NOISE_FIRST_SIZE + n, vector_messages[0][1]);
	CHECK_EQ(noise_read_first(&r, sealed, NOISE_FIRST_SIZE + n, got, everybody, seen), OK);
	CHECK(memcmp(got, text, n) == 0);
	CHECK(memcmp(seen, si.public, 32) == 0);
	CHECK_HEX(r.symmetric.h, 32,
		"7c9d1ae29dbc8b86386f0b2b56a19a7ffac0145ad5eba9fedba32b00db3f1bea");

	n = strlen(vector_messages[1][0]) / 2;
	unhex(vector_messages[1][0], text, n);
	CHECK_EQ(noise_write_second(&r, er, text, n, sealed), OK);
	CHECK_HEX(sealed, NOISE_SECOND_SIZE + n, vector_messages[1][1]);
	CHECK_EQ(noise_read_second(&i, sealed, NOISE_SECOND_SIZE + n, got), OK);
	CHECK(memcmp(got, text, n) == 0);
	CHECK_HEX(i.symmetric.h, 32, hash);
	CHECK_HEX(r.symmetric.h, 32, hash);

	noise_split(&i, true, &session_i);
	noise_split(&r, false, &session_r);
	for (size_t m = 2; m < ARRAY_SIZE(vector_messages); m++) {
		bool from_i = m % 2 == 0;

		n = strlen(vector_messages[m][0]) / 2;
		unhex(vector_messages[m][0], text, n);
		CHECK_EQ(noise_seal(from_i ? &session_i.send : &session_r.send, sealed, text, n),
			OK);
		CHECK_HEX(sealed, n + NOISE_TAG_SIZE, vector_messages[m][1]);
		CHECK_EQ(noise_open(from_i ? &session_r.receive : &session_i.receive, got, sealed,
				 n + NOISE_TAG_SIZE),
			OK);
		CHECK(memcmp(got, text, n) == 0);
	}
}

TEST(every_wrong_bit_ends_the_handshake)
{
	struct pair p;
	uint8_t payload[16];

	for (size_t bit = 0; bit < 8 * NOISE_FIRST_SIZE; bit++) {
		pair_init(&p);
		CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
		p.first[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* X25519 ignores the top bit of a key; the transcript doesn't */
		CHECK_EQ(noise_read_first(
				 &p.host, p.first, NOISE_FIRST_SIZE, payload, everybody, p.seen),
			ERR_INVALID);
		CHECK(all_zero(&p.host, sizeof(p.host)));
	}
	for (size_t bit = 0; bit < 8 * NOISE_SECOND_SIZE; bit++) {
		pair_init(&p);
		CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
		CHECK_EQ(noise_read_first(
				 &p.host, p.first, NOISE_FIRST_SIZE, payload, everybody, p.seen),
			OK);
		CHECK_EQ(noise_write_second(&p.host, p.host_random, NULL, 0, p.second), OK);
		p.second[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK_EQ(noise_read_second(&p.client, p.second, NOISE_SECOND_SIZE, payload),
			ERR_INVALID);
		CHECK(all_zero(&p.client, sizeof(p.client)));
	}
}

TEST(truncated_messages)
{
	struct pair p;
	uint8_t payload[16];

	for (size_t size = 0; size < NOISE_FIRST_SIZE; size++) {
		pair_init(&p);
		CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
		CHECK_EQ(noise_read_first(&p.host, p.first, size, payload, everybody, p.seen),
			ERR_INVALID);
	}
	for (size_t size = 0; size < NOISE_SECOND_SIZE; size++) {
		pair_init(&p);
		CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
		CHECK_EQ(noise_read_second(&p.client, p.second, size, payload), ERR_INVALID);
	}
}

TEST(wrong_prologue)
{
	struct pair p;

	pair_init(&p);
	noise_responder(&p.host, &p.host_keys, "test 2", sizeof("test 2"));
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
	CHECK_EQ(noise_read_first(&p.host, p.first, NOISE_FIRST_SIZE, NULL, everybody, p.seen),
		ERR_INVALID);
}

TEST(wrong_host)
{
	struct pair p;

	pair_init(&p);
	noise_responder(&p.host, &p.client_keys, prologue, sizeof(prologue));
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
	CHECK_EQ(noise_read_first(&p.host, p.first, NOISE_FIRST_SIZE, NULL, everybody, p.seen),
		ERR_INVALID);
	CHECK(all_zero(p.seen, 32));
}

TEST(unknown_client_is_named_and_refused)
{
	struct pair p;

	pair_init(&p);
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
	CHECK_EQ(noise_read_first(&p.host, p.first, NOISE_FIRST_SIZE, NULL, nobody, p.seen),
		ERR_PERM);
	CHECK(memcmp(p.seen, p.client_keys.public, 32) == 0);
	CHECK(all_zero(&p.host, sizeof(p.host)));
}

/* A key of low order makes a shared secret that everybody knows: the handshake ends. */
TEST(low_order_keys)
{
	struct pair p;
	uint8_t zero[32] = {0};

	pair_init(&p);
	noise_initiator(&p.client, &p.client_keys, zero, prologue, sizeof(prologue));
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), ERR_INVALID);

	pair_init(&p);
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
	memset(p.first, 0, 32);
	CHECK_EQ(noise_read_first(&p.host, p.first, NOISE_FIRST_SIZE, NULL, everybody, p.seen),
		ERR_INVALID);

	/* a client that has such a static key, and seals everything else rightly */
	pair_init(&p);
	memset(p.client.s.public, 0, 32);
	CHECK_EQ(noise_write_first(&p.client, p.client_random, NULL, 0, p.first), OK);
	CHECK_EQ(noise_read_first(&p.host, p.first, NOISE_FIRST_SIZE, NULL, everybody, p.seen),
		ERR_INVALID);
	CHECK(all_zero(&p.host, sizeof(p.host)));
}

TEST(session_in_both_directions)
{
	struct pair p;
	static uint8_t text[NOISE_PAYLOAD_MAX + 1], sealed[NOISE_MESSAGE_MAX + 1];

	pair_shake(&p);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)i;
	/* more messages than one key serves; in place */
	for (unsigned i = 0; i < 2 * NOISE_REKEY_MESSAGES + 5; i++) {
		size_t size = i % 100;

		CHECK_EQ(noise_seal(&p.client_session.send, sealed, text, size), OK);
		CHECK_EQ(noise_open(&p.host_session.receive, sealed, sealed, size + NOISE_TAG_SIZE),
			OK);
		CHECK(memcmp(sealed, text, size) == 0);
	}
	CHECK_EQ(noise_seal(&p.host_session.send, sealed, text, NOISE_PAYLOAD_MAX), OK);
	CHECK_EQ(noise_open(&p.client_session.receive, sealed, sealed, NOISE_MESSAGE_MAX), OK);
	CHECK(memcmp(sealed, text, NOISE_PAYLOAD_MAX) == 0);
	CHECK_EQ(noise_seal(&p.host_session.send, sealed, text, NOISE_PAYLOAD_MAX + 1), ERR_TOOBIG);
	CHECK_EQ(noise_open(&p.client_session.receive, sealed, sealed, NOISE_MESSAGE_MAX + 1),
		ERR_TOOBIG);
}

TEST(replayed_reordered_and_reflected_messages)
{
	struct pair p;
	uint8_t a[20], b[20], out[20];

	pair_shake(&p);
	CHECK_EQ(noise_seal(&p.client_session.send, a, (const uint8_t *)"one!", 4), OK);
	CHECK_EQ(noise_seal(&p.client_session.send, b, (const uint8_t *)"two!", 4), OK);
	CHECK_EQ(noise_open(&p.host_session.receive, out, b, 20), ERR_INVALID);
	CHECK_EQ(noise_open(&p.client_session.receive, out, a, 20), ERR_INVALID);
	CHECK_EQ(noise_open(&p.host_session.receive, out, a, 20), OK);
	CHECK_EQ(noise_open(&p.host_session.receive, out, a, 20), ERR_INVALID);
	CHECK_EQ(noise_open(&p.host_session.receive, out, b, 20), OK);
}

/* A replayed first message ends in a session whose keys the replayer can't know. */
TEST(replayed_handshake_gains_nothing)
{
	struct pair p, q;
	uint8_t sealed[20], out[4];

	pair_shake(&p);
	CHECK_EQ(noise_seal(&p.client_session.send, sealed, (const uint8_t *)"boot", 4), OK);
	pair_init(&q);
	q.host_random[1]++; /* as every handshake has its own */
	CHECK_EQ(noise_read_first(&q.host, p.first, NOISE_FIRST_SIZE, NULL, everybody, q.seen), OK);
	CHECK_EQ(noise_write_second(&q.host, q.host_random, NULL, 0, q.second), OK);
	noise_split(&q.host, false, &q.host_session);
	CHECK_EQ(noise_open(&q.host_session.receive, out, sealed, 20), ERR_INVALID);
}

/* Section 11.3: the new key is the start of zeros sealed under the last nonce; n goes on. */
TEST(rekey_as_specified)
{
	struct noise_cipher c = {.k = {9}, .n = NOISE_REKEY_MESSAGES - 1};
	uint8_t nonce[12] = {0}, zeros[32] = {0}, want[48], sealed[16];

	memset(nonce + 4, 0xff, 8);
	aead_seal(want, c.k, nonce, NULL, 0, zeros, 32);
	CHECK_EQ(noise_seal(&c, sealed, NULL, 0), OK);
	CHECK(memcmp(c.k, want, 32) == 0);
	CHECK_EQ(c.n, NOISE_REKEY_MESSAGES);
}

TEST(nonces_end)
{
	struct noise_cipher send = {.k = {9}, .n = UINT64_MAX - 1}, receive = send;
	uint8_t sealed[16], more[16];

	CHECK_EQ(noise_seal(&send, sealed, NULL, 0), OK);
	CHECK_EQ(noise_open(&receive, sealed, sealed, 16), OK);
	CHECK_EQ(noise_seal(&send, more, NULL, 0), ERR_LIMIT);
	CHECK_EQ(noise_open(&receive, more, sealed, 16), ERR_LIMIT);
	CHECK_EQ(send.n, UINT64_MAX);
}
