#include "net/dhcp_wire.h"

#include "lib/bytes.h"
#include "lib/string.h"

/* Where the fields of the fixed part stand. */
enum dhcp_offset {
	AT_OP = 0,
	AT_HTYPE = 1,
	AT_HLEN = 2,
	AT_XID = 4,
	AT_SECS = 8,
	AT_FLAGS = 10,
	AT_CIADDR = 12,
	AT_YIADDR = 16,
	AT_CHADDR = 28,
	AT_SNAME = 44,
	AT_FILE = 108,
	AT_COOKIE = 236,
	AT_OPTIONS = 240,
};

#define OP_REQUEST     1
#define OP_REPLY       2
#define HTYPE_ETHERNET 1
#define FLAG_BROADCAST 0x8000
#define MAGIC_COOKIE   0x63825363u
#define HOSTNAME_MAX   63

enum dhcp_option {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_HOSTNAME = 12,
	OPT_NTP = 42,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_OVERLOAD = 52,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_PARAMETERS = 55,
	OPT_MAX_SIZE = 57,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_END = 255,
};

/* RFC 2132, "Option Overload": where more options stand. */
#define OVERLOAD_FILE  1
#define OVERLOAD_SNAME 2

static void put_option(struct pkt *p, enum dhcp_option code, const void *value, size_t len)
{
	uint8_t *o = pkt_append(p, 2 + len);

	o[0] = (uint8_t)code;
	o[1] = (uint8_t)len;
	memcpy(o + 2, value, len);
}

static void put_address(struct pkt *p, enum dhcp_option code, uint32_t addr)
{
	uint8_t value[4];

	if (addr == 0)
		return;
	store_be32(value, addr);
	put_option(p, code, value, sizeof(value));
}

void dhcp_build(struct pkt *p, const struct dhcp_request *r)
{
	static const uint8_t wanted[] = {OPT_MASK, OPT_ROUTER, OPT_DNS, OPT_NTP, OPT_LEASE, OPT_T1,
		OPT_T2};
	uint8_t *h = pkt_append(p, AT_OPTIONS);
	uint8_t type = (uint8_t)r->type, max_size[2];

	memset(h, 0, AT_OPTIONS);
	h[AT_OP] = OP_REQUEST;
	h[AT_HTYPE] = HTYPE_ETHERNET;
	h[AT_HLEN] = NET_MAC_LEN;
	store_be32(h + AT_XID, r->xid);
	store_be16(h + AT_SECS, r->secs);
	store_be16(h + AT_FLAGS, r->broadcast ? FLAG_BROADCAST : 0);
	store_be32(h + AT_CIADDR, r->ciaddr);
	memcpy(h + AT_CHADDR, r->mac, NET_MAC_LEN);
	store_be32(h + AT_COOKIE, MAGIC_COOKIE);

	put_option(p, OPT_TYPE, &type, 1);
	put_address(p, OPT_REQUESTED, r->requested);
	put_address(p, OPT_SERVER, r->server);
	store_be16(max_size, NET_MTU);
	put_option(p, OPT_MAX_SIZE, max_size, sizeof(max_size));
	put_option(p, OPT_PARAMETERS, wanted, sizeof(wanted));
	if (r->hostname && r->hostname[0])
		put_option(p, OPT_HOSTNAME, r->hostname,
			MIN(strlen(r->hostname), (size_t)HOSTNAME_MAX));
	*pkt_append(p, 1) = OPT_END;
	if (p->len < DHCP_MESSAGE_MIN) {
		size_t pad = DHCP_MESSAGE_MIN - p->len;

		memset(pkt_append(p, pad), OPT_PAD, pad);
	}
}

/* The first address, or number, of the option. */
static bool take_u32(const uint8_t *value, size_t len, uint32_t *out)
{
	if (len < 4)
		return false;
	*out = load_be32(value);
	return true;
}

static bool take_option(uint8_t code, const uint8_t *value, size_t len, struct dhcp_reply *out,
	uint8_t *overload)
{
	switch (code) {
	case OPT_MASK:
		return take_u32(value, len, &out->mask);
	case OPT_ROUTER:
		return take_u32(value, len, &out->gateway);
	case OPT_DNS:
		return take_u32(value, len, &out->dns);
	case OPT_NTP:
		return take_u32(value, len, &out->ntp);
	case OPT_LEASE:
		return take_u32(value, len, &out->lease_s);
	case OPT_T1:
		return take_u32(value, len, &out->t1_s);
	case OPT_T2:
		return take_u32(value, len, &out->t2_s);
	case OPT_SERVER:
		return take_u32(value, len, &out->server);
	case OPT_TYPE:
		if (len != 1)
			return false;
		out->type = value[0];
		return true;
	case OPT_OVERLOAD:
		if (len != 1)
			return false;
		*overload = value[0];
		return true;
	default:
		return true;
	}
}

static bool take_options(struct span in, struct dhcp_reply *out, uint8_t *overload)
{
	const uint8_t *code, *len, *value;

	while ((code = span_consume(&in, 1))) {
		if (*code == OPT_PAD)
			continue;
		if (*code == OPT_END)
			break;
		len = span_consume(&in, 1);
		value = len ? span_consume(&in, *len) : NULL;
		if (!value || !take_option(*code, value, *len, out, overload))
			return false;
	}
	return true;
}

struct dhcp_reply *dhcp_parse(struct span in, const uint8_t mac[NET_MAC_LEN],
	struct dhcp_reply *out)
{
	const uint8_t *h = span_consume(&in, AT_OPTIONS);
	struct span file, sname;
	uint8_t overload = 0, none = 0;

	if (!h || h[AT_OP] != OP_REPLY || h[AT_HTYPE] != HTYPE_ETHERNET ||
		h[AT_HLEN] != NET_MAC_LEN || memcmp(h + AT_CHADDR, mac, NET_MAC_LEN) != 0 ||
		load_be32(h + AT_COOKIE) != MAGIC_COOKIE)
		return NULL;
	*out = (struct dhcp_reply){
		.xid = load_be32(h + AT_XID),
		.yiaddr = load_be32(h + AT_YIADDR),
	};
	file = (struct span){.data = h + AT_FILE, .len = AT_COOKIE - AT_FILE};
	sname = (struct span){.data = h + AT_SNAME, .len = AT_FILE - AT_SNAME};
	if (!take_options(in, out, &overload))
		return NULL;
	if (overload & OVERLOAD_FILE && !take_options(file, out, &none))
		return NULL;
	if (overload & OVERLOAD_SNAME && !take_options(sname, out, &none))
		return NULL;
	return out;
}
