/* Tar streams in memory, for fuzzers of what reads them. */
#ifndef TESTS_FUZZ_TAR_BYTES_H
#define TESTS_FUZZ_TAR_BYTES_H

#include "guest-sdk/linux/tar.h"
#include "lib/base.h"

#include <string.h>

struct tar_bytes {
	const uint8_t *at;
	size_t left;
};

/* As struct tar_in's `read`; `arg` is a struct tar_bytes. */
static inline ssize_t tar_bytes_read(void *arg, void *buf, size_t size)
{
	struct tar_bytes *in = arg;
	size_t n = MIN(size, in->left);

	memcpy(buf, in->at, n);
	in->at += n;
	in->left -= n;
	return (ssize_t)n;
}

/* A header's checksum is no riddle that is worth solving. */
static inline void tar_bytes_sum(uint8_t block[TAR_BLOCK])
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	for (int i = 5; i >= 0; i--, sum >>= 3)
		block[148 + i] = (uint8_t)('0' + (sum & 7));
	block[154] = '\0';
}

#endif
