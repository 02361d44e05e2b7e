/*
 * Noise_IK_25519_ChaChaPoly_BLAKE2s, The Noise Protocol Framework revision 34: the handshake, for
 * either side, and the two ciphers that it ends in. Pure: bytes in, bytes out; randomness and the
 * list of known keys come from the caller. Constant time where secrets are concerned.
 *
 * A step that fails leaves its outputs untouched and wipes the handshake, which is over then.
 */
#ifndef MGMT_NOISE_H
#define MGMT_NOISE_H

#include "mgmt/crypto/aead.h"
#include "mgmt/crypto/blake2s.h"
#include "mgmt/crypto/x25519.h"

#define NOISE_KEY_SIZE 32
#define NOISE_TAG_SIZE AEAD_TAG_SIZE

#define NOISE_MESSAGE_MAX                                                                          \
	16384 /* of a transport message with its tag: our limit, not that of Noise */
#define NOISE_PAYLOAD_MAX (NOISE_MESSAGE_MAX - NOISE_TAG_SIZE)

#define NOISE_FIRST_SIZE (2 * NOISE_KEY_SIZE + 2 * NOISE_TAG_SIZE) /* e, sealed s, empty payload   \
								    */
#define NOISE_SECOND_SIZE (NOISE_KEY_SIZE + NOISE_TAG_SIZE)        /* e, empty payload */

/* After so many messages in one direction its key is replaced: section 11.3, "Rekey". */
#define NOISE_REKEY_MESSAGES 1024

struct noise_keys {
	uint8_t private[NOISE_KEY_SIZE], public[NOISE_KEY_SIZE];
};

/* A CipherState. */
struct noise_cipher {
	uint8_t k[NOISE_KEY_SIZE];
	uint64_t n;
};

/* The two directions after a handshake. */
struct noise_session {
	struct noise_cipher send, receive;
};

/* A SymmetricState: chaining key, transcript hash, and the cipher of the handshake. */
struct noise_symmetric {
	uint8_t ck[BLAKE2S_HASH_SIZE], h[BLAKE2S_HASH_SIZE];
	struct noise_cipher cipher;
};

/* A HandshakeState. Names as in the specification: s and e are ours, rs and re the peer's. */
struct noise_handshake {
	struct noise_symmetric symmetric;
	struct noise_keys s, e;
	uint8_t rs[NOISE_KEY_SIZE], re[NOISE_KEY_SIZE];
};

/* Keys out of 32 random bytes. */
void noise_keys_from(struct noise_keys *keys, const uint8_t random[NOISE_KEY_SIZE]);

/* `rs` is the responder's public key. */
void noise_initiator(struct noise_handshake *hs, const struct noise_keys *s,
	const uint8_t rs[NOISE_KEY_SIZE], const void *prologue, size_t prologue_size);
void noise_responder(struct noise_handshake *hs, const struct noise_keys *s, const void *prologue,
	size_t prologue_size);

/*
 * The initiator's message: -> e, es, s, ss. Writes NOISE_FIRST_SIZE + `size` bytes. `random` is
 * the ephemeral key. ERR_INVALID: the responder's key is a point of low order.
 */
int noise_write_first(struct noise_handshake *hs, const uint8_t random[NOISE_KEY_SIZE],
	const uint8_t *payload, size_t size, uint8_t *out) MUST_CHECK;

/*
 * The responder reads it, and writes size - NOISE_FIRST_SIZE bytes of payload. As soon as the
 * client's key is known, after one Diffie-Hellman, `known` is asked whether to go on; it must not
 * tell by its time which keys it knows. ERR_PERM: it said no. ERR_INVALID: not such a message, for
 * another host, or of another prologue.
 */
int noise_read_first(struct noise_handshake *hs, const uint8_t *in, size_t size, uint8_t *payload,
	bool (*known)(void *ctx, const uint8_t rs[NOISE_KEY_SIZE]), void *ctx) MUST_CHECK;

/* The responder's answer: <- e, ee, se. Writes NOISE_SECOND_SIZE + `size` bytes. As above. */
int noise_write_second(struct noise_handshake *hs, const uint8_t random[NOISE_KEY_SIZE],
	const uint8_t *payload, size_t size, uint8_t *out) MUST_CHECK;

/* The initiator reads it, and writes size - NOISE_SECOND_SIZE bytes of payload. */
int noise_read_second(
	struct noise_handshake *hs, const uint8_t *in, size_t size, uint8_t *payload) MUST_CHECK;

/* After the second message: the session's ciphers. Wipes the handshake. */
void noise_split(struct noise_handshake *hs, bool initiator, struct noise_session *session);

/*
 * Seals `size` bytes, at most NOISE_PAYLOAD_MAX, into size + NOISE_TAG_SIZE. `out` may be `in`.
 * ERR_TOOBIG. ERR_LIMIT: the nonces are used up, and the session is over.
 */
int noise_seal(struct noise_cipher *c, uint8_t *out, const uint8_t *in, size_t size) MUST_CHECK;

/*
 * Opens `size` bytes into size - NOISE_TAG_SIZE. `out` may be `in` or before it. ERR_INVALID: not
 * the peer's next message; ERR_TOOBIG, ERR_LIMIT as above. The session is over after any.
 */
int noise_open(struct noise_cipher *c, uint8_t *out, const uint8_t *in, size_t size) MUST_CHECK;

#endif
