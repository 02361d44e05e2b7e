/*
 * What an acknowledgement tells: octets that arrived, the peer's window, the round trip time
 * (RFC 6298), and how much the path bears (RFC 5681, and RFC 6582 "NewReno").
 */
#include "net/tcp_conn.h"

/* RFC 6298, section 2: SRTT moves by 1/8, RTTVAR by 1/4 of the difference; RTO adds 4 RTTVAR. */
#define SRTT_SHIFT   3
#define RTTVAR_SHIFT 2
#define RTTVAR_TIMES 4

/* RFC 6928: the initial window. */
#define INITIAL_WINDOW_SEGMENTS 10

void tcp_congestion_init(struct tcp_conn *c)
{
	c->cwnd = INITIAL_WINDOW_SEGMENTS * c->mss;
	c->ssthresh = UINT32_MAX;
	c->recover = c->iss;
}

void tcp_congestion_restart(struct tcp_conn *c)
{
	c->cwnd = MIN(c->cwnd, INITIAL_WINDOW_SEGMENTS * c->mss);
}

/* From the options of the peer's SYN. */
void tcp_learn_options(struct tcp_conn *c, const struct tcp_segment *syn)
{
	if (syn->mss)
		c->mss = MIN(syn->mss < TCP_MSS_MIN ? TCP_MSS_MIN : syn->mss, TCP_MSS);
	/* RFC 7323: either both scale, or none does. */
	if (syn->wscale != TCP_WSCALE_NONE) {
		c->snd_wscale = syn->wscale;
		c->rcv_wscale = tcp_own_wscale(c->stack);
		c->scaling = true;
	}
}

void tcp_set_send_window(struct tcp_conn *c, const struct tcp_segment *seg)
{
	c->snd_wnd = seg->window << c->snd_wscale;
	c->snd_wnd_max = MAX(c->snd_wnd_max, c->snd_wnd);
	c->snd_wl1 = seg->seq;
	c->snd_wl2 = seg->ack;
}

static void measure_round_trip(struct tcp_conn *c)
{
	uint32_t r = (uint32_t)MIN(c->stack->now - c->rtt_start, (uint64_t)TCP_RTO_MAX_US);

	c->rtt_timing = false;
	if (c->srtt == 0) {
		c->srtt = MAX(r, 1u);
		c->rttvar = r / 2;
		return;
	}
	c->rttvar += ((c->srtt > r ? c->srtt - r : r - c->srtt) >> RTTVAR_SHIFT) -
		     (c->rttvar >> RTTVAR_SHIFT);
	c->srtt += (r >> SRTT_SHIFT) - (c->srtt >> SRTT_SHIFT);
}

/* Without the back-off of retransmissions. */
static uint32_t base_rto(const struct tcp_conn *c)
{
	if (c->srtt == 0)
		return TCP_RTO_INITIAL_US;
	return MAX(MIN(c->srtt + RTTVAR_TIMES * c->rttvar, TCP_RTO_MAX_US), TCP_RTO_MIN_US);
}

/* RFC 5681, equation (4): half of what is in flight. */
static uint32_t half_of_flight(const struct tcp_conn *c)
{
	return MAX(tcp_in_flight(c) / 2, 2u * c->mss);
}

void tcp_congestion_timeout(struct tcp_conn *c)
{
	if (c->retries == 0)
		c->ssthresh = half_of_flight(c);
	c->cwnd = c->mss;
	c->recover = c->snd_max;
	c->recovering = false;
	c->dup_acks = 0;
}

/* RFC 5681, "Slow Start and Congestion Avoidance", counting bytes. */
static void grow_window(struct tcp_conn *c, uint32_t acked)
{
	uint32_t mss = c->mss;

	if (c->cwnd < c->ssthresh)
		c->cwnd += MIN(acked, 2 * mss); /* RFC 3465: L = 2 for delayed acknowledgements */
	else
		c->cwnd += MAX(mss * mss / c->cwnd, 1u);
	/* More than the ring can ever fill would be untested (RFC 7661). */
	c->cwnd = MIN(c->cwnd, MAX(2 * ring_capacity(&c->tx), 2 * mss));
}

/* RFC 6582, section 3.2, step 3, after SND.UNA has moved. */
static void recovery_progress(struct tcp_conn *c, uint32_t acked)
{
	uint32_t mss = c->mss;

	if (!seq_lt(c->snd_una, c->recover)) {
		/* Full acknowledgement. */
		c->cwnd = MIN(c->ssthresh, MAX(tcp_in_flight(c), mss) + mss);
		c->recovering = false;
		return;
	}
	/* Partial: the next hole begins here. Deflate by what left the network. */
	tcp_retransmit_first(c);
	c->cwnd = MAX(c->cwnd - MIN(acked, c->cwnd), mss);
	if (acked >= mss)
		c->cwnd += mss;
}

static void take_new_ack(struct tcp_conn *c, uint32_t ack)
{
	struct chunk_pool *pool = &c->stack->tcp.pool;
	uint32_t acked = ack - c->snd_una;
	uint32_t data = MIN(acked, c->tx.len);

	if (c->rtt_timing && seq_lt(c->rtt_seq, ack))
		measure_round_trip(c);
	ring_consume(pool, &c->tx, data);
	if (acked > data)
		c->fin_queued = false; /* it has arrived */
	c->snd_una = ack;
	c->snd_nxt = seq_max(c->snd_nxt, ack);
	if (c->recovering)
		recovery_progress(c, acked);
	else
		grow_window(c, acked);
	c->dup_acks = 0;

	/* RFC 6298, section 5: the timer stops; tcp_output() starts it if more is in flight. */
	c->retries = 0;
	c->rto = base_rto(c);
	c->deadline[TCP_RETRANSMIT] = TIMER_NEVER;
	if (c->want_write &&
		(c->tx.len == 0 || ring_room(pool, &c->tx) >= ring_capacity(&c->tx) / 2)) {
		c->want_write = false;
		c->events |= TCP_EV_SENDABLE;
	}
}

/* RFC 5681, section 2: all five conditions; that of the ACK number was checked before. */
static bool is_duplicate(const struct tcp_conn *c, const struct tcp_segment *seg)
{
	return tcp_in_flight(c) && tcp_seg_len(seg) == 0 && seg->ack == c->snd_una &&
	       seg->window << c->snd_wscale == c->snd_wnd;
}

/* RFC 5681, "Fast Retransmit/Fast Recovery", with the entry rule of RFC 6582. */
static void take_duplicate(struct tcp_conn *c)
{
	if (c->recovering) {
		c->cwnd += c->mss;
		return;
	}
	if (c->dup_acks <= TCP_DUP_ACKS)
		c->dup_acks++;
	if (c->dup_acks != TCP_DUP_ACKS || !seq_lt(c->recover, c->snd_una))
		return;
	c->ssthresh = half_of_flight(c);
	c->cwnd = c->ssthresh + TCP_DUP_ACKS * c->mss;
	c->recover = c->snd_max;
	c->recovering = true;
	c->stack->stats.tcp_fast_retransmits++;
	tcp_retransmit_first(c);
}

bool tcp_take_ack(struct tcp_conn *c, const struct tcp_segment *seg)
{
	/* RFC 5961, section 5: neither of the future nor too old. */
	if (seq_lt(c->snd_max, seg->ack) || seq_lt(seg->ack, c->snd_una - c->snd_wnd_max)) {
		c->stack->stats.rx_drop_tcp_ack++;
		tcp_challenge(c);
		return false;
	}
	if (seq_lt(c->snd_una, seg->ack))
		take_new_ack(c, seg->ack);
	else if (is_duplicate(c, seg))
		take_duplicate(c);
	/* Only a segment not older than the last that did so may change the window. */
	if (seq_lt(c->snd_wl1, seg->seq) ||
		(c->snd_wl1 == seg->seq && seq_le(c->snd_wl2, seg->ack)))
		tcp_set_send_window(c, seg);
	/* The end of probing: what is sent now is timed without their back-off. */
	if (c->snd_wnd && !tcp_in_flight(c)) {
		c->retries = 0;
		c->deadline[TCP_RETRANSMIT] = TIMER_NEVER;
	}
	return true;
}
