/*
 * Reads the headers of a guest image: a static ELF64 executable for x86-64 (System V ABI, "Object
 * Files"). Pure. Every number of the file is checked against the file and against the places that the
 * guest ABI keeps for itself; what is returned can be loaded without another look.
 */
#ifndef HV_ELF_H
#define HV_ELF_H

#include "lib/base.h"
#include "lib/err.h"

#define ELF_MAX_SEGMENTS 32
#define ELF_ERROR_MAX    160

/* Bytes [offset, offset + file_size) of the file go to `address`; zeros follow up to memory_size. */
struct elf_segment {
	uint64_t address, memory_size;
	uint64_t offset, file_size;
};

struct elf_image {
	struct elf_segment segment[ELF_MAX_SEGMENTS]; /* ascending addresses, none overlapping */
	unsigned segments;
	uint64_t entry;
	uint64_t end; /* first address behind all segments */
};

/* Copies `size` bytes at `offset` of the file; 0, or an error that elf_parse() returns as it is. */
typedef int elf_read_fn(void *ctx, uint64_t offset, void *buf, size_t size);

/*
 * Parse a file of `file_size` bytes. All segments must lie in [low, high).
 * ERR_INVALID, with a sentence in `error`, for anything that is not a loadable static executable.
 */
int elf_parse(struct elf_image *image, elf_read_fn *read, void *ctx, uint64_t file_size, uint64_t low,
	uint64_t high, char error[ELF_ERROR_MAX]);

#endif
