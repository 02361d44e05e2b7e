/* The DHCP message (RFC 2131, "Protocol Summary") and the options of RFC 2132 that are used. */
#ifndef NET_DHCP_WIRE_H
#define NET_DHCP_WIRE_H

#include "net/net.h"
#include "net/pkt.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68

/* RFC 1542, "General BOOTP Processing": relays may drop anything shorter. */
#define DHCP_MESSAGE_MIN 300

/* The longest that dhcp_build() makes: every option, and a host name of 63 bytes. */
#define DHCP_MESSAGE_MAX 384

enum dhcp_type {
	DHCP_DISCOVER = 1,
	DHCP_OFFER = 2,
	DHCP_REQUEST = 3,
	DHCP_ACK = 5,
	DHCP_NAK = 6,
};

#define DHCP_LEASE_FOREVER UINT32_MAX

/* What a client sends. Fields that are 0 are left out, or 0, on the wire. */
struct dhcp_request {
	enum dhcp_type type;
	uint32_t xid;
	uint16_t secs;
	bool broadcast;      /* the answer can't be unicast: there is no address yet */
	uint32_t ciaddr;
	uint32_t requested;
	uint32_t server;
	const uint8_t *mac;
	const char *hostname;
};

/* What a server answers. What it left out is 0. */
struct dhcp_reply {
	enum dhcp_type type;
	uint32_t xid;
	uint32_t yiaddr;
	uint32_t server;
	uint32_t mask, gateway, dns, ntp;
	uint32_t lease_s, t1_s, t2_s;
};

/* Appends the whole message. */
void dhcp_build(struct pkt *p, const struct dhcp_request *r);

/* NULL unless it is a well-formed answer from a server to the station `mac`. */
struct dhcp_reply *dhcp_parse(struct span in, const uint8_t mac[NET_MAC_LEN],
	struct dhcp_reply *out);

#endif
