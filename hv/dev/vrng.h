/*
 * The virtio entropy device of a Linux guest. Pure; its owner has the bytes.
 * Virtual I/O Device (VIRTIO) Version 1.1, "Entropy Device".
 */
#ifndef HV_DEV_VRNG_H
#define HV_DEV_VRNG_H

#include "hv/dev/virtio.h"

extern const struct virtio_model vrng_model;

/* The guest has notified the queue. OK, or an error of memory, after which it can be called again. */
int vrng_notify(struct virtio *v, const struct virtio_env *env,
	void (*random)(void *buf, size_t size)) MUST_CHECK;

#endif
