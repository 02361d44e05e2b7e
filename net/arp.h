/*
 * RFC 826 address resolution. The cache and the queue of packets that wait for an address are of
 * fixed size; when a set of the cache is full its entry that was unused for longest goes.
 */
#ifndef NET_ARP_H
#define NET_ARP_H

#include "net/pkt.h"
#include "net/timer.h"
#include "net/wire.h"

#define ARP_SETS          128       /* the cache: addresses that differ by 1 are in other sets */
#define ARP_WAYS          4
#define ARP_QUEUE         16        /* packets that wait, of all neighbours together */
#define ARP_QUEUE_PER_HOP 4         /* of one neighbour */
#define ARP_TRIES         4
#define ARP_RETRY_US      1000000u  /* RFC 1122, "ARP Cache Validation": at most one a second */
#define ARP_LIFETIME_US   60000000u /* then it is asked for again, still in use meanwhile */
#define ARP_CONFLICT_US   10000000u /* our address is defended at most so often (RFC 5227) */

enum arp_state {
	ARP_FREE,
	ARP_ASKING, /* no address known yet */
	ARP_KNOWN,
	ARP_REFRESHING, /* known, old, and being asked for again */
};

struct arp_entry {
	enum arp_state state;
	uint32_t addr;
	uint8_t mac[NET_MAC_LEN];
	uint8_t tries;
	uint8_t queued;
	uint64_t used;     /* when a packet last went there */
	uint64_t deadline; /* when to ask again, or to start doubting */
};

struct arp_waiting {
	uint32_t next_hop; /* 0 if the slot is free */
	uint16_t len;
	uint64_t order;
	uint8_t frame[NET_FRAME_MAX]; /* with room for the Ethernet header in front */
};

struct arp {
	struct arp_entry entry[ARP_SETS * ARP_WAYS];
	struct arp_waiting waiting[ARP_QUEUE];
	uint64_t order; /* of the next packet that waits */
	uint64_t defended; /* when our address was last defended */
	struct net_timer timer;
};

void arp_init(struct net_stack *s);
void arp_input(struct net_stack *s, struct span in);

/* Sends the IPv4 packet to the neighbour `next_hop`, perhaps later. */
void arp_output(struct net_stack *s, struct pkt *p, uint32_t next_hop);

/* The hardware address of a neighbour, if it is known. */
bool arp_known(struct net_stack *s, uint32_t next_hop, uint8_t mac[NET_MAC_LEN]);

/* A gratuitous request, so neighbours learn our address (RFC 5227, "Announcing an Address"). */
void arp_announce(struct net_stack *s);

/* Forgets everything: the address or the link has changed. */
void arp_flush(struct net_stack *s);

#endif
