#include "hv/dev/vnet.h"

#include "lib/bytes.h"
#include "lib/string.h"
#include "net/checksum.h"

#define PCI_NETWORK 0x02

#define FEATURE_MTU (1ull << 3)
#define FEATURE_MAC (1ull << 5)
#define CONFIG_MTU  10 /* offset; the address is at 0 */

enum { QUEUE_IN = 0, QUEUE_OUT = 1, QUEUES = 2 };

#define VIRTIO_HEADER 12u /* "struct virtio_net_hdr", which ends with num_buffers */
#define MTU           1500u
#define FRAME_MAX     (14u + MTU)

/* Shared address space (RFC 6598), cut in /30: 2^20 of them. */
#define NETWORK       0x64400000u
#define NETWORKS_MASK 0xfffffu

/* Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC 792). */
enum {
	ETH_TO = 0, ETH_FROM = 6, ETH_TYPE = 12, ETH_SIZE = 14,
	ARP_OPERATION = ETH_SIZE + 6, ARP_FROM_MAC = ETH_SIZE + 8, ARP_FROM = ETH_SIZE + 14,
	ARP_TO_MAC = ETH_SIZE + 18, ARP_TO = ETH_SIZE + 24, ARP_END = ETH_SIZE + 28,
	IP_LENGTH = ETH_SIZE + 2, IP_FRAGMENT = ETH_SIZE + 6, IP_PROTOCOL = ETH_SIZE + 9,
	IP_FROM = ETH_SIZE + 12, IP_TO = ETH_SIZE + 16, IP_SIZE = 20,
	ICMP_TYPE = ETH_SIZE + IP_SIZE, ICMP_CHECKSUM = ICMP_TYPE + 2, ICMP_SIZE = 8,
};

#define TYPE_IPV4      0x0800
#define TYPE_ARP       0x0806
#define ARP_REQUEST    1
#define ARP_REPLY      2
#define IP_PLAIN       0x45 /* version 4, no options */
#define IP_PIECES      0x3fff /* more fragments, and the offset */
#define PROTOCOL_ICMP  1
#define ICMP_ECHO      8
#define ICMP_REPLY     0
#define MAC_SIZE       6

/* Locally administered. The gateway's, and in front of the last three bytes of a guest's number. */
static const uint8_t gateway_mac[MAC_SIZE] = {0x02, 0xc7, 0xee, 0, 0, 1};
static const uint8_t guest_mac[] = {0x06, 0xc7, 0xee};

/* Of the ARP header: Ethernet, IPv4, and the sizes of their addresses. */
static const uint8_t arp_kind[] = {0, 1, 8, 0, MAC_SIZE, 4};

void vnet_mac(uint64_t guest, uint8_t mac[MAC_SIZE])
{
	memcpy(mac, guest_mac, sizeof(guest_mac));
	for (unsigned i = 0; i < 3; i++)
		mac[3 + i] = (uint8_t)(guest >> 8 * (2 - i));
}

uint32_t vnet_gateway(uint64_t guest)
{
	return NETWORK + (uint32_t)(guest & NETWORKS_MASK) * 4 + 1;
}

static void show_own(const struct virtio_model *model, uint64_t value, uint8_t out[VIRTIO_CONFIG_SIZE])
{
	(void)model;
	vnet_mac(value, out);
	store_le16(out + CONFIG_MTU, MTU);
}

const struct virtio_model vnet_model = {
	.type = 1,
	.class = PCI_NETWORK,
	.queues = QUEUES,
	.features = FEATURE_MAC | FEATURE_MTU,
	.config = show_own,
};

void vnet_become(struct vnet *n, struct virtio *v, uint64_t guest)
{
	v->value = guest;
	/* A driver that has not begun has nothing that it could send as somebody else. */
	n->held = virtio_ready(v);
}

void vnet_release(struct vnet *n)
{
	n->held = false;
}

/* ---- the gateway ------------------------------------------------------------------------------ */

/* The address that a guest has, beside its gateway's. */
static uint32_t own_address(uint64_t guest)
{
	return vnet_gateway(guest) + 1;
}

/* It comes from the guest's own card, to the gateway's or, where that may be, to all. */
static bool from_guest(const uint8_t *frame, uint64_t guest, bool to_all)
{
	static const uint8_t all[MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t mac[MAC_SIZE];

	vnet_mac(guest, mac);
	if (memcmp(frame + ETH_FROM, mac, MAC_SIZE) != 0)
		return false;
	return memcmp(frame + ETH_TO, gateway_mac, MAC_SIZE) == 0 ||
	       (to_all && memcmp(frame + ETH_TO, all, MAC_SIZE) == 0);
}

/* Frames are answered in place: true when `frame` is the answer now. */
static bool answer_arp(uint8_t *frame, size_t size, uint64_t guest)
{
	uint8_t asker[4];

	if (size < ARP_END || memcmp(frame + ETH_SIZE, arp_kind, sizeof(arp_kind)) != 0)
		return false;
	if (load_be16(frame + ARP_OPERATION) != ARP_REQUEST ||
		load_be32(frame + ARP_TO) != vnet_gateway(guest))
		return false;
	/* RFC 5227, "Probe Details": 0 asks for nobody yet. */
	if (load_be32(frame + ARP_FROM) && load_be32(frame + ARP_FROM) != own_address(guest))
		return false;
	if (!from_guest(frame, guest, true) ||
		memcmp(frame + ARP_FROM_MAC, frame + ETH_FROM, MAC_SIZE) != 0)
		return false;
	memcpy(asker, frame + ARP_FROM, sizeof(asker));
	memcpy(frame + ARP_TO_MAC, frame + ARP_FROM_MAC, MAC_SIZE);
	memcpy(frame + ARP_FROM, frame + ARP_TO, sizeof(asker));
	memcpy(frame + ARP_TO, asker, sizeof(asker));
	memcpy(frame + ARP_FROM_MAC, gateway_mac, MAC_SIZE);
	frame[ARP_OPERATION + 1] = ARP_REPLY;
	return true;
}

static bool answer_ping(uint8_t *frame, size_t size, uint64_t guest)
{
	uint8_t asker[4];

	if (size < ICMP_TYPE + ICMP_SIZE || frame[ETH_SIZE] != IP_PLAIN)
		return false;
	size_t length = load_be16(frame + IP_LENGTH);

	if (length < IP_SIZE + ICMP_SIZE || length > size - ETH_SIZE)
		return false;
	if (!from_guest(frame, guest, false) || load_be32(frame + IP_FROM) != own_address(guest) ||
		load_be32(frame + IP_TO) != vnet_gateway(guest))
		return false;
	if (frame[IP_PROTOCOL] != PROTOCOL_ICMP ||
		(load_be16(frame + IP_FRAGMENT) & IP_PIECES) || frame[ICMP_TYPE] != ICMP_ECHO)
		return false;
	if (checksum_fold(checksum_add(0, frame + ETH_SIZE, IP_SIZE)) ||
		checksum_fold(checksum_add(0, frame + ICMP_TYPE, length - IP_SIZE)))
		return false;
	memcpy(asker, frame + IP_FROM, sizeof(asker));
	memcpy(frame + IP_FROM, frame + IP_TO, sizeof(asker));
	memcpy(frame + IP_TO, asker, sizeof(asker)); /* the header's sum stays the same */
	frame[ICMP_TYPE] = ICMP_REPLY;
	memset(frame + ICMP_CHECKSUM, 0, 2);
	store_be16(frame + ICMP_CHECKSUM,
		checksum_fold(checksum_add(0, frame + ICMP_TYPE, length - IP_SIZE)));
	return true;
}

static bool answer(uint8_t *frame, size_t size, uint64_t guest)
{
	bool answered = false;

	if (size < ETH_SIZE)
		return false;
	if (load_be16(frame + ETH_TYPE) == TYPE_ARP)
		answered = answer_arp(frame, size, guest);
	else if (load_be16(frame + ETH_TYPE) == TYPE_IPV4)
		answered = answer_ping(frame, size, guest);
	if (!answered)
		return false;
	memcpy(frame + ETH_TO, frame + ETH_FROM, MAC_SIZE);
	memcpy(frame + ETH_FROM, gateway_mac, MAC_SIZE);
	return true;
}

/* ---- queues ----------------------------------------------------------------------------------- */

/* A frame to the guest, behind an empty header; *lost when it has no buffer for it. */
static int deliver(struct virtio *v, const struct virtio_env *env, const uint8_t *frame, size_t size,
	bool *lost)
{
	uint8_t header[VIRTIO_HEADER] = {[10] = 1}; /* one buffer */
	struct vring *q = &v->queue[QUEUE_IN];
	struct vring_chain chain;
	int err = vring_next(q, env->mem, &chain);

	*lost = err == ERR_NOENT;
	if (*lost)
		return OK;
	if (!err && chain.writable < sizeof(header) + size)
		err = ERR_INVALID;
	if (!err)
		err = vring_prepare(q, env->mem, env->core, &chain, sizeof(header) + size);
	if (!err)
		err = vring_write(env->mem, env->core, &chain, 0, header, sizeof(header));
	if (!err)
		err = vring_write(env->mem, env->core, &chain, sizeof(header), frame, size);
	if (!err)
		err = vring_give(q, env->mem, env->core, &chain, (uint32_t)(sizeof(header) + size));
	return err;
}

/* The frame of a chain, to whom it is for. */
static int forward(struct vnet *net, struct virtio *v, const struct virtio_env *env,
	const struct vring_chain *chain, bool *delivered)
{
	uint8_t frame[FRAME_MAX];
	size_t size = vring_read(env->mem, chain, VIRTIO_HEADER, frame, sizeof(frame));
	bool lost = net->held || chain->readable > VIRTIO_HEADER + sizeof(frame) ||
		    !answer(frame, size, v->value);
	int err = lost ? OK : deliver(v, env, frame, size, &lost);

	if (!err)
		net->dropped += lost;
	*delivered |= !err && !lost;
	return err;
}

int vnet_notify(struct vnet *net, struct virtio *v, const struct virtio_env *env, unsigned n)
{
	struct vring *q = &v->queue[QUEUE_OUT];
	struct vring_chain chain;
	bool sent = false, delivered = false;
	int err;

	if (n != QUEUE_OUT)
		return OK;
	vring_begin(q);
	vring_begin(&v->queue[QUEUE_IN]);
	while (!(err = vring_next(q, env->mem, &chain))) {
		err = vring_prepare(q, env->mem, env->core, &chain, 0);
		if (!err)
			err = forward(net, v, env, &chain, &delivered);
		if (!err)
			err = vring_give(q, env->mem, env->core, &chain, 0);
		if (err)
			break;
		sent = true;
	}
	if (sent)
		virtio_used(v, env, QUEUE_OUT);
	if (delivered)
		virtio_used(v, env, QUEUE_IN);
	return virtio_conclude(v, env, err);
}
