/* RFC 791: one interface, one address, one gateway. No fragments in either direction. */
#ifndef NET_IPV4_H
#define NET_IPV4_H

#include "net/pkt.h"
#include "net/wire.h"

void ipv4_input(struct net_stack *s, struct span in);

/*
 * Puts the header before the payload in `p` and sends it from our address. `p` must have
 * IPV4_HEADER_LEN + ETH_HEADER_LEN of headroom and fit the MTU.
 */
void ipv4_output(struct net_stack *s, struct pkt *p, uint32_t dst, uint8_t protocol);

/* True for an address on our link that a single other host can have. */
bool ipv4_is_neighbour(const struct net_stack *s, uint32_t addr);

/* Where a packet for `dst` goes first; 0: there is no way. */
uint32_t ipv4_next_hop(const struct net_stack *s, uint32_t dst);

bool ipv4_is_broadcast(const struct net_stack *s, uint32_t addr);

#endif
