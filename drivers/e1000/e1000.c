/*
 * Intel gigabit controllers of the 8254x and 82574 families, programmed with what they have in
 * common: one ring each way of legacy descriptors, whose buffers are fixed slots of DMA memory.
 * Received frames are handed over where they lie; frames to send are copied into their slot.
 *
 * Of a ring's entries one always stays empty, since head = tail means that the hardware owns none.
 */
#include "drivers/e1000/e1000.h"

#include "drivers/e1000/chip.h"

#define RING_SIZE 256
#define SLOT_SIZE 2048
#define RX_BATCH                                                                                   \
	32 /* entries given back to the hardware at once: a register write may be an exit */

#define TX_IDLE UINT64_MAX

/* All memory that the device sees, in one piece. */
struct shared {
	uint8_t rx_slot[RING_SIZE][SLOT_SIZE];
	uint8_t tx_slot[RING_SIZE][SLOT_SIZE];
	struct e1000_rx_desc rx_ring[RING_SIZE];
	struct e1000_tx_desc tx_ring[RING_SIZE];
};

_Static_assert(
	NIC_FRAME_MAX + 4 <= SLOT_SIZE, "a slot holds a frame, and a VLAN tag that is too much");
_Static_assert(RING_SIZE * sizeof(struct e1000_rx_desc) % 128 == 0, "\"RDLEN\", \"TDLEN\"");

struct e1000 {
	struct nic nic;
	struct e1000_chip chip;
	struct shared *shared;
	uint64_t shared_physical;
	uint16_t rx_next;         /* the entry that is filled next */
	uint16_t rx_taken;        /* entries emptied and not given back yet */
	bool rx_in_pieces;        /* the last descriptor did not end its frame */
	uint16_t tx_next;         /* the entry that the next frame goes to */
	uint16_t tx_oldest;       /* the first entry that is not known to be sent */
	uint16_t tx_shown;        /* the tail as the hardware knows it */
	uint64_t tx_done;         /* entries known to be sent, ever */
	uint64_t tx_done_at_tick; /* that, or TX_IDLE when nothing was waiting */
};

static struct e1000 *from_nic(struct nic *nic)
{
	return CONTAINER_OF(nic, struct e1000, nic);
}

static uint16_t ring_next(uint16_t i)
{
	return (uint16_t)((i + 1) % RING_SIZE);
}

/* ---- receive --------------------------------------------------------------------------------- */

static bool rx_ready(const struct e1000 *e)
{
	const struct e1000_rx_desc *d = &e->shared->rx_ring[e->rx_next];

	return __atomic_load_n(&d->status, __ATOMIC_ACQUIRE) & RX_DONE;
}

/*
 * The descriptor of the frame in slot rx_next; each field is read once, the hardware may write it
 * at any time. A frame that spans descriptors is longer than any that we take, and dropped to its
 * end.
 */
static void take_frame(
	struct e1000 *e, const volatile struct e1000_rx_desc *d, nic_rx *rx, void *ctx)
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
	e1000_write(&e->chip, E1000_RDT, (e->rx_next + RING_SIZE - 1u) % RING_SIZE);
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

/* ---- transmit -------------------------------------------------------------------------------- */

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

static void flush(struct nic *nic)
{
	struct e1000 *e = from_nic(nic);

	if (e->tx_shown == e->tx_next)
		return;
	e->tx_shown = e->tx_next;
	e1000_write(&e->chip, E1000_TDT, e->tx_shown);
	nic->counters.notifies++;
}

static int send(struct nic *nic, const void *frame, size_t length)
{
	struct e1000 *e = from_nic(nic);
	int r = nic_check_length(nic, length);

	if (r)
		return r;
	if (!tx_has_room(e)) {
		flush(nic); /* the hardware must know of all, or none would ever be sent */
		reclaim(e);
	}
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

/* ---- interrupts ------------------------------------------------------------------------------ */

/* Reading the cause clears it; left alone, it would interrupt again as soon as it is asked for. */
static void on_interrupt(void *arg)
{
	struct e1000 *e = arg;

	e->nic.counters.interrupts++;
	e1000_write(&e->chip, E1000_IMC, UINT32_MAX);
	e1000_read(&e->chip, E1000_ICR);
}

static bool irq_enable(struct nic *nic)
{
	struct e1000 *e = from_nic(nic);

	if (!nic->needs_poll)
		e1000_write(&e->chip, E1000_IMS, INT_RX | INT_RX_LOW | INT_RX_OVERRUN | INT_LINK);
	return rx_ready(e);
}

static void irq_disable(struct nic *nic)
{
	if (!nic->needs_poll)
		e1000_write(&from_nic(nic)->chip, E1000_IMC, UINT32_MAX);
}

static void take_vector(struct e1000 *e)
{
	const struct driver_env *env = e->chip.env;
	uint64_t address;
	uint32_t data;

	e->nic.needs_poll = !env->irq_alloc ||
			    env->irq_alloc(env->ctx, on_interrupt, e, &address, &data) ||
			    pci_msi_enable(&e->chip.pci, address, data);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* The registers of both rings lie alike. */
static void set_ring(struct e1000 *e, enum e1000_reg base, size_t offset, size_t size)
{
	uint64_t physical = e->shared_physical + offset;

	e1000_write(&e->chip, base, (uint32_t)physical);
	e1000_write(&e->chip, base + (E1000_RDBAH - E1000_RDBAL), (uint32_t)(physical >> 32));
	e1000_write(&e->chip, base + (E1000_RDLEN - E1000_RDBAL), (uint32_t)size);
	e1000_write(&e->chip, base + (E1000_RDH - E1000_RDBAL), 0);
	e1000_write(&e->chip, base + (E1000_RDT - E1000_RDBAL), 0);
}

static void start_receive(struct e1000 *e)
{
	struct shared *s = e->shared;

	for (unsigned i = 0; i < RING_SIZE; i++) {
		s->rx_ring[i] = (struct e1000_rx_desc){
			.address = e->shared_physical + offsetof(struct shared, rx_slot) +
				   i * SLOT_SIZE,
		};
	}
	e->rx_next = e->rx_taken = 0;
	e->rx_in_pieces = false;
	set_ring(e, E1000_RDBAL, offsetof(struct shared, rx_ring), sizeof(s->rx_ring));
	e1000_write(&e->chip, E1000_RCTL, RCTL_ENABLE | RCTL_BROADCAST | RCTL_STRIP_CRC);
	e1000_write(&e->chip, E1000_RDT, RING_SIZE - 1);
}

static void start_transmit(struct e1000 *e)
{
	e->tx_next = e->tx_oldest = e->tx_shown = 0;
	e->tx_done_at_tick = TX_IDLE;
	set_ring(e, E1000_TDBAL, offsetof(struct shared, tx_ring), sizeof(e->shared->tx_ring));
	e1000_write(&e->chip, E1000_TIPG, TIPG_COPPER);
	e1000_write(
		&e->chip, E1000_TCTL, TCTL_ENABLE | TCTL_PAD | TCTL_COLLISIONS | TCTL_BACKOFF_FULL);
}

/* From reset to running. Also starts a running device over: what was in its rings is lost. */
static int start(struct e1000 *e)
{
	int r = e1000_chip_reset(&e->chip, e->nic.mac);

	if (r)
		return r;
	r = pci_master_on(&e->chip.pci);
	if (r)
		return r;
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

	nic->link_up = e1000_read(&e->chip, E1000_STATUS) & STATUS_LINK_UP;
	nic->counters.rx_errors += e1000_read(&e->chip, E1000_CRCERRS);
	nic->counters.rx_missed += e1000_read(&e->chip, E1000_MPC);
	if (!transmit_hangs(e))
		return;
	nic->counters.resets++;
	int r = start(e);
	driver_log(e->chip.env, DRIVER_WARN, "e1000: %s stopped sending; started over: %s",
		nic->place, err_str(r));
}

static const struct nic_ops ops = {
	.send = send,
	.flush = flush,
	.poll = poll,
	.irq_enable = irq_enable,
	.irq_disable = irq_disable,
	.tick = tick,
};

int e1000_open(const struct driver_env *env, const struct pci_function *f, struct nic **nic)
{
	struct e1000_chip chip;
	uint64_t physical;
	int r = e1000_chip_open(&chip, env, f);

	if (r)
		return r;
	/* Our own state is ordinary memory; only its address in `shared` is told to the device. */
	struct e1000 *e = env->dma_alloc(env->ctx, sizeof(*e), &physical);
	if (!e)
		return ERR_NOMEM;
	e->shared = env->dma_alloc(env->ctx, sizeof(*e->shared), &e->shared_physical);
	if (!e->shared) {
		r = ERR_NOMEM;
		goto free_state;
	}
	e->chip = chip;
	e->nic.ops = &ops;
	e->nic.driver = "e1000";
	e->nic.mtu = NIC_MTU;
	pci_place(f, e->nic.place);
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
