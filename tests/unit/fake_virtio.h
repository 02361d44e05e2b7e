/*
 * A virtio 1.x PCI device for the fake machine: registers, status protocol and the device's side of
 * its queues, written from the specification. Each register must be accessed at its own width and
 * in a legal order, or the test ends. The fields under "how it misbehaves" make it hostile.
 */
#ifndef TESTS_UNIT_FAKE_VIRTIO_H
#define TESTS_UNIT_FAKE_VIRTIO_H

#include "tests/unit/fake_machine.h"

#define FAKE_VIRTIO_QUEUES 2
#define FAKE_VIRTIO_CAP    0x40 /* where the four capabilities begin: common, notify, isr, config */
#define FAKE_VIRTIO_MSIX   0x98

struct fake_virtio_queue {
	uint16_t size_max, size, vector, enabled;
	uint64_t desc, driver, device;
	uint16_t avail_seen, used_index;
	unsigned notified;
};

struct fake_frame {
	uint8_t data[2048];
	size_t length;
};

struct fake_virtio {
	struct fake_function *pci;
	struct fake_window *table; /* of MSI-X */
	uint64_t offered, accepted;
	uint8_t config[16];
	uint8_t status, generation;
	uint32_t device_select, driver_select;
	uint16_t queue_select;
	struct fake_virtio_queue queue[FAKE_VIRTIO_QUEUES];
	char statuses[64]; /* every value written, in hexadecimal */

	bool holds_tx; /* leaves sent frames in the ring */
	struct fake_frame sent[512];
	unsigned sent_count;

	/* how it misbehaves */
	bool never_resets;
	bool refuses_features;
	bool has_no_vectors;
	bool never_holds_still; /* the generation moves at every look */
	bool answers_random;
	bool lies; /* the entropy device gives back what it never got */
	uint64_t seed;
	uint16_t notify_off;
	uint16_t no_notify; /* used ring flags */
};

/* A network device (type 1) or entropy device (type 4) at 00:device.0, with all it should have. */
void fake_virtio_add(struct fake_virtio *v, uint8_t device, uint16_t type);

/* Receive a frame: into the next buffer, with an interrupt when wanted. False without a buffer. */
bool fake_virtio_receive(struct fake_virtio *v, const void *frame, size_t length);

/* Take what the driver shows in `queue`; false when there is nothing. */
bool fake_virtio_take(struct fake_virtio *v, unsigned queue, uint16_t *id);

/* Put a used element, true or not, into `queue`. */
void fake_virtio_give(struct fake_virtio *v, unsigned queue, uint32_t id, uint32_t length);

/* Send all that the transmit queue shows. */
void fake_virtio_transmit(struct fake_virtio *v);

#endif
