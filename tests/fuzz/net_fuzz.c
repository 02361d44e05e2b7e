/*
 * libFuzzer over the whole stack: the input is a script of frames, times and calls of the owner. Its
 * frames go to a stack with a listener, a DHCP client or a static address, and an open connection;
 * frames for the connection get addresses, ports, checksums and sequence numbers that fit, so that
 * the fuzzer does not have to guess them. Afterwards every connection is closed, time passes, and
 * nothing may be left: no connection, no chunk of the pool.
 */
#include "lib/bytes.h"
#include "net/checksum.h"
#include "net/tcp_conn.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OURS  NET_IPV4(10, 0, 0, 1)
#define PEER  NET_IPV4(10, 0, 0, 2)
#define PORT  80

/* What stands before each step of the script. */
enum step {
	STEP_RAW,     /* a frame as it is */
	STEP_IPV4,    /* a payload for a good IPv4 header */
	STEP_SEGMENT, /* flags, offsets to what is expected, and data for the open connection */
	STEP_WAIT,    /* time passes */
	STEP_OWNER,   /* the owner reads, writes, closes or aborts */
	STEPS,
};

struct run {
	struct net_stack stack;
	uint64_t now;
	uint64_t random;
	struct tcp_conn *conn; /* the owner's */
};

static const uint8_t our_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 2};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int on_send(void *ctx, const void *frame, size_t len)
{
	(void)ctx;
	(void)frame;
	must(len >= ETH_HEADER_LEN && len <= NET_FRAME_MAX);
	return 0;
}

static void on_random(void *ctx, void *buf, size_t len)
{
	struct run *r = ctx;

	for (size_t i = 0; i < len; i++) {
		r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
		((uint8_t *)buf)[i] = (uint8_t)(r->random >> 56);
	}
}

static int on_opened(struct tcp_conn *c, void *ctx)
{
	struct run *r = ctx;

	if (r->conn)
		return -1;
	r->conn = c;
	return 0;
}

static void on_event(struct tcp_conn *c)
{
	struct run *r = CONTAINER_OF(tcp_stack(c), struct run, stack);

	must(r->conn == c);
}

static void on_closed(struct tcp_conn *c, enum tcp_reason reason)
{
	struct run *r = CONTAINER_OF(tcp_stack(c), struct run, stack);

	(void)reason;
	must(r->conn == c);
	r->conn = NULL;
}

static const struct tcp_ops ops = {on_opened, on_event, on_event, on_event, on_closed};

/* In memory of its own, so that the sanitizer sees a read beyond it. */
static void input(struct run *r, const struct pkt *p)
{
	uint8_t *copy = malloc(p->len ? p->len : 1);

	memcpy(copy, p->data, p->len);
	net_input(&r->stack, copy, p->len, r->now);
	free(copy);
}

static void send_segment(struct run *r, struct tcp_segment *seg, const uint8_t *data, size_t len)
{
	uint8_t frame[NET_HEADROOM + NET_MTU];
	struct pkt p;

	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	if (len)
		memcpy(pkt_append(&p, len), data, len);
	seg->src = PEER;
	seg->dst = OURS;
	tcp_build(&p, seg);
	ipv4_build(&p, PEER, OURS, IP_TCP);
	eth_build(&p, our_mac, peer_mac, ETHERTYPE_IPV4);
	input(r, &p);
}

/* The connection that the fuzzer's segments are for: any, but the owner's rather. */
static struct tcp_conn *target(struct run *r)
{
	if (r->conn)
		return r->conn;
	for (uint32_t i = 0; i < r->stack.config.max_connections; i++)
		if (r->stack.tcp.conn[i].in_use)
			return &r->stack.tcp.conn[i];
	return NULL;
}

static void step_segment(struct run *r, struct span body)
{
	const uint8_t *h = span_consume(&body, 8);
	struct tcp_segment seg = {.src_port = 5000, .dst_port = PORT, .wscale = TCP_WSCALE_NONE};
	struct tcp_conn *c = target(r);

	if (!h)
		return;
	seg.flags = h[0];
	seg.window = load_le16(h + 1);
	if (c) {
		seg.src_port = c->remote_port;
		seg.dst_port = c->local_port;
		seg.seq = c->rcv_nxt;
		seg.ack = c->snd_max;
	}
	seg.seq += (uint32_t)(int16_t)load_le16(h + 3);
	seg.ack -= h[5];
	if (h[6] & 1)
		seg.wscale = h[6] >> 1;
	seg.mss = h[7] & 1 ? h[7] * 16u : 0;
	span_trim(&body, MIN(body.len, (size_t)1400));
	send_segment(r, &seg, body.data, body.len);
}

static void step_ipv4(struct run *r, struct span body)
{
	uint8_t frame[NET_HEADROOM + NET_MTU];
	const uint8_t *protocol = span_consume(&body, 1);
	struct pkt p;

	if (!protocol)
		return;
	span_trim(&body, MIN(body.len, (size_t)1400));
	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	memcpy(pkt_append(&p, body.len), body.data, body.len);
	/* ICMP gets a good checksum; UDP may go without one. */
	if (*protocol == IP_ICMP && p.len >= ICMP_HEADER_LEN) {
		store_be16(p.data + 2, 0);
		store_be16(p.data + 2, checksum_fold(checksum_add(0, p.data, p.len)));
	}
	ipv4_build(&p, PEER, OURS, *protocol);
	eth_build(&p, our_mac, peer_mac, ETHERTYPE_IPV4);
	input(r, &p);
}

static void step_owner(struct run *r, struct span body)
{
	const uint8_t *what = span_consume(&body, 1);
	uint8_t buf[4096];
	size_t len;

	if (!r->conn || !what)
		return;
	switch (*what % 6) {
	case 0:
		must(tcp_read(r->conn, buf, sizeof(buf)) <= sizeof(buf));
		break;
	case 1:
		memset(buf, 'x', sizeof(buf));
		must(tcp_write(r->conn, buf, sizeof(buf)) <= sizeof(buf));
		break;
	case 2:
		must((tcp_peek(r->conn, &len) != NULL) == (len != 0));
		tcp_consume(r->conn, len);
		break;
	case 3:
		tcp_shutdown(r->conn);
		break;
	case 4:
		tcp_close(r->conn);
		r->conn = NULL;
		break;
	case 5:
		tcp_abort(r->conn);
		r->conn = NULL;
		break;
	}
}

static void advance(struct run *r, uint64_t us)
{
	uint64_t end = r->now + us;

	/* Every timer must move on: the number of steps in a time is bounded. */
	for (int steps = 0; net_next_timer(&r->stack) <= end; steps++) {
		must(steps < 100000);
		r->now = MAX(r->now, net_next_timer(&r->stack));
		net_poll(&r->stack, r->now);
	}
	r->now = end;
}

static void step(struct run *r, enum step kind, struct span body)
{
	struct pkt p;

	switch (kind) {
	case STEP_RAW:
		p = (struct pkt){.data = (uint8_t *)(uintptr_t)body.data, .len = body.len};
		input(r, &p);
		break;
	case STEP_IPV4:
		step_ipv4(r, body);
		break;
	case STEP_SEGMENT:
		step_segment(r, body);
		break;
	case STEP_WAIT:
		advance(r, body.len ? (uint64_t)body.data[0] << (body.len % 20) : 1);
		break;
	case STEP_OWNER:
		step_owner(r, body);
		break;
	case STEPS:
		break;
	}
}

static void learn_peer(struct run *r)
{
	struct arp_packet arp = {.op = ARP_REQUEST, .sender = PEER, .target = OURS};
	uint8_t frame[ETH_HEADER_LEN + ARP_LEN];
	struct pkt p;

	memcpy(arp.sender_mac, peer_mac, NET_MAC_LEN);
	pkt_init(&p, frame, sizeof(frame), sizeof(frame));
	arp_build(&p, &arp);
	eth_build(&p, our_mac, peer_mac, ETHERTYPE_ARP);
	input(r, &p);
}

static void open_connection(struct run *r)
{
	struct tcp_segment seg = {.src_port = 5000, .dst_port = PORT, .seq = 1000, .flags = TCP_SYN,
		.window = 8000, .wscale = TCP_WSCALE_NONE};
	struct tcp_conn *c;

	send_segment(r, &seg, NULL, 0);
	c = target(r);
	seg.seq = 1001;
	seg.flags = TCP_ACK;
	seg.ack = c->snd_nxt;
	send_segment(r, &seg, NULL, 0);
	must(r->conn != NULL);
}

static void check_clean(struct run *r)
{
	const struct tcp *t = &r->stack.tcp;

	if (r->conn)
		tcp_close(r->conn);
	tcp_unlisten(&r->stack, PORT);
	advance(r, 400000000);
	must(t->pool.free == t->pool.total);
	must(t->half_open == 0 && t->time_waits == 0);
	for (uint32_t i = 0; i < r->stack.config.max_connections; i++)
		must(!t->conn[i].in_use);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = {.data = data, .len = size};
	struct run *r = calloc(1, sizeof(*r));
	struct net_config config = {
		.max_connections = 4,
		.max_half_open = 2,
		.rx_buffer = 4096,
		.tx_buffer = 4096,
		.pool_per_conn = 8192,
		.address = {.addr = OURS, .mask = 0xffffff00},
		.send = on_send,
		.random = on_random,
		.ctx = r,
	};
	const uint8_t *head;
	size_t arena_size;
	void *arena;

	memcpy(config.mac, our_mac, NET_MAC_LEN);
	config.dhcp = size && data[0] & 1;
	arena_size = net_arena_size(&config);
	arena = malloc(arena_size);
	r->now = 1000000;
	must(net_init(&r->stack, &config, arena, arena_size) == 0);
	tcp_listen(&r->stack, PORT, 0, &ops, r);
	net_link(&r->stack, true, r->now);
	if (!config.dhcp) {
		learn_peer(r);
		open_connection(r);
	}
	span_consume(&in, 1);
	/* Each step: its kind, its length, its body. */
	while ((head = span_consume(&in, 3))) {
		struct span body = {.data = in.data, .len = MIN((size_t)load_le16(head + 1), in.len)};

		span_consume(&in, body.len);
		step(r, head[0] % STEPS, body);
		advance(r, 0);
	}
	check_clean(r);
	free(arena);
	free(r);
	return 0;
}
