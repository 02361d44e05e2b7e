/*
 * The virtio block device of a Linux guest. Its blocks are pages of the guest's own memory tree, at an
 * address that no guest can form: snapshots, forks and rollbacks share them by lineage like memory,
 * and the first write of a page copies it. Pure.
 * Virtual I/O Device (VIRTIO) Version 1.1, "Block Device".
 */
#ifndef HV_DEV_VBLK_H
#define HV_DEV_VBLK_H

#include "hv/dev/virtio.h"

#define VBLK_GPA      (1ull << 46) /* where the disk lies in the tree */

extern const struct virtio_model vblk_model; /* its value is the number of sectors */

/*
 * The guest has notified the queue. OK; ERR_AGAIN: it has had its share for now, the same is to be called
 * again; or an error of memory, after which it can be called again too.
 */
int vblk_notify(struct virtio *v, const struct virtio_env *env) MUST_CHECK;

#endif
