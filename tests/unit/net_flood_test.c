/* Limits of TCP: floods of SYNs, full tables, and what segments can make the stack remember. */
#include "tests/unit/net_bench.h"
#include "tests/unit/test.h"

#define HALF_OPEN 4

static struct bench *small_bench(void)
{
	return bench_new(&(struct net_config){
		.max_connections = 8,
		.max_half_open = HALF_OPEN,
		.max_time_wait = 3,
	});
}

static void send_syn(struct bench *b, uint16_t port, uint32_t seq, uint32_t mss, uint8_t wscale)
{
	struct tcp_segment seg = {.src_port = port, .seq = seq, .flags = TCP_SYN, .window = 8000,
		.mss = mss, .wscale = wscale};

	bench_send_segment(b, &seg);
}

static void send_from(struct bench *b, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack,
	size_t len)
{
	struct tcp_segment seg = {.src_port = port, .seq = seq, .ack = ack, .flags = flags,
		.window = 8000, .wscale = TCP_WSCALE_NONE, .data = {.len = len}};

	bench_send_segment(b, &seg);
}

/* Opens a connection from `port` and leaves it to the owner's b->conn. */
static void open_from(struct bench *b, uint16_t port)
{
	struct tcp_segment seg;

	b->conn = NULL;
	bench_forget(b);
	send_syn(b, port, 1000, 1460, TCP_WSCALE_NONE);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.flags, TCP_SYN | TCP_ACK);
	send_from(b, port, TCP_ACK, 1001, seg.seq + 1, 0);
	CHECK(b->conn);
}

TEST(syn_flood_takes_a_bounded_part)
{
	struct bench *b = small_bench();
	struct tcp_segment seg;

	for (uint16_t i = 0; i < 5000; i++)
		send_syn(b, (uint16_t)(10000 + i), i * 7u, 1460, 7);
	CHECK_EQ(b->stack.tcp.half_open, HALF_OPEN);
	CHECK_EQ(net_stats(&b->stack)->tcp_cookies_sent, 5000 - HALF_OPEN);
	CHECK_EQ(b->stack.tcp.pool.free, b->stack.tcp.pool.total);

	/* In the middle of it a client comes through, by a cookie, with its first data. */
	bench_forget(b);
	send_syn(b, 700, 50, 1400, 7);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.wscale, TCP_WSCALE_NONE);
	CHECK_EQ(seg.mss, TCP_MSS);
	send_from(b, 700, TCP_ACK, 51, seg.seq + 1, 20);
	CHECK_EQ(b->opened, 1);
	CHECK_EQ(b->received, 1);
	CHECK_EQ(tcp_readable(b->conn), 20);
	CHECK_EQ(b->conn->mss, 1400);
	CHECK_EQ(net_stats(&b->stack)->tcp_cookies_accepted, 1);

	/* And the flood is forgotten after a while. */
	bench_advance(b, 100 * BENCH_SECOND);
	CHECK_EQ(b->stack.tcp.half_open, 0);
	bench_end(b);
}

TEST(cookies_remember_the_mss)
{
	const struct {
		uint32_t offered, kept;
	} cases[] = {{0, 536}, {100, 256}, {536, 536}, {1000, 536}, {1400, 1400}, {1460, 1460},
		{9000, 1460}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench *b = small_bench();
		struct tcp_segment seg;

		for (uint16_t k = 0; k < HALF_OPEN; k++)
			send_syn(b, (uint16_t)(10000 + k), k, 1460, TCP_WSCALE_NONE);
		bench_forget(b);
		send_syn(b, 700, 50, cases[i].offered, TCP_WSCALE_NONE);
		CHECK(bench_last(b, &seg));
		send_from(b, 700, TCP_ACK, 51, seg.seq + 1, 0);
		CHECK(b->conn);
		CHECK_EQ(b->conn->mss, cases[i].kept);
		bench_end(b);
	}
}

TEST(wrong_cookies_are_reset)
{
	struct bench *b = small_bench();
	struct tcp_segment seg;
	uint32_t cookie;

	/* Before any was sent, an ACK is only an ACK for nothing. */
	send_from(b, 700, TCP_ACK, 51, 12345, 0);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.flags, TCP_RST);
	CHECK_EQ(net_stats(&b->stack)->tcp_cookies_bad, 0);

	for (uint16_t k = 0; k < HALF_OPEN; k++)
		send_syn(b, (uint16_t)(10000 + k), k, 1460, TCP_WSCALE_NONE);
	bench_forget(b);
	send_syn(b, 700, 50, 1460, TCP_WSCALE_NONE);
	CHECK(bench_last(b, &seg));
	cookie = seg.seq;
	/* Each bit of it counts, and so do the peer's port and sequence number. */
	for (int bit = 0; bit < 32; bit++)
		send_from(b, 700, TCP_ACK, 51, (cookie ^ 1u << bit) + 1, 0);
	send_from(b, 701, TCP_ACK, 51, cookie + 1, 0);
	send_from(b, 700, TCP_ACK, 52, cookie + 1, 0);
	CHECK_EQ(b->opened, 0);
	CHECK_EQ(net_stats(&b->stack)->tcp_cookies_bad, 34);
	/* So does its age. */
	bench_advance(b, 60 * BENCH_SECOND);
	send_from(b, 700, TCP_ACK, 51, cookie + 1, 0);
	CHECK_EQ(b->opened, 1);
	tcp_abort(b->conn);
	b->conn = NULL;
	/* Although others were sent since. */
	bench_advance(b, 80 * BENCH_SECOND);
	for (uint16_t k = 0; k < 2 * HALF_OPEN; k++)
		send_syn(b, (uint16_t)(10000 + k), k, 1460, TCP_WSCALE_NONE);
	send_from(b, 700, TCP_ACK, 51, cookie + 1, 0);
	CHECK_EQ(b->opened, 1);
	bench_end(b);
}

TEST(backlog_of_a_listener)
{
	struct bench *b = small_bench();

	CHECK_EQ(tcp_listen(&b->stack, BENCH_PORT, 0, &bench_ops, b), ERR_EXIST);
	CHECK_EQ(tcp_listen(&b->stack, 0, 0, &bench_ops, b), ERR_INVALID);
	tcp_unlisten(&b->stack, BENCH_PORT);
	CHECK_EQ(tcp_listen(&b->stack, BENCH_PORT, 1, &bench_ops, b), 0);
	send_syn(b, 1, 1, 1460, TCP_WSCALE_NONE);
	send_syn(b, 2, 1, 1460, TCP_WSCALE_NONE);
	CHECK_EQ(b->stack.tcp.half_open, 1);
	CHECK_EQ(net_stats(&b->stack)->tcp_cookies_sent, 1);
	/* Half-open ones go with their listener, and hear of it. */
	bench_forget(b);
	tcp_unlisten(&b->stack, BENCH_PORT);
	CHECK_EQ(b->stack.tcp.half_open, 0);
	CHECK_EQ(b->sent_count, 1);
	for (uint16_t i = 0; i < TCP_LISTENERS_MAX; i++)
		CHECK_EQ(tcp_listen(&b->stack, (uint16_t)(1000 + i), 0, &bench_ops, b), 0);
	CHECK_EQ(tcp_listen(&b->stack, 2000, 0, &bench_ops, b), ERR_LIMIT);
	/* All listeners together have a limit too. */
	for (uint16_t i = 0; i < 2 * HALF_OPEN; i++) {
		struct tcp_segment seg = {.src_port = 9, .dst_port = (uint16_t)(1000 + i % 8),
			.flags = TCP_SYN, .wscale = TCP_WSCALE_NONE};

		bench_send_segment(b, &seg);
	}
	CHECK_EQ(b->stack.tcp.half_open, HALF_OPEN);
	for (uint16_t i = 0; i < TCP_LISTENERS_MAX; i++)
		tcp_unlisten(&b->stack, (uint16_t)(1000 + i));
	bench_end(b);
}

TEST(full_table_drops_syns_and_keeps_what_is_open)
{
	struct bench *b = small_bench();
	struct tcp_conn *conn[8];

	for (uint16_t i = 0; i < 8; i++) {
		open_from(b, (uint16_t)(100 + i));
		conn[i] = b->conn;
	}
	bench_forget(b);
	send_syn(b, 500, 1, 1460, TCP_WSCALE_NONE);
	CHECK_EQ(b->sent_count, 0);
	CHECK_EQ(net_stats(&b->stack)->rx_drop_tcp_full, 1);
	CHECK(!tcp_connect(&b->stack, BENCH_PEER, 99, &bench_ops, b));
	/* One that goes makes room for one. */
	tcp_abort(conn[3]);
	net_poll(&b->stack, b->now);
	open_from(b, 500);
	conn[3] = b->conn;
	for (int i = 0; i < 8; i++)
		tcp_abort(conn[i]);
	b->conn = NULL;
	bench_end(b);
}

/* The peer closes after us, so that it is we who wait. */
static void finish_into_time_wait(struct bench *b, uint16_t port)
{
	struct tcp_conn *c = b->conn;

	tcp_close(c);
	b->conn = NULL;
	net_poll(&b->stack, b->now);
	send_from(b, port, TCP_FIN | TCP_ACK, 1001, c->snd_max, 0);
}

TEST(time_wait_is_bounded)
{
	struct bench *b = small_bench();

	for (uint16_t i = 0; i < 20; i++) {
		open_from(b, (uint16_t)(100 + i));
		finish_into_time_wait(b, (uint16_t)(100 + i));
		CHECK_EQ(b->stack.tcp.time_waits, MIN(i + 1, 3));
	}
	CHECK_EQ(net_stats(&b->stack)->tcp_time_wait_recycled, 17);
	bench_advance(b, TCP_TIME_WAIT_US);
	CHECK_EQ(b->stack.tcp.time_waits, 0);
	bench_end(b);
}

TEST(time_wait_gives_way_when_the_table_is_full)
{
	struct bench *b = small_bench();
	struct tcp_conn *conn[8];

	for (uint16_t i = 0; i < 3; i++) {
		open_from(b, (uint16_t)(100 + i));
		finish_into_time_wait(b, (uint16_t)(100 + i));
	}
	for (uint16_t i = 0; i < 8; i++) {
		open_from(b, (uint16_t)(200 + i));
		conn[i] = b->conn;
	}
	CHECK_EQ(b->stack.tcp.time_waits, 0);
	for (int i = 0; i < 8; i++)
		tcp_abort(conn[i]);
	b->conn = NULL;
	bench_end(b);
}

TEST(out_of_order_pieces_are_bounded)
{
	struct bench *b = bench_new(NULL);
	uint32_t i;

	bench_open(b);
	for (i = 1; i <= 20; i++)
		bench_send_at(b, TCP_ACK, b->seq + 20 * i, b->ack, 10);
	CHECK_EQ(b->conn->ooo_count, TCP_OOO_RANGES);
	CHECK_EQ(net_stats(&b->stack)->tcp_out_of_order, TCP_OOO_RANGES);
	CHECK_EQ(net_stats(&b->stack)->tcp_out_of_order_lost, 20 - TCP_OOO_RANGES);
	CHECK_EQ(b->received, 0);
	/* Each got an acknowledgement at once, for the peer's fast retransmit. */
	CHECK_EQ(b->sent_count, 20);
	/* Filled from the front, all that was kept comes with the holes. */
	bench_send_at(b, TCP_ACK, b->seq, b->ack, 20);
	CHECK_EQ(tcp_readable(b->conn), 30);
	bench_send_at(b, TCP_ACK, b->seq + 30, b->ack, 20 * (TCP_OOO_RANGES - 1));
	CHECK_EQ(tcp_readable(b->conn), 20 * TCP_OOO_RANGES + 10);
	CHECK_EQ(b->conn->ooo_count, 0);
	bench_end(b);
}

/* Random pieces of a stream, overlapping, twice, in any order: the stream comes out whole. */
TEST(out_of_order_pieces_join)
{
	uint64_t seed = 42;

	for (int round = 0; round < 200; round++) {
		struct bench *b = bench_new(NULL);
		const uint32_t total = 3000;

		bench_open(b);
		while (tcp_readable(b->conn) < total) {
			uint32_t from = (uint32_t)(test_random(&seed) % total);
			uint32_t len = (uint32_t)(test_random(&seed) % 500);

			len = MIN(len, total - from);
			bench_send_at(b, TCP_ACK, b->seq + from, b->ack, len);
			for (uint8_t i = 0; i < b->conn->ooo_count; i++) {
				CHECK(seq_lt(b->conn->ooo[i].from, b->conn->ooo[i].to));
				CHECK(seq_lt(i ? b->conn->ooo[i - 1].to : b->conn->rcv_nxt,
					b->conn->ooo[i].from));
			}
		}
		CHECK_EQ(tcp_readable(b->conn), total);
		CHECK_EQ(b->conn->rcv_nxt, b->seq + total);
		bench_end(b);
	}
}

TEST(out_of_order_pieces_that_overlap)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	bench_send_at(b, TCP_ACK, b->seq + 200, b->ack, 100);
	bench_send_at(b, TCP_ACK, b->seq + 150, b->ack, 100);
	bench_send_at(b, TCP_ACK, b->seq + 250, b->ack, 100);
	CHECK_EQ(b->conn->ooo_count, 1);
	bench_forget(b);
	bench_send_at(b, TCP_ACK, b->seq, b->ack, 100);
	CHECK_EQ(b->sent_count, 1); /* RFC 5681: at once, while there is a hole */
	bench_send_at(b, TCP_ACK, b->seq + 100, b->ack, 50);
	CHECK_EQ(b->sent_count, 2);
	CHECK_EQ(tcp_readable(b->conn), 350);
	bench_end(b);
}

TEST(first_fin_counts)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq + 100, b->ack, 0);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq + 300, b->ack, 0);
	bench_send_at(b, TCP_ACK, b->seq, b->ack, 100);
	CHECK_EQ(b->ended, 1);
	CHECK_EQ(tcp_readable(b->conn), 100);
	bench_end(b);
}

TEST(fin_out_of_order_waits_for_its_data)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq + 100, b->ack, 50);
	CHECK_EQ(b->ended, 0);
	bench_send_at(b, TCP_ACK, b->seq, b->ack, 100);
	CHECK_EQ(b->received, 1);
	CHECK_EQ(b->ended, 1);
	CHECK_EQ(tcp_readable(b->conn), 150);
	CHECK(!tcp_at_end(b->conn));
	tcp_consume(b->conn, 150);
	CHECK(tcp_at_end(b->conn));
	CHECK_EQ(b->conn->state, TCP_CLOSE_WAIT);
	bench_end(b);
}

TEST(closed_window_takes_acks_resets_and_a_fin)
{
	struct bench *b = bench_new(&(struct net_config){.max_connections = 4, .rx_buffer = 4096});
	struct tcp_segment seg;

	bench_open(b);
	for (int i = 0; i < 4; i++) {
		bench_send(b, TCP_ACK, 1024);
		b->seq += 1024;
	}
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.window, 0);
	/* A probe with an octet is answered and not taken. */
	bench_forget(b);
	bench_send(b, TCP_ACK, 1);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.ack, b->seq);
	CHECK_EQ(tcp_readable(b->conn), 4096);
	/* But its acknowledgement is. */
	CHECK_EQ(tcp_write(b->conn, "hello", 5), 5);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->conn->tx.len, 5);
	b->ack += 5;
	bench_send(b, TCP_ACK, 1);
	CHECK_EQ(b->conn->tx.len, 0);
	/* A FIN needs no room. */
	bench_send(b, TCP_FIN | TCP_ACK, 0);
	CHECK_EQ(b->ended, 1);
	b->seq++;
	/* And opens none. */
	bench_send_at(b, TCP_RST, b->seq + 1, 0, 0);
	CHECK_EQ(net_stats(&b->stack)->rx_drop_tcp_window, 1);
	bench_send(b, TCP_RST, 0);
	CHECK_EQ(b->closed, 1);
	bench_end(b);
}

TEST(what_lies_beyond_the_window_is_cut_off)
{
	struct bench *b = bench_new(&(struct net_config){.max_connections = 4, .rx_buffer = 4096});

	bench_open(b);
	bench_send_at(b, TCP_ACK, b->seq, b->ack, 1400);
	bench_send_at(b, TCP_ACK, b->seq + 1400, b->ack, 1400);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq + 2800, b->ack, 1400);
	CHECK_EQ(tcp_readable(b->conn), 4096);
	CHECK_EQ(b->ended, 0);
	CHECK_EQ(b->sent_count, 2); /* one for two segments, one for what was cut off */
	/* And what came before, at the front. */
	tcp_consume(b->conn, 4096);
	net_poll(&b->stack, b->now);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq + 2800, b->ack, 1400);
	CHECK_EQ(tcp_readable(b->conn), 4200 - 4096);
	CHECK_EQ(b->ended, 1);
	bench_end(b);
}

TEST(data_just_beyond_the_window_is_not_acceptable)
{
	struct bench *b = bench_new(NULL);
	uint32_t window = ring_capacity(&b->stack.tcp.conn[0].rx);

	bench_open(b);
	bench_send_at(b, TCP_ACK, b->seq + window, b->ack, 10);
	CHECK_EQ(net_stats(&b->stack)->rx_drop_tcp_window, 1);
	bench_send_at(b, TCP_ACK, b->seq + window - 1, b->ack, 10);
	CHECK_EQ(net_stats(&b->stack)->rx_drop_tcp_window, 1);
	CHECK_EQ(net_stats(&b->stack)->tcp_out_of_order, 1);
	bench_end(b);
}

/* What the pool can't take now is not acknowledged, and the peer hears at once how far it came. */
TEST(short_pool_takes_a_part)
{
	struct bench *b = bench_new(&(struct net_config){
		.max_connections = 1,
		.pool_per_conn = 4 * CHUNK_SIZE, /* of which 2 are the reserve */
	});
	struct tcp_segment seg;

	bench_open(b);
	for (uint32_t i = 0; i < 3; i++)
		bench_send_at(b, TCP_ACK, b->seq + 1400 * i, b->ack, 1400);
	CHECK_EQ(tcp_readable(b->conn), 2 * CHUNK_SIZE);
	CHECK_EQ(net_stats(&b->stack)->tcp_pool_short, 1);
	CHECK_EQ(b->sent_count, 2);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.ack, b->seq + 2 * CHUNK_SIZE);
	bench_end(b);
}

TEST(acknowledgements_are_delayed_but_not_long)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg;

	bench_open(b);
	bench_send(b, TCP_ACK, 100);
	CHECK_EQ(b->sent_count, 0);
	bench_advance(b, TCP_DELAYED_ACK_US);
	CHECK_EQ(b->sent_count, 1);
	/* Every second segment at once. */
	b->seq += 100;
	bench_send(b, TCP_ACK, 100);
	b->seq += 100;
	bench_send(b, TCP_ACK, 100);
	b->seq += 100;
	CHECK_EQ(b->sent_count, 2);
	/* And with data that goes anyway. */
	bench_forget(b);
	bench_send(b, TCP_ACK, 100);
	b->seq += 100;
	tcp_write(b->conn, "x", 1);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 1);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.ack, b->seq);
	CHECK_EQ(seg.data.len, 1);
	CHECK(seg.flags & TCP_PSH);
	bench_end(b);
}

/* RFC 9293: no silly windows, on either side. */
TEST(window_opens_by_worthwhile_steps)
{
	struct bench *b = bench_new(&(struct net_config){.max_connections = 4, .rx_buffer = 8192});
	struct tcp_segment seg;

	bench_open(b);
	for (int i = 0; i < 8; i++) {
		bench_send(b, TCP_ACK, 1024);
		b->seq += 1024;
	}
	bench_forget(b);
	tcp_consume(b->conn, 100);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 0);
	tcp_consume(b->conn, 1500);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 1);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.window, 1600);
	bench_end(b);
}

TEST(small_window_of_the_peer_is_not_used_at_once)
{
	struct bench *b = bench_new(NULL);
	static uint8_t data[6000];
	struct tcp_segment seg;

	b->window = 4000;
	bench_open(b);
	CHECK_EQ(tcp_write(b->conn, data, sizeof(data)), sizeof(data));
	net_poll(&b->stack, b->now);
	/* Full ones; what is left of the window is less than one, and than half of it. */
	CHECK_EQ(b->sent_count, 4000 / TCP_MSS_DEFAULT);
	b->ack += 4000 / TCP_MSS_DEFAULT * TCP_MSS_DEFAULT;
	b->window = 100;
	bench_forget(b);
	bench_send(b, TCP_ACK, 0);
	CHECK_EQ(b->sent_count, 0);
	/* After a while even so: the peer may never offer more. */
	bench_advance(b, 2 * BENCH_SECOND);
	CHECK(bench_nth(b, 0, &seg));
	CHECK_EQ(seg.data.len, 100);
	bench_end(b);
}

TEST(retransmission_backs_off)
{
	struct bench *b = bench_new(NULL);
	uint64_t last = b->now, gap = 0;
	size_t seen = 0;

	bench_open(b);
	tcp_write(b->conn, "x", 1);
	while (!b->closed) {
		bench_advance(b, 1000);
		if (b->sent_count == seen || seen > TCP_RETRIES)
			continue;
		if (++seen >= 3)
			CHECK(b->now - last >= MIN(2 * gap - 5000, (uint64_t)TCP_RTO_MAX_US - 5000));
		gap = b->now - last;
		last = b->now;
		CHECK(gap <= TCP_RTO_MAX_US + 5000);
	}
	CHECK_EQ(b->reason, TCP_TIMEOUT);
	CHECK_EQ(net_stats(&b->stack)->tcp_retransmits, TCP_RETRIES);
	bench_end(b);
}

static void send_too_big(struct bench *b, uint32_t seq, uint16_t mtu)
{
	uint8_t quoted_frame[NET_HEADROOM + 8], frame[NET_HEADROOM + 64];
	struct tcp_segment seg = {.src = BENCH_OURS, .dst = BENCH_PEER, .src_port = BENCH_PORT,
		.dst_port = BENCH_PEER_PORT, .seq = seq, .flags = TCP_ACK,
		.wscale = TCP_WSCALE_NONE};
	struct pkt quoted, p;

	pkt_init(&quoted, quoted_frame, sizeof(quoted_frame), NET_HEADROOM);
	tcp_build(&quoted, &seg);
	ipv4_build(&quoted, BENCH_OURS, BENCH_PEER, IP_TCP);
	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	memcpy(pkt_append(&p, 28), quoted.data, 28);
	icmp_build(&p, &(struct icmp_header){.type = ICMP_UNREACHABLE, .code = ICMP_CODE_TOO_BIG,
		.rest = mtu});
	ipv4_build(&p, BENCH_PEER, BENCH_OURS, IP_ICMP);
	eth_build(&p, b->stack.config.mac, (const uint8_t[]){2, 0, 0, 0, 0, 2}, ETHERTYPE_IPV4);
	bench_input(b, p.data, p.len);
}

TEST(path_mtu_is_learned_from_credible_messages)
{
	struct bench *b = bench_new(NULL);
	static uint8_t data[5000];
	struct tcp_segment seg;

	bench_open(b);
	b->conn->mss = TCP_MSS; /* as if the peer's SYN had said so */
	tcp_write(b->conn, data, sizeof(data));
	net_poll(&b->stack, b->now);
	CHECK(bench_nth(b, 0, &seg));
	CHECK_EQ(seg.data.len, TCP_MSS);
	/* Not in flight; absurd; larger than what is used. */
	send_too_big(b, b->ack - 1, 1000);
	send_too_big(b, b->ack + 5000, 1000);
	send_too_big(b, b->ack, 68);
	send_too_big(b, b->ack, 0);
	send_too_big(b, b->ack, 9000);
	CHECK_EQ(b->conn->mss, TCP_MSS);
	bench_forget(b);
	send_too_big(b, b->ack, 1000);
	CHECK_EQ(b->conn->mss, 960);
	CHECK(bench_nth(b, 0, &seg));
	CHECK_EQ(seg.seq, b->ack);
	CHECK_EQ(seg.data.len, 960);
	bench_end(b);
}
