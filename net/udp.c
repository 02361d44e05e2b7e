#include "net/udp.h"

#include "lib/err.h"
#include "lib/string.h"
#include "net/icmp.h"
#include "net/stack.h"

static struct udp_port *udp_find(struct net_stack *s, uint16_t port)
{
	for (size_t i = 0; i < UDP_PORTS_MAX; i++)
		if (s->udp[i].handler && s->udp[i].port == port)
			return &s->udp[i];
	return NULL;
}

static uint16_t udp_pick_port(struct net_stack *s)
{
	uint16_t port;

	do {
		stack_random(s, &port, sizeof(port));
		port |= NET_EPHEMERAL_FIRST;
	} while (udp_find(s, port));
	return port;
}

int udp_bind(struct net_stack *s, uint16_t port, udp_handler *handler, void *ctx)
{
	if (port == 0)
		port = udp_pick_port(s);
	else if (udp_find(s, port))
		return ERR_EXIST;
	for (size_t i = 0; i < UDP_PORTS_MAX; i++) {
		if (s->udp[i].handler)
			continue;
		s->udp[i] = (struct udp_port){.handler = handler, .ctx = ctx, .port = port};
		return port;
	}
	return ERR_LIMIT;
}

void udp_unbind(struct net_stack *s, uint16_t port)
{
	struct udp_port *u = udp_find(s, port);

	if (u)
		u->handler = NULL;
}

void udp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in)
{
	struct udp_header udp;
	struct udp_port *u;

	if (!udp_parse(&in, ip, &udp, &s->stats))
		return;
	u = udp_find(s, udp.dst_port);
	if (!u) {
		s->stats.rx_drop_udp_port++;
		icmp_send_unreachable(s, ip, ICMP_CODE_PORT);
		return;
	}
	u->handler(u->ctx, s,
		&(struct udp_message){
			.src = ip->src,
			.src_port = udp.src_port,
			.data = in.data,
			.len = in.len,
		});
}

int udp_send(struct net_stack *s, uint16_t src_port, uint32_t dst, uint16_t dst_port,
	const void *data, size_t len)
{
	struct udp_header udp = {.src_port = src_port, .dst_port = dst_port};
	struct pkt p;

	if (len > UDP_PAYLOAD_MAX)
		return ERR_TOOBIG;
	stack_begin(s, &p);
	if (len)
		memcpy(pkt_append(&p, len), data, len);
	udp_build(&p, s->address.addr, dst, &udp);
	ipv4_output(s, &p, dst, IP_UDP);
	return OK;
}
