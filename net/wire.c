/* Parsers and builders of every header but TCP's, which has a file of its own. */
#include "net/wire.h"

#include "lib/bytes.h"
#include "lib/string.h"
#include "net/checksum.h"

#define ARP_HARDWARE_ETHERNET 1

#define IPV4_VERSION       4
#define IPV4_DONT_FRAGMENT 0x4000
#define IPV4_MORE_OR_OFFSET 0x3fff /* the MF flag and the fragment offset */
#define IPV4_TTL           64
#define IPV4_IHL_MIN       5

bool mac_is_group(const uint8_t mac[NET_MAC_LEN])
{
	return mac[0] & 1;
}

struct eth_header *eth_parse(struct span *in, struct eth_header *out, struct net_stats *stats)
{
	const uint8_t *p = span_consume(in, ETH_HEADER_LEN);

	if (!p || in->len > NET_MTU) {
		stats->rx_drop_length++;
		return NULL;
	}
	memcpy(out->dst, p, NET_MAC_LEN);
	memcpy(out->src, p + 6, NET_MAC_LEN);
	out->type = load_be16(p + 12);
	return out;
}

void eth_build(struct pkt *p, const uint8_t dst[NET_MAC_LEN], const uint8_t src[NET_MAC_LEN],
	uint16_t type)
{
	uint8_t *h = pkt_prepend(p, ETH_HEADER_LEN);

	memcpy(h, dst, NET_MAC_LEN);
	memcpy(h + 6, src, NET_MAC_LEN);
	store_be16(h + 12, type);
}

struct arp_packet *arp_parse(struct span *in, struct arp_packet *out, struct net_stats *stats)
{
	const uint8_t *p = span_consume(in, ARP_LEN);

	if (!p || load_be16(p) != ARP_HARDWARE_ETHERNET || load_be16(p + 2) != ETHERTYPE_IPV4 ||
		p[4] != NET_MAC_LEN || p[5] != 4) {
		stats->rx_drop_arp++;
		return NULL;
	}
	out->op = load_be16(p + 6);
	memcpy(out->sender_mac, p + 8, NET_MAC_LEN);
	out->sender = load_be32(p + 14);
	memcpy(out->target_mac, p + 18, NET_MAC_LEN);
	out->target = load_be32(p + 24);
	if ((out->op != ARP_REQUEST && out->op != ARP_REPLY) || mac_is_group(out->sender_mac)) {
		stats->rx_drop_arp++;
		return NULL;
	}
	return out;
}

void arp_build(struct pkt *p, const struct arp_packet *arp)
{
	uint8_t *h = pkt_prepend(p, ARP_LEN);

	store_be16(h, ARP_HARDWARE_ETHERNET);
	store_be16(h + 2, ETHERTYPE_IPV4);
	h[4] = NET_MAC_LEN;
	h[5] = 4;
	store_be16(h + 6, arp->op);
	memcpy(h + 8, arp->sender_mac, NET_MAC_LEN);
	store_be32(h + 14, arp->sender);
	memcpy(h + 18, arp->target_mac, NET_MAC_LEN);
	store_be32(h + 24, arp->target);
}

/* The header; its options are skipped. NULL if it contradicts itself. */
static const uint8_t *ipv4_take(struct span *in, struct ipv4_header *out, size_t *header_len)
{
	const uint8_t *p = in->data;

	if (in->len < IPV4_HEADER_LEN || p[0] >> 4 != IPV4_VERSION || (p[0] & 0xf) < IPV4_IHL_MIN)
		return NULL;
	*header_len = (size_t)(p[0] & 0xf) * 4;
	if (load_be16(p + 2) < *header_len || !span_consume(in, *header_len))
		return NULL;
	*out = (struct ipv4_header){
		.ttl = p[8],
		.protocol = p[9],
		.src = load_be32(p + 12),
		.dst = load_be32(p + 16),
		.raw = p,
		.raw_len = load_be16(p + 2),
	};
	return p;
}

struct ipv4_header *ipv4_parse(struct span *in, struct ipv4_header *out, struct net_stats *stats)
{
	size_t header_len;
	const uint8_t *p = ipv4_take(in, out, &header_len);

	if (!p || !span_trim(in, out->raw_len - header_len)) {
		stats->rx_drop_ip_header++;
		return NULL;
	}
	if (checksum_fold(checksum_add(0, p, header_len)) != 0) {
		stats->rx_drop_ip_checksum++;
		return NULL;
	}
	if (load_be16(p + 6) & IPV4_MORE_OR_OFFSET) {
		stats->rx_drop_ip_fragment++;
		return NULL;
	}
	return out;
}

struct ipv4_header *ipv4_parse_quoted(struct span *in, struct ipv4_header *out)
{
	size_t header_len;

	return ipv4_take(in, out, &header_len) ? out : NULL;
}

void ipv4_build(struct pkt *p, uint32_t src, uint32_t dst, uint8_t protocol)
{
	uint8_t *h = pkt_prepend(p, IPV4_HEADER_LEN);

	h[0] = IPV4_VERSION << 4 | IPV4_IHL_MIN;
	h[1] = 0;
	store_be16(h + 2, (uint16_t)p->len);
	store_be16(h + 4, 0); /* RFC 6864: without meaning when the datagram is never fragmented */
	store_be16(h + 6, IPV4_DONT_FRAGMENT);
	h[8] = IPV4_TTL;
	h[9] = protocol;
	store_be16(h + 10, 0);
	store_be32(h + 12, src);
	store_be32(h + 16, dst);
	store_be16(h + 10, checksum_fold(checksum_add(0, h, IPV4_HEADER_LEN)));
}

struct icmp_header *icmp_parse(struct span *in, struct icmp_header *out, struct net_stats *stats)
{
	uint64_t sum = checksum_add(0, in->data, in->len);
	const uint8_t *p = span_consume(in, ICMP_HEADER_LEN);

	if (!p) {
		stats->rx_drop_icmp_header++;
		return NULL;
	}
	if (checksum_fold(sum) != 0) {
		stats->rx_drop_icmp_checksum++;
		return NULL;
	}
	*out = (struct icmp_header){.type = p[0], .code = p[1], .rest = load_be32(p + 4)};
	return out;
}

void icmp_build(struct pkt *p, const struct icmp_header *icmp)
{
	uint8_t *h = pkt_prepend(p, ICMP_HEADER_LEN);

	h[0] = icmp->type;
	h[1] = icmp->code;
	store_be16(h + 2, 0);
	store_be32(h + 4, icmp->rest);
	store_be16(h + 2, checksum_fold(checksum_add(0, h, p->len)));
}

struct udp_header *udp_parse(struct span *in, const struct ipv4_header *ip, struct udp_header *out,
	struct net_stats *stats)
{
	const uint8_t *p = in->data;
	size_t len;

	if (in->len < UDP_HEADER_LEN)
		goto malformed;
	len = load_be16(p + 4);
	if (len < UDP_HEADER_LEN || !span_trim(in, len) || load_be16(p + 2) == 0)
		goto malformed;
	/* RFC 768: a checksum of 0 means that the sender made none. */
	if (load_be16(p + 6) != 0 &&
		checksum_fold(checksum_add(
			checksum_pseudo(ip->src, ip->dst, IP_UDP, len), p, len)) != 0) {
		stats->rx_drop_udp_checksum++;
		return NULL;
	}
	span_consume(in, UDP_HEADER_LEN);
	*out = (struct udp_header){.src_port = load_be16(p), .dst_port = load_be16(p + 2)};
	return out;

malformed:
	stats->rx_drop_udp_header++;
	return NULL;
}

void udp_build(struct pkt *p, uint32_t src, uint32_t dst, const struct udp_header *udp)
{
	uint8_t *h = pkt_prepend(p, UDP_HEADER_LEN);
	uint16_t sum;

	store_be16(h, udp->src_port);
	store_be16(h + 2, udp->dst_port);
	store_be16(h + 4, (uint16_t)p->len);
	store_be16(h + 6, 0);
	sum = checksum_fold(checksum_add(checksum_pseudo(src, dst, IP_UDP, p->len), h, p->len));
	/* 0 would mean "none"; its complement sums to the same. */
	store_be16(h + 6, sum ? sum : 0xffff);
}
