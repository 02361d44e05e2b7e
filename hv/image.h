/* What the makers of templates share: hv/image.c for SDK guests, hv/linux.c for Linux guests. */
#ifndef HV_IMAGE_H
#define HV_IMAGE_H

#include "hv/objects.h"

/* An object with memory at `extents` and nothing in it; errors of frame_alloc(). */
int image_create(enum object_kind kind, uint16_t owner, const struct gmem_extent *extents,
	unsigned count, struct image **out) MUST_CHECK;

/* For parsers: reads the file that `ctx`, a struct image, is an upload of. */
int image_read_upload(void *ctx, uint64_t offset, void *buf, size_t size);

/* A template of a Linux guest. ERR_AGAIN: a slice of it is done, the same is to be called again. Other errors have
 * their sentence in guest_last_error(). */
int linux_template(struct image *upload, struct image **out) MUST_CHECK;

/* `g` is new, a clone of a Linux template: give it `memory` bytes in place of what that has. */
int linux_set_memory(struct guest *g, uint64_t memory) MUST_CHECK;

#endif
