/* The model of a gigabit controller; see fake_e1000.h. */
#include "tests/unit/fake_e1000.h"

#define BAR_BASE 0xfebc0000ull
#define BAR_SIZE 0x20000

enum {
	CTRL = 0x0000,
	STATUS = 0x0008,
	EERD = 0x0014,
	ICR = 0x00c0,
	IMS = 0x00d0,
	IMC = 0x00d8,
	RCTL = 0x0100,
	TCTL = 0x0400,
	RDBAL = 0x2800,
	RDLEN = 0x2808,
	RDH = 0x2810,
	RDT = 0x2818,
	TDBAL = 0x3800,
	TDLEN = 0x3808,
	TDH = 0x3810,
	TDT = 0x3818,
	CRCERRS = 0x4000,
	MPC = 0x4010,
	MTA = 0x5200,
	RAL = 0x5400,
	RAH = 0x5404,
};

static uint32_t *reg(struct fake_e1000 *e, uint32_t offset)
{
	return &e->reg[offset / 4];
}

/* Causes that are there, and those that are asked for: a message goes out when the first meet. */
static void set_causes(struct fake_e1000 *e, uint32_t there, uint32_t asked)
{
	uint32_t before = *reg(e, ICR) & *reg(e, IMS);

	*reg(e, ICR) = there;
	*reg(e, IMS) = asked;
	if (before || !(there & asked))
		return;
	if (!e->express || !(e->pci->config[FAKE_E1000_MSI / 4] >> 16 & 1))
		return;
	CHECK_EQ(e->pci->config[FAKE_E1000_MSI / 4 + 1], FAKE_MSI_ADDRESS);
	CHECK_EQ(e->pci->config[FAKE_E1000_MSI / 4 + 3], FAKE_MSI_DATA);
	fake_host.irq_handler(fake_host.irq_arg);
}

/* ---- rings ----------------------------------------------------------------------------------- */

static uint8_t *descriptor(struct fake_e1000 *e, uint32_t base_reg, uint32_t index)
{
	uint64_t base = *reg(e, base_reg) | (uint64_t)*reg(e, base_reg + 4) << 32;

	CHECK_EQ(base % 16, 0);
	CHECK_EQ(*reg(e, base_reg + (RDLEN - RDBAL)), 16 * FAKE_E1000_RING);
	return fake_dma(e->pci, base + 16ull * index, 16);
}

bool fake_e1000_fill(struct fake_e1000 *e, const void *data, size_t data_size, uint16_t length,
	uint8_t status, uint8_t errors)
{
	uint32_t head = *reg(e, RDH);
	uint64_t address;

	if (head == *reg(e, RDT))
		return false;

	uint8_t *d = descriptor(e, RDBAL, head);

	CHECK_EQ(d[12], 0); /* the driver must have cleared what we wrote here last time */
	memcpy(&address, d, 8);
	memcpy(fake_dma(e->pci, address, 2048), data, data_size);
	memcpy(d + 8, &length, 2);
	d[12] = status;
	d[13] = errors;
	*reg(e, RDH) = (head + 1) % FAKE_E1000_RING;
	set_causes(e, *reg(e, ICR) | 1u << 7, *reg(e, IMS));
	return true;
}

static bool passes_filter(struct fake_e1000 *e, const uint8_t *frame)
{
	static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
	uint8_t mac[8];

	if (memcmp(frame, broadcast, 6) == 0)
		return *reg(e, RCTL) & 1u << 15;
	memcpy(mac, reg(e, RAL), 8);
	return *reg(e, RAH) >> 31 && memcmp(frame, mac, 6) == 0;
}

enum fake_e1000_verdict fake_e1000_wire(struct fake_e1000 *e, const void *frame, size_t length)
{
	CHECK_EQ(*reg(e, RCTL) & 0x30000, 0); /* buffers of 2048 bytes */
	if (!(*reg(e, RCTL) & 2) || e->link_down || !passes_filter(e, frame))
		return FAKE_FILTERED;
	if (fake_e1000_fill(e, frame, length, (uint16_t)length, 3, 0))
		return FAKE_RECEIVED;
	++*reg(e, MPC);
	return FAKE_MISSED;
}

void fake_e1000_transmit(struct fake_e1000 *e)
{
	while (*reg(e, TCTL) & 2 && *reg(e, TDH) != *reg(e, TDT)) {
		uint8_t *d = descriptor(e, TDBAL, *reg(e, TDH));
		struct fake_e1000_frame *f = &e->sent[e->sent_count++ % ARRAY_SIZE(e->sent)];
		uint64_t address;
		uint16_t length;

		memcpy(&address, d, 8);
		memcpy(&length, d + 8, 2);
		CHECK_EQ(d[11], 0x0b); /* end of packet, insert FCS, report status */
		CHECK_EQ(d[12], 0);
		CHECK(length >= 60 && length <= 1514);
		f->length = length;
		memcpy(f->data, fake_dma(e->pci, address, length), length);
		d[12] = 1;
		*reg(e, TDH) = (*reg(e, TDH) + 1) % FAKE_E1000_RING;
	}
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_clears(struct fake_e1000 *e, uint32_t offset)
{
	uint32_t value = *reg(e, offset);

	*reg(e, offset) = 0;
	return value;
}

static uint32_t window_read(void *ctx, uint32_t offset, unsigned width)
{
	struct fake_e1000 *e = ctx;

	CHECK_EQ(width, 4);
	switch (offset) {
	case STATUS:
		return (e->link_down ? 0 : 2u) |
		       (*reg(e, CTRL) & 4 && !e->never_stops_mastering ? 0 : 1u << 19);
	case ICR:
	case CRCERRS:
	case MPC:
		return read_clears(e, offset);
	default:
		return *reg(e, offset);
	}
}

static void write_ctrl(struct fake_e1000 *e, uint32_t value)
{
	*reg(e, CTRL) = value;
	if (!(value & 1u << 26))
		return;
	CHECK_EQ(*reg(e, RCTL) & 2, 0); /* stopped before it is reset */
	e->resets++;
	memset(e->reg, 0, sizeof(e->reg));
	memset(reg(e, MTA), 0xff, 512); /* a reset leaves the table as it is */
	*reg(e, CTRL) = e->never_resets ? value : 0x240;
}

/* Old parts: done is bit 4, the address at 8. New ones: 1 and 2. */
static void write_eerd(struct fake_e1000 *e, uint32_t value)
{
	uint32_t word = e->express ? value >> 2 & 0x3fff : value >> 8 & 0xff;

	CHECK(value & 1);
	CHECK(word < 3);
	*reg(e, EERD) = e->has_no_eeprom
				? value
				: (uint32_t)e->eeprom[word] << 16 | 1u << (e->express ? 1 : 4);
}

static void window_write(void *ctx, uint32_t offset, unsigned width, uint32_t value)
{
	struct fake_e1000 *e = ctx;

	CHECK_EQ(width, 4);
	switch (offset) {
	case CTRL:
		write_ctrl(e, value);
		break;
	case EERD:
		write_eerd(e, value);
		break;
	case IMS:
		set_causes(e, *reg(e, ICR), *reg(e, IMS) | value);
		break;
	case IMC:
		*reg(e, IMS) &= ~value;
		break;
	case RDT:
	case TDT:
		CHECK(value < FAKE_E1000_RING);
		*reg(e, offset) = value;
		if (offset == TDT) {
			e->tails_written++;
			if (!e->holds_tx)
				fake_e1000_transmit(e);
		}
		break;
	default:
		*reg(e, offset) = value;
	}
}

void fake_e1000_add(struct fake_e1000 *e, uint8_t device, uint16_t device_id)
{
	struct fake_function *f = fake_add(0, device, 0, 0x8086, device_id);
	struct fake_window *w = fake_window(f, BAR_BASE, BAR_SIZE);

	memset(e, 0, sizeof(*e));
	e->pci = f;
	e->express = device_id == FAKE_E1000_82574L;
	e->eeprom[0] = 0x5452;
	e->eeprom[1] = 0x1200;
	e->eeprom[2] = 0x5634;
	memset(e->reg, 0xa5, sizeof(e->reg)); /* as the firmware's driver may leave it */
	*reg(e, CTRL) &= ~(1u << 26);         /* reset is over */
	w->ctx = e;
	w->read = window_read;
	w->write = window_write;
	f->config[FAKE_REG_CLASS] = 0x02000000;
	fake_bar(f, 0, BAR_BASE, BAR_SIZE, false);
	if (!e->express)
		return;
	fake_capability(f, FAKE_E1000_EXPRESS, 0x10, 2);
	f->config[FAKE_E1000_EXPRESS / 4 + 4] = 0x10110043; /* the link may sleep */
	f->writable[FAKE_E1000_EXPRESS / 4 + 4] = 0xffff;
	fake_capability(f, FAKE_E1000_MSI, 5, 0x80);
	for (unsigned i = 1; i < 4; i++)
		f->writable[FAKE_E1000_MSI / 4 + i] = UINT32_MAX;
	f->writable[FAKE_E1000_MSI / 4] = 0x710000;
}
