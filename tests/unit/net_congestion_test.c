/* What TCP sends when: congestion control, the peer's window, timers, seen from the peer. */
#include "tests/unit/net_bench.h"
#include "tests/unit/test.h"

#define MSS TCP_MSS_DEFAULT

static uint8_t data[32 * 1024];

/* Opens a connection whose peer takes all, writes what the ring holds, and lets it be sent. */
static struct bench *sending(void)
{
	struct bench *b = bench_new(NULL);

	b->window = 60000;
	bench_open(b);
	CHECK_EQ(tcp_write(b->conn, data, sizeof(data)), sizeof(data));
	net_poll(&b->stack, b->now);
	return b;
}

/* The peer acknowledges `segments` more; returns how many segments that brings. */
static size_t ack(struct bench *b, uint32_t segments)
{
	bench_forget(b);
	b->ack += segments * MSS;
	bench_send(b, TCP_ACK, 0);
	return b->sent_count;
}

static uint32_t sent_seq(const struct bench *b, size_t n)
{
	struct tcp_segment seg;

	CHECK(bench_nth(b, n, &seg));
	return seg.seq;
}

TEST(slow_start)
{
	struct bench *b = sending();

	CHECK_EQ(b->sent_count, 10); /* RFC 6928 */
	CHECK_EQ(ack(b, 1), 2);
	CHECK_EQ(ack(b, 2), 4);
	CHECK_EQ(ack(b, 4), 6); /* RFC 3465: two more for one acknowledgement */
	bench_end(b);
}

TEST(timeout_starts_from_one_segment)
{
	struct bench *b = sending();
	uint32_t first = b->ack;

	bench_advance(b, TCP_RTO_INITIAL_US - 1000);
	bench_forget(b);
	bench_advance(b, 2000);
	CHECK_EQ(b->sent_count, 1);
	CHECK_EQ(sent_seq(b, 0), first);
	CHECK_EQ(b->conn->ssthresh, 5 * MSS);
	/* It goes on after what was acknowledged, in slow start. */
	CHECK_EQ(ack(b, 1), 2);
	CHECK_EQ(sent_seq(b, 0), first + MSS);
	CHECK_EQ(ack(b, 2), 4);
	/* From half of what was in flight on, one segment more a round. */
	CHECK_EQ(ack(b, 4), 6);
	CHECK_EQ(ack(b, 1), 1);
	CHECK_EQ(ack(b, 1), 1);
	/* The back-off ended with the first new acknowledgement. */
	bench_forget(b);
	bench_advance(b, TCP_RTO_INITIAL_US + 1000);
	CHECK_EQ(b->sent_count, 1);
	bench_end(b);
}

TEST(acknowledgement_of_what_was_thought_lost)
{
	struct bench *b = sending();
	uint32_t first = b->ack;

	bench_advance(b, TCP_RTO_INITIAL_US + 1000);
	/* All ten had arrived: nothing of them is sent again. */
	ack(b, 10);
	CHECK_EQ(sent_seq(b, 0), first + 10 * MSS);
	bench_end(b);
}

TEST(fast_recovery)
{
	struct bench *b = sending();
	uint32_t lost = b->ack;

	/* RFC 3042: each of the first two lets a new segment go; the third repeats the lost one. */
	CHECK_EQ(ack(b, 0), 1);
	CHECK_EQ(sent_seq(b, 0), lost + 10 * MSS);
	CHECK_EQ(ack(b, 0), 1);
	CHECK_EQ(ack(b, 0), 1);
	CHECK_EQ(sent_seq(b, 0), lost);
	CHECK_EQ(b->conn->ssthresh, 6 * MSS);
	/* Half a window later each more lets a new one go. */
	for (int i = 4; i <= 6; i++)
		CHECK_EQ(ack(b, 0), 0);
	CHECK_EQ(ack(b, 0), 1);
	CHECK_EQ(sent_seq(b, 0), lost + 12 * MSS);
	/* A partial acknowledgement repeats the next hole at once. */
	ack(b, 3);
	CHECK_EQ(sent_seq(b, 0), lost + 3 * MSS);
	CHECK(b->conn->recovering);
	/* The full one ends it. */
	ack(b, 9);
	CHECK(!b->conn->recovering);
	CHECK(b->conn->cwnd <= b->conn->ssthresh);
	CHECK_EQ(net_stats(&b->stack)->tcp_fast_retransmits, 1);
	CHECK_EQ(net_stats(&b->stack)->tcp_timeouts, 0);
	bench_end(b);
}

/* RFC 6582: what was in flight before a timeout tells of no new loss. */
TEST(no_fast_retransmit_below_recover)
{
	struct bench *b = sending();

	bench_advance(b, TCP_RTO_INITIAL_US + 1000);
	ack(b, 1);
	for (int i = 0; i < 5; i++)
		ack(b, 0);
	CHECK_EQ(net_stats(&b->stack)->tcp_fast_retransmits, 0);
	bench_end(b);
}

TEST(what_is_no_duplicate)
{
	struct bench *b = sending();

	/* The window changes, or there is data: such an acknowledgement says nothing of a loss. */
	for (int i = 0; i < 5; i++) {
		b->window--;
		ack(b, 0);
	}
	for (int i = 0; i < 5; i++) {
		bench_send(b, TCP_ACK, 10);
		b->seq += 10;
	}
	CHECK_EQ(b->conn->dup_acks, 0);
	bench_end(b);
}

TEST(old_segments_do_not_change_the_window)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	bench_send(b, TCP_ACK, 10);
	b->seq += 10;
	bench_send(b, TCP_ACK, 10);
	CHECK_EQ(b->conn->snd_wnd, 8000);
	/* Overlaps what is new, but starts before what told the window last: taken. */
	b->window = 9000;
	bench_send(b, TCP_ACK, 20);
	CHECK_EQ(b->conn->snd_wnd, 9000);
	/* An older acknowledgement on the newest sequence number. */
	tcp_write(b->conn, data, 100);
	net_poll(&b->stack, b->now);
	b->ack += 100;
	b->seq += 20;
	bench_send(b, TCP_ACK, 0);
	b->window = 5;
	bench_send_at(b, TCP_ACK, b->seq, b->ack - 50, 0);
	CHECK_EQ(b->conn->snd_wnd, 9000);
	bench_end(b);
}

TEST(window_is_scaled)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg = {.seq = b->seq, .flags = TCP_SYN, .window = 10, .mss = 1460,
		.wscale = 7};

	bench_send_segment(b, &seg);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.wscale, 0); /* both scale, ours by nothing */
	b->seq++;
	b->ack = seg.seq + 1;
	b->window = 10;
	bench_send(b, TCP_ACK, 0);
	CHECK_EQ(b->conn->snd_wnd, 1280);
	tcp_write(b->conn, data, 5000);
	bench_forget(b);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 1);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.data.len, 1280); /* less than the MSS, but more than half of the window */
	bench_end(b);
}

/* Karn: a segment that was sent twice is not timed. */
TEST(round_trip_time)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	for (int i = 0; i < 50; i++) {
		tcp_write(b->conn, data, 100);
		net_poll(&b->stack, b->now);
		b->now += 300000;
		b->ack += 100;
		bench_send(b, TCP_ACK, 0);
	}
	CHECK(b->conn->srtt > 290000 && b->conn->srtt <= 300000);
	CHECK(b->conn->rto >= 300000 && b->conn->rto < 320000);
	tcp_write(b->conn, data, 100);
	net_poll(&b->stack, b->now);
	bench_advance(b, 5 * BENCH_SECOND);
	CHECK(net_stats(&b->stack)->tcp_retransmits > 1);
	b->ack += 100;
	bench_send(b, TCP_ACK, 0);
	CHECK(b->conn->srtt <= 300000);
	CHECK(b->conn->rto < 320000);
	bench_end(b);
}

TEST(window_restarts_after_idle)
{
	struct bench *b = sending();

	ack(b, 10);
	ack(b, 12);
	ack(b, 14);
	while (b->conn->tx.len) {
		b->ack = b->conn->snd_max;
		bench_send(b, TCP_ACK, 0);
	}
	CHECK(b->conn->cwnd > 10 * MSS);
	bench_advance(b, 5 * BENCH_SECOND);
	tcp_write(b->conn, data, sizeof(data));
	bench_forget(b);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 10);
	bench_end(b);
}

/* Who asked for more room than there is hears when it comes, also without having written. */
TEST(room_that_was_wanted_is_told)
{
	struct bench *b = bench_new(NULL);
	size_t room, n;

	bench_open(b);
	room = tcp_writable(b->conn, 1);
	for (size_t left = room; left; left -= n) {
		n = MIN(left, sizeof(data));
		CHECK_EQ(tcp_write(b->conn, data, n), n);
	}
	net_poll(&b->stack, b->now);
	b->ack += MSS;
	bench_send(b, TCP_ACK, 0);
	CHECK_EQ(b->sendable, 0);
	CHECK(tcp_writable(b->conn, room) < room);
	for (int i = 0; i < 1000 && !b->sendable; i++) {
		b->ack = b->conn->snd_nxt;
		bench_send(b, TCP_ACK, 0);
		net_poll(&b->stack, b->now);
	}
	CHECK_EQ(b->sendable, 1);
	bench_end(b);
}

/* The sequence number of a FIN lies within the window too. */
TEST(fin_waits_for_the_window)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg;

	b->window = 100;
	bench_open(b);
	tcp_write(b->conn, data, 100);
	tcp_shutdown(b->conn);
	net_poll(&b->stack, b->now);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.data.len, 100);
	CHECK(!(seg.flags & TCP_FIN));
	b->ack += 100;
	bench_send(b, TCP_ACK, 0);
	CHECK(bench_last(b, &seg));
	CHECK(seg.flags & TCP_FIN);
	CHECK_EQ(seg.data.len, 0);
	bench_end(b);
}

TEST(lost_data_is_repeated_into_a_smaller_window)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg;

	b->window = 2000;
	bench_open(b);
	tcp_write(b->conn, data, 4000);
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->sent_count, 3);
	/* The window shrinks so far that it is not worth using for what is new. */
	b->window = 300;
	bench_send(b, TCP_ACK, 0);
	bench_forget(b);
	bench_advance(b, 2 * BENCH_SECOND);
	CHECK(bench_nth(b, 0, &seg));
	CHECK_EQ(seg.seq, b->ack);
	b->ack += MSS;
	bench_forget(b);
	bench_send(b, TCP_ACK, 0);
	CHECK(bench_nth(b, 0, &seg));
	CHECK_EQ(seg.seq, b->ack);
	CHECK_EQ(seg.data.len, 300);
	bench_end(b);
}

/* Probes of a closed window are answered forever, or not for long. */
TEST(closed_window_without_answers_times_out)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg;

	b->window = 0;
	bench_open(b);
	tcp_write(b->conn, data, 100);
	for (int i = 0; i < 100; i++) {
		bench_forget(b);
		bench_advance(b, TCP_RTO_MAX_US + 1000);
		CHECK(bench_last(b, &seg));
		CHECK_EQ(seg.data.len, 0);
		CHECK_EQ(seg.seq, b->ack - 1);
		bench_send(b, TCP_ACK, 0);
	}
	CHECK_EQ(b->closed, 0);
	/* When it opens, what is sent is timed without the probes' back-off. */
	b->window = 50;
	bench_forget(b);
	bench_send(b, TCP_ACK, 0);
	bench_advance(b, TCP_RTO_INITIAL_US + 1000);
	CHECK_EQ(b->sent_count, 2);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.data.len, 50);
	b->ack += 50;
	b->window = 0;
	bench_send(b, TCP_ACK, 0);
	bench_advance(b, (TCP_RETRIES + 2) * TCP_RTO_MAX_US);
	CHECK_EQ(b->closed, 1);
	CHECK_EQ(b->reason, TCP_TIMEOUT);
	bench_end(b);
}

static size_t resets(const struct bench *b)
{
	return (size_t)net_stats(&b->stack)->tcp_resets_sent;
}

TEST(lingering_ends_with_a_reset_unless_all_arrived)
{
	struct bench *b = bench_new(NULL);

	/* In FIN-WAIT-2 silently. */
	bench_open(b);
	tcp_close(b->conn);
	b->conn = NULL;
	net_poll(&b->stack, b->now);
	b->ack++;
	bench_send(b, TCP_ACK, 0);
	bench_advance(b, TCP_LINGER_US + 1000);
	CHECK_EQ(resets(b), 0);
	CHECK(!b->stack.tcp.conn[0].in_use);

	/* With a window that stays closed, the peer hears that data was lost. */
	b->opened = 0;
	b->window = 0;
	b->seq += 1000;
	bench_open(b);
	tcp_write(b->conn, data, 100);
	tcp_close(b->conn);
	b->conn = NULL;
	bench_advance(b, TCP_LINGER_US + 1000);
	CHECK_EQ(resets(b), 1);
	bench_end(b);
}

static struct tcp_conn *other;

static void close_both(struct bench *b)
{
	tcp_close(b->conn);
	tcp_close(other);
	b->conn = NULL;
}

/*
 * Both are in TIME-WAIT when the owner closes them, and there is room for one: the first is
 * released while its own event is being delivered.
 */
TEST(released_within_its_own_event)
{
	struct bench *b = bench_new(&(struct net_config){.max_connections = 4, .max_time_wait = 1});

	for (int i = 0; i < 2; i++) {
		other = b->conn;
		b->conn = NULL;
		b->opened = 0;
		b->seq = 1000u + 100000u * (uint32_t)i;
		if (i == 1)
			b->stack.tcp.conn[0].remote_port = 1; /* it has been heard the last of */
		bench_open(b);
		tcp_shutdown(b->conn);
		net_poll(&b->stack, b->now);
		b->ack++;
		bench_send(b, TCP_ACK, 0);
		if (i == 1)
			b->in_event = close_both;
		bench_send(b, TCP_FIN | TCP_ACK, 0);
	}
	CHECK_EQ(b->stack.tcp.time_waits, 1);
	bench_end(b);
}
