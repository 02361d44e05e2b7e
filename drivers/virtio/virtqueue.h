/*
 * The driver's side of one split virtqueue (virtio 1.2, "Split Virtqueues"). Pure: it touches only
 * the memory that it is given and knows no transport.
 *
 * Each buffer is one descriptor, named by its id, so there are no chains and the owner can tie an
 * id to a slot of its own. An id is free, then taken, then in flight once posted, and taken again
 * when popped.
 *
 * Everything the ring must remember is kept outside of the shared memory, and all that the device
 * writes is checked: one lie and the queue is broken, until its device is reset.
 */
#ifndef DRIVERS_VIRTIO_VIRTQUEUE_H
#define DRIVERS_VIRTIO_VIRTQUEUE_H

#include "lib/base.h"
#include "lib/err.h"

#define VIRTQ_SIZE_MAX 256

struct virtq_desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags;
	uint16_t next;
};

struct virtq_avail {
	uint16_t flags;
	uint16_t index;
	uint16_t ring[];
};

struct virtq_used_element {
	uint32_t id;
	uint32_t length;
};

struct virtq_used {
	uint16_t flags;
	uint16_t index;
	struct virtq_used_element ring[];
};

_Static_assert(sizeof(struct virtq_desc) == 16, "virtio 1.2, \"The Virtqueue Descriptor Table\"");
_Static_assert(
	offsetof(struct virtq_avail, ring) == 4, "virtio 1.2, \"The Virtqueue Available Ring\"");
_Static_assert(sizeof(struct virtq_used_element) == 8, "virtio 1.2, \"The Virtqueue Used Ring\"");
_Static_assert(offsetof(struct virtq_used, ring) == 4, "virtio 1.2, \"The Virtqueue Used Ring\"");

#define VIRTQ_DESC_WRITE 2 /* the device writes the buffer */

#define VIRTQ_AVAIL_NO_INTERRUPT 1
#define VIRTQ_USED_NO_NOTIFY     1

enum virtq_buffer_state { VIRTQ_FREE, VIRTQ_TAKEN, VIRTQ_IN_FLIGHT };

struct virtq {
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	uint16_t size;        /* a power of two, at most VIRTQ_SIZE_MAX */
	uint16_t avail_next;  /* index that the next post fills */
	uint16_t avail_shown; /* index that the device was last shown */
	uint16_t used_next;   /* index that the next pop looks at */
	uint16_t in_flight;
	uint16_t free_count;
	bool broken;
	uint16_t free[VIRTQ_SIZE_MAX];
	uint32_t writable[VIRTQ_SIZE_MAX]; /* bytes of the buffer that the device may write */
	uint8_t state[VIRTQ_SIZE_MAX];     /* enum virtq_buffer_state */
};

/*
 * Where the two rings lie behind the descriptors, and the bytes of DMA memory for all. The two
 * bytes that VIRTIO_F_EVENT_IDX would use at the end of each ring are there, used or not.
 */
#define VIRTQ_AVAIL_OFFSET(size) ((size) * sizeof(struct virtq_desc))
#define VIRTQ_AVAIL_SIZE(size)   (sizeof(struct virtq_avail) + (size) * sizeof(uint16_t) + 2)
#define VIRTQ_USED_OFFSET(size)  ((VIRTQ_AVAIL_OFFSET(size) + VIRTQ_AVAIL_SIZE(size) + 3) & ~3ul)
#define VIRTQ_USED_SIZE(size)                                                                      \
	(sizeof(struct virtq_used) + (size) * sizeof(struct virtq_used_element) + 2)
#define VIRTQ_MEMORY_SIZE(size) (VIRTQ_USED_OFFSET(size) + VIRTQ_USED_SIZE(size))

/* Start an empty queue in `memory`, page aligned, of VIRTQ_MEMORY_SIZE(size) bytes. */
void virtq_init(struct virtq *q, uint16_t size, void *memory);

/* Take a free id: 0 or ERR_AGAIN. */
int virtq_take(struct virtq *q, uint16_t *id);

/* Give back an id that is taken. */
void virtq_release(struct virtq *q, uint16_t id);

/* Fill the next available entry with a taken id. The device sees it after virtq_publish(). */
void virtq_post(
	struct virtq *q, uint16_t id, uint64_t physical, uint32_t length, bool device_writes);

/* Show the device all that was posted. True when there was some and it wants to be notified. */
bool virtq_publish(struct virtq *q);

/*
 * Take back the next buffer that the device has finished: 1 with its id and how many bytes were
 * written into it, 0 when there is none, or ERR_IO when the device lied, now or before.
 */
int virtq_pop(struct virtq *q, uint16_t *id, uint32_t *length);

/* Is there something to pop? */
bool virtq_pending(const struct virtq *q);

/* Ask for interrupts, or not to be disturbed. After asking, look once more with virtq_pending(). */
void virtq_interrupts(struct virtq *q, bool wanted);

#endif
