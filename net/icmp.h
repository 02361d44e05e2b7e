/* RFC 792: answers echo requests, reports unreachable ports, hears that a packet was too big. */
#ifndef NET_ICMP_H
#define NET_ICMP_H

#include "net/pkt.h"
#include "net/wire.h"

/* Echo replies and errors a second, and at once: what a forged source address can make us send. */
#define ICMP_ECHO_BURST      200
#define ICMP_ECHO_PER_S      1000
#define ICMP_ERROR_BURST     20
#define ICMP_ERROR_PER_S     20

void icmp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in);

/* Answers the datagram `ip`, which came to nobody. Sends nothing when over the rate. */
void icmp_send_unreachable(struct net_stack *s, const struct ipv4_header *ip, uint8_t code);

#endif
