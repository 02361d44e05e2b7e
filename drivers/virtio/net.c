/*
 * virtio-net (virtio 1.2, "Network Device"). Every buffer is one slot of DMA memory that holds the
 * virtio header and one frame; the slot of a buffer is its id. Received frames are handed over
 * where they lie; frames to send are copied into their slot.
 *
 * Interrupts are asked for on the receive queue alone. Sent buffers are taken back when there is no
 * free one left, so a sent frame costs no interrupt and a burst of them one notification.
 */
#include "drivers/virtio/net.h"

#include "drivers/virtio/device.h"
#include "lib/string.h"

#define TYPE_NET 1

/* "Feature bits" and "Device configuration layout" of the network device. */
#define FEATURE_MTU    (1ull << 3)
#define FEATURE_MAC    (1ull << 5)
#define FEATURE_STATUS (1ull << 16)
#define CONFIG_MAC     0
#define CONFIG_STATUS  6
#define CONFIG_MTU     10
#define CONFIG_LINK_UP 1

#define QUEUE_RX 0
#define QUEUE_TX 1

#define RING_SIZE 256
#define SLOT_SIZE 2048

/* "Packet Transmission": with no offload agreed upon, all its fields are 0. */
struct virtio_net_header {
	uint8_t flags, gso_type;
	uint16_t header_length, gso_size, checksum_start, checksum_offset;
	uint16_t buffer_count;
};

_Static_assert(sizeof(struct virtio_net_header) == 12, "virtio 1.2, \"Device Operation\"");
_Static_assert(
	sizeof(struct virtio_net_header) + NIC_FRAME_MAX <= SLOT_SIZE, "a slot holds a frame");

/* All memory that the device sees, in one piece. */
struct shared {
	uint8_t rx_slot[RING_SIZE][SLOT_SIZE];
	uint8_t tx_slot[RING_SIZE][SLOT_SIZE];
	uint8_t rx_ring[VIRTQ_MEMORY_SIZE(RING_SIZE)] ALIGNED(PAGE_SIZE);
	uint8_t tx_ring[VIRTQ_MEMORY_SIZE(RING_SIZE)] ALIGNED(PAGE_SIZE);
};

struct virtio_net {
	struct nic nic;
	struct virtio_device device;
	struct virtio_queue rx, tx;
	struct shared *shared;
	uint64_t shared_physical;
};

static struct virtio_net *from_nic(struct nic *nic)
{
	return CONTAINER_OF(nic, struct virtio_net, nic);
}

/* ---- receive --------------------------------------------------------------------------------- */

static void post_rx(struct virtio_net *net, uint16_t id)
{
	uint64_t physical =
		net->shared_physical + offsetof(struct shared, rx_slot) + (uint64_t)id * SLOT_SIZE;

	virtq_post(&net->rx.ring, id, physical, SLOT_SIZE, true);
}

static void deliver(struct virtio_net *net, uint16_t id, uint32_t length, nic_rx *rx, void *ctx)
{
	const size_t header = sizeof(struct virtio_net_header);
	struct nic_counters *c = &net->nic.counters;

	if (length < header + NIC_HEADER_SIZE || length > header + NIC_FRAME_MAX) {
		c->rx_errors++;
		return;
	}
	c->rx_frames++;
	c->rx_bytes += length - header;
	rx(ctx, net->shared->rx_slot[id] + header, length - header);
}

static void kick(struct virtio_net *net, struct virtio_queue *q)
{
	if (virtio_kick(q))
		net->nic.counters.notifies++;
}

/* A broken ring yields nothing until the next tick starts the device over. */
static unsigned poll(struct nic *nic, unsigned budget, nic_rx *rx, void *ctx)
{
	struct virtio_net *net = from_nic(nic);
	unsigned n = 0;
	uint32_t length;
	uint16_t id;

	while (n < budget && virtq_pop(&net->rx.ring, &id, &length) > 0) {
		deliver(net, id, length, rx, ctx);
		post_rx(net, id);
		n++;
	}
	kick(net, &net->rx);
	return n;
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void reclaim(struct virtio_net *net)
{
	uint32_t length;
	uint16_t id;

	while (virtq_pop(&net->tx.ring, &id, &length) > 0)
		virtq_release(&net->tx.ring, id);
}

/* When all are in use, the device must know of them, or none would ever come back. */
static int take_tx(struct virtio_net *net, uint16_t *id)
{
	if (virtq_take(&net->tx.ring, id) == 0)
		return 0;
	kick(net, &net->tx);
	reclaim(net);
	return virtq_take(&net->tx.ring, id);
}

static int send(struct nic *nic, const void *frame, size_t length)
{
	const size_t header = sizeof(struct virtio_net_header);
	struct virtio_net *net = from_nic(nic);
	int r = nic_check_length(nic, length);
	uint16_t id;

	if (r)
		return r;
	if (take_tx(net, &id)) {
		nic->counters.tx_full++;
		return ERR_AGAIN;
	}

	uint8_t *slot = net->shared->tx_slot[id];
	uint64_t physical = net->shared_physical + (uint64_t)(slot - (uint8_t *)net->shared);

	memset(slot, 0, header);
	size_t padded = nic_copy_frame(slot + header, frame, length);
	virtq_post(&net->tx.ring, id, physical, (uint32_t)(header + padded), false);
	nic->counters.tx_frames++;
	nic->counters.tx_bytes += length;
	return 0;
}

static void flush(struct nic *nic)
{
	struct virtio_net *net = from_nic(nic);

	kick(net, &net->tx);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void on_interrupt(void *arg)
{
	struct virtio_net *net = arg;

	net->nic.counters.interrupts++;
	if (net->rx.ring.avail) /* a device may interrupt before it was told to */
		virtq_interrupts(&net->rx.ring, false);
}

static bool irq_enable(struct nic *nic)
{
	struct virtio_net *net = from_nic(nic);

	if (!nic->needs_poll)
		virtq_interrupts(&net->rx.ring, true);
	return !net->rx.ring.broken && virtq_pending(&net->rx.ring);
}

static void irq_disable(struct nic *nic)
{
	virtq_interrupts(&from_nic(nic)->rx.ring, false);
}

/* ---- starting, and starting over ------------------------------------------------------------- */

static int read_identity(struct virtio_net *net)
{
	struct nic *nic = &net->nic;
	uint16_t mtu = NIC_MTU;
	int r = virtio_config(&net->device, CONFIG_MAC, 1, NIC_MAC_SIZE, nic->mac);

	if (!r && net->device.features & FEATURE_MTU)
		r = virtio_config(&net->device, CONFIG_MTU, 2, 1, &mtu);
	if (r)
		return r;
	nic->mtu = (uint16_t)MIN(mtu, NIC_MTU);
	return nic_mac_is_usable(nic->mac) && mtu >= NIC_MTU_MIN ? 0 : ERR_UNSUPPORTED;
}

static void read_link(struct virtio_net *net)
{
	uint16_t status = CONFIG_LINK_UP;

	if (net->device.features & FEATURE_STATUS &&
		virtio_config(&net->device, CONFIG_STATUS, 2, 1, &status))
		return;
	net->nic.link_up = status & CONFIG_LINK_UP;
}

static int start_queues(struct virtio_net *net)
{
	struct shared *s = net->shared;
	uint64_t rx_ring = net->shared_physical + offsetof(struct shared, rx_ring);
	uint64_t tx_ring = net->shared_physical + offsetof(struct shared, tx_ring);
	int r = virtio_queue(
		&net->device, &net->rx, QUEUE_RX, RING_SIZE, s->rx_ring, rx_ring, true);

	if (r)
		return r;
	return virtio_queue(
		&net->device, &net->tx, QUEUE_TX, RING_SIZE, s->tx_ring, tx_ring, false);
}

/* From reset to running. Also starts a running device over: what was in its rings is lost. */
static int start(struct virtio_net *net)
{
	struct virtio_device *d = &net->device;
	uint16_t id;
	int r = virtio_begin(d, VIRTIO_F_VERSION_1 | FEATURE_MAC,
		VIRTIO_F_ACCESS_PLATFORM | FEATURE_STATUS | FEATURE_MTU);

	if (r)
		return r;
	r = read_identity(net);
	if (r)
		return r;
	r = start_queues(net);
	if (r)
		return r;
	net->nic.needs_poll = !d->has_vector;
	virtio_run(d);
	while (virtq_take(&net->rx.ring, &id) == 0)
		post_rx(net, id);
	kick(net, &net->rx);
	read_link(net);
	return 0;
}

static void tick(struct nic *nic)
{
	struct virtio_net *net = from_nic(nic);

	if (!net->rx.ring.broken && !net->tx.ring.broken && !virtio_needs_reset(&net->device)) {
		read_link(net);
		return;
	}
	nic->counters.resets++;
	int r = start(net);
	driver_log(net->device.env, DRIVER_WARN, "virtio-net: %s broke down; started over: %s",
		nic->place, err_str(r));
	if (r) {
		/* Stays so, moving nothing, and is tried again at the next tick. */
		net->rx.ring.broken = true;
		net->tx.ring.broken = true;
		nic->link_up = false;
	}
}

static const struct nic_ops ops = {
	.send = send,
	.flush = flush,
	.poll = poll,
	.irq_enable = irq_enable,
	.irq_disable = irq_disable,
	.tick = tick,
};

int virtio_net_open(const struct driver_env *env, const struct pci_function *f, struct nic **nic)
{
	struct virtio_device device;
	uint64_t physical;

	if (!virtio_is(f, TYPE_NET))
		return ERR_UNSUPPORTED;
	int r = virtio_open(&device, env, f);
	if (r)
		return r;
	/* Our own state is ordinary memory; only its address in `shared` is told to the device. */
	struct virtio_net *net = env->dma_alloc(env->ctx, sizeof(*net), &physical);
	if (!net)
		return ERR_NOMEM;
	net->shared = env->dma_alloc(env->ctx, sizeof(*net->shared), &net->shared_physical);
	if (!net->shared) {
		r = ERR_NOMEM;
		goto free_state;
	}
	net->device = device;
	net->nic.ops = &ops;
	net->nic.driver = "virtio-net";
	pci_place(f, net->nic.place);
	virtio_take_vector(&net->device, on_interrupt, net);
	r = start(net);
	if (r)
		goto stop;
	*nic = &net->nic;
	return 0;
stop:
	virtio_stop(&net->device);
	env->dma_free(env->ctx, net->shared, sizeof(*net->shared));
free_state:
	env->dma_free(env->ctx, net, sizeof(*net));
	return r;
}
