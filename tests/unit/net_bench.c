#include "tests/unit/net_bench.h"

#include "lib/bytes.h"
#include "tests/unit/test.h"

static const uint8_t our_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 2};

static int on_send(void *ctx, const void *frame, size_t len)
{
	struct bench *b = ctx;

	if (load_be16((const uint8_t *)frame + 12) == ETHERTYPE_ARP) {
		b->asked = true;
		return 0;
	}
	if (b->sent_count < BENCH_SENT) {
		struct bench_frame *f = &b->sent[b->sent_count++];

		f->len = len;
		memcpy(f->data, frame, len);
	}
	return 0;
}

static void on_random(void *ctx, void *buf, size_t len)
{
	struct bench *b = ctx;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)test_random(&b->seed);
}

static struct bench *of(struct tcp_conn *c)
{
	return CONTAINER_OF(tcp_stack(c), struct bench, stack);
}

static void event(struct tcp_conn *c, int *count)
{
	struct bench *b = of(c);

	CHECK(b->conn == c);
	++*count;
	if (b->in_event)
		b->in_event(b);
}

static int on_opened(struct tcp_conn *c, void *ctx)
{
	struct bench *b = of(c);

	CHECK(ctx == b);
	if (b->refuse)
		return -1;
	b->conn = c;
	event(c, &b->opened);
	return 0;
}

static void on_received(struct tcp_conn *c)
{
	event(c, &of(c)->received);
}

static void on_sendable(struct tcp_conn *c)
{
	event(c, &of(c)->sendable);
}

static void on_ended(struct tcp_conn *c)
{
	event(c, &of(c)->ended);
}

static void on_closed(struct tcp_conn *c, enum tcp_reason reason)
{
	struct bench *b = of(c);

	CHECK(b->conn == c);
	b->closed++;
	b->reason = reason;
	b->conn = NULL;
}

const struct tcp_ops bench_ops = {
	.opened = on_opened,
	.received = on_received,
	.sendable = on_sendable,
	.ended = on_ended,
	.closed = on_closed,
};

static void learn_peer(struct bench *b)
{
	struct arp_packet arp = {.op = ARP_REQUEST, .sender = BENCH_PEER, .target = BENCH_OURS};
	uint8_t frame[ETH_HEADER_LEN + ARP_LEN];
	struct pkt p;

	b->asked = false;
	memcpy(arp.sender_mac, peer_mac, NET_MAC_LEN);
	pkt_init(&p, frame, sizeof(frame), sizeof(frame));
	arp_build(&p, &arp);
	eth_build(&p, our_mac, peer_mac, ETHERTYPE_ARP);
	bench_input(b, p.data, p.len);
}

struct bench *bench_new(const struct net_config *config)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct net_config c = {.max_connections = 8};

	if (config)
		c = *config;
	memcpy(c.mac, our_mac, NET_MAC_LEN);
	c.address.addr = BENCH_OURS;
	c.address.mask = 0xffffff00;
	c.send = on_send;
	c.random = on_random;
	c.ctx = b;
	b->arena = malloc(net_arena_size(&c));
	b->now = 100 * BENCH_SECOND;
	b->seq = 1000;
	b->window = 8000;
	CHECK_EQ(net_init(&b->stack, &c, b->arena, net_arena_size(&c)), 0);
	net_link(&b->stack, true, b->now);
	CHECK_EQ(tcp_listen(&b->stack, BENCH_PORT, 0, &bench_ops, b), 0);
	learn_peer(b);
	bench_forget(b);
	return b;
}

void bench_free(struct bench *b)
{
	free(b->arena);
	free(b);
}

void bench_end(struct bench *b)
{
	const struct tcp *t = &b->stack.tcp;

	b->in_event = NULL;
	if (b->conn)
		tcp_close(b->conn);
	b->conn = NULL;
	tcp_unlisten(&b->stack, BENCH_PORT);
	bench_advance(b, 400 * BENCH_SECOND);
	CHECK_EQ(t->pool.free, t->pool.total);
	CHECK_EQ(t->half_open, 0);
	CHECK_EQ(t->time_waits, 0);
	for (uint32_t i = 0; i < b->stack.config.max_connections; i++)
		CHECK(!t->conn[i].in_use);
	bench_free(b);
}

void bench_forget(struct bench *b)
{
	b->sent_count = 0;
}

void bench_advance(struct bench *b, uint64_t us)
{
	uint64_t end = b->now + us;

	while (net_next_timer(&b->stack) <= end) {
		b->now = MAX(b->now, net_next_timer(&b->stack));
		net_poll(&b->stack, b->now);
		if (b->asked)
			learn_peer(b);
	}
	b->now = end;
	net_poll(&b->stack, end); /* as an owner does between other things */
}

void bench_input(struct bench *b, const void *frame, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, frame, len);
	net_input(&b->stack, copy, len, b->now);
	free(copy);
}

void bench_send_segment(struct bench *b, struct tcp_segment *seg)
{
	uint8_t frame[NET_HEADROOM + NET_MTU];
	struct pkt p;

	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	memset(pkt_append(&p, seg->data.len), 'x', seg->data.len);
	seg->src = BENCH_PEER;
	seg->dst = BENCH_OURS;
	seg->src_port = seg->src_port ? seg->src_port : BENCH_PEER_PORT;
	seg->dst_port = seg->dst_port ? seg->dst_port : BENCH_PORT;
	tcp_build(&p, seg);
	ipv4_build(&p, BENCH_PEER, BENCH_OURS, IP_TCP);
	eth_build(&p, our_mac, peer_mac, ETHERTYPE_IPV4);
	bench_input(b, p.data, p.len);
}

void bench_send_at(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, size_t len)
{
	struct tcp_segment seg = {
		.seq = seq,
		.ack = ack,
		.flags = flags,
		.window = b->window,
		.wscale = TCP_WSCALE_NONE,
		.data = {.len = len},
	};

	if (b->conn)
		seg.dst_port = b->conn->local_port;
	bench_send_segment(b, &seg);
}

void bench_send(struct bench *b, uint8_t flags, size_t len)
{
	bench_send_at(b, flags, b->seq, b->ack, len);
}

bool bench_nth(const struct bench *b, size_t n, struct tcp_segment *out)
{
	struct net_stats stats = {0};
	struct ipv4_header ip;
	struct span in;

	if (n >= b->sent_count)
		return false;
	in = (struct span){.data = b->sent[n].data + ETH_HEADER_LEN,
		.len = b->sent[n].len - ETH_HEADER_LEN};
	CHECK(ipv4_parse(&in, &ip, &stats));
	if (ip.protocol != IP_TCP)
		return false;
	CHECK(tcp_parse(in, &ip, out, &stats));
	return true;
}

bool bench_last(const struct bench *b, struct tcp_segment *out)
{
	return b->sent_count && bench_nth(b, b->sent_count - 1, out);
}

void bench_open(struct bench *b)
{
	struct tcp_segment seg;

	bench_forget(b);
	bench_send_at(b, TCP_SYN, b->seq, 0, 0);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.flags, TCP_SYN | TCP_ACK);
	b->seq++;
	CHECK_EQ(seg.ack, b->seq);
	b->ack = seg.seq + 1;
	bench_send(b, TCP_ACK, 0);
	CHECK_EQ(b->opened, 1);
	bench_forget(b);
}
