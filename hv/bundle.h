/*
 * Reads an image of a Linux guest (lib/bundle.h) and decides where its parts go in guest memory. Pure.
 * Every number is checked against the file and the memory; what is returned can be loaded without
 * another look. Linux kernel documentation, "The Linux/x86 Boot Protocol".
 */
#ifndef HV_BUNDLE_H
#define HV_BUNDLE_H

#include "hv/elf.h"
#include "lib/base.h"
#include "lib/bundle.h"
#include "lib/err.h"

#define BUNDLE_ERROR_MAX  ELF_ERROR_MAX
#define BUNDLE_MEMORY_MAX (3 * GIB) /* below what PCI devices have */
#define BUNDLE_DISK_MAX   (64 * GIB)
#define CMDLINE_MAX       2047      /* what x86 kernels take */

/* The setup header, as it lies in a bzImage's first sectors and in struct boot_params alike. */
#define SETUP_HEADER_START 0x1f1
#define SETUP_HEADER_END   0x290

struct bundle {
	uint64_t memory;                   /* page aligned */
	struct bundle_part payload;        /* of the kernel: what is loaded */
	struct bundle_part initrd, cmdline, disk;
	uint64_t kernel_address, initrd_address;
	uint64_t entry;                    /* of 64-bit mode */
	uint64_t end;                      /* behind all that is loaded, and the kernel's own start */
	uint32_t setup_size;               /* bytes of `setup` that count */
	uint8_t setup[SETUP_HEADER_END - SETUP_HEADER_START];
};

/* True when the first bytes of a file say that it is a bundle. */
bool bundle_magic(const uint8_t first[8]);

/* `read` as in hv/elf.h. ERR_INVALID, with a sentence in `error`, for all that can't be booted. */
int bundle_parse(struct bundle *b, elf_read_fn *read, void *ctx, uint64_t file_size,
	char error[BUNDLE_ERROR_MAX]);

#endif
