/*
 * Intel gigabit controllers of the 8254x and 82574 families, programmed with what they have in
 * common: one ring each way of legacy descriptors, whose buffers are fixed slots of DMA memory.
 * Received frames are handed over where they lie; frames to send are copied into their slot.
 *
 * Of a ring's entries one always stays empty, since head = tail means that the hardware owns none.
 */
#include "drivers/e1000/e1000.h"

#include "drivers/e1000/regs.h"
#include "drivers/io.h"
#include "lib/bytes.h"
#include "lib/string.h"

#define PCI_VENDOR_INTEL 0x8086
#define REGISTER_BAR     0

#define RING_SIZE 256
#define SLOT_SIZE 2048
#define RX_BATCH  32 /* entries given back to the hardware at once: a register write may be an exit */

/* "Software Reset" takes a microsecond, loading the EEPROM and the PHY's settings up to 25 ms. */
#define MASTER_DISABLE_LIMIT_US 100000
#define RESET_LIMIT_US          100000
#define RESET_SETTLE_US         25000
#define EEPROM_LIMIT_US         10000

#define TX_IDLE UINT64_MAX

/* What differs between the parts. */
struct model {
	uint16_t device_id;
	bool express;               /* on PCI Express; hangs when the link may sleep (82574 errata) */
	uint8_t eerd_done;          /* bit of EERD that says the word is there */
	uint8_t eerd_address_shift; /* where EERD takes the word's number */
	const char *name;
};

static const struct model models[] = {
	{0x100e, false, 4, 8, "82540EM"},
	{0x1015, false, 4, 8, "82540EM"},
	{0x100f, false, 4, 8, "82545EM"},
	{0x1010, false, 4, 8, "82546EB"},
	{0x10d3, true, 1, 2, "82574L"},
	{0x10f6, true, 1, 2, "82574LA"},
};

/* All memory that the device sees, in one piece. */
struct shared {
	uint8_t rx_slot[RING_SIZE][SLOT_SIZE];
	uint8_t tx_slot[RING_SIZE][SLOT_SIZE];
	struct e1000_rx_desc rx_ring[RING_SIZE];
	struct e1000_tx_desc tx_ring[RING_SIZE];
};

_Static_assert(NIC_FRAME_MAX + 4 <= SLOT_SIZE, "a slot holds a frame, and a VLAN tag that is too much");
_Static_assert(RING_SIZE * sizeof(struct e1000_rx_desc) % 128 == 0, "\"RDLEN\", \"TDLEN\"");

struct e1000 {
	struct nic nic;
	const struct driver_env *env;
	const struct model *model;
	struct pci_function pci;
	uint8_t *registers;
	struct shared *shared;
	uint64_t shared_physical;
	uint16_t rx_next;      /* the entry that is filled next */
	uint16_t rx_taken;     /* entries emptied and not given back yet */
	uint16_t tx_next;      /* the entry that the next frame goes to */
	uint16_t tx_oldest;    /* the first entry that is not known to be sent */
	uint16_t tx_shown;     /* the tail as the device knows it */
	uint64_t tx_done;      /* entries known to be sent, ever */
	uint64_t tx_done_at_tick; /* that, or TX_IDLE when nothing was waiting */
	bool rx_in_pieces;     /* the last descriptor did not end its frame */
};

static struct e1000 *from_nic(struct nic *nic)
{
	return CONTAINER_OF(nic, struct e1000, nic);
}

static uint32_t reg_read(const struct e1000 *e, enum e1000_reg at)
{
	return mmio_read32(e->registers + at);
}

static void reg_write(struct e1000 *e, enum e1000_reg at, uint32_t value)
{
	mmio_write32(e->registers + at, value);
}

static uint16_t ring_next(uint16_t i)
{
	return (uint16_t)((i + 1) % RING_SIZE);
}

/* Wait until the bits of `mask` read as `value`. */
static int wait_for(const struct e1000 *e, enum e1000_reg at, uint32_t mask, uint32_t value,
	uint64_t limit_us)
{
	uint64_t start = e->env->now_us(e->env->ctx);

	while ((reg_read(e, at) & mask) != value) {
		if (e->env->now_us(e->env->ctx) - start > limit_us)
			return ERR_IO;
		io_relax();
	}
	return 0;
}

/* ---- receive ---------------------------------------------------------------------------------- */

static bool rx_ready(const struct e1000 *e)
{
	const struct e1000_rx_desc *d = &e->shared->rx_ring[e->rx_next];

	return __atomic_load_n(&d->status, __ATOMIC_ACQUIRE) & RX_DONE;
}

/*
 * The descriptor of the frame in slot rx_next; each field is read once, the hardware may write it at
 * any time. A frame that spans descriptors is longer than any that we take, and dropped to its end.
 */
static void take_frame(struct e1000 *e, const volatile struct e1000_rx_desc *d, nic_rx *rx, void *ctx)
{
	struct nic_counters *c = &e->nic.counters;
	size_t length = d->length;
	bool damaged = d->errors || e->rx_in_pieces;

	e->rx_in_pieces = !(d->status & RX_END);
	if (e->rx_in_pieces)
		return;
	if (damaged || length < NIC_HEADER_SIZE || length > NIC_FRAME_MAX) {
		c->rx_errors++;
		return;
	}
	c->rx_frames++;
	c->rx_bytes += length;
	rx(ctx, e->shared->rx_slot[e->rx_next], length);
}

/* The tail is the last entry that the hardware may fill. */
static void give_back(struct e1000 *e)
{
	e->rx_taken = 0;
	reg_write(e, E1000_RDT, (e->rx_next + RING_SIZE - 1u) % RING_SIZE);
	e->nic.counters.notifies++;
}

static unsigned poll(struct nic *nic, unsigned budget, nic_rx *rx, void *ctx)
{
	struct e1000 *e = from_nic(nic);
	unsigned n = 0;

	for (; n < budget && rx_ready(e); n++) {
		struct e1000_rx_desc *d = &e->shared->rx_ring[e->rx_next];

		take_frame(e, d, rx, ctx);
		d->status = 0;
		e->rx_next = ring_next(e->rx_next);
		if (++e->rx_taken == RX_BATCH)
			give_back(e);
	}
	return n;
}

/* ---- transmit --------------------------------------------------------------------------------- */

static void reclaim(struct e1000 *e)
{
	while (e->tx_oldest != e->tx_shown) {
		const struct e1000_tx_desc *d = &e->shared->tx_ring[e->tx_oldest];

		if (!(__atomic_load_n(&d->status, __ATOMIC_ACQUIRE) & TX_DONE))
			break;
		e->tx_oldest = ring_next(e->tx_oldest);
		e->tx_done++;
	}
}

static bool tx_has_room(const struct e1000 *e)
{
	return ring_next(e->tx_next) != e->tx_oldest;
}

static int send(struct nic *nic, const void *frame, size_t length)
{
	struct e1000 *e = from_nic(nic);
	int r = nic_check_length(nic, length);

	if (r)
		return r;
	if (!tx_has_room(e))
		reclaim(e);
	if (!tx_has_room(e)) {
		nic->counters.tx_full++;
		return ERR_AGAIN;
	}

	uint8_t *slot = e->shared->tx_slot[e->tx_next];

	e->shared->tx_ring[e->tx_next] = (struct e1000_tx_desc){
		.address = e->shared_physical + (uint64_t)(slot - (uint8_t *)e->shared),
		.length = (uint16_t)nic_copy_frame(slot, frame, length),
		.command = TX_END | TX_FCS | TX_REPORT,
	};
	e->tx_next = ring_next(e->tx_next);
	nic->counters.tx_frames++;
	nic->counters.tx_bytes += length;
	return 0;
}

static void flush(struct nic *nic)
{
	struct e1000 *e = from_nic(nic);

	if (e->tx_shown == e->tx_next)
		return;
	e->tx_shown = e->tx_next;
	reg_write(e, E1000_TDT, e->tx_shown);
	nic->counters.notifies++;
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/* Reading the cause clears it, without which no further message would come. */
static void on_interrupt(void *arg)
{
	struct e1000 *e = arg;

	e->nic.counters.interrupts++;
	reg_write(e, E1000_IMC, UINT32_MAX);
	reg_read(e, E1000_ICR);
}

static bool irq_enable(struct nic *nic)
{
	struct e1000 *e = from_nic(nic);

	if (!nic->needs_poll)
		reg_write(e, E1000_IMS, INT_RX | INT_RX_LOW | INT_RX_OVERRUN | INT_LINK);
	return rx_ready(e);
}

static void irq_disable(struct nic *nic)
{
	if (!nic->needs_poll)
		reg_write(from_nic(nic), E1000_IMC, UINT32_MAX);
}

static void take_vector(struct e1000 *e)
{
	uint64_t address;
	uint32_t data;

	e->nic.needs_poll = !e->env->irq_alloc ||
			    e->env->irq_alloc(e->env->ctx, on_interrupt, e, &address, &data) ||
			    pci_msi_enable(&e->pci, address, data);
}

/* ---- starting --------------------------------------------------------------------------------- */

/* "Software Reset"; on PCI Express parts, "Master Disable" goes before it. */
static int reset(struct e1000 *e)
{
	uint32_t ctrl = reg_read(e, E1000_CTRL);

	reg_write(e, E1000_IMC, UINT32_MAX);
	reg_write(e, E1000_RCTL, 0);
	reg_write(e, E1000_TCTL, 0);
	if (e->model->express) {
		/* A part that goes on all the same is cut off by the reset, hence no error. */
		reg_write(e, E1000_CTRL, ctrl | CTRL_MASTER_DISABLE);
		wait_for(e, E1000_STATUS, STATUS_MASTER_ENABLED, 0, MASTER_DISABLE_LIMIT_US);
	}
	reg_write(e, E1000_CTRL, ctrl | CTRL_RESET);
	driver_delay_us(e->env, RESET_SETTLE_US);
	int r = wait_for(e, E1000_CTRL, CTRL_RESET, 0, RESET_LIMIT_US);
	reg_write(e, E1000_IMC, UINT32_MAX);
	reg_read(e, E1000_ICR);
	return r;
}

static int eeprom_read(struct e1000 *e, unsigned word, uint16_t *value)
{
	uint32_t done = 1u << e->model->eerd_done;

	reg_write(e, E1000_EERD, word << e->model->eerd_address_shift | EERD_START);
	int r = wait_for(e, E1000_EERD, done, done, EEPROM_LIMIT_US);
	*value = (uint16_t)(reg_read(e, E1000_EERD) >> EERD_DATA_SHIFT);
	return r;
}

/*
 * The first three words of the EEPROM are the address. The reset loads it into the receive-address
 * register too, except in Bochs, so a part without a readable EEPROM is asked there.
 */
static int read_mac(struct e1000 *e)
{
	uint8_t *mac = e->nic.mac;

	for (unsigned i = 0; i < NIC_MAC_SIZE / 2; i++) {
		uint16_t word;

		if (eeprom_read(e, i, &word)) {
			store_le32(mac, reg_read(e, E1000_RAL0));
			store_le16(mac + 4, (uint16_t)reg_read(e, E1000_RAH0));
			break;
		}
		store_le16(mac + 2 * i, word);
	}
	return nic_mac_is_usable(mac) ? 0 : ERR_IO;
}

static void set_filters(struct e1000 *e)
{
	const uint8_t *mac = e->nic.mac;

	reg_write(e, E1000_RAL0, load_le32(mac));
	reg_write(e, E1000_RAH0, load_le16(mac + 4) | RAH_VALID);
	for (unsigned i = 0; i < E1000_MTA_COUNT; i++)
		reg_write(e, E1000_MTA + 4 * i, 0);
}

static void set_ring(struct e1000 *e, enum e1000_reg base, size_t offset, size_t size)
{
	uint64_t physical = e->shared_physical + offset;

	reg_write(e, base, (uint32_t)physical);
	reg_write(e, base + (E1000_RDBAH - E1000_RDBAL), (uint32_t)(physical >> 32));
	reg_write(e, base + (E1000_RDLEN - E1000_RDBAL), (uint32_t)size);
	reg_write(e, base + (E1000_RDH - E1000_RDBAL), 0);
	reg_write(e, base + (E1000_RDT - E1000_RDBAL), 0);
}

static void start_receive(struct e1000 *e)
{
	struct shared *s = e->shared;

	for (unsigned i = 0; i < RING_SIZE; i++) {
		s->rx_ring[i] = (struct e1000_rx_desc){
			.address = e->shared_physical + offsetof(struct shared, rx_slot) + i * SLOT_SIZE,
		};
	}
	e->rx_next = e->rx_taken = 0;
	e->rx_in_pieces = false;
	set_ring(e, E1000_RDBAL, offsetof(struct shared, rx_ring), sizeof(s->rx_ring));
	reg_write(e, E1000_RCTL, RCTL_ENABLE | RCTL_BROADCAST | RCTL_STRIP_CRC);
	reg_write(e, E1000_RDT, RING_SIZE - 1);
}

static void start_transmit(struct e1000 *e)
{
	e->tx_next = e->tx_oldest = e->tx_shown = 0;
	e->tx_done_at_tick = TX_IDLE;
	set_ring(e, E1000_TDBAL, offsetof(struct shared, tx_ring), sizeof(e->shared->tx_ring));
	reg_write(e, E1000_TIPG, TIPG_COPPER);
	reg_write(e, E1000_TCTL, TCTL_ENABLE | TCTL_PAD | TCTL_COLLISIONS | TCTL_BACKOFF_FULL);
}

/* From reset to running. Also starts a running device over: what was in its rings is lost. */
static int start(struct e1000 *e)
{
	const uint32_t clear = CTRL_LINK_RESET | CTRL_INVERT_LOS | CTRL_VLAN_MODE | CTRL_PHY_RESET;
	int r = reset(e);

	if (r)
		return r;
	r = read_mac(e);
	if (r)
		return r;
	r = pci_master_on(&e->pci);
	if (r)
		return r;
	reg_write(e, E1000_CTRL,
		(reg_read(e, E1000_CTRL) & ~clear) | CTRL_LINK_UP | CTRL_AUTO_SPEED);
	set_filters(e);
	start_transmit(e);
	start_receive(e);
	return 0;
}

/* Did nothing leave since the last tick, though frames wait and there is a link to send them on? */
static bool transmit_hangs(struct e1000 *e)
{
	uint64_t before = e->tx_done_at_tick;

	reclaim(e);
	e->tx_done_at_tick = e->tx_done;
	if (e->tx_oldest == e->tx_shown || !e->nic.link_up)
		e->tx_done_at_tick = TX_IDLE;
	return e->tx_done_at_tick == before && before != TX_IDLE;
}

static void tick(struct nic *nic)
{
	struct e1000 *e = from_nic(nic);

	nic->link_up = reg_read(e, E1000_STATUS) & STATUS_LINK_UP;
	nic->counters.rx_errors += reg_read(e, E1000_CRCERRS);
	nic->counters.rx_missed += reg_read(e, E1000_MPC);
	if (!transmit_hangs(e))
		return;
	nic->counters.resets++;
	int r = start(e);
	driver_log(e->env, DRIVER_WARN, "e1000: %s stopped sending; started over: %s", nic->place,
		err_str(r));
}

static const struct nic_ops ops = {
	.send = send,
	.flush = flush,
	.poll = poll,
	.irq_enable = irq_enable,
	.irq_disable = irq_disable,
	.tick = tick,
};

static const struct model *find_model(const struct pci_function *f)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		if (f->vendor_id == PCI_VENDOR_INTEL && f->device_id == models[i].device_id)
			return &models[i];
	}
	return NULL;
}

int e1000_open(const struct driver_env *env, const struct pci_function *f, struct nic **nic)
{
	const struct model *model = find_model(f);
	uint64_t physical;

	if (!model)
		return ERR_UNSUPPORTED;
	int r = pci_enable(env, f);
	if (r)
		return r;
	uint8_t *registers = pci_map_bar(env, f, REGISTER_BAR, 0, E1000_WINDOW);
	if (!registers)
		return ERR_IO;
	/* Our own state is ordinary memory; only its address in `shared` is told to the device. */
	struct e1000 *e = env->dma_alloc(env->ctx, sizeof(*e), &physical);
	if (!e)
		return ERR_NOMEM;
	e->shared = env->dma_alloc(env->ctx, sizeof(*e->shared), &e->shared_physical);
	if (!e->shared) {
		r = ERR_NOMEM;
		goto free_state;
	}
	e->nic.ops = &ops;
	e->nic.driver = "e1000";
	e->nic.mtu = NIC_MTU;
	pci_place(f, e->nic.place);
	e->env = env;
	e->model = model;
	e->pci = *f;
	e->registers = registers;
	if (model->express)
		pci_link_awake(f);
	take_vector(e);
	r = start(e);
	if (r)
		goto stop;
	tick(&e->nic);
	*nic = &e->nic;
	return 0;
stop:
	pci_master_off(f);
	env->dma_free(env->ctx, e->shared, sizeof(*e->shared));
free_state:
	env->dma_free(env->ctx, e, sizeof(*e));
	return r;
}
