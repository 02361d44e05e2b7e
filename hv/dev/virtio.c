#include "hv/dev/virtio.h"

#include "lib/bytes.h"
#include "lib/string.h"

/* PCI configuration space. */
enum {
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_SUBCLASS = 0x0a,
	PCI_CLASS = 0x0b,
	PCI_BAR0 = 0x10,
	PCI_BAR1 = 0x14,
	PCI_SUBSYSTEM = 0x2c,
	PCI_CAPABILITIES = 0x34,
	PCI_SIZE = 0x100,
};

/* Where the capabilities lie. */
enum {
	CAP_MSIX = 0x40,
	CAP_COMMON = 0x4c,
	CAP_NOTIFY = 0x5c,
	CAP_ISR = 0x70,
	CAP_DEVICE = 0x80,
	CAP_WINDOW = 0x90,
	WINDOW_BAR = CAP_WINDOW + 4,
	WINDOW_OFFSET = CAP_WINDOW + 8,
	WINDOW_LENGTH = CAP_WINDOW + 12,
	WINDOW_DATA = CAP_WINDOW + 16,
};

#define VENDOR            0x1af4
#define DEVICE_BASE       0x1040
#define STATUS_CAPABILITIES 0x10
#define COMMAND_WRITABLE  0x0407u /* I/O, memory, bus master, no INTx */
#define BAR_IO            1u
#define CAP_ID_VENDOR     0x09
#define CAP_ID_MSIX       0x11
#define CAP_SIZE          16
#define CAP_SIZE_LONG     20

/* "struct virtio_pci_cap" */
enum { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_ISR = 3, CFG_DEVICE = 4, CFG_WINDOW = 5 };

/* In the I/O BAR. */
enum {
	AT_COMMON = 0x00,
	COMMON_SIZE = 0x38,
	AT_ISR = 0x38,
	AT_NOTIFY = 0x3c, /* of all queues: the multiplier is 0, and what is written is the queue */
	AT_DEVICE = 0x40,
};

_Static_assert(AT_DEVICE + VIRTIO_CONFIG_SIZE == VIRTIO_PORTS, "the structures fill the BAR");

/* "struct virtio_pci_common_cfg" */
enum {
	FEATURE_SELECT = 0x00,
	FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_DESC = 0x20,
	QUEUE_AVAIL = 0x28,
	QUEUE_USED = 0x30,
};

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

#define MSIX_VECTORS  8u
#define MSIX_PBA      0x800u
#define MSIX_ENTRY    16u
#define MSIX_ENABLE   0x8000u
#define MSIX_MASK_ALL 0x4000u
#define MSIX_MASKED   1u /* of an entry's control */

static void reset(struct virtio *v)
{
	v->status = v->isr = 0;
	v->features = 0;
	v->feature_select = v->driver_feature_select = 0;
	v->config_vector = VIRTIO_NO_VECTOR;
	v->queue_select = v->pending = 0;
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		v->queue[i] = (struct vring){.size = VRING_SIZE_MAX, .vector = VIRTIO_NO_VECTOR};
}

void virtio_create(struct virtio *v, const struct virtio_model *model, unsigned slot, uint64_t value)
{
	*v = (struct virtio){.model = model, .value = value};
	v->bar[0] = VIRTIO_PORT + slot * VIRTIO_PORTS;
	v->bar[1] = (uint32_t)(VIRTIO_MEMORY + slot * PAGE_SIZE);
	reset(v);
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/* One bit for each vector, in the page behind the table. Linux reads none of it. */
static void set_pending(struct virtio *v, const struct virtio_env *env, unsigned vector, bool on)
{
	uint8_t bits;

	v->pending = (uint16_t)(on ? v->pending | 1u << vector : v->pending & ~(1u << vector));
	bits = (uint8_t)v->pending;
	/* Without a page for it the guest can't see the bit, and is signalled all the same. */
	(void)!gmem_write(env->mem, env->core, v->bar[1] + MSIX_PBA, &bits, sizeof(bits));
}

typedef void raise_fn(struct lapic *l, uint8_t vector);

/* "MSI-X Table Entries", as they are now. An entry that is nowhere, or leads nowhere, is lost. */
static void signal(struct virtio *v, const struct virtio_env *env, uint16_t vector, raise_fn *raise)
{
	uint8_t entry[MSIX_ENTRY];

	if (vector >= MSIX_VECTORS || !(v->msix_control & MSIX_ENABLE))
		return;
	if (gmem_read(env->mem, v->bar[1] + vector * MSIX_ENTRY, entry, sizeof(entry)))
		return;
	bool masked = (v->msix_control & MSIX_MASK_ALL) || (load_le32(entry + 12) & MSIX_MASKED);

	if (masked != (v->pending >> vector & 1))
		set_pending(v, env, vector, masked);
	if (!masked)
		raise(env->lapic, lapic_message(load_le64(entry), load_le32(entry + 8)));
}

void virtio_retry(struct virtio *v, const struct virtio_env *env)
{
	for (uint16_t vector = 0; vector < MSIX_VECTORS; vector++) {
		if (v->pending >> vector & 1)
			signal(v, env, vector, lapic_raise);
	}
}

static void used(struct virtio *v, const struct virtio_env *env, unsigned n, raise_fn *raise)
{
	v->isr |= ISR_QUEUE;
	if (vring_interrupts(&v->queue[n], env->mem))
		signal(v, env, v->queue[n].vector, raise);
}

void virtio_used(struct virtio *v, const struct virtio_env *env, unsigned n)
{
	used(v, env, n, lapic_raise);
}

void virtio_used_lazily(struct virtio *v, const struct virtio_env *env, unsigned n)
{
	used(v, env, n, lapic_raise_lazily);
}

void virtio_break(struct virtio *v, const struct virtio_env *env)
{
	v->status |= VIRTIO_NEEDS_RESET;
	v->isr |= ISR_CONFIG;
	signal(v, env, v->config_vector, lapic_raise);
}

int virtio_conclude(struct virtio *v, const struct virtio_env *env, int err)
{
	if (err == ERR_INVALID || err == ERR_FAULT) {
		virtio_break(v, env);
		return OK;
	}
	return err == ERR_NOENT ? OK : err;
}

/* ---- the common configuration ----------------------------------------------------------------- */

static uint64_t offered(const struct virtio *v)
{
	return v->model->features | VIRTIO_F_VERSION_1;
}

static struct vring *selected(struct virtio *v)
{
	return v->queue_select < v->model->queues ? &v->queue[v->queue_select] : NULL;
}

static uint32_t half(uint64_t features, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(features >> 32 * select);
}

/* All fields as they are; those of the notify offset and the configuration's generation are 0. */
static void show_common(struct virtio *v, uint8_t out[COMMON_SIZE])
{
	const struct vring *q = selected(v);

	memset(out, 0, COMMON_SIZE);
	store_le32(out + FEATURE_SELECT, v->feature_select);
	store_le32(out + FEATURE, half(offered(v), v->feature_select));
	store_le32(out + DRIVER_FEATURE_SELECT, v->driver_feature_select);
	store_le32(out + DRIVER_FEATURE, half(v->features, v->driver_feature_select));
	store_le16(out + CONFIG_VECTOR, v->config_vector);
	store_le16(out + NUM_QUEUES, v->model->queues);
	out[DEVICE_STATUS] = v->status;
	store_le16(out + QUEUE_SELECT, v->queue_select);
	if (!q)
		return;
	store_le16(out + QUEUE_SIZE, q->size);
	store_le16(out + QUEUE_VECTOR, q->vector);
	store_le16(out + QUEUE_ENABLE, q->enabled);
	store_le64(out + QUEUE_DESC, q->desc);
	store_le64(out + QUEUE_AVAIL, q->avail);
	store_le64(out + QUEUE_USED, q->used);
}

static uint16_t known_vector(uint32_t value)
{
	return value < MSIX_VECTORS ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

/* "Driver Requirements: Device Initialization": features are fixed once they are found good. */
static struct virtio_event set_status(struct virtio *v, uint8_t status)
{
	if (!status) {
		reset(v);
		return (struct virtio_event){.kind = VIRTIO_RESET};
	}
	if ((status & VIRTIO_FEATURES_OK) &&
		((v->features & ~offered(v)) || !(v->features & VIRTIO_F_VERSION_1)))
		status &= (uint8_t)~VIRTIO_FEATURES_OK;
	if (!(status & VIRTIO_FEATURES_OK))
		status &= (uint8_t)~VIRTIO_DRIVER_OK;
	v->status = status | (v->status & VIRTIO_NEEDS_RESET);
	return (struct virtio_event){0};
}

static void set_half(uint64_t *field, unsigned high, uint32_t value)
{
	*field = high ? (*field & UINT32_MAX) | (uint64_t)value << 32
		      : (*field & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue(struct virtio *v, const struct virtio_env *env, unsigned offset, uint32_t value)
{
	struct vring *q = selected(v);

	if (!q)
		return;
	if (offset == QUEUE_VECTOR) {
		q->vector = known_vector(value);
		return;
	}
	if (q->enabled)
		return;
	switch (offset) {
	case QUEUE_SIZE:
		q->size = (uint16_t)value;
		break;
	case QUEUE_ENABLE:
		if (value != 1)
			break;
		q->enabled = vring_valid(q, env->mem);
		if (!q->enabled)
			virtio_break(v, env);
		break;
	case QUEUE_DESC:
	case QUEUE_DESC + 4:
		set_half(&q->desc, offset & 4, value);
		break;
	case QUEUE_AVAIL:
	case QUEUE_AVAIL + 4:
		set_half(&q->avail, offset & 4, value);
		break;
	case QUEUE_USED:
	case QUEUE_USED + 4:
		set_half(&q->used, offset & 4, value);
		break;
	default:
		break;
	}
}

/* What each field that can be written is wide; 64 bits are written in two halves. */
static unsigned width(unsigned offset)
{
	switch (offset) {
	case FEATURE_SELECT:
	case DRIVER_FEATURE_SELECT:
	case DRIVER_FEATURE:
	case QUEUE_DESC:
	case QUEUE_DESC + 4:
	case QUEUE_AVAIL:
	case QUEUE_AVAIL + 4:
	case QUEUE_USED:
	case QUEUE_USED + 4:
		return 4;
	case CONFIG_VECTOR:
	case QUEUE_SELECT:
	case QUEUE_SIZE:
	case QUEUE_VECTOR:
	case QUEUE_ENABLE:
		return 2;
	case DEVICE_STATUS:
		return 1;
	default:
		return 0;
	}
}

static struct virtio_event write_common(struct virtio *v, const struct virtio_env *env, unsigned offset,
	uint32_t value)
{
	switch (offset) {
	case FEATURE_SELECT:
		v->feature_select = value;
		break;
	case DRIVER_FEATURE_SELECT:
		v->driver_feature_select = value;
		break;
	case DRIVER_FEATURE:
		if (!(v->status & VIRTIO_FEATURES_OK) && v->driver_feature_select <= 1)
			set_half(&v->features, v->driver_feature_select, value);
		break;
	case CONFIG_VECTOR:
		v->config_vector = known_vector(value);
		break;
	case DEVICE_STATUS:
		return set_status(v, (uint8_t)value);
	case QUEUE_SELECT:
		v->queue_select = (uint16_t)value;
		break;
	default:
		write_queue(v, env, offset, value);
		break;
	}
	return (struct virtio_event){0};
}

/* ---- the I/O BAR ------------------------------------------------------------------------------ */

bool virtio_owns_port(const struct virtio *v, uint16_t port, unsigned *offset)
{
	*offset = port - v->bar[0];
	return v->model && port >= v->bar[0] && *offset < VIRTIO_PORTS;
}

static uint32_t bytes_at(const uint8_t *from, unsigned at, unsigned size, unsigned end)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size && at + i < end; i++)
		value |= (uint32_t)from[at + i] << 8 * i;
	return value;
}

uint32_t virtio_read(struct virtio *v, unsigned offset, unsigned size)
{
	uint8_t bytes[VIRTIO_PORTS] = {0};

	if (offset >= VIRTIO_PORTS)
		return UINT32_MAX;
	if (offset < COMMON_SIZE) {
		show_common(v, bytes);
	} else if (offset == AT_ISR) {
		bytes[AT_ISR] = v->isr;
		v->isr = 0; /* "ISR status capability": reading clears it */
	} else if (offset >= AT_DEVICE) {
		v->model->config(v->model, v->value, bytes + AT_DEVICE);
	}
	return bytes_at(bytes, offset, size, VIRTIO_PORTS);
}

struct virtio_event virtio_write(struct virtio *v, const struct virtio_env *env, unsigned offset,
	unsigned size, uint32_t value)
{
	if (offset < COMMON_SIZE && size == width(offset))
		return write_common(v, env, offset, value);
	if (offset == AT_NOTIFY && size >= 2 && (uint16_t)value < v->model->queues && virtio_ready(v))
		return (struct virtio_event){.kind = VIRTIO_NOTIFY, .queue = (uint16_t)value};
	return (struct virtio_event){0};
}

/* ---- PCI configuration space ------------------------------------------------------------------ */

static void show_cap(uint8_t *c, unsigned at, unsigned next, uint8_t type, uint32_t offset,
	uint32_t length)
{
	c[at] = CAP_ID_VENDOR;
	c[at + 1] = (uint8_t)next;
	c[at + 2] = type == CFG_NOTIFY || type == CFG_WINDOW ? CAP_SIZE_LONG : CAP_SIZE;
	c[at + 3] = type;
	store_le32(c + at + 8, offset);
	store_le32(c + at + 12, length);
}

static void show_config(const struct virtio *v, uint8_t c[PCI_SIZE])
{
	memset(c, 0, PCI_SIZE);
	store_le16(c, VENDOR);
	store_le16(c + 2, (uint16_t)(DEVICE_BASE + v->model->type));
	store_le16(c + PCI_COMMAND, v->command);
	store_le16(c + PCI_STATUS, STATUS_CAPABILITIES);
	c[PCI_REVISION] = 1;
	c[PCI_CLASS] = v->model->class;
	c[PCI_SUBCLASS] = v->model->subclass;
	store_le32(c + PCI_BAR0, v->bar[0] | BAR_IO);
	store_le32(c + PCI_BAR1, v->bar[1]);
	store_le16(c + PCI_SUBSYSTEM, VENDOR);
	store_le16(c + PCI_SUBSYSTEM + 2, (uint16_t)(DEVICE_BASE + v->model->type));
	c[PCI_CAPABILITIES] = CAP_MSIX;
	c[CAP_MSIX] = CAP_ID_MSIX;
	c[CAP_MSIX + 1] = CAP_COMMON;
	store_le16(c + CAP_MSIX + 2, (uint16_t)(v->msix_control | (MSIX_VECTORS - 1)));
	store_le32(c + CAP_MSIX + 4, 1); /* table and PBA lie in BAR1 */
	store_le32(c + CAP_MSIX + 8, 1 | MSIX_PBA);
	show_cap(c, CAP_COMMON, CAP_NOTIFY, CFG_COMMON, AT_COMMON, COMMON_SIZE);
	show_cap(c, CAP_NOTIFY, CAP_ISR, CFG_NOTIFY, AT_NOTIFY, 4);
	show_cap(c, CAP_ISR, CAP_DEVICE, CFG_ISR, AT_ISR, 1);
	show_cap(c, CAP_DEVICE, CAP_WINDOW, CFG_DEVICE, AT_DEVICE, VIRTIO_CONFIG_SIZE);
	show_cap(c, CAP_WINDOW, 0, CFG_WINDOW, v->window_offset, v->window_length);
	c[WINDOW_BAR] = v->window_bar;
}

/* "PCI configuration access capability": an access to the BAR, of the length that was set. */
static bool window_leads(const struct virtio *v)
{
	uint32_t length = v->window_length;

	return v->window_bar == 0 && (length == 1 || length == 2 || length == 4) &&
	       v->window_offset % length == 0 && v->window_offset <= VIRTIO_PORTS - length;
}

uint32_t virtio_config_read(struct virtio *v, unsigned reg, unsigned size)
{
	uint8_t c[PCI_SIZE];

	show_config(v, c);
	if (reg == WINDOW_DATA && window_leads(v))
		store_le32(c + WINDOW_DATA, virtio_read(v, v->window_offset, v->window_length));
	return bytes_at(c, reg, size, PCI_SIZE);
}

struct virtio_event virtio_config_write(struct virtio *v, const struct virtio_env *env, unsigned reg,
	unsigned size, uint32_t value)
{
	const uint32_t msix_writable = MSIX_ENABLE | MSIX_MASK_ALL;

	switch (reg) {
	case PCI_COMMAND:
		if (size >= 2)
			v->command = (uint16_t)(value & COMMAND_WRITABLE);
		break;
	case PCI_BAR0:
		if (size == 4)
			v->bar[0] = value & ~(VIRTIO_PORTS - 1);
		break;
	case PCI_BAR1:
		if (size == 4)
			v->bar[1] = value & (uint32_t)~(PAGE_SIZE - 1);
		break;
	case CAP_MSIX:
		if (size == 4)
			v->msix_control = (uint16_t)(value >> 16 & msix_writable);
		break;
	case CAP_MSIX + 2:
		if (size == 2)
			v->msix_control = (uint16_t)(value & msix_writable);
		break;
	case WINDOW_BAR:
		v->window_bar = (uint8_t)value;
		break;
	case WINDOW_OFFSET:
		if (size == 4)
			v->window_offset = value;
		break;
	case WINDOW_LENGTH:
		if (size == 4)
			v->window_length = value;
		break;
	case WINDOW_DATA:
		if (window_leads(v))
			return virtio_write(v, env, v->window_offset, v->window_length, value);
		break;
	default:
		break;
	}
	return (struct virtio_event){0};
}
