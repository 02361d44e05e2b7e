/*
 * The device's side of a split virtqueue in guest memory. Whatever the guest wrote is fetched once,
 * checked, and only the copy is used; a queue that can't be right is an error, and every loop ends
 * with the queue's size, also where a guest has what devices write put more into a queue. Pure.
 * Virtual I/O Device (VIRTIO) Version 1.1, "Split Virtqueues". No indirect descriptors.
 */
#ifndef HV_DEV_VRING_H
#define HV_DEV_VRING_H

#include "hv/gmem.h"

#define VRING_SIZE_MAX 64u

struct vring {
	gpa_t desc, avail, used;
	uint16_t size;   /* entries, as the driver set it */
	uint16_t vector; /* of MSI-X */
	uint16_t taken;  /* chains that were used up, ever; the index in the available ring */
	uint16_t given;  /* index in the used ring */
	uint16_t left;   /* chains that may be served before others have their turn */
	bool enabled;
};

struct vring_part {
	gpa_t gpa;
	uint32_t size;
};

/* A chain of descriptors that lies in the guest's RAM: first what the device reads, then what it writes. */
struct vring_chain {
	uint16_t head;
	uint16_t parts, readable_parts;
	uint64_t readable, writable; /* bytes */
	struct vring_part part[VRING_SIZE_MAX];
};

/* Size, alignment and place of the three parts are such that the ring can be used. */
bool vring_valid(const struct vring *q, const struct gmem *m);

/* Descriptors wait. A look only: vring_next() says what they are. */
bool vring_waiting(const struct vring *q, const struct gmem *m);

/* Before the first vring_next() of each time that the queue is looked at. */
static inline void vring_begin(struct vring *q)
{
	q->left = q->size;
}

/* The next chain, which stays where it is. ERR_NOENT: none. ERR_INVALID: the ring is broken.
 * ERR_AGAIN: as many as an honest driver can have put there were served; more is for the next time. */
int vring_next(const struct vring *q, const struct gmem *m, struct vring_chain *c) MUST_CHECK;

/* Copy from what the device may read; the number of bytes, less than `size` only at the end. */
size_t vring_read(const struct gmem *m, const struct vring_chain *c, uint64_t offset, void *buf,
	size_t size);

/* Make the first `size` bytes of what the device may write, and the used ring, private to this guest:
 * after that nothing that follows can fail. Errors of gmem_fault() but ERR_FAULT. */
int vring_prepare(const struct vring *q, struct gmem *m, unsigned core, const struct vring_chain *c,
	uint64_t size) MUST_CHECK;

/* Copy to what the device may write, as much of `size` as there is room for. */
int vring_write(struct gmem *m, unsigned core, const struct vring_chain *c, uint64_t offset,
	const void *buf, size_t size) MUST_CHECK;

/* Hand the chain that vring_next() returned back, `written` bytes of it filled. */
int vring_give(struct vring *q, struct gmem *m, unsigned core, const struct vring_chain *c,
	uint32_t written) MUST_CHECK;

/* The driver wants to be told of used buffers. */
bool vring_interrupts(const struct vring *q, const struct gmem *m);

#endif
