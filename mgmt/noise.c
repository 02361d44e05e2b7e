/*
 * The pattern, from section 7.5, "Interactive handshake patterns (fundamental)":
 *
 *     IK:
 *       <- s
 *       ...
 *       -> e, es, s, ss
 *       <- e, ee, se
 *
 * Each function that writes or reads a message has its tokens, in this order, as comments. All
 * work on a copy of the handshake and commit it last; their one exit wipes what is left of either.
 */
#include "mgmt/noise.h"

#include "lib/bytes.h"
#include "lib/wipe.h"
#include "mgmt/crypto/hkdf.h"

#define NONCE_LAST UINT64_MAX /* reserved for Rekey(), never sent */

static const char protocol_name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

void noise_keys_from(struct noise_keys *keys, const uint8_t random[NOISE_KEY_SIZE])
{
	memcpy(keys->private, random, NOISE_KEY_SIZE);
	x25519_public(keys->public, keys->private);
}

/* ---- CipherState: section 5.1 ---------------------------------------------------------------*/

/* Section 12.3, "The ChaChaPoly cipher functions": 32 bits of zeros, then n, little-endian. */
static void nonce_of(uint8_t nonce[AEAD_NONCE_SIZE], uint64_t n)
{
	memset(nonce, 0, 4);
	store_le64(nonce + 4, n);
}

static void initialize_key(struct noise_cipher *c, const uint8_t k[NOISE_KEY_SIZE])
{
	memcpy(c->k, k, NOISE_KEY_SIZE);
	c->n = 0;
}

static int encrypt_with_ad(struct noise_cipher *c, const void *ad, size_t ad_size,
	const uint8_t *in, size_t size, uint8_t *out)
{
	uint8_t nonce[AEAD_NONCE_SIZE];

	if (c->n == NONCE_LAST)
		return ERR_LIMIT;
	nonce_of(nonce, c->n++);
	aead_seal(out, c->k, nonce, ad, ad_size, in, size);
	return OK;
}

/* `size` is that of the ciphertext. The nonce moves on only if the message was right. */
static int decrypt_with_ad(struct noise_cipher *c, const void *ad, size_t ad_size,
	const uint8_t *in, size_t size, uint8_t *out)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	int status;

	if (c->n == NONCE_LAST)
		return ERR_LIMIT;
	nonce_of(nonce, c->n);
	status = aead_open(out, c->k, nonce, ad, ad_size, in, size);
	if (status == OK)
		c->n++;
	return status;
}

/* REKEY(k), section 4.2: the first 32 bytes of 32 zeros encrypted with the last nonce. */
static void rekey(struct noise_cipher *c)
{
	static const uint8_t zeros[NOISE_KEY_SIZE];
	uint8_t nonce[AEAD_NONCE_SIZE], sealed[NOISE_KEY_SIZE + NOISE_TAG_SIZE];

	nonce_of(nonce, NONCE_LAST);
	aead_seal(sealed, c->k, nonce, NULL, 0, zeros, sizeof(zeros));
	memcpy(c->k, sealed, NOISE_KEY_SIZE);
	wipe(sealed, sizeof(sealed));
}

/* ---- SymmetricState: section 5.2 ------------------------------------------------------------*/

static void mix_hash(struct noise_symmetric *s, const void *data, size_t size)
{
	struct blake2s hash;

	blake2s_init(&hash, BLAKE2S_HASH_SIZE, NULL, 0);
	blake2s_update(&hash, s->h, sizeof(s->h));
	blake2s_update(&hash, data, size);
	blake2s_final(&hash, s->h);
}

static void mix_key(struct noise_symmetric *s, const uint8_t input[NOISE_KEY_SIZE])
{
	uint8_t temp_k[HKDF_SIZE];

	hkdf(s->ck, temp_k, s->ck, input, NOISE_KEY_SIZE);
	initialize_key(&s->cipher, temp_k);
	wipe(temp_k, sizeof(temp_k));
}

static int encrypt_and_hash(struct noise_symmetric *s, const uint8_t *in, size_t size, uint8_t *out)
{
	int status = encrypt_with_ad(&s->cipher, s->h, sizeof(s->h), in, size, out);

	if (status == OK)
		mix_hash(s, out, size + NOISE_TAG_SIZE);
	return status;
}

static int decrypt_and_hash(struct noise_symmetric *s, const uint8_t *in, size_t size, uint8_t *out)
{
	struct noise_symmetric next = *s;
	int status;

	/* the ciphertext is hashed first, since `out` may lie over it */
	mix_hash(&next, in, size);
	status = decrypt_with_ad(&s->cipher, s->h, sizeof(s->h), in, size, out);
	if (status == OK)
		memcpy(s->h, next.h, sizeof(s->h));
	wipe(&next, sizeof(next));
	return status;
}

/* MixKey(DH(key pair, public key)). ERR_INVALID: the result would be zero, whatever our key. */
static int mix_dh(struct noise_symmetric *s, const struct noise_keys *keys,
	const uint8_t public[NOISE_KEY_SIZE])
{
	uint8_t shared[X25519_SIZE];
	int status = x25519(shared, keys->private, public);

	if (status == OK)
		mix_key(s, shared);
	wipe(shared, sizeof(shared));
	return status;
}

/* ---- HandshakeState: section 5.3 ------------------------------------------------------------*/

static void initialize(struct noise_handshake *hs, const struct noise_keys *s,
	const uint8_t responder[NOISE_KEY_SIZE], const void *prologue, size_t prologue_size)
{
	struct noise_symmetric *symmetric = &hs->symmetric;
	struct blake2s hash;

	memset(hs, 0, sizeof(*hs));
	hs->s = *s;
	/* InitializeSymmetric: the name is longer than a hash, so it is hashed */
	_Static_assert(sizeof(protocol_name) - 1 > BLAKE2S_HASH_SIZE, "a short name is padded");
	blake2s_init(&hash, BLAKE2S_HASH_SIZE, NULL, 0);
	blake2s_update(&hash, protocol_name, sizeof(protocol_name) - 1);
	blake2s_final(&hash, symmetric->h);
	memcpy(symmetric->ck, symmetric->h, sizeof(symmetric->ck));
	mix_hash(symmetric, prologue, prologue_size);
	/* <- s, of before the handshake */
	mix_hash(symmetric, responder, NOISE_KEY_SIZE);
}

void noise_initiator(struct noise_handshake *hs, const struct noise_keys *s,
	const uint8_t rs[NOISE_KEY_SIZE], const void *prologue, size_t prologue_size)
{
	initialize(hs, s, rs, prologue, prologue_size);
	memcpy(hs->rs, rs, sizeof(hs->rs));
}

void noise_responder(struct noise_handshake *hs, const struct noise_keys *s, const void *prologue,
	size_t prologue_size)
{
	initialize(hs, s, s->public, prologue, prologue_size);
}

/* The one exit of each step: commits what it made, or ends the handshake. */
static int finish(struct noise_handshake *hs, struct noise_handshake *next, int status)
{
	if (status == OK)
		*hs = *next;
	else
		wipe(hs, sizeof(*hs));
	wipe(next, sizeof(*next));
	return status;
}

int noise_write_first(struct noise_handshake *hs, const uint8_t random[NOISE_KEY_SIZE],
	const uint8_t *payload, size_t size, uint8_t *out)
{
	struct noise_handshake next = *hs;
	struct noise_symmetric *symmetric = &next.symmetric;
	int status;

	/* e */
	noise_keys_from(&next.e, random);
	memcpy(out, next.e.public, NOISE_KEY_SIZE);
	mix_hash(symmetric, next.e.public, NOISE_KEY_SIZE);
	out += NOISE_KEY_SIZE;
	/* es */
	status = mix_dh(symmetric, &next.e, next.rs);
	if (status != OK)
		goto end;
	/* s */
	status = encrypt_and_hash(symmetric, next.s.public, NOISE_KEY_SIZE, out);
	if (status != OK)
		goto end;
	out += NOISE_KEY_SIZE + NOISE_TAG_SIZE;
	/* ss */
	status = mix_dh(symmetric, &next.s, next.rs);
	if (status != OK)
		goto end;
	status = encrypt_and_hash(symmetric, payload, size, out);
end:
	return finish(hs, &next, status);
}

int noise_read_first(struct noise_handshake *hs, const uint8_t *in, size_t size, uint8_t *payload,
	bool (*known)(void *ctx, const uint8_t rs[NOISE_KEY_SIZE]), void *ctx)
{
	struct noise_handshake next = *hs;
	struct noise_symmetric *symmetric = &next.symmetric;
	int status = ERR_INVALID;

	if (size < NOISE_FIRST_SIZE)
		goto end;
	/* e */
	memcpy(next.re, in, NOISE_KEY_SIZE);
	mix_hash(symmetric, next.re, NOISE_KEY_SIZE);
	in += NOISE_KEY_SIZE;
	/* es */
	status = mix_dh(symmetric, &next.s, next.re);
	if (status != OK)
		goto end;
	/* s */
	status = decrypt_and_hash(symmetric, in, NOISE_KEY_SIZE + NOISE_TAG_SIZE, next.rs);
	if (status != OK)
		goto end;
	in += NOISE_KEY_SIZE + NOISE_TAG_SIZE;
	status = known(ctx, next.rs) ? OK : ERR_PERM;
	if (status != OK)
		goto end;
	/* ss */
	status = mix_dh(symmetric, &next.s, next.rs);
	if (status != OK)
		goto end;
	status = decrypt_and_hash(
		symmetric, in, size - (2 * NOISE_KEY_SIZE + NOISE_TAG_SIZE), payload);
end:
	return finish(hs, &next, status);
}

int noise_write_second(struct noise_handshake *hs, const uint8_t random[NOISE_KEY_SIZE],
	const uint8_t *payload, size_t size, uint8_t *out)
{
	struct noise_handshake next = *hs;
	struct noise_symmetric *symmetric = &next.symmetric;
	int status;

	/* e */
	noise_keys_from(&next.e, random);
	memcpy(out, next.e.public, NOISE_KEY_SIZE);
	mix_hash(symmetric, next.e.public, NOISE_KEY_SIZE);
	out += NOISE_KEY_SIZE;
	/* ee */
	status = mix_dh(symmetric, &next.e, next.re);
	if (status != OK)
		goto end;
	/* se */
	status = mix_dh(symmetric, &next.e, next.rs);
	if (status != OK)
		goto end;
	status = encrypt_and_hash(symmetric, payload, size, out);
end:
	return finish(hs, &next, status);
}

int noise_read_second(struct noise_handshake *hs, const uint8_t *in, size_t size, uint8_t *payload)
{
	struct noise_handshake next = *hs;
	struct noise_symmetric *symmetric = &next.symmetric;
	int status = ERR_INVALID;

	if (size < NOISE_SECOND_SIZE)
		goto end;
	/* e */
	memcpy(next.re, in, NOISE_KEY_SIZE);
	mix_hash(symmetric, next.re, NOISE_KEY_SIZE);
	in += NOISE_KEY_SIZE;
	/* ee */
	status = mix_dh(symmetric, &next.e, next.re);
	if (status != OK)
		goto end;
	/* se */
	status = mix_dh(symmetric, &next.s, next.re);
	if (status != OK)
		goto end;
	status = decrypt_and_hash(symmetric, in, size - NOISE_KEY_SIZE, payload);
end:
	return finish(hs, &next, status);
}

/* Split(), section 5.2: the first cipher is for what the initiator sends. */
void noise_split(struct noise_handshake *hs, bool initiator, struct noise_session *session)
{
	uint8_t temp_k1[HKDF_SIZE], temp_k2[HKDF_SIZE];

	hkdf(temp_k1, temp_k2, hs->symmetric.ck, NULL, 0);
	initialize_key(initiator ? &session->send : &session->receive, temp_k1);
	initialize_key(initiator ? &session->receive : &session->send, temp_k2);
	wipe(temp_k1, sizeof(temp_k1));
	wipe(temp_k2, sizeof(temp_k2));
	wipe(hs, sizeof(*hs));
}

/* ---- transport messages ---------------------------------------------------------------------*/

static void count(struct noise_cipher *c)
{
	if (c->n % NOISE_REKEY_MESSAGES == 0)
		rekey(c);
}

int noise_seal(struct noise_cipher *c, uint8_t *out, const uint8_t *in, size_t size)
{
	int status;

	if (size > NOISE_PAYLOAD_MAX)
		return ERR_TOOBIG;
	status = encrypt_with_ad(c, NULL, 0, in, size, out);
	if (status == OK)
		count(c);
	return status;
}

int noise_open(struct noise_cipher *c, uint8_t *out, const uint8_t *in, size_t size)
{
	int status;

	if (size > NOISE_MESSAGE_MAX)
		return ERR_TOOBIG;
	status = decrypt_with_ad(c, NULL, 0, in, size, out);
	if (status == OK)
		count(c);
	return status;
}
