/*
 * Headers on the wire. Each has one parser, which consumes the header from the span, checks
 * everything that can be checked without state, and fills a struct in host order. It returns NULL
 * on anything short, inconsistent or with a wrong checksum, having counted why. Nobody else reads
 * header bytes. The builders prepend, and can't fail given the headroom of NET_HEADROOM.
 */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include "net/net.h"
#include "net/pkt.h"

#define ETH_HEADER_LEN  14
#define ARP_LEN         28
#define IPV4_HEADER_LEN 20
#define ICMP_HEADER_LEN 8
#define UDP_HEADER_LEN  8
#define TCP_HEADER_LEN  20
#define TCP_OPTIONS_MAX 40

/* Room for every header that is put before a payload. */
#define NET_HEADROOM (ETH_HEADER_LEN + IPV4_HEADER_LEN + TCP_HEADER_LEN + TCP_OPTIONS_MAX)

enum ethertype {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
};

enum ip_protocol {
	IP_ICMP = 1,
	IP_TCP = 6,
	IP_UDP = 17,
};

#define IPV4_BROADCAST 0xffffffffu

struct eth_header {
	uint8_t dst[NET_MAC_LEN], src[NET_MAC_LEN];
	uint16_t type;
};

struct eth_header *eth_parse(struct span *in, struct eth_header *out, struct net_stats *stats);
void eth_build(struct pkt *p, const uint8_t dst[NET_MAC_LEN], const uint8_t src[NET_MAC_LEN],
	uint16_t type);
bool mac_is_group(const uint8_t mac[NET_MAC_LEN]);

/* RFC 826, for Ethernet and IPv4 only. */
enum arp_op {
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
};

struct arp_packet {
	uint16_t op;
	uint8_t sender_mac[NET_MAC_LEN], target_mac[NET_MAC_LEN];
	uint32_t sender, target;
};

struct arp_packet *arp_parse(struct span *in, struct arp_packet *out, struct net_stats *stats);
void arp_build(struct pkt *p, const struct arp_packet *arp);

/* RFC 791. The span is trimmed to the datagram's payload. */
struct ipv4_header {
	uint32_t src, dst;
	uint8_t protocol;
	uint8_t ttl;
	const uint8_t *raw; /* from the header on, for ICMP errors */
	size_t raw_len;     /* of the whole datagram */
};

struct ipv4_header *ipv4_parse(struct span *in, struct ipv4_header *out, struct net_stats *stats);
void ipv4_build(struct pkt *p, uint32_t src, uint32_t dst, uint8_t protocol);

/* The header quoted in an ICMP error: the payload is cut off, so lengths are not compared. */
struct ipv4_header *ipv4_parse_quoted(struct span *in, struct ipv4_header *out);

/* RFC 792. */
enum icmp_type {
	ICMP_ECHO_REPLY = 0,
	ICMP_UNREACHABLE = 3,
	ICMP_ECHO = 8,
};

enum icmp_unreachable_code {
	ICMP_CODE_PROTOCOL = 2,
	ICMP_CODE_PORT = 3,
	ICMP_CODE_TOO_BIG = 4,
};

struct icmp_header {
	uint8_t type, code;
	uint32_t rest; /* identifier and sequence number, or unused and next-hop MTU */
};

struct icmp_header *icmp_parse(struct span *in, struct icmp_header *out, struct net_stats *stats);
void icmp_build(struct pkt *p, const struct icmp_header *icmp);

/* RFC 768. */
struct udp_header {
	uint16_t src_port, dst_port;
};

struct udp_header *udp_parse(struct span *in, const struct ipv4_header *ip, struct udp_header *out,
	struct net_stats *stats);
void udp_build(struct pkt *p, uint32_t src, uint32_t dst, const struct udp_header *udp);

#endif
