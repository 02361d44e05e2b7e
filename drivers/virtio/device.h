/*
 * A virtio 1.x device on PCI (virtio 1.2, "Virtio Over PCI Bus"): its structures, features and
 * status. The devices' own drivers call it in this order, to start and to start over:
 *
 *	virtio_open	once: finds and maps the structures
 *	virtio_begin	reset, then negotiate features
 *	virtio_queue	for each queue
 *	virtio_run	the device may work from here on
 */
#ifndef DRIVERS_VIRTIO_DEVICE_H
#define DRIVERS_VIRTIO_DEVICE_H

#include "drivers/driver.h"
#include "drivers/pci.h"
#include "drivers/virtio/virtqueue.h"

#define VIRTIO_PCI_VENDOR 0x1af4

/* virtio 1.2, "Reserved Feature Bits" */
#define VIRTIO_F_VERSION_1       (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM (1ull << 33)

/* A queue's notification address, and how it is told apart from others that share the address. */
struct virtio_queue {
	struct virtq ring;
	uint16_t index;
	uint8_t *notify;
};

struct virtio_device {
	const struct driver_env *env;
	struct pci_function pci;
	uint8_t *common;
	uint8_t *notify;
	uint32_t notify_size;
	uint32_t notify_multiplier;
	uint8_t *config; /* NULL when the device has none */
	uint32_t config_size;
	uint64_t features; /* those that both sides agreed on */
	bool has_vector;   /* MSI-X entry 0 is ours; a queue that can't have it clears this */
};

/*
 * Is this a device of `type` (1 net, 4 rng)? Transitional devices count: that they have the modern
 * structures shows when they are opened.
 */
bool virtio_is(const struct pci_function *f, uint16_t type);

/*
 * Enable the function, find its structures and map them. Returns 0, ERR_UNSUPPORTED when it has not
 * all of them (a legacy device), ERR_IO when it can't be enabled.
 */
int virtio_open(
	struct virtio_device *d, const struct driver_env *env, const struct pci_function *f);

/* Send queue interrupts to `handler`. Without a vector or MSI-X the device must be polled. */
void virtio_take_vector(struct virtio_device *d, driver_irq_handler *handler, void *arg);

/*
 * Reset, let the device master the bus, and agree on all of `required` and what is offered of
 * `optional`. Returns 0, ERR_IO when the device does not finish its reset, or ERR_UNSUPPORTED when
 * it lacks a feature or refuses the choice.
 */
int virtio_begin(struct virtio_device *d, uint64_t required, uint64_t optional);

/*
 * Set up queue `index` in DMA memory of VIRTQ_MEMORY_SIZE(size_max) bytes, with interrupts (still
 * off in the ring) when the device has a vector and `interrupts` is set. Returns 0, ERR_UNSUPPORTED
 * when the device has no such queue, ERR_IO when it contradicts itself.
 */
int virtio_queue(struct virtio_device *d, struct virtio_queue *q, uint16_t index, uint16_t size_max,
	void *memory, uint64_t physical, bool interrupts);

void virtio_run(struct virtio_device *d);

/* Did the device ask for a reset? */
bool virtio_needs_reset(const struct virtio_device *d);

/* Stop the device: no access to memory of ours after this. It may be begun again. */
void virtio_stop(struct virtio_device *d);

/* Publish, and notify the device if it wants. True when it was notified: an exit on a VM. */
bool virtio_kick(struct virtio_queue *q);

/*
 * Read `count` fields of `width` (1, 2 or 4) bytes of the device's configuration into `out`, all of
 * one generation. Returns 0, ERR_RANGE when it has no such fields, ERR_IO when it never holds
 * still.
 */
int virtio_config(
	const struct virtio_device *d, uint32_t offset, unsigned width, unsigned count, void *out);

#endif
