/* SHA-256 (FIPS 180-4). */
#ifndef MGMT_CREELCTL_SHA256_H
#define MGMT_CREELCTL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

struct sha256 {
	uint32_t h[8];
	uint64_t size; /* bytes so far */
	uint8_t data[64];
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_SIZE]);

#endif
