/* What to send, and when. Every segment is made here; nothing is kept but the send ring. */
#include "net/tcp_conn.h"

#define WINDOW_FIELD_MAX 0xffffu

void tcp_answer(struct net_stack *s, struct pkt *p, const struct tcp_segment *to,
	struct tcp_segment *seg)
{
	seg->src = to->dst;
	seg->dst = to->src;
	seg->src_port = to->dst_port;
	seg->dst_port = to->src_port;
	tcp_build(p, seg);
	ipv4_output(s, p, seg->dst, IP_TCP);
}

void tcp_reject(struct net_stack *s, const struct tcp_segment *to)
{
	struct tcp_segment seg = {.flags = TCP_RST, .wscale = TCP_WSCALE_NONE};
	struct pkt p;

	if (to->flags & TCP_RST)
		return;
	if (!rate_allow(&s->tcp.reset_rate, s->now)) {
		s->stats.tcp_resets_limited++;
		return;
	}
	if (to->flags & TCP_ACK) {
		seg.seq = to->ack;
	} else {
		seg.flags |= TCP_ACK;
		seg.ack = to->seq + tcp_seg_len(to);
	}
	s->stats.tcp_resets_sent++;
	stack_begin(s, &p);
	tcp_answer(s, &p, to, &seg);
}

/* The smallest shift with which the whole receive ring can be offered. */
uint8_t tcp_own_wscale(const struct net_stack *s)
{
	uint32_t capacity = (ring_slots(s->config.rx_buffer) - 1) * CHUNK_SIZE;
	uint8_t shift = 0;

	while (capacity >> shift > WINDOW_FIELD_MAX)
		shift++;
	return shift;
}

uint32_t tcp_syn_window(const struct net_stack *s)
{
	return MIN((ring_slots(s->config.rx_buffer) - 1) * CHUNK_SIZE, WINDOW_FIELD_MAX);
}

/*
 * The window to offer. Its right edge never moves left, and moves right only by enough to be worth
 * it (RFC 9293, "Receiver's Algorithm -- When to Send a Window Update").
 */
static uint32_t receive_window(const struct tcp_conn *c)
{
	uint32_t offered = c->rcv_edge - c->rcv_nxt;
	uint32_t room = ring_room(&c->stack->tcp.pool, &c->rx);
	uint32_t worth = MIN(ring_capacity(&c->rx) / 2, TCP_MSS);

	return room >= offered + worth ? room : offered;
}

/* The owner has read so much that the peer should hear of it without being asked. */
static bool window_update_due(const struct tcp_conn *c)
{
	uint32_t offered = c->rcv_edge - c->rcv_nxt;
	uint32_t worth = offered < TCP_MSS ? 1 : ring_capacity(&c->rx) / 2;

	return !c->fin_received && receive_window(c) >= offered + worth;
}

/* Sends `seg` of `c` with the payload in `p`. It carries every acknowledgement that is due. */
static void send_segment(struct tcp_conn *c, struct pkt *p, struct tcp_segment *seg)
{
	uint32_t field = MIN(receive_window(c) >> c->rcv_wscale, WINDOW_FIELD_MAX);

	seg->src = c->local;
	seg->dst = c->remote;
	seg->src_port = c->local_port;
	seg->dst_port = c->remote_port;
	seg->ack = c->rcv_nxt;
	if (seg->flags & TCP_SYN)
		field = tcp_syn_window(c->stack);
	else
		seg->wscale = TCP_WSCALE_NONE;
	seg->window = field;
	tcp_build(p, seg);
	ipv4_output(c->stack, p, c->remote, IP_TCP);

	if (!(seg->flags & TCP_ACK))
		return;
	c->rcv_edge = seq_max(c->rcv_edge,
		c->rcv_nxt + (seg->flags & TCP_SYN ? field : field << c->rcv_wscale));
	c->ack_now = false;
	c->unacked_segments = 0;
	c->deadline[TCP_DELAYED_ACK] = TIMER_NEVER;
}

/* An empty segment with `flags` at `seq`. */
static void send_empty(struct tcp_conn *c, uint32_t seq, uint8_t flags)
{
	struct tcp_segment seg = {.seq = seq, .flags = flags};
	struct pkt p;

	stack_begin(c->stack, &p);
	send_segment(c, &p, &seg);
}

void tcp_send_ack(struct tcp_conn *c)
{
	send_empty(c, c->snd_nxt, TCP_ACK);
}

void tcp_send_reset(struct tcp_conn *c)
{
	c->stack->stats.tcp_resets_sent++;
	send_empty(c, c->snd_nxt, TCP_RST | TCP_ACK);
}

void tcp_send_keepalive(struct tcp_conn *c)
{
	send_empty(c, c->snd_una - 1, TCP_ACK);
}

void tcp_challenge(struct tcp_conn *c)
{
	if (c->stack->now < c->next_challenge)
		return;
	c->next_challenge = c->stack->now + TCP_CHALLENGE_US;
	c->stack->stats.tcp_challenge_acks++;
	tcp_send_ack(c);
}

void tcp_send_syn(struct tcp_conn *c)
{
	bool answer = c->state == TCP_SYN_RECEIVED;
	struct tcp_segment seg = {
		.seq = c->iss,
		.flags = (uint8_t)(TCP_SYN | (answer ? TCP_ACK : 0)),
		.mss = TCP_MSS,
		.wscale = TCP_WSCALE_NONE,
	};
	struct pkt p;

	if (!answer || c->scaling)
		seg.wscale = tcp_own_wscale(c->stack);
	c->snd_nxt = c->snd_max = c->iss + 1;
	stack_begin(c->stack, &p);
	send_segment(c, &p, &seg);
	if (c->deadline[TCP_RETRANSMIT] == TIMER_NEVER)
		tcp_arm_retransmit(c);
}

/* Sends `len` octets at SND.NXT, and the FIN if `fin`, and moves SND.NXT. */
static void send_data(struct tcp_conn *c, uint32_t len, bool fin)
{
	struct net_stack *s = c->stack;
	uint32_t off = c->snd_nxt - c->snd_una;
	struct tcp_segment seg = {.seq = c->snd_nxt, .flags = TCP_ACK};
	struct pkt p;

	if (len && off + len == c->tx.len)
		seg.flags |= TCP_PSH;
	if (fin)
		seg.flags |= TCP_FIN;
	stack_begin(s, &p);
	ring_read(&s->tcp.pool, &c->tx, off, pkt_append(&p, len), len);
	send_segment(c, &p, &seg);

	c->snd_nxt += len + fin;
	if (seq_lt(seg.seq, c->snd_max)) {
		/* Karn: what was sent twice can't be timed. */
		s->stats.tcp_retransmits++;
		c->rtt_timing = false;
	} else if (!c->rtt_timing) {
		c->rtt_timing = true;
		c->rtt_seq = seg.seq;
		c->rtt_start = s->now;
	}
	c->snd_max = seq_max(c->snd_max, c->snd_nxt);
	c->last_sent = s->now;
}

/*
 * Whether a segment of `len` octets, fewer than the MSS, should go although more is queued or the
 * window ends: RFC 9293, "Sender's Algorithm -- When to Send Data", without Nagle's condition.
 */
static bool worth_sending(const struct tcp_conn *c, uint32_t len, uint32_t queued)
{
	return len == c->mss || len == queued || len >= c->snd_wnd_max / 2 ||
	       seq_lt(c->snd_nxt, c->snd_max);
}

static bool send_next(struct tcp_conn *c)
{
	uint32_t off = c->snd_nxt - c->snd_una;
	uint32_t cwnd, usable, queued, len;
	bool fin;

	if (off > c->tx.len)
		return false; /* the FIN is out too */
	/* RFC 3042: each of the first two duplicate acknowledgements lets one more segment go. */
	cwnd = c->cwnd;
	if (!c->recovering)
		cwnd += MIN((uint32_t)c->dup_acks, TCP_DUP_ACKS - 1) * c->mss;
	usable = MIN(c->snd_wnd, cwnd);
	usable = usable > off ? usable - off : 0;
	queued = c->tx.len - off;
	len = MIN(queued, usable);
	len = MIN(len, c->mss);
	fin = c->fin_queued && len == queued && usable > len;
	if ((len == 0 && !fin) || !worth_sending(c, len, queued))
		return false;
	send_data(c, len, fin);
	return true;
}

/* RFC 5681, "Restarting Idle Connections". */
static void restart_after_idle(struct tcp_conn *c)
{
	if (!tcp_in_flight(c) && tcp_pending(c) && c->stack->now - c->last_sent > c->rto)
		tcp_congestion_restart(c);
}

void tcp_output(struct tcp_conn *c)
{
	if (c->state == TCP_SYN_SENT && c->snd_nxt == c->iss)
		tcp_send_syn(c);
	if (!tcp_synchronized(c))
		return;
	restart_after_idle(c);
	while (send_next(c))
		continue;
	/* Also with nothing in flight: then it probes the window that keeps the rest back. */
	if (tcp_pending(c) && c->deadline[TCP_RETRANSMIT] == TIMER_NEVER)
		tcp_arm_retransmit(c);
	if (c->ack_now || window_update_due(c))
		tcp_send_ack(c);
}

void tcp_retransmit_first(struct tcp_conn *c)
{
	uint32_t next = c->snd_nxt;
	uint32_t flight = tcp_in_flight(c);
	uint32_t sent = MIN(c->tx.len, flight);
	uint32_t len = MIN(sent, c->mss);

	/* Nothing that was not sent before: the window may have closed since. */
	c->snd_nxt = c->snd_una;
	send_data(c, len, len < flight && len == c->tx.len);
	c->snd_nxt = seq_max(c->snd_nxt, next);
	tcp_arm_retransmit(c);
}

void tcp_send_probe(struct tcp_conn *c)
{
	uint32_t open = MIN(c->tx.len, c->snd_wnd);
	uint32_t len = MIN(open, c->mss);

	/*
	 * A window that is open, but not worth it, is used after all. A closed one is asked after
	 * with an old sequence number: the answer tells the window, and no octet hangs beyond it.
	 */
	c->stack->stats.tcp_window_probes++;
	if (c->snd_wnd == 0)
		tcp_send_keepalive(c);
	else
		send_data(c, len, c->fin_queued && len == c->tx.len && c->snd_wnd > len);
}
