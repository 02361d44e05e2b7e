/*
 * The DHCP client (RFC 2131, "Client Behavior"). Runs while the link is up and keeps its address
 * over a link that goes and comes, for as long as the lease lasts.
 */
#ifndef NET_DHCP_H
#define NET_DHCP_H

#include "net/timer.h"

/* RFC 2131, "Constructing and Sending DHCP Messages": 4 s, doubled up to 64, give or take 1. */
#define DHCP_RETRY_S        4
#define DHCP_RETRY_MAX_S    64
#define DHCP_REQUEST_TRIES  4  /* of one offer, then it starts anew */
#define DHCP_RENEW_RETRY_S  60 /* RFC 2131: never more often while renewing or rebinding */
#define DHCP_RENEW_RETRY_MAX_S 3600 /* for leases that last very long */
#define DHCP_LEASE_MIN_S    30 /* a shorter lease is not worth having */

enum dhcp_state {
	DHCP_STOPPED,
	DHCP_SELECTING,
	DHCP_REQUESTING,
	DHCP_BOUND,
	DHCP_RENEWING,
	DHCP_REBINDING,
};

struct dhcp {
	enum dhcp_state state;
	uint32_t xid;
	uint32_t server;  /* whose offer or lease it is */
	uint32_t offered; /* the address that is being requested */
	uint32_t tries;
	uint64_t started; /* of this exchange, for the `secs` field */
	uint64_t t1, t2, expiry; /* of the lease; TIMER_NEVER if it lasts forever */
	struct net_timer timer;
};

void dhcp_init(struct net_stack *s);
void dhcp_link(struct net_stack *s, bool up);

#endif
