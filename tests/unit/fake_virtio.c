/* The model of a virtio device; see fake_virtio.h. */
#include "tests/unit/fake_virtio.h"

#define BAR_STRUCTURES 0xe000000000ull
#define BAR_TABLE      0xfeb00000ull
#define WINDOW_SIZE    0x4000
#define AT_CONFIG      0x2000
#define AT_NOTIFY      0x3000

#define HEADER_SIZE 12

static void reset_registers(struct fake_virtio *v)
{
	for (unsigned i = 0; i < FAKE_VIRTIO_QUEUES; i++) {
		struct fake_virtio_queue *q = &v->queue[i];

		*q = (struct fake_virtio_queue){
			.size_max = q->size_max, .size = q->size_max, .vector = 0xffff};
	}
	v->status = 0;
	v->accepted = 0;
}

/* ---- queues ---------------------------------------------------------------------------------- */

static uint16_t load16(struct fake_virtio *v, uint64_t at)
{
	uint16_t value;

	memcpy(&value, fake_dma(v->pci, at, 2), 2);
	return value;
}

bool fake_virtio_take(struct fake_virtio *v, unsigned queue, uint16_t *id)
{
	struct fake_virtio_queue *q = &v->queue[queue];

	CHECK(v->status & 4);
	CHECK(q->enabled);
	if (load16(v, q->driver + 2) == q->avail_seen)
		return false;
	*id = load16(v, q->driver + 4 + 2ull * (q->avail_seen % q->size));
	q->avail_seen++;
	CHECK(*id < q->size);
	return true;
}

void fake_virtio_give(struct fake_virtio *v, unsigned queue, uint32_t id, uint32_t length)
{
	struct fake_virtio_queue *q = &v->queue[queue];
	uint32_t element[2] = {id, length};

	memcpy(fake_dma(v->pci, q->device + 4 + 8ull * (q->used_index % q->size), 8), element, 8);
	q->used_index++;
	memcpy(fake_dma(v->pci, q->device + 2, 2), &q->used_index, 2);
	memcpy(fake_dma(v->pci, q->device, 2), &v->no_notify, 2);
	if (q->vector == 0xffff || load16(v, q->driver) & 1)
		return;

	const uint32_t *entry = (const uint32_t *)(v->table->memory + 16 * q->vector);

	CHECK_EQ(v->pci->config[FAKE_VIRTIO_MSIX / 4] >> 30, 2);
	CHECK(entry[0] == FAKE_MSI_ADDRESS && entry[1] == 0 && entry[2] == FAKE_MSI_DATA);
	CHECK_EQ(entry[3], 0);
	fake_host.irq_handler(fake_host.irq_arg);
}

/* The memory of descriptor `id`, which must be for the device to write, or to read. */
static uint8_t *buffer(
	struct fake_virtio *v, unsigned queue, uint16_t id, bool writes, uint32_t *size)
{
	const uint8_t *d = fake_dma(v->pci, v->queue[queue].desc + 16ull * id, 16);
	uint64_t address;
	uint16_t flags;

	memcpy(&address, d, 8);
	memcpy(size, d + 8, 4);
	memcpy(&flags, d + 12, 2);
	CHECK_EQ(flags, writes ? 2 : 0);
	return fake_dma(v->pci, address, *size);
}

bool fake_virtio_receive(struct fake_virtio *v, const void *frame, size_t length)
{
	uint32_t size;
	uint16_t id;

	if (!fake_virtio_take(v, 0, &id))
		return false;

	uint8_t *at = buffer(v, 0, id, true, &size);

	CHECK(HEADER_SIZE + length <= size);
	memset(at, 0, HEADER_SIZE);
	at[10] = 1;
	memcpy(at + HEADER_SIZE, frame, length);
	fake_virtio_give(v, 0, id, (uint32_t)(HEADER_SIZE + length));
	return true;
}

void fake_virtio_transmit(struct fake_virtio *v)
{
	static const uint8_t header[HEADER_SIZE];
	uint32_t size;
	uint16_t id;

	while (fake_virtio_take(v, 1, &id)) {
		uint8_t *at = buffer(v, 1, id, false, &size);
		struct fake_frame *f = &v->sent[v->sent_count++ % ARRAY_SIZE(v->sent)];

		CHECK(size > HEADER_SIZE && size - HEADER_SIZE <= sizeof(f->data));
		CHECK(memcmp(at, header, HEADER_SIZE) == 0);
		f->length = size - HEADER_SIZE;
		memcpy(f->data, at + HEADER_SIZE, f->length);
		memset(at, 0xee, size); /* whatever was there before */
		fake_virtio_give(v, 1, id, 0);
	}
}

/* The entropy device fills every buffer with 0xa5. */
static void answer_entropy(struct fake_virtio *v)
{
	uint32_t size;
	uint16_t id;

	while (fake_virtio_take(v, 0, &id)) {
		memset(buffer(v, 0, id, true, &size), 0xa5, size);
		fake_virtio_give(v, 0, v->lies ? 7777 : id, size);
	}
}

/* ---- registers ------------------------------------------------------------------------------- */

/* "Common configuration structure layout", by width */
static unsigned common_width(uint32_t offset)
{
	if (offset < 0x10)
		return 4;
	if (offset == 0x14 || offset == 0x15)
		return 1;
	return offset < 0x20 ? 2 : 4;
}

static struct fake_virtio_queue *selected(struct fake_virtio *v)
{
	static struct fake_virtio_queue none;

	none = (struct fake_virtio_queue){0};
	return v->queue_select < FAKE_VIRTIO_QUEUES ? &v->queue[v->queue_select] : &none;
}

static uint32_t read_common(struct fake_virtio *v, uint32_t offset)
{
	switch (offset) {
	case 0x04:
		return v->device_select > 1 ? 0 : (uint32_t)(v->offered >> 32 * v->device_select);
	case 0x14:
		return v->status;
	case 0x15:
		return v->never_holds_still ? v->generation++ : v->generation;
	case 0x18:
		return selected(v)->size;
	case 0x1a:
		return selected(v)->vector;
	case 0x1c:
		return selected(v)->enabled;
	case 0x1e:
		return v->notify_off + v->queue_select;
	default:
		CHECK(offset == 0x12); /* what else the driver has no reason to read */
		return 0;
	}
}

static void write_status(struct fake_virtio *v, uint8_t value)
{
	size_t used = strlen(v->statuses);

	snprintf(v->statuses + used, sizeof(v->statuses) - used, "%x ", value);
	if (value == 0) {
		reset_registers(v);
		if (v->never_resets)
			v->status = 1;
		return;
	}
	CHECK_EQ(value & v->status, v->status); /* bits are only added */
	if (v->refuses_features)
		value &= (uint8_t)~8;
	if (value & 4)
		CHECK(value & 8);
	v->status = value;
}

static void write_half(uint64_t *field, uint32_t offset, uint32_t value)
{
	unsigned shift = offset & 4 ? 32 : 0;

	*field = (*field & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void write_queue(struct fake_virtio *v, uint32_t offset, uint32_t value)
{
	struct fake_virtio_queue *q = selected(v);

	CHECK((v->status & 0xcf) == 0x0b && !q->enabled); /* features agreed, not yet running */
	switch (offset) {
	case 0x18:
		CHECK(value && value <= q->size_max && !(value & (value - 1)));
		q->size = (uint16_t)value;
		break;
	case 0x1a:
		q->vector = v->has_no_vectors ? 0xffff : (uint16_t)value;
		break;
	case 0x1c:
		CHECK_EQ(value, 1);
		CHECK(q->desc % 16 == 0 && q->driver % 2 == 0 && q->device % 4 == 0);
		q->enabled = 1;
		break;
	default:
		CHECK(offset >= 0x20 && offset < 0x38);
		write_half(offset < 0x28   ? &q->desc
			   : offset < 0x30 ? &q->driver
					   : &q->device,
			offset, value);
	}
}

static void write_common(struct fake_virtio *v, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case 0x00:
		v->device_select = value;
		break;
	case 0x08:
		v->driver_select = value;
		break;
	case 0x0c:
		CHECK_EQ(v->status, 3);
		CHECK(v->driver_select <= 1);
		write_half(&v->accepted, 4 * v->driver_select, value);
		break;
	case 0x14:
		write_status(v, (uint8_t)value);
		break;
	case 0x16:
		v->queue_select = (uint16_t)value;
		break;
	default:
		write_queue(v, offset, value);
	}
}

static uint32_t window_read(void *ctx, uint32_t offset, unsigned width)
{
	struct fake_virtio *v = ctx;
	uint32_t value = 0;

	if (offset < 0x38)
		CHECK_EQ(width, common_width(offset));
	if (v->answers_random)
		return (uint32_t)test_random(&v->seed);
	if (offset < 0x38)
		return read_common(v, offset);
	CHECK(offset >= AT_CONFIG && offset + width <= AT_CONFIG + sizeof(v->config));
	memcpy(&value, v->config + (offset - AT_CONFIG), width);
	return value;
}

static void window_write(void *ctx, uint32_t offset, unsigned width, uint32_t value)
{
	struct fake_virtio *v = ctx;

	if (v->answers_random)
		return;
	if (offset < 0x38) {
		CHECK_EQ(width, common_width(offset));
		write_common(v, offset, value);
		return;
	}
	CHECK(offset >= AT_NOTIFY && width == 2 && value < FAKE_VIRTIO_QUEUES);
	CHECK_EQ(offset, AT_NOTIFY + 4 * (v->notify_off + value));
	CHECK(v->status & 4);
	v->queue[value].notified++;
	if (v->pci->config[0] >> 16 == 0x1044)
		answer_entropy(v);
	else if (value == 1 && !v->holds_tx)
		fake_virtio_transmit(v);
}

/* ---- configuration space --------------------------------------------------------------------- */

static void add_structure(
	struct fake_function *f, unsigned at, unsigned type, uint32_t offset, uint32_t length)
{
	fake_capability(f, (uint8_t)at, 9, type << 8 | 16);
	f->config[at / 4 + 1] = 4; /* BAR */
	f->config[at / 4 + 2] = offset;
	f->config[at / 4 + 3] = length;
}

void fake_virtio_add(struct fake_virtio *v, uint8_t device, uint16_t type)
{
	struct fake_function *f = fake_add(0, device, 0, 0x1af4, (uint16_t)(0x1040 + type));
	struct fake_window *w = fake_window(f, BAR_STRUCTURES, WINDOW_SIZE);
	static const uint8_t config[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 2, 0, 0xdc, 5};

	*v = (struct fake_virtio){.pci = f, .offered = 1ull << 32 | 1 << 5 | 1 << 16};
	w->ctx = v;
	w->read = window_read;
	w->write = window_write;
	v->table = fake_window(f, BAR_TABLE, 0x1000);
	fake_bar(f, 1, BAR_TABLE, 0x1000, false);
	fake_bar(f, 4, BAR_STRUCTURES, WINDOW_SIZE, true);
	add_structure(f, FAKE_VIRTIO_CAP, 1, 0, 0x38);
	add_structure(f, FAKE_VIRTIO_CAP + 0x10, 2, AT_NOTIFY, 0x1000);
	f->config[(FAKE_VIRTIO_CAP + 0x20) / 4] = 4; /* multiplier */
	add_structure(f, FAKE_VIRTIO_CAP + 0x24, 3, 0x1000, 1);
	add_structure(f, FAKE_VIRTIO_CAP + 0x34, 4, AT_CONFIG, 0x1000);
	fake_capability(f, FAKE_VIRTIO_MSIX, 0x11, 2);
	f->writable[FAKE_VIRTIO_MSIX / 4] = 0xc0000000;
	f->config[FAKE_VIRTIO_MSIX / 4 + 1] = 1;
	memcpy(v->config, config, sizeof(config));
	v->queue[0].size_max = v->queue[1].size_max = 256;
	reset_registers(v);
	v->status = 0x0f; /* as firmware may leave it */
}
