/* The TCP header (RFC 9293, "Header Format") and the options that the stack knows. */
#ifndef NET_TCP_WIRE_H
#define NET_TCP_WIRE_H

#include "net/pkt.h"
#include "net/wire.h"

enum tcp_flag {
	TCP_FIN = 1 << 0,
	TCP_SYN = 1 << 1,
	TCP_RST = 1 << 2,
	TCP_PSH = 1 << 3,
	TCP_ACK = 1 << 4,
};

/* RFC 7323: no larger shift may be used. */
#define TCP_WSCALE_MAX  14
#define TCP_WSCALE_NONE 0xff

/* RFC 9293, "Maximum Segment Size Option": what a peer takes that names none. */
#define TCP_MSS_DEFAULT 536u
#define TCP_MSS         ((uint32_t)(NET_MTU - IPV4_HEADER_LEN - TCP_HEADER_LEN))

struct tcp_segment {
	uint32_t src, dst;
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint32_t window;   /* as on the wire until the connection scales it */
	uint8_t flags;     /* of enum tcp_flag */
	uint32_t mss;      /* 0 if the option is absent */
	uint8_t wscale;    /* TCP_WSCALE_NONE if the option is absent */
	struct span data;
};

/* Sequence numbers that the segment takes: SEG.LEN. */
static inline uint32_t tcp_seg_len(const struct tcp_segment *seg)
{
	return (uint32_t)seg->data.len + !!(seg->flags & TCP_SYN) + !!(seg->flags & TCP_FIN);
}

struct tcp_segment *tcp_parse(struct span in, const struct ipv4_header *ip, struct tcp_segment *out,
	struct net_stats *stats);

/* Prepends the header of `seg`, with its options, to the payload that is in `p` already. */
void tcp_build(struct pkt *p, const struct tcp_segment *seg);

#endif
