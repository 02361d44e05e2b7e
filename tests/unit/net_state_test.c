/* RFC 9293, "SEGMENT ARRIVES": what each kind of segment does in each state. */
#include "tests/unit/net_bench.h"
#include "tests/unit/test.h"

/* Brings the connection into `state`. Afterwards the peer's seq and ack are those it would use. */
static struct tcp_conn *enter(struct bench *b, enum tcp_state state)
{
	struct tcp_segment seg;
	struct tcp_conn *c;

	if (state == TCP_SYN_SENT) {
		c = b->conn = tcp_connect(&b->stack, BENCH_PEER, BENCH_PEER_PORT, &bench_ops, b);
		CHECK(c);
		net_poll(&b->stack, b->now);
		CHECK(bench_last(b, &seg));
		CHECK_EQ(seg.flags, TCP_SYN);
		b->ack = seg.seq + 1;
		return c;
	}
	if (state == TCP_SYN_RECEIVED) {
		bench_send_at(b, TCP_SYN, b->seq++, 0, 0);
		CHECK(bench_last(b, &seg));
		b->ack = seg.seq + 1;
		return LIST_ENTRY(b->stack.tcp.conn[0].hash.prev, struct tcp_conn, hash);
	}
	bench_open(b);
	c = b->conn;
	if (state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK) {
		bench_send(b, TCP_FIN | TCP_ACK, 0);
		b->seq++;
	}
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT) {
		tcp_shutdown(c);
		net_poll(&b->stack, b->now);
		CHECK(bench_last(b, &seg));
		CHECK(seg.flags & TCP_FIN);
	}
	if (state == TCP_CLOSING) {
		bench_send(b, TCP_FIN | TCP_ACK, 0);
		b->seq++;
	}
	if (state == TCP_FIN_WAIT_2 || state == TCP_TIME_WAIT) {
		b->ack++;
		bench_send(b, TCP_ACK, 0);
	}
	if (state == TCP_TIME_WAIT) {
		bench_send(b, TCP_FIN | TCP_ACK, 0);
		b->seq++;
	}
	return c;
}

/* What the stack answers. */
enum answer {
	NOTHING,
	ACK,
	RST,
	SYN_ACK,
	FIN_ACK,
};

static enum answer answer_of(const struct bench *b)
{
	struct tcp_segment seg;

	if (!bench_last(b, &seg))
		return NOTHING;
	if (seg.flags & TCP_RST)
		return RST;
	if (seg.flags & TCP_SYN)
		return SYN_ACK;
	if (seg.flags & TCP_FIN)
		return FIN_ACK;
	return ACK;
}

/* The segments, relative to what the peer would send. */
struct stimulus {
	const char *name;
	uint8_t flags;
	int32_t seq, ack;
	size_t len;
};

enum stimulus_index {
	RST_EXACT,
	RST_IN_WINDOW,
	RST_OUTSIDE,
	SYN_IN_WINDOW,
	SYN_OLD,
	FIN_ONLY,
	FIN_AND_ACK,
	DATA,
	DATA_BEYOND,
	ACK_FUTURE,
	ACK_ANCIENT,
	ACK_ALL,
	WITHOUT_ACK,
	STIMULI,
};

/* In states where our FIN is out, ack 0 does not acknowledge it, and ack 1 does. */
static const struct stimulus stimuli[STIMULI] = {
	[RST_EXACT] = {"reset at RCV.NXT", TCP_RST | TCP_ACK, 0, 0, 0},
	[RST_IN_WINDOW] = {"reset within the window", TCP_RST | TCP_ACK, 100, 0, 0},
	[RST_OUTSIDE] = {"reset outside", TCP_RST | TCP_ACK, -100000, 0, 0},
	[SYN_IN_WINDOW] = {"SYN within the window", TCP_SYN, 50, 0, 0},
	[SYN_OLD] = {"the first SYN again", TCP_SYN, -1, 0, 0},
	[FIN_ONLY] = {"FIN, ours not acknowledged", TCP_FIN | TCP_ACK, 0, 0, 0},
	[FIN_AND_ACK] = {"FIN, all acknowledged", TCP_FIN | TCP_ACK, 0, 1, 0},
	[DATA] = {"data", TCP_ACK, 0, 0, 10},
	[DATA_BEYOND] = {"data beyond the window", TCP_ACK, 200000, 0, 10},
	[ACK_FUTURE] = {"an acknowledgement of what was not sent", TCP_ACK, 0, 5000, 0},
	[ACK_ANCIENT] = {"a very old acknowledgement", TCP_ACK, 0, -100000, 0},
	[ACK_ALL] = {"an acknowledgement of all", TCP_ACK, 0, 1, 0},
	[WITHOUT_ACK] = {"a FIN without ACK", TCP_FIN, 0, 0, 0},
};

struct outcome {
	enum tcp_state state; /* TCP_CLOSED also if the connection is gone */
	enum answer answer;
	int closed;           /* 1 if closed() is called */
};

#define STATES (TCP_TIME_WAIT + 1)

static const struct outcome outcomes[STATES][STIMULI] = {
	[TCP_SYN_SENT] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_CLOSED, NOTHING, 1}, /* any, if the ACK is right */
		[RST_OUTSIDE] = {TCP_CLOSED, NOTHING, 1},
		[SYN_IN_WINDOW] = {TCP_SYN_RECEIVED, SYN_ACK, 0},
		[SYN_OLD] = {TCP_SYN_RECEIVED, SYN_ACK, 0},
		[FIN_ONLY] = {TCP_SYN_SENT, NOTHING, 0},
		[FIN_AND_ACK] = {TCP_SYN_SENT, RST, 0},
		[DATA] = {TCP_SYN_SENT, NOTHING, 0},
		[DATA_BEYOND] = {TCP_SYN_SENT, NOTHING, 0},
		[ACK_FUTURE] = {TCP_SYN_SENT, RST, 0},
		[ACK_ANCIENT] = {TCP_SYN_SENT, RST, 0},
		[ACK_ALL] = {TCP_SYN_SENT, RST, 0},
		[WITHOUT_ACK] = {TCP_SYN_SENT, NOTHING, 0},
	},
	/* By a passive open: it has no owner yet. */
	[TCP_SYN_RECEIVED] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 0},
		[RST_IN_WINDOW] = {TCP_SYN_RECEIVED, ACK, 0},
		[RST_OUTSIDE] = {TCP_SYN_RECEIVED, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_CLOSED, NOTHING, 0},
		[SYN_OLD] = {TCP_SYN_RECEIVED, SYN_ACK, 0},
		[FIN_ONLY] = {TCP_CLOSE_WAIT, ACK, 0},
		[FIN_AND_ACK] = {TCP_SYN_RECEIVED, RST, 0},
		[DATA] = {TCP_ESTABLISHED, NOTHING, 0},
		[DATA_BEYOND] = {TCP_SYN_RECEIVED, NOTHING, 0},
		[ACK_FUTURE] = {TCP_SYN_RECEIVED, RST, 0},
		[ACK_ANCIENT] = {TCP_SYN_RECEIVED, RST, 0},
		[ACK_ALL] = {TCP_SYN_RECEIVED, RST, 0},
		[WITHOUT_ACK] = {TCP_SYN_RECEIVED, NOTHING, 0},
	},
	[TCP_ESTABLISHED] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_ESTABLISHED, ACK, 0},
		[RST_OUTSIDE] = {TCP_ESTABLISHED, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_ESTABLISHED, ACK, 0},
		[SYN_OLD] = {TCP_ESTABLISHED, ACK, 0},
		[FIN_ONLY] = {TCP_CLOSE_WAIT, ACK, 0},
		[FIN_AND_ACK] = {TCP_ESTABLISHED, ACK, 0}, /* acknowledges what was not sent */
		[DATA] = {TCP_ESTABLISHED, NOTHING, 0},    /* the acknowledgement is delayed */
		[DATA_BEYOND] = {TCP_ESTABLISHED, ACK, 0},
		[ACK_FUTURE] = {TCP_ESTABLISHED, ACK, 0},
		[ACK_ANCIENT] = {TCP_ESTABLISHED, ACK, 0},
		[ACK_ALL] = {TCP_ESTABLISHED, ACK, 0},
		[WITHOUT_ACK] = {TCP_ESTABLISHED, NOTHING, 0},
	},
	[TCP_FIN_WAIT_1] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_FIN_WAIT_1, ACK, 0},
		[RST_OUTSIDE] = {TCP_FIN_WAIT_1, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_FIN_WAIT_1, ACK, 0},
		[SYN_OLD] = {TCP_FIN_WAIT_1, ACK, 0},
		[FIN_ONLY] = {TCP_CLOSING, ACK, 0},
		[FIN_AND_ACK] = {TCP_TIME_WAIT, ACK, 0},
		[DATA] = {TCP_FIN_WAIT_1, NOTHING, 0},
		[DATA_BEYOND] = {TCP_FIN_WAIT_1, ACK, 0},
		[ACK_FUTURE] = {TCP_FIN_WAIT_1, ACK, 0},
		[ACK_ANCIENT] = {TCP_FIN_WAIT_1, ACK, 0},
		[ACK_ALL] = {TCP_FIN_WAIT_2, NOTHING, 0},
		[WITHOUT_ACK] = {TCP_FIN_WAIT_1, NOTHING, 0},
	},
	/* The peer's ack is beyond our FIN already: one more is the future. */
	[TCP_FIN_WAIT_2] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_FIN_WAIT_2, ACK, 0},
		[RST_OUTSIDE] = {TCP_FIN_WAIT_2, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_FIN_WAIT_2, ACK, 0},
		[SYN_OLD] = {TCP_FIN_WAIT_2, ACK, 0},
		[FIN_ONLY] = {TCP_TIME_WAIT, ACK, 0},
		[FIN_AND_ACK] = {TCP_FIN_WAIT_2, ACK, 0},
		[DATA] = {TCP_FIN_WAIT_2, NOTHING, 0},
		[DATA_BEYOND] = {TCP_FIN_WAIT_2, ACK, 0},
		[ACK_FUTURE] = {TCP_FIN_WAIT_2, ACK, 0},
		[ACK_ANCIENT] = {TCP_FIN_WAIT_2, ACK, 0},
		[ACK_ALL] = {TCP_FIN_WAIT_2, ACK, 0},
		[WITHOUT_ACK] = {TCP_FIN_WAIT_2, NOTHING, 0},
	},
	[TCP_CLOSE_WAIT] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_CLOSE_WAIT, ACK, 0},
		[RST_OUTSIDE] = {TCP_CLOSE_WAIT, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_CLOSE_WAIT, ACK, 0},
		[SYN_OLD] = {TCP_CLOSE_WAIT, ACK, 0},
		[FIN_ONLY] = {TCP_CLOSE_WAIT, NOTHING, 0}, /* a second FIN can't be: ignored */
		[FIN_AND_ACK] = {TCP_CLOSE_WAIT, ACK, 0},
		[DATA] = {TCP_CLOSE_WAIT, NOTHING, 0},
		[DATA_BEYOND] = {TCP_CLOSE_WAIT, ACK, 0},
		[ACK_FUTURE] = {TCP_CLOSE_WAIT, ACK, 0},
		[ACK_ANCIENT] = {TCP_CLOSE_WAIT, ACK, 0},
		[ACK_ALL] = {TCP_CLOSE_WAIT, ACK, 0},
		[WITHOUT_ACK] = {TCP_CLOSE_WAIT, NOTHING, 0},
	},
	[TCP_CLOSING] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_CLOSING, ACK, 0},
		[RST_OUTSIDE] = {TCP_CLOSING, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_CLOSING, ACK, 0},
		[SYN_OLD] = {TCP_CLOSING, ACK, 0},
		[FIN_ONLY] = {TCP_CLOSING, NOTHING, 0},
		[FIN_AND_ACK] = {TCP_TIME_WAIT, NOTHING, 0},
		[DATA] = {TCP_CLOSING, NOTHING, 0},
		[DATA_BEYOND] = {TCP_CLOSING, ACK, 0},
		[ACK_FUTURE] = {TCP_CLOSING, ACK, 0},
		[ACK_ANCIENT] = {TCP_CLOSING, ACK, 0},
		[ACK_ALL] = {TCP_TIME_WAIT, NOTHING, 0},
		[WITHOUT_ACK] = {TCP_CLOSING, NOTHING, 0},
	},
	[TCP_LAST_ACK] = {
		[RST_EXACT] = {TCP_CLOSED, NOTHING, 1},
		[RST_IN_WINDOW] = {TCP_LAST_ACK, ACK, 0},
		[RST_OUTSIDE] = {TCP_LAST_ACK, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_LAST_ACK, ACK, 0},
		[SYN_OLD] = {TCP_LAST_ACK, ACK, 0},
		[FIN_ONLY] = {TCP_LAST_ACK, NOTHING, 0},
		[FIN_AND_ACK] = {TCP_CLOSED, NOTHING, 0},
		[DATA] = {TCP_LAST_ACK, NOTHING, 0},
		[DATA_BEYOND] = {TCP_LAST_ACK, ACK, 0},
		[ACK_FUTURE] = {TCP_LAST_ACK, ACK, 0},
		[ACK_ANCIENT] = {TCP_LAST_ACK, ACK, 0},
		[ACK_ALL] = {TCP_CLOSED, NOTHING, 0},
		[WITHOUT_ACK] = {TCP_LAST_ACK, NOTHING, 0},
	},
	[TCP_TIME_WAIT] = {
		[RST_EXACT] = {TCP_TIME_WAIT, ACK, 0}, /* RFC 1337 */
		[RST_IN_WINDOW] = {TCP_TIME_WAIT, ACK, 0},
		[RST_OUTSIDE] = {TCP_TIME_WAIT, NOTHING, 0},
		[SYN_IN_WINDOW] = {TCP_TIME_WAIT, ACK, 0}, /* it has an owner still */
		[SYN_OLD] = {TCP_TIME_WAIT, ACK, 0},
		[FIN_ONLY] = {TCP_TIME_WAIT, NOTHING, 0},
		[FIN_AND_ACK] = {TCP_TIME_WAIT, ACK, 0},
		[DATA] = {TCP_TIME_WAIT, NOTHING, 0},
		[DATA_BEYOND] = {TCP_TIME_WAIT, ACK, 0},
		[ACK_FUTURE] = {TCP_TIME_WAIT, ACK, 0},
		[ACK_ANCIENT] = {TCP_TIME_WAIT, ACK, 0},
		[ACK_ALL] = {TCP_TIME_WAIT, ACK, 0},
		[WITHOUT_ACK] = {TCP_TIME_WAIT, NOTHING, 0},
	},
};

static enum tcp_state state_now(const struct bench *b)
{
	for (uint32_t i = 0; i < b->stack.config.max_connections; i++)
		if (b->stack.tcp.conn[i].in_use)
			return b->stack.tcp.conn[i].state;
	return TCP_CLOSED;
}

TEST(every_segment_in_every_state)
{
	int bad = 0;

	for (enum tcp_state state = TCP_SYN_SENT; state < STATES; state++)
		for (int i = 0; i < STIMULI; i++) {
			const struct stimulus *in = &stimuli[i];
			const struct outcome *want = &outcomes[state][i];
			struct bench *b = bench_new(NULL);

			enter(b, state);
			CHECK_EQ(state_now(b), state);
			bench_forget(b);
			bench_send_at(b, in->flags, b->seq + (uint32_t)in->seq,
				b->ack + (uint32_t)in->ack, in->len);
			if (state_now(b) != want->state || answer_of(b) != want->answer ||
				b->closed != want->closed) {
				fprintf(stderr, "state %d, %s: state %d answer %d closed %d, not %d %d %d\n",
					state, in->name, state_now(b), answer_of(b), b->closed,
					want->state, want->answer, want->closed);
				bad++;
			}
			bench_end(b);
		}
	CHECK_EQ(bad, 0);
}

TEST(simultaneous_open)
{
	struct bench *b = bench_new(NULL);
	struct tcp_conn *c = enter(b, TCP_SYN_SENT);
	struct tcp_segment seg;

	bench_send_at(b, TCP_SYN, b->seq, 0, 0);
	CHECK_EQ(c->state, TCP_SYN_RECEIVED);
	/* The peer crossed our SYN with its own, and answers ours with its SYN again. */
	bench_send_at(b, TCP_SYN | TCP_ACK, b->seq, b->ack, 0);
	CHECK_EQ(c->state, TCP_ESTABLISHED);
	CHECK_EQ(b->opened, 1);
	b->seq++;
	bench_forget(b);
	bench_send(b, TCP_ACK, 5);
	CHECK_EQ(b->received, 1);
	CHECK_EQ(tcp_write(c, "hello", 5), 5);
	net_poll(&b->stack, b->now);
	CHECK(bench_last(b, &seg));
	CHECK_EQ(seg.data.len, 5);
	CHECK_EQ(seg.ack, b->seq + 5);
	bench_end(b);
}

TEST(reset_refuses_a_simultaneous_open)
{
	struct bench *b = bench_new(NULL);

	enter(b, TCP_SYN_SENT);
	bench_send_at(b, TCP_SYN, b->seq, 0, 0);
	bench_send_at(b, TCP_RST | TCP_ACK, b->seq + 1, b->ack, 0);
	CHECK_EQ(b->closed, 1);
	CHECK_EQ(b->reason, TCP_REFUSED);
	bench_end(b);
}

TEST(simultaneous_close)
{
	struct bench *b = bench_new(NULL);
	struct tcp_conn *c = enter(b, TCP_CLOSING);

	CHECK_EQ(b->ended, 1);
	bench_send_at(b, TCP_ACK, b->seq, b->ack + 1, 0);
	CHECK_EQ(c->state, TCP_TIME_WAIT);
	tcp_close(b->conn);
	b->conn = NULL;
	bench_advance(b, TCP_TIME_WAIT_US + 1000);
	CHECK(!c->in_use);
	bench_end(b);
}

TEST(refused_connect)
{
	struct bench *b = bench_new(NULL);

	enter(b, TCP_SYN_SENT);
	/* A reset that acknowledges something else may be forged. */
	bench_send_at(b, TCP_RST | TCP_ACK, 0, b->ack + 1, 0);
	bench_send_at(b, TCP_RST, 0, 0, 0);
	CHECK_EQ(b->closed, 0);
	bench_send_at(b, TCP_RST | TCP_ACK, 0, b->ack, 0);
	CHECK_EQ(b->closed, 1);
	CHECK_EQ(b->reason, TCP_REFUSED);
	bench_end(b);
}

TEST(connect_without_answer_times_out)
{
	struct bench *b = bench_new(NULL);

	enter(b, TCP_SYN_SENT);
	bench_advance(b, 100 * BENCH_SECOND);
	CHECK_EQ(b->closed, 1);
	CHECK_EQ(b->reason, TCP_TIMEOUT);
	CHECK_EQ(net_stats(&b->stack)->tcp_retransmits, TCP_SYN_RETRIES);
	bench_end(b);
}

TEST(closed_port_is_reset_as_the_rfc_says)
{
	struct bench *b = bench_new(NULL);
	struct tcp_segment seg = {.dst_port = 81, .seq = 77, .ack = 99, .flags = TCP_ACK,
		.wscale = TCP_WSCALE_NONE};
	struct tcp_segment reset;

	bench_send_segment(b, &seg);
	CHECK(bench_last(b, &reset));
	CHECK_EQ(reset.flags, TCP_RST);
	CHECK_EQ(reset.seq, 99);
	seg.flags = TCP_SYN;
	seg.data.len = 10;
	bench_send_segment(b, &seg);
	CHECK(bench_last(b, &reset));
	CHECK_EQ(reset.flags, TCP_RST | TCP_ACK);
	CHECK_EQ(reset.seq, 0);
	CHECK_EQ(reset.ack, 77 + 10 + 1);
	bench_forget(b);
	seg.flags = TCP_RST;
	bench_send_segment(b, &seg);
	CHECK_EQ(b->sent_count, 0);
	bench_end(b);
}

TEST(resets_are_rate_limited)
{
	struct bench *b = bench_new(NULL);

	for (uint16_t i = 0; i < 2000; i++) {
		struct tcp_segment seg = {.dst_port = 81, .src_port = (uint16_t)(i + 1),
			.flags = TCP_SYN, .wscale = TCP_WSCALE_NONE};

		bench_send_segment(b, &seg);
	}
	CHECK_EQ(net_stats(&b->stack)->tcp_resets_sent, TCP_RESET_BURST);
	CHECK_EQ(net_stats(&b->stack)->tcp_resets_limited, 2000 - TCP_RESET_BURST);
	bench_end(b);
}

TEST(challenges_are_rate_limited)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	for (int i = 0; i < 1000; i++)
		bench_send_at(b, TCP_RST, b->seq + 10, 0, 0);
	CHECK_EQ(b->sent_count, 1);
	bench_advance(b, TCP_CHALLENGE_US);
	bench_send_at(b, TCP_SYN, b->seq, 0, 0);
	CHECK_EQ(b->sent_count, 2);
	CHECK_EQ(b->closed, 0);
	bench_end(b);
}

TEST(time_wait_gives_way_to_a_new_connection)
{
	struct bench *b = bench_new(NULL);
	struct tcp_conn *c = enter(b, TCP_TIME_WAIT);
	uint32_t old = b->ack;

	tcp_close(c);
	b->conn = NULL;
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->stack.tcp.time_waits, 1);
	b->opened = 0;
	/* An old SYN does not, one beyond the old connection does. */
	bench_send_at(b, TCP_SYN, b->seq - 10, 0, 0);
	CHECK_EQ(b->stack.tcp.time_waits, 1);
	b->seq += 1000;
	bench_open(b);
	CHECK_EQ(b->stack.tcp.time_waits, 0);
	CHECK(seq_lt(old, b->ack));
	bench_end(b);
}

TEST(last_ack_restarts_time_wait)
{
	struct bench *b = bench_new(NULL);
	struct tcp_conn *c = enter(b, TCP_TIME_WAIT);

	tcp_close(c);
	b->conn = NULL;
	bench_advance(b, TCP_TIME_WAIT_US / 2);
	bench_forget(b);
	bench_send_at(b, TCP_FIN | TCP_ACK, b->seq - 1, b->ack, 0);
	CHECK_EQ(answer_of(b), ACK);
	bench_advance(b, TCP_TIME_WAIT_US / 2 + 1000);
	CHECK(c->in_use);
	bench_advance(b, TCP_TIME_WAIT_US / 2);
	CHECK(!c->in_use);
	bench_end(b);
}

TEST(syn_ack_is_repeated_then_forgotten)
{
	struct bench *b = bench_new(NULL);

	enter(b, TCP_SYN_RECEIVED);
	CHECK_EQ(b->stack.tcp.half_open, 1);
	bench_advance(b, 100 * BENCH_SECOND);
	CHECK_EQ(b->sent_count, 1 + TCP_SYN_RETRIES);
	CHECK_EQ(b->stack.tcp.half_open, 0);
	CHECK_EQ(net_stats(&b->stack)->tcp_half_open_expired, 1);
	CHECK_EQ(b->closed, 0);
	bench_end(b);
}

TEST(refused_by_the_owner)
{
	struct bench *b = bench_new(NULL);

	b->refuse = true;
	enter(b, TCP_SYN_RECEIVED);
	bench_send(b, TCP_ACK, 100);
	CHECK_EQ(answer_of(b), RST);
	CHECK_EQ(state_now(b), TCP_CLOSED);
	CHECK_EQ(b->received + b->closed, 0);
	bench_end(b);
}

static void abort_now(struct bench *b)
{
	tcp_abort(b->conn);
	b->conn = NULL;
}

static void close_now(struct bench *b)
{
	tcp_close(b->conn);
	b->conn = NULL;
}

/* The owner may end a connection in any of its events, also when one segment causes several. */
TEST(owner_ends_it_in_an_event)
{
	void (*const ends[])(struct bench *) = {abort_now, close_now};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		for (int when = 0; when < 2; when++) {
			struct bench *b = bench_new(NULL);

			if (when == 0)
				b->in_event = ends[i]; /* in opened() */
			enter(b, TCP_SYN_RECEIVED);
			if (when == 1) {
				bench_send(b, TCP_ACK, 0);
				b->in_event = ends[i]; /* in received() */
			}
			bench_send(b, TCP_FIN | TCP_ACK, 100);
			CHECK_EQ(b->opened + b->received + b->ended, 1 + when);
			CHECK_EQ(b->closed, 0);
			bench_end(b);
		}
}

TEST(link_address_lost_ends_connections)
{
	struct bench *b = bench_new(NULL);

	bench_open(b);
	stack_set_address(&b->stack, &(struct net_address){.addr = NET_IPV4(10, 0, 0, 9),
		.mask = 0xffffff00});
	net_poll(&b->stack, b->now);
	CHECK_EQ(b->closed, 1);
	CHECK_EQ(b->reason, TCP_NO_ADDRESS);
	bench_end(b);
}
