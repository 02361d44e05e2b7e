/* RFC 768. Ports are bound to functions; nothing is queued. */
#ifndef NET_UDP_H
#define NET_UDP_H

#include "net/net.h"

#define UDP_PORTS_MAX   8
#define UDP_PAYLOAD_MAX (NET_MTU - 20 - 8)

struct udp_message {
	uint32_t src;
	uint16_t src_port;
	const uint8_t *data; /* valid during the call only */
	size_t len;
};

/* Called inside net_input(); may call udp_send(), udp_bind() and udp_unbind(). */
typedef void udp_handler(void *ctx, struct net_stack *stack, const struct udp_message *m);

/*
 * Hands what comes to `port` to `handler`. Port 0 picks a free ephemeral one. Returns the port, or
 * ERR_EXIST if it is bound, ERR_LIMIT if UDP_PORTS_MAX are.
 */
int udp_bind(struct net_stack *stack, uint16_t port, udp_handler *handler, void *ctx);
void udp_unbind(struct net_stack *stack, uint16_t port);

/*
 * Sends one datagram; `dst` may be a broadcast address. It may be lost, now or later. Returns 0, or
 * ERR_TOOBIG above UDP_PAYLOAD_MAX.
 */
int udp_send(struct net_stack *stack, uint16_t src_port, uint32_t dst, uint16_t dst_port,
	const void *data, size_t len);

#endif
