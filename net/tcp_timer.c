/* The deadlines of a connection. */
#include "net/tcp_conn.h"

void tcp_rearm(struct tcp_conn *c)
{
	uint64_t next = TIMER_NEVER;

	for (size_t i = 0; c->state != TCP_CLOSED && i < TCP_DEADLINES; i++)
		next = MIN(next, c->deadline[i]);
	timer_set(&c->stack->timers, &c->timer, next);
}

/* RFC 6298, section 5: RTO, doubled for each retransmission that was not answered. */
void tcp_arm_retransmit(struct tcp_conn *c)
{
	uint64_t rto = (uint64_t)c->rto << MIN(c->retries, (uint8_t)TCP_RETRIES);

	c->deadline[TCP_RETRANSMIT] = c->stack->now + MIN(rto, (uint64_t)TCP_RTO_MAX_US);
}

static void give_up(struct tcp_conn *c)
{
	c->stack->stats.tcp_timeouts++;
	if (tcp_synchronized(c))
		tcp_send_reset(c);
	else if (c->state == TCP_SYN_RECEIVED)
		c->stack->stats.tcp_half_open_expired++;
	tcp_drop(c, TCP_TIMEOUT);
}

static void retransmit_syn(struct tcp_conn *c)
{
	if (c->retries >= TCP_SYN_RETRIES) {
		give_up(c);
		return;
	}
	c->retries++;
	c->stack->stats.tcp_retransmits++;
	tcp_send_syn(c);
	tcp_arm_retransmit(c);
}

/* Nothing of what is in flight was acknowledged for an RTO: start again from SND.UNA. */
static void retransmit_data(struct tcp_conn *c)
{
	if (c->retries >= TCP_RETRIES) {
		give_up(c);
		return;
	}
	tcp_congestion_timeout(c);
	c->retries++;
	c->snd_nxt = c->snd_una;
	tcp_retransmit_first(c);
}

/* The window is closed, or too small to be worth a segment, and nothing is in flight. */
static void probe_window(struct tcp_conn *c)
{
	if (c->unanswered >= TCP_RETRIES) {
		give_up(c);
		return;
	}
	c->unanswered++;
	if (c->retries < TCP_RETRIES)
		c->retries++;
	tcp_send_probe(c);
	tcp_arm_retransmit(c);
}

static void fire_retransmit(struct tcp_conn *c)
{
	if (!tcp_synchronized(c))
		retransmit_syn(c);
	else if (tcp_in_flight(c))
		retransmit_data(c);
	else if (tcp_pending(c))
		probe_window(c);
}

/* Set for the earliest time; how long the peer was silent is only looked at now. */
static void fire_keepalive(struct tcp_conn *c)
{
	struct net_stack *s = c->stack;
	uint32_t idle_s = s->config.keepalive_s;
	uint64_t due = c->last_received + idle_s * 1000000ull;
	uint64_t next = s->now + MIN(idle_s, TCP_KEEPALIVE_MAX_S) * 1000000ull;

	/* What is in flight is watched by the retransmission timer. */
	if (tcp_pending(c))
		due = MAX(due, next);
	if (s->now < due) {
		c->deadline[TCP_KEEPALIVE] = due;
		return;
	}
	if (c->unanswered >= TCP_KEEPALIVE_TRIES) {
		s->stats.tcp_keepalive_drops++;
		give_up(c);
		return;
	}
	c->unanswered++;
	tcp_send_keepalive(c);
	c->deadline[TCP_KEEPALIVE] = next;
}

static void fire_life(struct tcp_conn *c)
{
	/*
	 * It lingered long enough without an owner. In FIN-WAIT-2 the peer has everything that was
	 * written; a reset now could only keep it from reading that.
	 */
	if (c->state != TCP_TIME_WAIT && c->state != TCP_FIN_WAIT_2)
		tcp_send_reset(c);
	c->state = TCP_CLOSED;
}

static void fire(struct tcp_conn *c, enum tcp_deadline which)
{
	switch (which) {
	case TCP_RETRANSMIT:
		fire_retransmit(c);
		break;
	case TCP_DELAYED_ACK:
		c->ack_now = true;
		break;
	case TCP_KEEPALIVE:
		fire_keepalive(c);
		break;
	case TCP_LIFE:
		fire_life(c);
		break;
	case TCP_DEADLINES:
		break;
	}
}

void tcp_timer(struct net_stack *s, struct net_timer *t)
{
	struct tcp_conn *c = CONTAINER_OF(t, struct tcp_conn, timer);

	for (enum tcp_deadline i = 0; i < TCP_DEADLINES && c->state != TCP_CLOSED; i++) {
		if (c->deadline[i] > s->now)
			continue;
		c->deadline[i] = TIMER_NEVER;
		fire(c, i);
	}
	tcp_finish(c);
}
