/* "SEGMENT ARRIVES" (RFC 9293), with the defences of RFC 5961. The steps are named as there. */
#include "net/tcp_conn.h"

#include "lib/bytes.h"

static uint32_t offered(const struct tcp_conn *c)
{
	return c->rcv_edge - c->rcv_nxt;
}

/*
 * The four cases of the acceptability test. More lenient at the right edge: an empty segment may
 * stand there, as the pure ACKs of a sender do that has filled the window, and so may a FIN, which
 * takes a sequence number but no room.
 */
static bool acceptable(const struct tcp_conn *c, const struct tcp_segment *seg)
{
	uint32_t len = tcp_seg_len(seg);
	uint32_t first = seg->seq - c->rcv_nxt;
	uint32_t last = first + len - 1;
	uint32_t room = offered(c) + !!(seg->flags & TCP_FIN);

	if (len == 0)
		return first <= offered(c);
	return first < room || last < room;
}

/* Cuts off what was received before and what lies beyond the window. */
static void trim_to_window(struct tcp_conn *c, struct tcp_segment *seg)
{
	uint32_t room;

	if (seq_lt(seg->seq, c->rcv_nxt)) {
		span_consume(&seg->data, c->rcv_nxt - seg->seq);
		seg->seq = c->rcv_nxt;
	}
	room = c->rcv_edge - seg->seq;
	if (seg->data.len > room) {
		seg->flags &= (uint8_t)~TCP_FIN;
		span_trim(&seg->data, room);
		c->ack_now = true; /* says where the window ends */
	}
}

/* First, check sequence number. False if the segment is to be dropped. */
static bool check_sequence(struct tcp_conn *c, struct tcp_segment *seg)
{
	/*
	 * Simultaneous open: the peer's SYN comes again, now with an ACK, which is all that is
	 * new. And a peer that repeats its SYN alone has lost our answer.
	 */
	if (c->state == TCP_SYN_RECEIVED && seg->flags & TCP_SYN && seg->seq == c->irs) {
		if (!(seg->flags & TCP_ACK)) {
			tcp_send_syn(c);
			return false;
		}
		seg->flags &= (uint8_t)~TCP_SYN;
		seg->seq++;
	}
	if (acceptable(c, seg)) {
		trim_to_window(c, seg);
		return true;
	}
	/* "If the RCV.WND is zero, [...] accept valid ACKs [...] and RSTs." */
	if (offered(c) == 0 && seg->seq == c->rcv_nxt && !(seg->flags & TCP_SYN)) {
		span_trim(&seg->data, 0);
		c->ack_now = true;
		return true;
	}
	c->stack->stats.rx_drop_tcp_window++;
	if (seg->flags & TCP_RST)
		return false;
	if (c->state == TCP_TIME_WAIT && seg->flags & TCP_FIN)
		tcp_enter_time_wait(c); /* "Acknowledge it, and restart the 2 MSL timeout." */
	/*
	 * What repeats data or a FIN has lost our acknowledgement, and needs it. What is empty may
	 * itself be an answer to one of these: unlimited, two ends could go on forever.
	 */
	if (tcp_seg_len(seg) > 0 && !(seg->flags & TCP_SYN))
		c->ack_now = true;
	else
		tcp_challenge(c);
	return false;
}

/* Second, check the RST bit. */
static void take_reset(struct tcp_conn *c, const struct tcp_segment *seg)
{
	/* RFC 5961: only a reset at exactly RCV.NXT is believed. RFC 1337: never in TIME-WAIT. */
	if (seg->seq != c->rcv_nxt || c->state == TCP_TIME_WAIT) {
		c->stack->stats.rx_drop_tcp_reset++;
		tcp_challenge(c);
		return;
	}
	c->stack->stats.tcp_resets_received++;
	tcp_drop(c, c->state == TCP_SYN_RECEIVED ? TCP_REFUSED : TCP_RESET);
}

/* Fourth, check the SYN bit. */
static void take_syn(struct tcp_conn *c)
{
	c->stack->stats.rx_drop_tcp_reset++;
	/* "If the connection was initiated with a passive OPEN, return to the LISTEN state." */
	if (c->state == TCP_SYN_RECEIVED && c->passive)
		tcp_drop(c, TCP_RESET);
	else
		tcp_challenge(c);
}

static void enter_established(struct tcp_conn *c)
{
	struct net_stack *s = c->stack;

	if (c->listener) {
		c->ops = c->listener->ops;
		c->user = c->listener->ctx;
		tcp_leave_half_open(c);
		s->stats.tcp_accepted++;
	} else {
		s->stats.tcp_connected++;
	}
	c->state = TCP_ESTABLISHED;
	c->retries = 0;
	c->deadline[TCP_RETRANSMIT] = TIMER_NEVER;
	c->deadline[TCP_KEEPALIVE] = s->now + s->config.keepalive_s * 1000000ull;
	c->events |= TCP_EV_OPENED;
	tcp_congestion_init(c);
}

/* Fifth, check the ACK field, in the state SYN-RECEIVED. */
static bool complete_handshake(struct tcp_conn *c, const struct tcp_segment *seg)
{
	if (seg->ack != c->iss + 1) {
		c->stack->stats.rx_drop_tcp_ack++;
		tcp_reject(c->stack, seg);
		return false;
	}
	c->snd_una = seg->ack;
	tcp_set_send_window(c, seg);
	enter_established(c);
	return true;
}

void tcp_enter_time_wait(struct tcp_conn *c)
{
	c->state = TCP_TIME_WAIT;
	for (size_t i = 0; i < TCP_DEADLINES; i++)
		c->deadline[i] = TIMER_NEVER;
	c->deadline[TCP_LIFE] = c->stack->now + TCP_TIME_WAIT_US;
	if (!c->ops)
		tcp_wait_in_line(c);
}

/* The rest of step five: our FIN is acknowledged. */
static void fin_acknowledged(struct tcp_conn *c)
{
	switch (c->state) {
	case TCP_FIN_WAIT_1:
		c->state = TCP_FIN_WAIT_2;
		break;
	case TCP_CLOSING:
		tcp_enter_time_wait(c);
		break;
	case TCP_LAST_ACK:
		c->state = TCP_CLOSED;
		break;
	default:
		break;
	}
}

/* All states from SYN-RECEIVED on. */
static void synchronized_input(struct tcp_conn *c, struct tcp_segment *seg)
{
	bool fin_pending;

	if (!check_sequence(c, seg))
		return;
	if (seg->flags & TCP_RST) {
		take_reset(c, seg);
		return;
	}
	if (seg->flags & TCP_SYN) {
		take_syn(c);
		return;
	}
	if (!(seg->flags & TCP_ACK)) {
		c->stack->stats.rx_drop_tcp_state++;
		return;
	}
	if (c->state == TCP_SYN_RECEIVED && !complete_handshake(c, seg))
		return;
	c->last_received = c->stack->now;
	c->unanswered = 0;
	fin_pending = c->fin_queued;
	if (!tcp_take_ack(c, seg))
		return;
	if (fin_pending && !c->fin_queued)
		fin_acknowledged(c);
	/* Seventh, process the segment text; eighth, check the FIN bit. */
	tcp_take_data(c, seg);
}

static void syn_sent_input(struct tcp_conn *c, const struct tcp_segment *seg)
{
	bool acked = seg->flags & TCP_ACK;

	/* First, check the ACK bit. */
	if (acked && seg->ack != c->iss + 1) {
		c->stack->stats.rx_drop_tcp_ack++;
		tcp_reject(c->stack, seg);
		return;
	}
	/* Second, check the RST bit. */
	if (seg->flags & TCP_RST) {
		if (acked)
			tcp_drop(c, TCP_REFUSED);
		else
			c->stack->stats.rx_drop_tcp_reset++;
		return;
	}
	/* Fourth, check the SYN bit. */
	if (!(seg->flags & TCP_SYN)) {
		c->stack->stats.rx_drop_tcp_state++;
		return;
	}
	c->irs = seg->seq;
	c->rcv_nxt = seg->seq + 1;
	c->rcv_edge = c->rcv_nxt + tcp_syn_window(c->stack);
	tcp_learn_options(c, seg);
	if (!acked) {
		c->state = TCP_SYN_RECEIVED;
		tcp_send_syn(c);
		return;
	}
	c->snd_una = seg->ack;
	/* The window of a SYN is never scaled (RFC 7323). */
	c->snd_wnd = c->snd_wnd_max = seg->window;
	c->snd_wl1 = seg->seq;
	c->snd_wl2 = seg->ack;
	c->ack_now = true;
	enter_established(c);
}

void tcp_segment_arrives(struct tcp_conn *c, const struct tcp_segment *seg)
{
	struct tcp_segment trimmed = *seg;

	if (c->state == TCP_CLOSED)
		tcp_reject(c->stack, seg); /* ended, and its owner has not noticed yet */
	else if (c->state == TCP_SYN_SENT)
		syn_sent_input(c, seg);
	else
		synchronized_input(c, &trimmed);
	tcp_finish(c);
}

/* RFC 9293, TIME-WAIT: a SYN beyond the old connection may open a new one. */
static bool reopens(const struct tcp_conn *c, const struct tcp_segment *seg)
{
	return c->state == TCP_TIME_WAIT && !c->ops && seg->flags == TCP_SYN &&
	       seq_lt(c->rcv_nxt, seg->seq);
}

void tcp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in)
{
	struct tcp_listener *l;
	struct tcp_segment seg;
	struct tcp_conn *c;
	uint32_t iss;

	if (!tcp_parse(in, ip, &seg, &s->stats))
		return;
	c = tcp_lookup(s, &seg);
	l = tcp_find_listener(s, seg.dst_port);
	if (c && !(l && reopens(c, &seg))) {
		tcp_segment_arrives(c, &seg);
		return;
	}
	if (!l) {
		s->stats.rx_drop_tcp_port++;
		tcp_reject(s, &seg);
		return;
	}
	iss = tcp_initial_seq(s, &seg);
	if (c) {
		/* "[...] larger than the largest sequence number it used on the previous". */
		iss = seq_max(iss, c->snd_max + 1);
		tcp_release(c);
	}
	tcp_listen_input(s, l, &seg, iss);
}

void tcp_path_mtu(struct net_stack *s, const struct ipv4_header *quoted, struct span in,
	uint32_t mtu)
{
	const uint8_t *p = span_consume(&in, 8); /* ports and sequence number */
	struct tcp_segment seg;
	struct tcp_conn *c;
	uint32_t mss;

	if (!p || mtu < IPV4_HEADER_LEN + TCP_HEADER_LEN + TCP_MSS_MIN) {
		s->stats.rx_drop_icmp_type++;
		return;
	}
	seg = (struct tcp_segment){
		.src = quoted->dst,
		.dst = quoted->src,
		.src_port = load_be16(p + 2),
		.dst_port = load_be16(p),
		.seq = load_be32(p + 4),
	};
	c = tcp_lookup(s, &seg);
	mss = mtu - IPV4_HEADER_LEN - TCP_HEADER_LEN;
	/* RFC 5927, "Sequence Number Check": only what quotes octets in flight is believed. */
	if (!c || !tcp_synchronized(c) || mss >= c->mss ||
		seg.seq - c->snd_una >= tcp_in_flight(c)) {
		s->stats.rx_drop_icmp_type++;
		return;
	}
	c->mss = mss;
	c->snd_nxt = c->snd_una;
	tcp_finish(c);
}
