/*
 * Runs the sealed channel's cryptography under valgrind with every secret marked as undefined: a
 * branch or an address that depends on one is then an error of valgrind's. What is public by design
 * is said so at its place: whether a shared secret is zero (below), whether a tag is right
 * (ct.supp).
 *
 * `ct leak` branches on a secret on purpose, so that the check itself is checked.
 */
#include "mgmt/noise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

static const char prologue[] = "ct";

/* The linker puts this between the handshake and X25519 (--wrap). */
int __real_x25519(uint8_t out[32], const uint8_t scalar[32], const uint8_t point[32]);
int __wrap_x25519(uint8_t out[32], const uint8_t scalar[32], const uint8_t point[32]);

int __wrap_x25519(uint8_t out[32], const uint8_t scalar[32], const uint8_t point[32])
{
	int status = __real_x25519(out, scalar, point);

	VALGRIND_MAKE_MEM_DEFINED(&status, sizeof(status));
	return status;
}

static void secret_fill(uint8_t *p, size_t size, uint8_t value)
{
	memset(p, value, size);
	VALGRIND_MAKE_MEM_UNDEFINED(p, size);
}

static bool known(void *ctx, const uint8_t rs[NOISE_KEY_SIZE])
{
	(void)ctx;
	(void)rs;
	return true;
}

static void must(int status)
{
	if (status != OK) {
		fprintf(stderr, "ct: a step failed: %d\n", status);
		exit(2);
	}
}

static void shake(struct noise_session *client, struct noise_session *host)
{
	uint8_t random[32], first[NOISE_FIRST_SIZE + 8], second[NOISE_SECOND_SIZE + 8], payload[8];
	struct noise_keys client_keys, host_keys;
	struct noise_handshake i, r;

	secret_fill(random, sizeof(random), 1);
	noise_keys_from(&client_keys, random);
	secret_fill(random, sizeof(random), 2);
	noise_keys_from(&host_keys, random);
	noise_initiator(&i, &client_keys, host_keys.public, prologue, sizeof(prologue));
	noise_responder(&r, &host_keys, prologue, sizeof(prologue));
	secret_fill(payload, sizeof(payload), 5);
	secret_fill(random, sizeof(random), 3);
	must(noise_write_first(&i, random, payload, sizeof(payload), first));
	must(noise_read_first(&r, first, sizeof(first), payload, known, NULL));
	secret_fill(random, sizeof(random), 4);
	must(noise_write_second(&r, random, payload, sizeof(payload), second));
	must(noise_read_second(&i, second, sizeof(second), payload));
	noise_split(&i, true, client);
	noise_split(&r, false, host);
}

int main(int argc, char **argv)
{
	static uint8_t text[1000], sealed[1000 + NOISE_TAG_SIZE];
	struct noise_session client, host;

	shake(&client, &host);
	for (size_t size = 0; size <= sizeof(text); size += 37) {
		secret_fill(text, size, 6);
		client.send.n = host.receive.n = NOISE_REKEY_MESSAGES - 1; /* a rekey each time */
		must(noise_seal(&client.send, sealed, text, size));
		must(noise_open(&host.receive, text, sealed, size + NOISE_TAG_SIZE));
	}
	if (argc == 2 && strcmp(argv[1], "leak") == 0 && client.send.k[0] & 1)
		puts("odd");
	return 0;
}
