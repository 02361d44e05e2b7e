/* The public calls. Each changes the connection, marks it ready and returns. */
#include "net/tcp.h"

#include "lib/err.h"
#include "lib/string.h"
#include "net/tcp_conn.h"

/* Random ports that tcp_connect() tries before it gives up (RFC 6056, algorithm 1). */
#define TCP_PORT_TRIES 64

int tcp_listen(struct net_stack *s, uint16_t port, uint32_t backlog, const struct tcp_ops *ops,
	void *ctx)
{
	if (port == 0)
		return ERR_INVALID;
	if (tcp_find_listener(s, port))
		return ERR_EXIST;
	for (size_t i = 0; i < TCP_LISTENERS_MAX; i++) {
		struct tcp_listener *l = &s->tcp.listener[i];

		if (l->ops)
			continue;
		*l = (struct tcp_listener){
			.ops = ops,
			.ctx = ctx,
			.port = port,
			.backlog = backlog ? backlog : s->config.max_half_open,
		};
		return OK;
	}
	return ERR_LIMIT;
}

void tcp_unlisten(struct net_stack *s, uint16_t port)
{
	struct tcp_listener *l = tcp_find_listener(s, port);

	if (!l)
		return;
	for (uint32_t i = 0; l->half_open && i < s->config.max_connections; i++) {
		struct tcp_conn *c = &s->tcp.conn[i];

		if (!c->in_use || c->listener != l)
			continue;
		tcp_send_reset(c);
		tcp_release(c);
	}
	l->ops = NULL;
}

struct tcp_conn *tcp_connect(struct net_stack *s, uint32_t addr, uint16_t port,
	const struct tcp_ops *ops, void *ctx)
{
	struct tcp_segment seg = {
		.src = addr,
		.dst = s->address.addr,
		.src_port = port,
		.flags = TCP_SYN,
	};
	struct tcp_conn *c;

	if (s->address.addr == 0 || port == 0)
		return NULL;
	for (int tries = 0; tries < TCP_PORT_TRIES; tries++) {
		stack_random(s, &seg.dst_port, sizeof(seg.dst_port));
		seg.dst_port |= NET_EPHEMERAL_FIRST;
		if (!tcp_lookup(s, &seg))
			break;
	}
	if (tcp_lookup(s, &seg))
		return NULL;
	c = tcp_create(s, &seg);
	if (!c)
		return NULL;
	c->ops = ops;
	c->user = ctx;
	c->state = TCP_SYN_SENT;
	c->iss = tcp_initial_seq(s, &seg);
	c->snd_una = c->snd_nxt = c->snd_max = c->iss;
	tcp_mark_ready(c);
	return c;
}

size_t tcp_readable(const struct tcp_conn *c)
{
	return c->rx.len;
}

size_t tcp_read(struct tcp_conn *c, void *buf, size_t len)
{
	uint32_t n = (uint32_t)MIN(len, (size_t)c->rx.len);

	ring_read(&c->stack->tcp.pool, &c->rx, 0, buf, n);
	tcp_consume(c, n);
	return n;
}

const void *tcp_peek(const struct tcp_conn *c, size_t *len)
{
	uint32_t n;
	const void *p = ring_peek(&c->stack->tcp.pool, &c->rx, &n);

	*len = n;
	return p;
}

void tcp_consume(struct tcp_conn *c, size_t len)
{
	uint32_t n = (uint32_t)MIN(len, (size_t)c->rx.len);

	if (n == 0)
		return;
	ring_consume(&c->stack->tcp.pool, &c->rx, n);
	tcp_mark_ready(c); /* the window may be worth an update */
}

bool tcp_at_end(const struct tcp_conn *c)
{
	return c->rx.len == 0 && (c->fin_received || c->state == TCP_CLOSED);
}

static bool can_write(const struct tcp_conn *c)
{
	return c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT;
}

size_t tcp_writable(struct tcp_conn *c, size_t want)
{
	size_t room = can_write(c) ? ring_room(&c->stack->tcp.pool, &c->tx) : 0;

	c->want_write = room < want;
	return room;
}

size_t tcp_write(struct tcp_conn *c, const void *buf, size_t len)
{
	uint32_t n = (uint32_t)MIN(len, (size_t)ring_capacity(&c->tx));

	if (!can_write(c))
		return 0;
	n = ring_write(&c->stack->tcp.pool, &c->tx, c->tx.len, buf, n);
	ring_extend(&c->tx, n);
	c->want_write = n < len;
	tcp_mark_ready(c);
	return n;
}

void tcp_shutdown(struct tcp_conn *c)
{
	if (!can_write(c))
		return;
	c->state = c->state == TCP_ESTABLISHED ? TCP_FIN_WAIT_1 : TCP_LAST_ACK;
	c->fin_queued = true;
	c->want_write = false;
	tcp_mark_ready(c);
}

void tcp_close(struct tcp_conn *c)
{
	if (c->state == TCP_SYN_RECEIVED)
		tcp_send_reset(c);
	if (!tcp_synchronized(c))
		c->state = TCP_CLOSED;
	tcp_shutdown(c);
	tcp_orphan(c);
	tcp_mark_ready(c);
}

void tcp_abort(struct tcp_conn *c)
{
	if (c->state > TCP_SYN_SENT && c->state != TCP_TIME_WAIT)
		tcp_send_reset(c);
	c->state = TCP_CLOSED;
	tcp_orphan(c);
	tcp_mark_ready(c);
}

void tcp_set_user(struct tcp_conn *c, void *user)
{
	c->user = user;
}

void *tcp_user(const struct tcp_conn *c)
{
	return c->user;
}

struct net_stack *tcp_stack(const struct tcp_conn *c)
{
	return c->stack;
}

void tcp_peer(const struct tcp_conn *c, uint32_t *addr, uint16_t *port)
{
	*addr = c->remote;
	*port = c->remote_port;
}
