#include "net/dhcp.h"

#include "net/dhcp_wire.h"
#include "net/stack.h"

#define SECOND 1000000ull

static void dhcp_set_timer(struct net_stack *s, uint64_t when)
{
	timer_set(&s->timers, &s->dhcp.timer, when);
}

static void dhcp_send(struct net_stack *s, struct dhcp_request *r, uint32_t to)
{
	uint64_t elapsed = (s->now - s->dhcp.started) / SECOND;
	uint8_t buf[DHCP_MESSAGE_MAX];
	struct pkt p;

	r->xid = s->dhcp.xid;
	r->secs = (uint16_t)MIN(elapsed, (uint64_t)UINT16_MAX);
	r->broadcast = s->address.addr == 0;
	r->ciaddr = s->address.addr;
	r->mac = s->config.mac;
	r->hostname = s->config.hostname;
	pkt_init(&p, buf, sizeof(buf), 0);
	dhcp_build(&p, r);
	s->stats.dhcp_sent++;
	udp_send(s, DHCP_CLIENT_PORT, to, DHCP_SERVER_PORT, p.data, p.len);
}

/* The next repetition: doubled each time, and a second more or less so that clients spread. */
static uint64_t retry_time(struct net_stack *s)
{
	uint64_t base = DHCP_RETRY_S * SECOND << MIN(s->dhcp.tries, 4u);
	uint32_t spread;

	stack_random(s, &spread, sizeof(spread));
	return s->now + MIN(base, DHCP_RETRY_MAX_S * SECOND) - SECOND + spread % (2 * SECOND);
}

static void begin_exchange(struct net_stack *s, enum dhcp_state state)
{
	s->dhcp.state = state;
	s->dhcp.tries = 0;
	s->dhcp.started = s->now;
	stack_random(s, &s->dhcp.xid, sizeof(s->dhcp.xid));
}

static void discover(struct net_stack *s)
{
	dhcp_send(s, &(struct dhcp_request){.type = DHCP_DISCOVER}, IPV4_BROADCAST);
	dhcp_set_timer(s, retry_time(s));
	s->dhcp.tries++;
}

static void start(struct net_stack *s)
{
	begin_exchange(s, DHCP_SELECTING);
	discover(s);
}

static void lose_address(struct net_stack *s)
{
	stack_set_address(s, &(struct net_address){.addr = 0});
	start(s);
}

static void request(struct net_stack *s)
{
	struct dhcp_request r = {
		.type = DHCP_REQUEST,
		.requested = s->dhcp.offered,
		.server = s->dhcp.server,
	};

	dhcp_send(s, &r, IPV4_BROADCAST);
	dhcp_set_timer(s, retry_time(s));
	s->dhcp.tries++;
}

/* RENEWING asks the server that gave the lease, REBINDING any. RFC 2131, "Reacquisition [...]". */
static void extend(struct net_stack *s)
{
	bool renewing = s->dhcp.state == DHCP_RENEWING;
	uint64_t limit = renewing ? s->dhcp.t2 : s->dhcp.expiry;
	uint64_t half = (limit - s->now) / 2;

	dhcp_send(s, &(struct dhcp_request){.type = DHCP_REQUEST},
		renewing ? s->dhcp.server : IPV4_BROADCAST);
	half = MAX(MIN(half, DHCP_RENEW_RETRY_MAX_S * SECOND), DHCP_RENEW_RETRY_S * SECOND);
	dhcp_set_timer(s, MIN(limit, s->now + half));
}

static void dhcp_timer(struct net_stack *s, struct net_timer *t)
{
	struct dhcp *d = &s->dhcp;

	(void)t;
	switch (d->state) {
	case DHCP_STOPPED:
		return;
	case DHCP_SELECTING:
		discover(s);
		return;
	case DHCP_REQUESTING:
		if (d->tries < DHCP_REQUEST_TRIES)
			request(s);
		else
			start(s);
		return;
	case DHCP_BOUND:
	case DHCP_RENEWING:
	case DHCP_REBINDING:
		break;
	}
	if (s->now >= d->expiry) {
		s->stats.dhcp_expired++;
		lose_address(s);
		return;
	}
	if (s->now >= d->t2 && d->state != DHCP_REBINDING)
		begin_exchange(s, DHCP_REBINDING);
	else if (d->state == DHCP_BOUND)
		begin_exchange(s, DHCP_RENEWING);
	extend(s);
}

/* The address that the answer gives; false if no host could live with it. */
static bool lease_address(const struct dhcp_reply *r, struct net_address *out)
{
	*out = (struct net_address){
		.addr = r->yiaddr,
		.mask = r->mask,
		.gateway = r->gateway,
		.dns = r->dns,
		.ntp = r->ntp,
		.lease_s = r->lease_s,
	};
	if (!net_address_valid(out) || r->lease_s < DHCP_LEASE_MIN_S)
		return false;
	if (!net_same_link(out, out->gateway))
		out->gateway = 0;
	return true;
}

static void take_offer(struct net_stack *s, const struct dhcp_reply *r)
{
	struct net_address a;

	if (s->dhcp.state != DHCP_SELECTING || r->server == 0 || !lease_address(r, &a)) {
		s->stats.dhcp_ignored++;
		return;
	}
	s->dhcp.state = DHCP_REQUESTING;
	s->dhcp.tries = 0;
	s->dhcp.server = r->server;
	s->dhcp.offered = r->yiaddr;
	request(s);
}

/* RFC 2131, "Reacquisition and expiration": T1 is half the lease, T2 seven eighths of it. */
static void set_lease_times(struct net_stack *s, const struct dhcp_reply *r)
{
	struct dhcp *d = &s->dhcp;
	uint64_t lease = r->lease_s, t1 = r->t1_s, t2 = r->t2_s;

	if (r->lease_s == DHCP_LEASE_FOREVER) {
		d->t1 = d->t2 = d->expiry = TIMER_NEVER;
		return;
	}
	if (t1 == 0 || t2 <= t1 || lease <= t2) {
		t1 = lease / 2;
		t2 = lease * 7 / 8;
	}
	/* The lease runs from when it was asked for. */
	d->t1 = d->started + t1 * SECOND;
	d->t2 = d->started + t2 * SECOND;
	d->expiry = d->started + lease * SECOND;
}

static void take_ack(struct net_stack *s, const struct dhcp_reply *r)
{
	struct dhcp *d = &s->dhcp;
	struct net_address a;
	bool requesting = d->state == DHCP_REQUESTING;
	bool ours = requesting ? r->server == d->server && r->yiaddr == d->offered
			       : d->state == DHCP_RENEWING || d->state == DHCP_REBINDING;

	if (!ours || !lease_address(r, &a)) {
		s->stats.dhcp_ignored++;
		return;
	}
	set_lease_times(s, r);
	if (r->server)
		d->server = r->server;
	d->state = DHCP_BOUND;
	dhcp_set_timer(s, d->t1);
	stack_set_address(s, &a);
}

static void take_nak(struct net_stack *s, const struct dhcp_reply *r)
{
	struct dhcp *d = &s->dhcp;

	if (d->state < DHCP_REQUESTING || d->state == DHCP_BOUND ||
		(d->state == DHCP_REQUESTING && r->server != d->server)) {
		s->stats.dhcp_ignored++;
		return;
	}
	s->stats.dhcp_naks++;
	if (s->address.addr) {
		lose_address(s);
		return;
	}
	/* Not at once, else a server that refuses all would be asked without end. */
	begin_exchange(s, DHCP_SELECTING);
	dhcp_set_timer(s, retry_time(s));
}

static void dhcp_input(void *ctx, struct net_stack *s, const struct udp_message *m)
{
	struct span in = {.data = m->data, .len = m->len};
	struct dhcp_reply r;

	(void)ctx;
	s->stats.dhcp_received++;
	if (s->dhcp.state == DHCP_STOPPED || m->src_port != DHCP_SERVER_PORT ||
		!dhcp_parse(in, s->config.mac, &r) || r.xid != s->dhcp.xid) {
		s->stats.dhcp_ignored++;
		return;
	}
	switch (r.type) {
	case DHCP_OFFER:
		take_offer(s, &r);
		break;
	case DHCP_ACK:
		take_ack(s, &r);
		break;
	case DHCP_NAK:
		take_nak(s, &r);
		break;
	default:
		s->stats.dhcp_ignored++;
	}
}

void dhcp_link(struct net_stack *s, bool up)
{
	if (!up) {
		s->dhcp.state = DHCP_STOPPED;
		/* The lease may end while the link is down. */
		dhcp_set_timer(s, TIMER_NEVER);
		return;
	}
	if (s->address.addr == 0 || s->now >= s->dhcp.expiry) {
		lose_address(s);
		return;
	}
	/* Perhaps another network: any server may confirm the address or refuse it. */
	arp_flush(s);
	begin_exchange(s, DHCP_REBINDING);
	extend(s);
}

void dhcp_init(struct net_stack *s)
{
	timer_init(&s->dhcp.timer, dhcp_timer);
	s->dhcp.t1 = s->dhcp.t2 = s->dhcp.expiry = TIMER_NEVER;
	udp_bind(s, DHCP_CLIENT_PORT, dhcp_input, NULL);
}
