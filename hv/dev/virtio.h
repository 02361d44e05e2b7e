/*
 * A virtio device of a Linux guest as a PCI function: configuration space, the structures of virtio,
 * which all lie in an I/O BAR, and MSI-X, whose table is a page of ordinary memory of the guest that is
 * read when there is something to signal. What the device does is its own file's. Pure.
 * Virtual I/O Device (VIRTIO) Version 1.1, "Virtio Over PCI Bus"; PCI Local Bus Specification 3.0,
 * "MSI-X Capability and Table Structures".
 */
#ifndef HV_DEV_VIRTIO_H
#define HV_DEV_VIRTIO_H

#include "hv/dev/lapic.h"
#include "hv/dev/vring.h"

#define VIRTIO_QUEUES      6u
#define VIRTIO_CONFIG_SIZE 64u /* of what each kind of device has for its own */
#define VIRTIO_NO_VECTOR   0xffffu

/* Where the BARs are before the guest moves them, by slot. */
#define VIRTIO_PORT       0xc000u
#define VIRTIO_PORTS      0x80u /* a device */
#define VIRTIO_MEMORY     0xe0000000ull /* a page a device; memory of the guest */
#define VIRTIO_SLOTS      5u /* of the bus; 0 is the host bridge */
#define VIRTIO_MEMORY_SIZE (VIRTIO_SLOTS * PAGE_SIZE)

#define VIRTIO_F_VERSION_1 (1ull << 32)

/* "Device Status Field" */
enum {
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
};

/* What sets one kind of device apart. */
struct virtio_model {
	uint16_t type;     /* "Device Types" */
	uint8_t class;     /* of PCI, with the subclass */
	uint8_t subclass;
	uint8_t queues;
	uint64_t features; /* that are offered, beside VERSION_1 */
	void (*config)(const struct virtio_model *model, uint64_t value, uint8_t out[VIRTIO_CONFIG_SIZE]);
};

struct virtio {
	const struct virtio_model *model; /* NULL: there is no such device */
	uint64_t value;    /* what model->config() makes the device's own fields of */
	uint64_t features; /* that the driver has accepted */
	uint32_t feature_select, driver_feature_select;
	uint32_t bar[2];   /* as written, but for the bits that are fixed */
	uint32_t window_offset, window_length; /* "PCI configuration access capability" */
	uint16_t command, msix_control;
	uint16_t config_vector, queue_select;
	uint16_t pending;  /* bit i: vector i waits for its entry to be unmasked */
	uint8_t status, isr, window_bar;
	struct vring queue[VIRTIO_QUEUES];
};

/* What a device works on while it does something for its guest, which runs nowhere. */
struct virtio_env {
	struct gmem *mem;
	unsigned core;
	struct lapic *lapic;
};

enum virtio_event_kind { VIRTIO_NOTHING, VIRTIO_NOTIFY, VIRTIO_RESET };

/* What a write asks of the device itself. */
struct virtio_event {
	enum virtio_event_kind kind;
	uint16_t queue;
};

/* A device in `slot` of the bus, at power-on. */
void virtio_create(struct virtio *v, const struct virtio_model *model, unsigned slot, uint64_t value);

/* PCI configuration space: `size` bytes at `reg`, which do not cross a dword. */
uint32_t virtio_config_read(struct virtio *v, unsigned reg, unsigned size);
struct virtio_event virtio_config_write(struct virtio *v, const struct virtio_env *env, unsigned reg,
	unsigned size, uint32_t value);

/* A port of the I/O BAR is this device's; then *offset is where in it. */
bool virtio_owns_port(const struct virtio *v, uint16_t port, unsigned *offset);
uint32_t virtio_read(struct virtio *v, unsigned offset, unsigned size);
struct virtio_event virtio_write(struct virtio *v, const struct virtio_env *env, unsigned offset,
	unsigned size, uint32_t value);

/* The driver has set the device up, and it has not broken since. */
static inline bool virtio_ready(const struct virtio *v)
{
	return (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK;
}

/* The driver did what none may: nothing more is done for it until it resets the device. */
void virtio_break(struct virtio *v, const struct virtio_env *env);

/* What a queue's work came to: a broken ring breaks the device, one without more is fine. Returns OK, or
 * what the device's owner has to see to. */
int virtio_conclude(struct virtio *v, const struct virtio_env *env, int err);

/* Buffers of queue `n` were used. */
void virtio_used(struct virtio *v, const struct virtio_env *env, unsigned n);

/* The same for buffers that the guest hardly waits for: its interrupt costs no exits of its own. */
void virtio_used_lazily(struct virtio *v, const struct virtio_env *env, unsigned n);

/* Signal what waits for its MSI-X entry to be unmasked. For v->pending != 0. */
void virtio_retry(struct virtio *v, const struct virtio_env *env);

#endif
