/*
 * Segment text and FIN. What comes out of order is put where it belongs in the receive ring at
 * once, and a short list remembers which bytes beyond RCV.NXT are there. No byte is copied twice.
 */
#include "net/tcp_conn.h"

/* A segment of in-order data beyond this many is acknowledged at once (RFC 9293: every second). */
#define ACK_EVERY 2

/* Makes room in the list at `i`. */
static void ranges_open(struct tcp_conn *c, uint8_t i)
{
	for (uint8_t k = c->ooo_count++; k > i; k--)
		c->ooo[k] = c->ooo[k - 1];
}

static void ranges_remove(struct tcp_conn *c, uint8_t i)
{
	c->ooo_count--;
	for (; i < c->ooo_count; i++)
		c->ooo[i] = c->ooo[i + 1];
}

/* Adds [from, to), joined with what it touches. False if the list is full. */
static bool ranges_add(struct tcp_conn *c, uint32_t from, uint32_t to)
{
	uint8_t i = 0;

	while (i < c->ooo_count && seq_lt(c->ooo[i].to, from))
		i++;
	if (i == c->ooo_count || seq_lt(to, c->ooo[i].from)) {
		if (c->ooo_count == TCP_OOO_RANGES)
			return false;
		ranges_open(c, i);
		c->ooo[i] = (struct tcp_range){.from = from, .to = to};
		return true;
	}
	c->ooo[i].from = seq_min(c->ooo[i].from, from);
	c->ooo[i].to = seq_max(c->ooo[i].to, to);
	while (i + 1 < c->ooo_count && seq_le(c->ooo[i + 1].from, c->ooo[i].to)) {
		c->ooo[i].to = seq_max(c->ooo[i].to, c->ooo[i + 1].to);
		ranges_remove(c, (uint8_t)(i + 1));
	}
	return true;
}

static void advance(struct tcp_conn *c, uint32_t n)
{
	ring_extend(&c->rx, n);
	c->rcv_nxt += n;
}

/* Joins to the stream what now follows it without a hole. */
static void join_ranges(struct tcp_conn *c)
{
	while (c->ooo_count && seq_le(c->ooo[0].from, c->rcv_nxt)) {
		if (seq_lt(c->rcv_nxt, c->ooo[0].to))
			advance(c, c->ooo[0].to - c->rcv_nxt);
		ranges_remove(c, 0);
	}
}

static void take_out_of_order(struct tcp_conn *c, const struct tcp_segment *seg)
{
	struct net_stats *stats = &c->stack->stats;
	uint32_t off = c->rx.len + (seg->seq - c->rcv_nxt);
	uint32_t n = ring_write(&c->stack->tcp.pool, &c->rx, off, seg->data.data,
		(uint32_t)seg->data.len);

	if (n && ranges_add(c, seg->seq, seg->seq + n))
		stats->tcp_out_of_order++;
	else
		stats->tcp_out_of_order_lost++;
}

static void take_in_order(struct tcp_conn *c, const struct tcp_segment *seg)
{
	uint32_t len = (uint32_t)seg->data.len;
	uint32_t n = ring_write(&c->stack->tcp.pool, &c->rx, c->rx.len, seg->data.data, len);

	if (n < len)
		c->stack->stats.tcp_pool_short++;
	if (c->ooo_count)
		c->ack_now = true; /* RFC 5681: at once when a hole is filled */
	advance(c, n);
	join_ranges(c);
	if (n)
		c->events |= TCP_EV_RECEIVED;
	if (n < len || ++c->unacked_segments >= ACK_EVERY)
		c->ack_now = true;
	else if (c->deadline[TCP_DELAYED_ACK] == TIMER_NEVER)
		c->deadline[TCP_DELAYED_ACK] = c->stack->now + TCP_DELAYED_ACK_US;
}

/* Eighth, check the FIN bit: everything before it has arrived. */
static void take_fin(struct tcp_conn *c)
{
	c->rcv_nxt++;
	c->rcv_edge = seq_max(c->rcv_edge, c->rcv_nxt);
	c->fin_received = true;
	c->ack_now = true;
	c->events |= TCP_EV_ENDED;
	switch (c->state) {
	case TCP_ESTABLISHED:
		c->state = TCP_CLOSE_WAIT;
		break;
	case TCP_FIN_WAIT_1:
		c->state = TCP_CLOSING; /* our FIN is not acknowledged, else it were FIN-WAIT-2 */
		break;
	default:
		tcp_enter_time_wait(c);
	}
}

/* The owner has closed: data is counted, so that the peer can go on to its FIN, and dropped. */
static void discard(struct tcp_conn *c, const struct tcp_segment *seg)
{
	if (seg->seq == c->rcv_nxt)
		c->rcv_nxt += (uint32_t)seg->data.len;
	c->rcv_edge = seq_max(c->rcv_edge, c->rcv_nxt);
	c->ack_now = true;
}

void tcp_take_data(struct tcp_conn *c, const struct tcp_segment *seg)
{
	bool open = c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 ||
		    c->state == TCP_FIN_WAIT_2;

	if (!open || (seg->data.len == 0 && !(seg->flags & TCP_FIN)))
		return;
	if (seg->flags & TCP_FIN && !c->fin_seen) {
		c->fin_seen = true;
		c->fin_seq = seg->seq + (uint32_t)seg->data.len;
	}
	if (seg->seq != c->rcv_nxt)
		c->ack_now = true; /* a duplicate acknowledgement, which tells of the hole */
	if (!c->ops)
		discard(c, seg);
	else if (seg->data.len == 0)
		; /* a FIN alone */
	else if (seg->seq == c->rcv_nxt)
		take_in_order(c, seg);
	else
		take_out_of_order(c, seg);
	if (c->fin_seen && c->rcv_nxt == c->fin_seq)
		take_fin(c);
}
