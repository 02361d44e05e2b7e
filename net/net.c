/* The frame of the stack: its memory, its clock, and the way of a frame in and out. */
#include "net/net.h"

#include "lib/err.h"
#include "lib/string.h"
#include "net/icmp.h"
#include "net/stack.h"
#include "net/tcp_conn.h"

#define DEFAULT_CONNECTIONS   2048
#define DEFAULT_RING          (32 * 1024)
#define DEFAULT_POOL_PER_CONN (16 * 1024)
#define DEFAULT_KEEPALIVE_S   60
#define HALF_OPEN_SHARE       8 /* of all connections */
#define TIME_WAIT_SHARE       4

#define CONNECTIONS_MAX   (1u << 16)
#define RING_MIN          (2 * CHUNK_SIZE)
#define RING_MAX          (1u << 20)
/* The pool must be more than the reserve for ring heads: two chunks a connection. */
#define POOL_PER_CONN_MIN (3 * CHUNK_SIZE)
#define POOL_PER_CONN_MAX (2 * RING_MAX)

/* Timers other than those of connections. */
#define TIMERS_OF_STACK 2

#define ARENA_ALIGN 16

/* Carves the caller's memory. With a base of NULL it only counts. */
struct arena {
	uint8_t *base;
	size_t used;
};

static void *arena_take(struct arena *a, size_t count, size_t size)
{
	void *p = a->base ? a->base + a->used : NULL;

	a->used += align_up(count * size, ARENA_ALIGN);
	return p;
}

static void set_default(uint32_t *field, uint32_t value)
{
	if (*field == 0)
		*field = value;
}

static void fill_defaults(struct net_config *c)
{
	set_default(&c->max_connections, DEFAULT_CONNECTIONS);
	set_default(&c->max_half_open, MAX(c->max_connections / HALF_OPEN_SHARE, 1u));
	set_default(&c->max_time_wait, MAX(c->max_connections / TIME_WAIT_SHARE, 1u));
	set_default(&c->rx_buffer, DEFAULT_RING);
	set_default(&c->tx_buffer, DEFAULT_RING);
	set_default(&c->pool_per_conn, DEFAULT_POOL_PER_CONN);
	set_default(&c->keepalive_s, DEFAULT_KEEPALIVE_S);
}

static bool in_range(uint32_t v, uint32_t low, uint32_t high)
{
	return v >= low && v <= high;
}

static bool config_valid(const struct net_config *c)
{
	return c->send && c->random && !mac_is_group(c->mac) &&
	       in_range(c->max_connections, 1, CONNECTIONS_MAX) &&
	       in_range(c->rx_buffer, RING_MIN, RING_MAX) &&
	       in_range(c->tx_buffer, RING_MIN, RING_MAX) &&
	       in_range(c->pool_per_conn, POOL_PER_CONN_MIN, POOL_PER_CONN_MAX) &&
	       (c->dhcp || net_address_valid(&c->address));
}

static uint32_t pool_chunks(const struct net_config *c)
{
	return (uint32_t)((uint64_t)c->max_connections * c->pool_per_conn / CHUNK_SIZE);
}

static uint32_t bucket_count(const struct net_config *c)
{
	uint32_t n = 1;

	while (n < c->max_connections)
		n *= 2;
	return n;
}

/* The tables of the stack, in the arena. */
struct layout {
	struct net_timer **timers;
	struct tcp_conn *conns;
	struct list *buckets;
	uint32_t *slots;
	uint8_t *chunks;
};

static size_t lay_out(const struct net_config *c, void *base, struct layout *l)
{
	struct arena a = {.base = base};
	size_t slots = ring_slots(c->rx_buffer) + ring_slots(c->tx_buffer);

	l->timers = arena_take(&a, c->max_connections + TIMERS_OF_STACK, sizeof(*l->timers));
	l->conns = arena_take(&a, c->max_connections, sizeof(*l->conns));
	l->buckets = arena_take(&a, bucket_count(c), sizeof(*l->buckets));
	l->slots = arena_take(&a, c->max_connections * slots, sizeof(*l->slots));
	l->chunks = arena_take(&a, pool_chunks(c), CHUNK_SIZE);
	return a.used;
}

size_t net_arena_size(const struct net_config *config)
{
	struct net_config c = *config;
	struct layout l;

	fill_defaults(&c);
	return lay_out(&c, NULL, &l) + ARENA_ALIGN;
}

static void init_rings(struct net_stack *s, uint32_t *slot)
{
	uint32_t rx = ring_slots(s->config.rx_buffer), tx = ring_slots(s->config.tx_buffer);

	for (uint32_t i = 0; i < s->config.max_connections; i++) {
		ring_init(&s->tcp.conn[i].rx, slot, rx);
		ring_init(&s->tcp.conn[i].tx, slot + rx, tx);
		slot += rx + tx;
	}
}

int net_init(struct net_stack *s, const struct net_config *config, void *arena, size_t size)
{
	uintptr_t base = align_up((uintptr_t)arena, ARENA_ALIGN);
	struct layout l;

	memset(s, 0, sizeof(*s));
	s->config = *config;
	fill_defaults(&s->config);
	if (!config_valid(&s->config))
		return ERR_INVALID;
	if (net_arena_size(config) > size)
		return ERR_TOOBIG;

	lay_out(&s->config, (void *)base, &l);
	s->timers = (struct timer_heap){
		.slot = l.timers,
		.capacity = s->config.max_connections + TIMERS_OF_STACK,
	};
	s->tcp.conn = l.conns;
	s->tcp.bucket = l.buckets;
	s->tcp.bucket_mask = bucket_count(&s->config) - 1;
	pool_init(&s->tcp.pool, l.chunks, pool_chunks(&s->config), 2 * s->config.max_connections);
	init_rings(s, l.slots);
	tcp_init(s);
	arp_init(s);
	if (s->config.dhcp)
		dhcp_init(s);
	s->icmp_echo_rate = (struct net_rate){
		.burst = ICMP_ECHO_BURST,
		.interval_us = 1000000 / ICMP_ECHO_PER_S,
	};
	s->icmp_error_rate = (struct net_rate){
		.burst = ICMP_ERROR_BURST,
		.interval_us = 1000000 / ICMP_ERROR_PER_S,
	};
	return OK;
}

void stack_random(struct net_stack *s, void *buf, size_t len)
{
	s->config.random(s->config.ctx, buf, len);
}

void stack_send(struct net_stack *s, const struct pkt *p)
{
	if (!s->link_up || s->config.send(s->config.ctx, p->data, p->len) < 0) {
		s->stats.tx_drop_driver++;
		return;
	}
	s->stats.tx_frames++;
	s->stats.tx_bytes += p->len;
}

void stack_set_address(struct net_stack *s, const struct net_address *address)
{
	bool moved = s->address.addr != address->addr || s->address.mask != address->mask;

	s->address = *address;
	if (moved) {
		arp_flush(s);
		tcp_address_changed(s);
	}
	if (address->addr && s->link_up)
		arp_announce(s);
	if (s->config.address_changed)
		s->config.address_changed(s->config.ctx, &s->address);
}

void net_link(struct net_stack *s, bool up, uint64_t now_us)
{
	s->now = MAX(s->now, now_us);
	if (s->link_up == up)
		return;
	s->link_up = up;
	if (s->config.dhcp)
		dhcp_link(s, up);
	else if (up)
		stack_set_address(s, &s->config.address);
}

static bool frame_for_us(const struct net_stack *s, const struct eth_header *eth)
{
	bool ours = memcmp(eth->dst, s->config.mac, NET_MAC_LEN) == 0 || mac_is_group(eth->dst);

	return ours && !mac_is_group(eth->src);
}

void net_input(struct net_stack *s, const void *frame, size_t len, uint64_t now_us)
{
	struct span in = {.data = frame, .len = len};
	struct eth_header eth;

	s->now = MAX(s->now, now_us);
	s->stats.rx_frames++;
	s->stats.rx_bytes += len;
	if (!s->link_up) {
		s->stats.rx_drop_down++;
		return;
	}
	if (!eth_parse(&in, &eth, &s->stats))
		return;
	if (!frame_for_us(s, &eth)) {
		s->stats.rx_drop_mac++;
		return;
	}
	switch (eth.type) {
	case ETHERTYPE_ARP:
		arp_input(s, in);
		break;
	case ETHERTYPE_IPV4:
		ipv4_input(s, in);
		break;
	default:
		s->stats.rx_drop_ethertype++;
	}
}

void net_poll(struct net_stack *s, uint64_t now_us)
{
	struct net_timer *t;

	s->now = MAX(s->now, now_us);
	while ((t = timer_take_due(&s->timers, s->now)))
		t->fire(s, t);
	tcp_poll(s);
}

uint64_t net_next_timer(const struct net_stack *s)
{
	return list_empty(&s->tcp.ready) ? timer_next(&s->timers) : 0;
}

const struct net_stats *net_stats(const struct net_stack *s)
{
	return &s->stats;
}

const struct net_address *net_address(const struct net_stack *s)
{
	return &s->address;
}
