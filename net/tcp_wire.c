#include "net/tcp_wire.h"

#include "lib/bytes.h"
#include "net/checksum.h"

enum tcp_option {
	TCP_OPT_END = 0,
	TCP_OPT_NOP = 1,
	TCP_OPT_MSS = 2,
	TCP_OPT_WSCALE = 3,
};

#define TCP_OPT_MSS_LEN    4
#define TCP_OPT_WSCALE_LEN 3

/* One option whose kind and length were checked against the space. */
static bool take_option(uint8_t kind, const uint8_t *value, size_t len, struct tcp_segment *out)
{
	switch (kind) {
	case TCP_OPT_MSS:
		if (len != TCP_OPT_MSS_LEN)
			return false;
		out->mss = load_be16(value);
		return true;
	case TCP_OPT_WSCALE:
		if (len != TCP_OPT_WSCALE_LEN)
			return false;
		out->wscale = value[0] > TCP_WSCALE_MAX ? TCP_WSCALE_MAX : value[0];
		return true;
	default:
		return true;
	}
}

static bool parse_options(const uint8_t *p, size_t len, struct tcp_segment *out)
{
	while (len) {
		if (p[0] == TCP_OPT_END)
			return true;
		if (p[0] == TCP_OPT_NOP) {
			p++;
			len--;
			continue;
		}
		if (len < 2 || p[1] < 2 || p[1] > len || !take_option(p[0], p + 2, p[1], out))
			return false;
		len -= p[1];
		p += p[1];
	}
	return true;
}

/* Combinations that no state machine sends; only scanners do. */
static bool flags_possible(uint8_t flags)
{
	if (flags & TCP_SYN)
		return !(flags & (TCP_FIN | TCP_RST));
	return (flags & (TCP_ACK | TCP_RST)) != 0;
}

struct tcp_segment *tcp_parse(struct span in, const struct ipv4_header *ip, struct tcp_segment *out,
	struct net_stats *stats)
{
	const uint8_t *p = in.data;
	uint64_t sum = checksum_pseudo(ip->src, ip->dst, IP_TCP, in.len);
	size_t header_len;

	if (in.len < TCP_HEADER_LEN)
		goto malformed;
	if (checksum_fold(checksum_add(sum, p, in.len)) != 0) {
		stats->rx_drop_tcp_checksum++;
		return NULL;
	}
	header_len = (size_t)(p[12] >> 4) * 4;
	if (header_len < TCP_HEADER_LEN || !span_consume(&in, header_len))
		goto malformed;
	*out = (struct tcp_segment){
		.src = ip->src,
		.dst = ip->dst,
		.src_port = load_be16(p),
		.dst_port = load_be16(p + 2),
		.seq = load_be32(p + 4),
		.ack = load_be32(p + 8),
		.flags = p[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK),
		.window = load_be16(p + 14),
		.wscale = TCP_WSCALE_NONE,
		.data = in,
	};
	if (out->src_port == 0 || out->dst_port == 0 || !flags_possible(out->flags) ||
		!parse_options(p + TCP_HEADER_LEN, header_len - TCP_HEADER_LEN, out))
		goto malformed;
	return out;

malformed:
	stats->rx_drop_tcp_header++;
	return NULL;
}

/* Prepended back to front: the header comes last. */
static size_t build_options(struct pkt *p, const struct tcp_segment *seg)
{
	size_t before = p->len;
	uint8_t *h;

	if (seg->wscale != TCP_WSCALE_NONE) {
		h = pkt_prepend(p, 1 + TCP_OPT_WSCALE_LEN);
		h[0] = TCP_OPT_NOP;
		h[1] = TCP_OPT_WSCALE;
		h[2] = TCP_OPT_WSCALE_LEN;
		h[3] = seg->wscale;
	}
	if (seg->mss) {
		h = pkt_prepend(p, TCP_OPT_MSS_LEN);
		h[0] = TCP_OPT_MSS;
		h[1] = TCP_OPT_MSS_LEN;
		store_be16(h + 2, (uint16_t)seg->mss);
	}
	return p->len - before;
}

void tcp_build(struct pkt *p, const struct tcp_segment *seg)
{
	size_t header_len = TCP_HEADER_LEN + build_options(p, seg);
	uint8_t *h = pkt_prepend(p, TCP_HEADER_LEN);
	uint64_t sum;

	store_be16(h, seg->src_port);
	store_be16(h + 2, seg->dst_port);
	store_be32(h + 4, seg->seq);
	store_be32(h + 8, seg->ack);
	h[12] = (uint8_t)(header_len / 4 << 4);
	h[13] = seg->flags;
	store_be16(h + 14, (uint16_t)seg->window);
	store_be32(h + 16, 0); /* checksum, and the urgent pointer, which is never used */
	sum = checksum_pseudo(seg->src, seg->dst, IP_TCP, p->len);
	store_be16(h + 16, checksum_fold(checksum_add(sum, h, p->len)));
}
