/* Making, finding and releasing connections, and delivering their events. */
#include "lib/string.h"
#include "net/tcp_conn.h"

/* What a hash is for, so that one use tells nothing about another. */
enum hash_purpose {
	HASH_BUCKET,
	HASH_SEQUENCE,
	HASH_COOKIE,
};

/* RFC 6528: the clock of initial sequence numbers ticks every 4 microseconds. */
#define ISN_TICK_US 4

static uint64_t tcp_hash(const struct net_stack *s, uint32_t purpose, const struct tcp_segment *seg,
	uint32_t extra)
{
	const uint32_t input[] = {
		purpose,
		seg->src,
		seg->dst,
		(uint32_t)seg->src_port << 16 | seg->dst_port,
		extra,
	};

	return siphash(&s->tcp.key, input, sizeof(input));
}

uint32_t tcp_initial_seq(const struct net_stack *s, const struct tcp_segment *seg)
{
	return (uint32_t)(s->now / ISN_TICK_US + tcp_hash(s, HASH_SEQUENCE, seg, 0));
}

uint32_t tcp_cookie_hash(const struct net_stack *s, const struct tcp_segment *seg, uint32_t period)
{
	return (uint32_t)(tcp_hash(s, HASH_COOKIE, seg, period) + seg->seq);
}

static struct list *bucket_of(const struct net_stack *s, const struct tcp_segment *seg)
{
	return &s->tcp.bucket[tcp_hash(s, HASH_BUCKET, seg, 0) & s->tcp.bucket_mask];
}

struct tcp_conn *tcp_lookup(struct net_stack *s, const struct tcp_segment *seg)
{
	LIST_FOR_EACH (n, bucket_of(s, seg)) {
		struct tcp_conn *c = LIST_ENTRY(n, struct tcp_conn, hash);

		if (c->remote == seg->src && c->remote_port == seg->src_port &&
			c->local == seg->dst && c->local_port == seg->dst_port)
			return c;
	}
	return NULL;
}

/* Fields that are not 0 at birth; the rings keep their slots for good. */
static void conn_reset(struct tcp_conn *c)
{
	*c = (struct tcp_conn){.stack = c->stack, .rx = c->rx, .tx = c->tx};
	list_init(&c->hash);
	list_init(&c->link);
	list_init(&c->ready);
	timer_init(&c->timer, tcp_timer);
	for (size_t i = 0; i < TCP_DEADLINES; i++)
		c->deadline[i] = TIMER_NEVER;
	c->rto = TCP_RTO_INITIAL_US;
	c->mss = TCP_MSS_DEFAULT;
}

/* TIME-WAIT is a courtesy; a new connection is worth more than the oldest of them. */
static bool recycle_time_wait(struct net_stack *s)
{
	if (list_empty(&s->tcp.time_wait))
		return false;
	s->stats.tcp_time_wait_recycled++;
	tcp_release(LIST_ENTRY(s->tcp.time_wait.next, struct tcp_conn, link));
	return true;
}

struct tcp_conn *tcp_create(struct net_stack *s, const struct tcp_segment *seg)
{
	struct tcp_conn *c;

	if (list_empty(&s->tcp.free) && !recycle_time_wait(s))
		return NULL;
	c = LIST_ENTRY(s->tcp.free.next, struct tcp_conn, link);
	list_remove(&c->link);
	conn_reset(c);
	c->in_use = true;
	c->remote = seg->src;
	c->remote_port = seg->src_port;
	c->local = seg->dst;
	c->local_port = seg->dst_port;
	c->last_received = s->now;
	list_push_back(bucket_of(s, seg), &c->hash);
	return c;
}

static void leave_time_wait(struct tcp_conn *c)
{
	/* Only connections in TIME-WAIT are on a list by this link while in use. */
	if (list_empty(&c->link))
		return;
	list_remove(&c->link);
	c->stack->tcp.time_waits--;
}

void tcp_release(struct tcp_conn *c)
{
	struct tcp *t = &c->stack->tcp;

	tcp_leave_half_open(c);
	leave_time_wait(c);
	list_remove(&c->hash);
	list_remove(&c->ready);
	timer_set(&c->stack->timers, &c->timer, TIMER_NEVER);
	ring_clear(&t->pool, &c->rx);
	ring_clear(&t->pool, &c->tx);
	c->state = TCP_CLOSED;
	c->in_use = false;
	c->stack->stats.tcp_closed++;
	list_push_front(&t->free, &c->link);
}

void tcp_wait_in_line(struct tcp_conn *c)
{
	struct tcp *t = &c->stack->tcp;

	leave_time_wait(c);
	while (t->time_waits >= c->stack->config.max_time_wait)
		recycle_time_wait(c->stack);
	list_push_back(&t->time_wait, &c->link);
	t->time_waits++;
}

void tcp_drop(struct tcp_conn *c, enum tcp_reason reason)
{
	struct chunk_pool *pool = &c->stack->tcp.pool;

	tcp_leave_half_open(c);
	leave_time_wait(c);
	ring_clear(pool, &c->rx);
	ring_clear(pool, &c->tx);
	for (size_t i = 0; i < TCP_DEADLINES; i++)
		c->deadline[i] = TIMER_NEVER;
	c->state = TCP_CLOSED;
	c->reason = reason;
	c->events = TCP_EV_CLOSED;
}

void tcp_address_changed(struct net_stack *s)
{
	for (uint32_t i = 0; i < s->config.max_connections; i++) {
		struct tcp_conn *c = &s->tcp.conn[i];

		if (!c->in_use || c->local == s->address.addr)
			continue;
		tcp_drop(c, TCP_NO_ADDRESS);
		tcp_mark_ready(c);
	}
}

void tcp_orphan(struct tcp_conn *c)
{
	c->ops = NULL;
	c->user = NULL;
	c->events = 0;
	c->ooo_count = 0;
	ring_clear(&c->stack->tcp.pool, &c->rx);
	if (c->state == TCP_TIME_WAIT)
		tcp_wait_in_line(c);
}

static void deliver(struct tcp_conn *c, enum tcp_event event)
{
	const struct tcp_ops *ops = c->ops;

	switch (event) {
	case TCP_EV_OPENED:
		if (ops->opened(c, c->user) < 0)
			tcp_abort(c);
		break;
	case TCP_EV_RECEIVED:
		ops->received(c);
		break;
	case TCP_EV_ENDED:
		ops->ended(c);
		break;
	case TCP_EV_SENDABLE:
		ops->sendable(c);
		break;
	case TCP_EV_CLOSED:
		c->ops = NULL; /* the handle is no longer the owner's */
		ops->closed(c, c->reason);
		break;
	}
}

/* In the order of the bits. The owner may do anything to the connection in between. */
static void deliver_events(struct tcp_conn *c)
{
	while (c->events && c->ops) {
		uint8_t first = c->events & (uint8_t)-c->events;

		c->events &= (uint8_t)~first;
		deliver(c, first);
	}
	c->events = 0;
}

void tcp_finish(struct tcp_conn *c)
{
	deliver_events(c);
	if (!c->in_use)
		return; /* closed in TIME-WAIT, and recycled at once */
	if (c->state == TCP_CLOSED && !c->ops) {
		tcp_release(c);
		return;
	}
	list_remove(&c->ready);
	/* Not in tcp_close(), which may be called long after the stack last saw the time. */
	if (tcp_synchronized(c) && !c->ops && c->deadline[TCP_LIFE] == TIMER_NEVER)
		c->deadline[TCP_LIFE] = c->stack->now + TCP_LINGER_US;
	tcp_output(c);
	tcp_rearm(c);
}

void tcp_mark_ready(struct tcp_conn *c)
{
	if (list_empty(&c->ready))
		list_push_back(&c->stack->tcp.ready, &c->ready);
}

void tcp_poll(struct net_stack *s)
{
	struct list batch;

	/* What is marked from now on is for the next call, so that this one ends. */
	if (list_empty(&s->tcp.ready))
		return;
	list_init(&batch);
	list_insert_between(&batch, s->tcp.ready.prev, s->tcp.ready.next);
	list_init(&s->tcp.ready);
	while (!list_empty(&batch))
		tcp_finish(LIST_ENTRY(batch.next, struct tcp_conn, ready));
}

void tcp_init(struct net_stack *s)
{
	struct tcp *t = &s->tcp;

	list_init(&t->free);
	list_init(&t->ready);
	list_init(&t->time_wait);
	for (uint32_t i = 0; i <= t->bucket_mask; i++)
		list_init(&t->bucket[i]);
	for (uint32_t i = 0; i < s->config.max_connections; i++) {
		struct tcp_conn *c = &t->conn[i];

		c->stack = s;
		conn_reset(c);
		list_push_back(&t->free, &c->link);
	}
	stack_random(s, &t->key, sizeof(t->key));
	t->reset_rate = (struct net_rate){
		.burst = TCP_RESET_BURST,
		.interval_us = 1000000 / TCP_RESET_PER_S,
	};
}
