/*
 * The LISTEN state. A SYN gets a connection without buffers while few are half-open; beyond the
 * limit it gets a SYN cookie (RFC 4987, "SYN Cookies"), which costs nothing until the handshake
 * completes. A cookie can't remember a window scale, so such connections go without.
 */
#include "net/tcp_conn.h"

/*
 * The cookie is our initial sequence number: 5 bits of a clock, 3 of the peer's MSS, and 24 that
 * only we could have made.
 */
#define COOKIE_PERIOD_US   64000000ull
#define COOKIE_CLOCK_BITS  5
#define COOKIE_CLOCK_MASK  ((1u << COOKIE_CLOCK_BITS) - 1)
#define COOKIE_CLOCK_SHIFT 27
#define COOKIE_MSS_SHIFT   24
#define COOKIE_MSS_MASK    7u
#define COOKIE_MAC_MASK    0xffffffu

static const uint16_t cookie_mss[] = {256, 536, 1024, 1220, 1360, 1400, 1440, 1460};

struct tcp_listener *tcp_find_listener(struct net_stack *s, uint16_t port)
{
	for (size_t i = 0; i < TCP_LISTENERS_MAX; i++)
		if (s->tcp.listener[i].ops && s->tcp.listener[i].port == port)
			return &s->tcp.listener[i];
	return NULL;
}

void tcp_leave_half_open(struct tcp_conn *c)
{
	if (!c->listener)
		return;
	c->listener->half_open--;
	c->stack->tcp.half_open--;
	c->listener = NULL;
}

/* `seg` carries the peer's initial sequence number in seq. */
static uint32_t cookie_make(const struct net_stack *s, const struct tcp_segment *seg,
	uint32_t period, uint32_t mss_index)
{
	uint32_t mac = tcp_cookie_hash(s, seg, period << COOKIE_CLOCK_BITS | mss_index);

	return (period & COOKIE_CLOCK_MASK) << COOKIE_CLOCK_SHIFT | mss_index << COOKIE_MSS_SHIFT |
	       (mac & COOKIE_MAC_MASK);
}

static void cookie_send(struct net_stack *s, const struct tcp_segment *syn)
{
	uint32_t mss = syn->mss ? syn->mss : TCP_MSS_DEFAULT;
	uint32_t index = ARRAY_SIZE(cookie_mss) - 1;
	struct tcp_segment seg = {
		.ack = syn->seq + 1,
		.flags = TCP_SYN | TCP_ACK,
		.window = tcp_syn_window(s),
		.mss = TCP_MSS,
		.wscale = TCP_WSCALE_NONE,
	};
	struct pkt p;

	while (index > 0 && cookie_mss[index] > mss)
		index--;
	seg.seq = cookie_make(s, syn, (uint32_t)(s->now / COOKIE_PERIOD_US), index);
	s->tcp.cookies_until = s->now + 2 * COOKIE_PERIOD_US;
	s->stats.tcp_cookies_sent++;
	stack_begin(s, &p);
	tcp_answer(s, &p, syn, &seg);
}

/* The MSS that the cookie holds, or 0 if `ack` acknowledges none of ours from the last periods. */
static uint32_t cookie_check(const struct net_stack *s, const struct tcp_segment *ack)
{
	uint32_t cookie = ack->ack - 1;
	uint32_t index = cookie >> COOKIE_MSS_SHIFT & COOKIE_MSS_MASK;
	uint32_t period = (uint32_t)(s->now / COOKIE_PERIOD_US);
	struct tcp_segment syn = *ack;

	syn.seq = ack->seq - 1;
	for (uint32_t age = 0; age < 2; age++)
		if (cookie_make(s, &syn, period - age, index) == cookie)
			return cookie_mss[index];
	return 0;
}

static struct tcp_conn *create_half_open(struct net_stack *s, const struct tcp_segment *seg)
{
	struct tcp_conn *c = tcp_create(s, seg);

	if (!c)
		return NULL;
	c->passive = true;
	c->state = TCP_SYN_RECEIVED;
	return c;
}

/* An acknowledgement for a port on which nothing is known: perhaps the end of a cookie's way. */
static void listen_ack(struct net_stack *s, struct tcp_listener *l, const struct tcp_segment *seg)
{
	uint32_t mss;
	struct tcp_conn *c;

	if (s->now >= s->tcp.cookies_until)
		goto reject;
	mss = cookie_check(s, seg);
	if (!mss) {
		s->stats.tcp_cookies_bad++;
		goto reject;
	}
	c = create_half_open(s, seg);
	if (!c) {
		s->stats.rx_drop_tcp_full++;
		tcp_reject(s, seg);
		return;
	}
	s->stats.tcp_cookies_accepted++;
	c->irs = seg->seq - 1;
	c->iss = seg->ack - 1;
	c->mss = MIN(mss, TCP_MSS);
	tcp_start_half_open(c, l);
	c->snd_nxt = c->snd_max = c->iss + 1;
	c->rcv_edge = c->rcv_nxt + tcp_syn_window(s);
	tcp_segment_arrives(c, seg);
	return;

reject:
	s->stats.rx_drop_tcp_port++;
	tcp_reject(s, seg);
}

void tcp_start_half_open(struct tcp_conn *c, struct tcp_listener *l)
{
	c->listener = l;
	l->half_open++;
	c->stack->tcp.half_open++;
	c->rcv_nxt = c->rcv_edge = c->irs + 1;
	c->snd_una = c->snd_nxt = c->snd_max = c->iss;
}

static void listen_syn(struct net_stack *s, struct tcp_listener *l, const struct tcp_segment *seg,
	uint32_t iss)
{
	struct tcp_conn *c;

	if (s->tcp.half_open >= s->config.max_half_open || l->half_open >= l->backlog) {
		cookie_send(s, seg);
		return;
	}
	c = create_half_open(s, seg);
	if (!c) {
		s->stats.rx_drop_tcp_full++; /* silently: the peer will try again */
		return;
	}
	c->irs = seg->seq;
	c->iss = iss;
	tcp_learn_options(c, seg);
	tcp_start_half_open(c, l);
	tcp_send_syn(c);
	tcp_finish(c);
}

void tcp_listen_input(struct net_stack *s, struct tcp_listener *l, const struct tcp_segment *seg,
	uint32_t iss)
{
	/* First, check for a RST; second, for an ACK; third, for a SYN. */
	if (seg->flags & TCP_RST)
		s->stats.rx_drop_tcp_state++;
	else if (seg->flags & TCP_SYN && !(seg->flags & TCP_ACK))
		listen_syn(s, l, seg, iss);
	else
		listen_ack(s, l, seg);
}
