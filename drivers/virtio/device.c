/* The virtio PCI transport; see device.h. Sections named are those of virtio 1.2. */
#include "drivers/virtio/device.h"

#include "drivers/io.h"
#include "lib/string.h"

/* "PCI Device Discovery" */
#define DEVICE_ID_MODERN      0x1040 /* plus the device type */
#define DEVICE_ID_NET_OLD     0x1000 /* transitional */
#define DEVICE_ID_ENTROPY_OLD 0x1005
#define TYPE_NET              1
#define TYPE_ENTROPY          4

/* "Virtio Structure PCI Capabilities": the capability, with offsets from its start. */
#define CAP_SIZE       16
#define CAP_TYPE       3 /* a byte, in the dword at 0 */
#define CAP_BAR        4 /* a byte, in the dword at 4 */
#define CAP_OFFSET     8
#define CAP_LENGTH     12
#define CAP_MULTIPLIER 16 /* of the notification capability only, which is 20 bytes */
#define CAP_AT_MAX     (256 - 20)

enum structure { STRUCT_COMMON = 1, STRUCT_NOTIFY = 2, STRUCT_CONFIG = 4 };

/* "Common configuration structure layout" */
enum common {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_MSIX_VECTOR = 0x10,
	DEVICE_STATUS = 0x14,     /* 8 bits */
	CONFIG_GENERATION = 0x15, /* 8 bits */
	QUEUE_SELECT = 0x16,      /* 16 bits, as those that follow */
	QUEUE_SIZE = 0x18,
	QUEUE_MSIX_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20, /* 64 bits, written as two halves */
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	COMMON_SIZE = 0x38,
};

/* "Device Status Field" */
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER      2
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 64
#define STATUS_FAILED      128

#define NO_VECTOR 0xffff

/* A reset waits for requests that the device has begun. */
#define RESET_LIMIT_US 1000000
#define CONFIG_RETRIES 8
#define NOTIFY_MAP_MAX (1u << 20)
#define CONFIG_MAP_MAX PAGE_SIZE

bool virtio_is(const struct pci_function *f, uint16_t type)
{
	if (f->vendor_id != VIRTIO_PCI_VENDOR)
		return false;
	return f->device_id == DEVICE_ID_MODERN + type ||
	       (type == TYPE_NET && f->device_id == DEVICE_ID_NET_OLD) ||
	       (type == TYPE_ENTROPY && f->device_id == DEVICE_ID_ENTROPY_OLD);
}

/* ---- finding the structures ------------------------------------------------------------------ */

/* One capability's claim. */
struct window {
	uint8_t bar;
	uint32_t offset, length;
};

static void *map_window(struct virtio_device *d, const struct window *w, uint32_t size)
{
	return pci_map_bar(d->env, &d->pci, w->bar, w->offset, size);
}

/*
 * "A device can have more than one structure of any type, in the order of its preference": the
 * first that can be used is taken, so one in I/O space or outside of its BAR is passed over.
 */
static void take_structure(
	struct virtio_device *d, uint8_t type, const struct window *w, uint32_t multiplier)
{
	switch (type) {
	case STRUCT_COMMON:
		if (!d->common && w->length >= COMMON_SIZE)
			d->common = map_window(d, w, COMMON_SIZE);
		break;
	case STRUCT_NOTIFY:
		if (d->notify)
			break;
		d->notify_size = MIN(w->length, NOTIFY_MAP_MAX);
		d->notify_multiplier = multiplier;
		d->notify = map_window(d, w, d->notify_size);
		break;
	case STRUCT_CONFIG:
		if (d->config)
			break;
		d->config_size = (uint32_t)MIN(w->length, CONFIG_MAP_MAX);
		d->config = map_window(d, w, d->config_size);
		break;
	default:
		break;
	}
}

static void find_structures(struct virtio_device *d)
{
	struct pci_capabilities walk = pci_capabilities(&d->pci);
	unsigned at;

	while ((at = pci_capability_next(&d->pci, &walk, PCI_CAP_VENDOR, CAP_SIZE))) {
		uint8_t type = (uint8_t)(pci_read(&d->pci, at) >> (8 * CAP_TYPE));
		struct window w = {
			.bar = (uint8_t)pci_read(&d->pci, at + CAP_BAR),
			.offset = pci_read(&d->pci, at + CAP_OFFSET),
			.length = pci_read(&d->pci, at + CAP_LENGTH),
		};
		uint32_t multiplier = 0;

		if (type == STRUCT_NOTIFY && at <= CAP_AT_MAX)
			multiplier = pci_read(&d->pci, at + CAP_MULTIPLIER);
		take_structure(d, type, &w, multiplier);
	}
}

int virtio_open(struct virtio_device *d, const struct driver_env *env, const struct pci_function *f)
{
	*d = (struct virtio_device){.env = env, .pci = *f};

	int r = pci_enable(env, f);

	if (r)
		return r;
	find_structures(d);
	return d->common && d->notify ? 0 : ERR_UNSUPPORTED;
}

/* Entry 0 serves every queue that wants interrupts. */
void virtio_take_vector(struct virtio_device *d, driver_irq_handler *handler, void *arg)
{
	uint64_t address;
	uint32_t data;

	if (!d->env->irq_alloc || d->env->irq_alloc(d->env->ctx, handler, arg, &address, &data))
		return;
	d->has_vector = pci_msix_enable(d->env, &d->pci, address, data) == 0;
}

/* ---- status and features --------------------------------------------------------------------- */

static uint8_t status_read(const struct virtio_device *d)
{
	return mmio_read8(d->common + DEVICE_STATUS);
}

static void status_add(struct virtio_device *d, uint8_t bits)
{
	mmio_write8(d->common + DEVICE_STATUS, status_read(d) | bits);
}

/* "Common configuration structure layout": the reset is done when the status reads 0. */
static int reset(struct virtio_device *d)
{
	const struct driver_env *env = d->env;
	uint64_t start = env->now_us(env->ctx);

	mmio_write8(d->common + DEVICE_STATUS, 0);
	while (status_read(d)) {
		if (env->now_us(env->ctx) - start > RESET_LIMIT_US)
			return ERR_IO;
		io_relax();
	}
	return 0;
}

static uint64_t features_offered(struct virtio_device *d)
{
	mmio_write32(d->common + DEVICE_FEATURE_SELECT, 0);
	uint64_t low = mmio_read32(d->common + DEVICE_FEATURE);
	mmio_write32(d->common + DEVICE_FEATURE_SELECT, 1);
	return low | (uint64_t)mmio_read32(d->common + DEVICE_FEATURE) << 32;
}

static void features_accept(struct virtio_device *d, uint64_t features)
{
	mmio_write32(d->common + DRIVER_FEATURE_SELECT, 0);
	mmio_write32(d->common + DRIVER_FEATURE, (uint32_t)features);
	mmio_write32(d->common + DRIVER_FEATURE_SELECT, 1);
	mmio_write32(d->common + DRIVER_FEATURE, (uint32_t)(features >> 32));
}

/* The steps of "Device Initialization", as far as the device's own set-up. */
int virtio_begin(struct virtio_device *d, uint64_t required, uint64_t optional)
{
	int r = reset(d);

	if (r)
		return r;
	r = pci_master_on(&d->pci);
	if (r)
		return r;
	status_add(d, STATUS_ACKNOWLEDGE);
	status_add(d, STATUS_DRIVER);

	uint64_t offered = features_offered(d);

	if ((offered & required) != required)
		goto refused;
	d->features = required | (offered & optional);
	features_accept(d, d->features);
	status_add(d, STATUS_FEATURES_OK);
	if (status_read(d) & STATUS_FEATURES_OK)
		return 0;
refused:
	status_add(d, STATUS_FAILED);
	return ERR_UNSUPPORTED;
}

void virtio_run(struct virtio_device *d)
{
	status_add(d, STATUS_DRIVER_OK);
}

bool virtio_needs_reset(const struct virtio_device *d)
{
	return status_read(d) & STATUS_NEEDS_RESET;
}

/* A device that does not finish its reset is cut off from the bus all the same. */
void virtio_stop(struct virtio_device *d)
{
	mmio_write8(d->common + DEVICE_STATUS, 0);
	pci_master_off(&d->pci);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void write_address(struct virtio_device *d, enum common at, uint64_t address)
{
	mmio_write32(d->common + at, (uint32_t)address);
	mmio_write32(d->common + at + 4, (uint32_t)(address >> 32));
}

/* The largest power of two that both sides can do. */
static uint16_t choose_size(uint16_t offered, uint16_t most)
{
	uint16_t size = 1;

	while (size * 2 <= MIN(offered, most))
		size = (uint16_t)(size * 2);
	return size;
}

/* "Notification structure layout": where to write for the selected queue; NULL when outside. */
static uint8_t *notify_address(struct virtio_device *d)
{
	uint64_t offset =
		(uint64_t)mmio_read16(d->common + QUEUE_NOTIFY_OFF) * d->notify_multiplier;

	if (offset + sizeof(uint16_t) > d->notify_size)
		return NULL;
	return d->notify + offset;
}

int virtio_queue(struct virtio_device *d, struct virtio_queue *q, uint16_t index, uint16_t size_max,
	void *memory, uint64_t physical, bool interrupts)
{
	uint16_t vector = d->has_vector && interrupts ? 0 : NO_VECTOR;

	mmio_write16(d->common + QUEUE_SELECT, index);

	uint16_t offered = mmio_read16(d->common + QUEUE_SIZE);

	if (!offered)
		return ERR_UNSUPPORTED;
	q->index = index;
	q->notify = notify_address(d);
	if (!q->notify)
		return ERR_IO;

	uint16_t size = choose_size(offered, size_max);

	virtq_init(&q->ring, size, memory);
	mmio_write16(d->common + QUEUE_SIZE, size);
	write_address(d, QUEUE_DESC, physical);
	write_address(d, QUEUE_DRIVER, physical + VIRTQ_AVAIL_OFFSET(size));
	write_address(d, QUEUE_DEVICE, physical + VIRTQ_USED_OFFSET(size));
	/* "MSI-X Vector Configuration": reads as NO_VECTOR when the device has no room. */
	mmio_write16(d->common + QUEUE_MSIX_VECTOR, vector);
	if (mmio_read16(d->common + QUEUE_MSIX_VECTOR) != vector)
		d->has_vector = false;
	mmio_write16(d->common + QUEUE_ENABLE, 1);
	return 0;
}

bool virtio_kick(struct virtio_queue *q)
{
	if (!virtq_publish(&q->ring))
		return false;
	mmio_write16(q->notify, q->index);
	return true;
}

/* ---- device configuration -------------------------------------------------------------------- */

static void read_fields(const uint8_t *at, unsigned width, unsigned count, uint8_t *out)
{
	for (unsigned i = 0; i < count; i++, at += width, out += width) {
		uint32_t field = width == 1   ? mmio_read8(at)
				 : width == 2 ? mmio_read16(at)
					      : mmio_read32(at);

		memcpy(out, &field, width);
	}
}

/* "Driver Requirements: Device Configuration Space": read again when the generation moved. */
int virtio_config(
	const struct virtio_device *d, uint32_t offset, unsigned width, unsigned count, void *out)
{
	if (!d->config || offset + width * count > d->config_size)
		return ERR_RANGE;
	for (unsigned i = 0; i < CONFIG_RETRIES; i++) {
		uint8_t generation = mmio_read8(d->common + CONFIG_GENERATION);

		read_fields(d->config + offset, width, count, out);
		if (mmio_read8(d->common + CONFIG_GENERATION) == generation)
			return 0;
	}
	return ERR_IO;
}
