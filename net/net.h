/*
 * The network stack: Ethernet, ARP, IPv4, ICMP echo, UDP, DHCP and TCP on one interface.
 *
 * It is a machine that is driven: the owner hands in frames and the time, and the stack answers
 * through the functions in its configuration. It has no thread, no global and no allocator; one
 * core at a time may be inside it. Addresses and ports are in host order everywhere above the
 * parsers. Times are microseconds of a clock that never goes back.
 *
 *	while (frame = receive(&len))
 *		net_input(stack, frame, len, now);
 *	net_poll(stack, now);
 *	sleep until net_next_timer(stack), or a frame, or work of one's own;
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "lib/base.h"

#define NET_MAC_LEN   6
#define NET_MTU       1500
#define NET_FRAME_MAX (14 + NET_MTU) /* the longest frame that is sent or received, without FCS */

/* Makes an address from its dotted parts: NET_IPV4(10, 0, 2, 15). */
#define NET_IPV4(a, b, c, d)                                                                       \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

struct net_stack;

/* The address of the interface, and what came with it. A field that is not known is 0. */
struct net_address {
	uint32_t addr;
	uint32_t mask;
	uint32_t gateway;
	uint32_t dns;
	uint32_t ntp;
	uint64_t lease_s; /* length of the lease in seconds; 0 for a static address */
};

struct net_config {
	uint8_t mac[NET_MAC_LEN];
	bool dhcp;                 /* else `address` is used */
	struct net_address address;
	const char *hostname;      /* given to the DHCP server; NULL for none */

	/* TCP limits. 0 picks the default that stands beside each. */
	uint32_t max_connections;  /* 2048; also those in TIME-WAIT */
	uint32_t max_half_open;    /* max_connections / 8; SYN cookies beyond it */
	uint32_t max_time_wait;    /* max_connections / 4; the oldest goes when one more comes */
	uint32_t rx_buffer;        /* 32 KiB: bytes received and not yet read, a connection */
	uint32_t tx_buffer;        /* 32 KiB: bytes written and not yet acknowledged */
	uint32_t pool_per_conn;    /* 16 KiB: buffers in the arena for each connection, shared */
	uint32_t keepalive_s;      /* 60: a silent connection is probed after so long */

	/*
	 * Sends one frame, which is only valid during the call. Returns 0, or negative if it can't
	 * be sent now; the frame is then lost, as on any link. Must not call the stack.
	 */
	int (*send)(void *ctx, const void *frame, size_t len);
	/* Fills `buf` with unpredictable bytes. */
	void (*random)(void *ctx, void *buf, size_t len);
	/* Optional: the address was set, changed, or (all zero) lost. Must not call the stack. */
	void (*address_changed)(void *ctx, const struct net_address *address);
	void *ctx;
};

/* Counters. Each frame that is dropped adds to exactly one rx_drop_ or tx_drop_ counter. */
struct net_stats {
	uint64_t rx_frames, rx_bytes;
	uint64_t tx_frames, tx_bytes;

	uint64_t rx_drop_down;         /* the link is down */
	uint64_t rx_drop_length;       /* shorter than an Ethernet header, or longer than the MTU */
	uint64_t rx_drop_mac;          /* for another station, or from a group address */
	uint64_t rx_drop_ethertype;    /* neither IPv4 nor ARP */
	uint64_t rx_drop_arp;          /* malformed, or not for Ethernet and IPv4 */
	uint64_t rx_drop_ip_header;    /* short, inconsistent, not version 4 */
	uint64_t rx_drop_ip_checksum;
	uint64_t rx_drop_ip_source;    /* a source that no host may have */
	uint64_t rx_drop_ip_dest;      /* for another host */
	uint64_t rx_drop_ip_fragment;  /* fragments are not reassembled */
	uint64_t rx_drop_ip_protocol;  /* neither ICMP, UDP nor TCP */
	uint64_t rx_drop_icmp_header;
	uint64_t rx_drop_icmp_checksum;
	uint64_t rx_drop_icmp_type;    /* a message that is not answered or used */
	uint64_t rx_drop_icmp_rate;
	uint64_t rx_drop_udp_header;
	uint64_t rx_drop_udp_checksum;
	uint64_t rx_drop_udp_port;     /* nobody listens there */
	uint64_t rx_drop_tcp_header;   /* short, bad offset or options, impossible flags */
	uint64_t rx_drop_tcp_checksum;
	uint64_t rx_drop_tcp_port;     /* no connection and no listener */
	uint64_t rx_drop_tcp_full;     /* a SYN, but no connection is free */
	uint64_t rx_drop_tcp_window;   /* not acceptable in the connection's window */
	uint64_t rx_drop_tcp_ack;      /* acknowledges what was never sent */
	uint64_t rx_drop_tcp_reset;    /* a reset or SYN that might be forged (RFC 5961) */
	uint64_t rx_drop_tcp_state;    /* makes no sense in the connection's state */

	uint64_t tx_drop_driver;       /* send() refused it */
	uint64_t tx_drop_no_route;     /* off-link with no gateway, or no address yet */
	uint64_t tx_drop_arp_queue;    /* too many packets wait for an address */
	uint64_t tx_drop_arp_timeout;  /* the neighbour never answered */

	uint64_t arp_requests, arp_replies, arp_conflicts, arp_evictions;
	uint64_t icmp_echoes, icmp_unreachables;

	uint64_t tcp_accepted, tcp_connected, tcp_closed;
	uint64_t tcp_resets_sent, tcp_resets_received, tcp_resets_limited;
	uint64_t tcp_retransmits, tcp_fast_retransmits, tcp_timeouts, tcp_keepalive_drops;
	uint64_t tcp_window_probes, tcp_out_of_order, tcp_out_of_order_lost, tcp_pool_short;
	uint64_t tcp_challenge_acks, tcp_cookies_sent, tcp_cookies_accepted, tcp_cookies_bad;
	uint64_t tcp_time_wait_recycled, tcp_half_open_expired;

	uint64_t dhcp_sent, dhcp_received, dhcp_ignored, dhcp_naks, dhcp_expired;
};

/* Bytes that the arena for `config` must have. */
size_t net_arena_size(const struct net_config *config);

/*
 * Makes a stack with the link down. `stack` and `arena` stay the caller's and must outlive it;
 * their content need not be cleared. Returns ERR_TOOBIG if the arena is smaller than
 * net_arena_size(), ERR_INVALID for a configuration that makes no sense.
 */
int net_init(struct net_stack *stack, const struct net_config *config, void *arena, size_t size);

/*
 * The link went up or down. Up starts DHCP or announces the static address; down keeps the
 * connections, whose timers decide.
 */
void net_link(struct net_stack *stack, bool up, uint64_t now_us);

/* One received frame, from the destination address on, without FCS. It is not kept. */
void net_input(struct net_stack *stack, const void *frame, size_t len, uint64_t now_us);

/* Runs the timers that are due, and sends what was written since the last call. */
void net_poll(struct net_stack *stack, uint64_t now_us);

/* When net_poll() must be called next: 0 for at once, UINT64_MAX for not before a frame comes. */
uint64_t net_next_timer(const struct net_stack *stack);

const struct net_stats *net_stats(const struct net_stack *stack);

/* The address in use; all zero while there is none. */
const struct net_address *net_address(const struct net_stack *stack);

#endif
