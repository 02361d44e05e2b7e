/*
 * The stack's own struct, and what its layers share. Complete so that its owner can place one;
 * nobody outside net/ looks inside.
 */
#ifndef NET_STACK_H
#define NET_STACK_H

#include "net/arp.h"
#include "net/dhcp.h"
#include "net/ipv4.h"
#include "net/net.h"
#include "net/pkt.h"
#include "net/rate.h"
#include "net/tcp_stack.h"
#include "net/timer.h"
#include "net/udp.h"

/* RFC 6335: the dynamic ports are those with both upper bits set. */
#define NET_EPHEMERAL_FIRST 0xc000u

struct udp_port {
	udp_handler *handler; /* NULL if the slot is free */
	void *ctx;
	uint16_t port;
};

struct net_stack {
	struct net_config config; /* with every default filled in */
	struct net_address address;
	uint64_t now; /* of the net_input() or net_poll() that runs, or ran last */
	bool link_up;
	struct net_stats stats;
	struct timer_heap timers;
	struct net_rate icmp_echo_rate, icmp_error_rate;

	struct arp arp;
	struct udp_port udp[UDP_PORTS_MAX];
	struct dhcp dhcp;
	struct tcp tcp;

	/* The one packet that is being built. Sending takes it at once, so one is enough. */
	uint8_t frame[NET_HEADROOM + NET_MTU];
};

/* An empty packet in the stack's frame, with room for every header. */
static inline void stack_begin(struct net_stack *s, struct pkt *p)
{
	pkt_init(p, s->frame, sizeof(s->frame), NET_HEADROOM);
}

/* Hands a finished frame to the driver. */
void stack_send(struct net_stack *s, const struct pkt *p);

void stack_random(struct net_stack *s, void *buf, size_t len);

/* Whether a host can have `a` for its address: a usable one, and a mask without holes. */
bool net_address_valid(const struct net_address *a);

/* Whether `addr` is on the link of the host with address `a`. */
static inline bool net_same_link(const struct net_address *a, uint32_t addr)
{
	return ((addr ^ a->addr) & a->mask) == 0;
}

/* Changes the address of the interface; all zero for none. Tells the owner and the neighbours. */
void stack_set_address(struct net_stack *s, const struct net_address *address);

void udp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in);

#endif
