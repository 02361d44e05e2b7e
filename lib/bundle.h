/*
 * The file that an image of a Linux guest is: this header, then kernel, initrd, command line and disk, each
 * where the header says. Little-endian. Written by creelctl, read by hv/bundle.c.
 */
#ifndef LIB_BUNDLE_H
#define LIB_BUNDLE_H

#include "lib/base.h"

#define BUNDLE_MAGIC   "CreelLnx"
#define BUNDLE_VERSION 2
#define BUNDLE_ALIGN   PAGE_SIZE /* of the parts that creelctl writes; a reader takes any */

struct bundle_part {
	uint64_t offset, size;
};

struct bundle_header {
	char magic[8];               /* BUNDLE_MAGIC without its terminator */
	uint32_t version;
	uint32_t header_size;        /* of this struct */
	uint64_t memory;             /* bytes that its guests have if they ask for no other size */
	struct bundle_part kernel;   /* a bzImage, as distributions package it */
	struct bundle_part initrd;   /* size 0: none */
	struct bundle_part cmdline;  /* text without a terminator */
	struct bundle_part disk;     /* whole sectors of 512 bytes; size 0: none */
};

_Static_assert(sizeof(struct bundle_header) == 88, "bundle header");

#endif
