#include "net/icmp.h"

#include "lib/string.h"
#include "net/stack.h"
#include "net/tcp_conn.h"

/* RFC 792: the quoted Internet header and the first 64 bits of its data. */
#define ICMP_QUOTE (IPV4_HEADER_LEN + TCP_OPTIONS_MAX + 8)

static void icmp_echo(struct net_stack *s, const struct ipv4_header *ip,
	const struct icmp_header *request, struct span payload)
{
	struct icmp_header reply = {.type = ICMP_ECHO_REPLY, .rest = request->rest};
	struct pkt p;

	if (!rate_allow(&s->icmp_echo_rate, s->now)) {
		s->stats.rx_drop_icmp_rate++;
		return;
	}
	stack_begin(s, &p);
	memcpy(pkt_append(&p, payload.len), payload.data, payload.len);
	icmp_build(&p, &reply);
	s->stats.icmp_echoes++;
	ipv4_output(s, &p, ip->src, IP_ICMP);
}

/* Only "fragmentation needed" changes anything here: all else is a hint that timers find out. */
static void icmp_unreachable(struct net_stack *s, const struct icmp_header *icmp, struct span in)
{
	struct ipv4_header quoted;

	if (icmp->code != ICMP_CODE_TOO_BIG || !ipv4_parse_quoted(&in, &quoted) ||
		quoted.src != s->address.addr || quoted.protocol != IP_TCP) {
		s->stats.rx_drop_icmp_type++;
		return;
	}
	tcp_path_mtu(s, &quoted, in, icmp->rest & 0xffff);
}

void icmp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in)
{
	struct icmp_header icmp;

	if (!icmp_parse(&in, &icmp, &s->stats))
		return;
	switch (icmp.type) {
	case ICMP_ECHO:
		icmp_echo(s, ip, &icmp, in);
		break;
	case ICMP_UNREACHABLE:
		icmp_unreachable(s, &icmp, in);
		break;
	default:
		s->stats.rx_drop_icmp_type++;
	}
}

void icmp_send_unreachable(struct net_stack *s, const struct ipv4_header *ip, uint8_t code)
{
	struct icmp_header icmp = {.type = ICMP_UNREACHABLE, .code = code};
	size_t quote = MIN(ip->raw_len, (size_t)ICMP_QUOTE);
	struct pkt p;

	/* RFC 1122, "ICMP": no error about a datagram that was broadcast. */
	if (s->address.addr == 0 || ip->dst != s->address.addr)
		return;
	if (!rate_allow(&s->icmp_error_rate, s->now))
		return;
	stack_begin(s, &p);
	memcpy(pkt_append(&p, quote), ip->raw, quote);
	icmp_build(&p, &icmp);
	s->stats.icmp_unreachables++;
	ipv4_output(s, &p, ip->src, IP_ICMP);
}
