#include "net/ipv4.h"

#include "net/icmp.h"
#include "net/stack.h"
#include "net/tcp_conn.h"

#define IPV4_LOOPBACK_NET  127u
#define IPV4_MULTICAST     0xe0000000u /* class D, and class E above it */

bool ipv4_is_broadcast(const struct net_stack *s, uint32_t addr)
{
	const struct net_address *a = &s->address;

	/* On a /31 (RFC 3021) and a /32 every address is a host's. */
	return addr == IPV4_BROADCAST ||
	       (a->addr != 0 && ~a->mask > 1 && addr == (a->addr | ~a->mask));
}

/* RFC 1122, "Addressing": what never is the address of one host. */
static bool is_host(const struct net_stack *s, uint32_t addr)
{
	return addr >> 24 != 0 && addr >> 24 != IPV4_LOOPBACK_NET && addr < IPV4_MULTICAST &&
	       !ipv4_is_broadcast(s, addr);
}

bool ipv4_is_neighbour(const struct net_stack *s, uint32_t addr)
{
	const struct net_address *a = &s->address;

	return net_same_link(a, addr) && addr != a->addr && is_host(s, addr);
}

static bool mask_is_contiguous(uint32_t mask)
{
	return mask != 0 && (~mask & (~mask + 1)) == 0;
}

bool net_address_valid(const struct net_address *a)
{
	bool host = a->addr >> 24 != 0 && a->addr >> 24 != IPV4_LOOPBACK_NET &&
		    a->addr < IPV4_MULTICAST;
	uint32_t host_part = a->addr & ~a->mask;

	/* Neither "this network" nor its broadcast address, where those exist (RFC 3021). */
	return host && mask_is_contiguous(a->mask) &&
	       (~a->mask <= 1 || (host_part != 0 && host_part != ~a->mask));
}

/* Before DHCP has given an address, unicast to whatever address may be its answer. */
static bool is_for_us(const struct net_stack *s, const struct ipv4_header *ip)
{
	return ip->dst == s->address.addr || ipv4_is_broadcast(s, ip->dst) ||
	       (s->address.addr == 0 && ip->protocol == IP_UDP);
}

void ipv4_input(struct net_stack *s, struct span in)
{
	struct ipv4_header ip;

	if (!ipv4_parse(&in, &ip, &s->stats))
		return;
	if (!is_host(s, ip.src) || ip.src == s->address.addr) {
		s->stats.rx_drop_ip_source++;
		return;
	}
	if (!is_for_us(s, &ip)) {
		s->stats.rx_drop_ip_dest++;
		return;
	}
	/* RFC 1122, "ICMP" and "TCP": neither answers what was sent to a broadcast address. */
	if (ip.protocol != IP_UDP && ip.dst != s->address.addr) {
		s->stats.rx_drop_ip_dest++;
		return;
	}

	switch (ip.protocol) {
	case IP_ICMP:
		icmp_input(s, &ip, in);
		break;
	case IP_UDP:
		udp_input(s, &ip, in);
		break;
	case IP_TCP:
		tcp_input(s, &ip, in);
		break;
	default:
		s->stats.rx_drop_ip_protocol++;
		icmp_send_unreachable(s, &ip, ICMP_CODE_PROTOCOL);
	}
}

uint32_t ipv4_next_hop(const struct net_stack *s, uint32_t dst)
{
	if (ipv4_is_broadcast(s, dst))
		return IPV4_BROADCAST;
	return ipv4_is_neighbour(s, dst) ? dst : s->address.gateway;
}

void ipv4_output(struct net_stack *s, struct pkt *p, uint32_t dst, uint8_t protocol)
{
	const struct net_address *a = &s->address;
	uint32_t next_hop = ipv4_next_hop(s, dst);

	/* Without an address only a broadcast can be sent: DHCP's. */
	if (next_hop == 0 || (a->addr == 0 && next_hop != IPV4_BROADCAST)) {
		s->stats.tx_drop_no_route++;
		return;
	}
	ipv4_build(p, a->addr, dst, protocol);
	arp_output(s, p, next_hop);
}
