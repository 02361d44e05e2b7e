/* TCP between two stacks: what gets through, whatever the link does. */
#include "net/tcp_conn.h"
#include "tests/unit/net_sim.h"
#include "tests/unit/test.h"

#define PORT 7000

/* One end of a connection in a test. It sends `to_send` bytes of a known sequence, checks those of
 * the other end, or echoes. */
struct peer {
	struct tcp_conn *conn;
	bool open, ended, closed;
	enum tcp_reason reason;
	bool echo;
	bool paused; /* doesn't read */
	bool close_when_sent;
	uint64_t to_send, sent, received;
	uint64_t out_seed, in_seed;
	uint64_t out_hash, in_hash;
};

static uint8_t stream_byte(uint64_t seed, uint64_t i)
{
	uint64_t state = seed + i / 8;

	return (uint8_t)(test_random(&state) >> (i % 8 * 8));
}

static void peer_send(struct peer *p)
{
	uint8_t buf[3000];

	while (p->conn && p->sent < p->to_send) {
		size_t n = (size_t)MIN(p->to_send - p->sent, sizeof(buf)), taken;

		for (size_t i = 0; i < n; i++)
			buf[i] = stream_byte(p->out_seed, p->sent + i);
		taken = tcp_write(p->conn, buf, n);
		p->sent += taken;
		if (taken < n)
			return;
	}
	if (p->close_when_sent && p->sent == p->to_send)
		tcp_shutdown(p->conn);
}

static void peer_receive(struct peer *p)
{
	const uint8_t *data;
	size_t len;

	while (!p->paused && (data = tcp_peek(p->conn, &len))) {
		if (p->echo) {
			len = tcp_write(p->conn, data, len);
			if (len == 0)
				return;
		} else {
			for (size_t i = 0; i < len; i++)
				CHECK_EQ(data[i], stream_byte(p->in_seed, p->received + i));
		}
		p->received += len;
		tcp_consume(p->conn, len);
	}
}

static int on_opened(struct tcp_conn *c, void *ctx)
{
	struct peer *p = ctx;

	CHECK(!p->open);
	p->open = true;
	p->conn = c;
	CHECK(tcp_user(c) == ctx);
	peer_send(p);
	return 0;
}

static void on_received(struct tcp_conn *c)
{
	peer_receive(tcp_user(c));
}

static void on_sendable(struct tcp_conn *c)
{
	struct peer *p = tcp_user(c);

	if (p->echo)
		peer_receive(p);
	else
		peer_send(p);
}

static void on_ended(struct tcp_conn *c)
{
	struct peer *p = tcp_user(c);

	CHECK(!p->ended);
	p->ended = true;
	if (p->echo)
		tcp_shutdown(c);
}

static void on_closed(struct tcp_conn *c, enum tcp_reason reason)
{
	struct peer *p = tcp_user(c);

	CHECK(!p->closed);
	p->closed = true;
	p->reason = reason;
	p->conn = NULL;
}

static const struct tcp_ops peer_ops = {
	.opened = on_opened,
	.received = on_received,
	.sendable = on_sendable,
	.ended = on_ended,
	.closed = on_closed,
};

/* Host 0 serves with `server`, host 1 connects with `client`. */
static void start(struct sim *sim, struct peer *server, struct peer *client)
{
	server->in_seed = client->out_seed = 1;
	server->out_seed = client->in_seed = server->echo ? 1 : 2;
	CHECK_EQ(tcp_listen(&sim->host[0].stack, PORT, 0, &peer_ops, server), 0);
	client->conn = tcp_connect(&sim->host[1].stack, sim_addr(0), PORT, &peer_ops, client);
	CHECK(client->conn);
}

static void check_no_leak(struct sim *sim)
{
	for (int i = 0; i < 2; i++) {
		const struct tcp *t = &sim->host[i].stack.tcp;

		CHECK_EQ(t->pool.free, t->pool.total);
		CHECK_EQ(t->half_open, 0);
		for (uint32_t k = 0; k < sim->host[i].stack.config.max_connections; k++)
			CHECK(!t->conn[k].in_use);
		CHECK_EQ(sim->host[i].stack.timers.count - (sim->host[i].stack.arp.timer.when != TIMER_NEVER), 0);
	}
}

static bool client_has_all(void *ctx)
{
	struct peer *p = ctx;

	return p->closed || p->received == p->to_send;
}

static void echo_over(uint64_t seed, const struct sim_link *link, uint64_t bytes)
{
	struct peer server = {.echo = true}, client = {.to_send = bytes};
	struct sim *sim = sim_new(seed, NULL);

	sim->link = *link;
	start(sim, &server, &client);
	if (!sim_run_until(sim, 3600 * SIM_SECOND, client_has_all, &client) || client.closed) {
		fprintf(stderr, "seed %" PRIu64 ": client sent %" PRIu64 " received %" PRIu64
			" server received %" PRIu64 "\n", seed, client.sent, client.received,
			server.received);
		exit(1);
	}
	tcp_close(client.conn);
	sim_run(sim, 30 * SIM_SECOND);
	CHECK(server.ended || server.closed);
	if (server.conn)
		tcp_close(server.conn);
	sim_run(sim, 300 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

TEST(echo_on_a_clean_link)
{
	echo_over(1, &(struct sim_link){.delay_us = 100}, 1);
	echo_over(2, &(struct sim_link){.delay_us = 100}, 1000000);
}

TEST(echo_on_a_bad_link)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		echo_over(seed,
			&(struct sim_link){
				.loss = 30,
				.duplicate = 30,
				.corrupt = 20,
				.reorder = 100,
				.delay_us = 5000,
				.jitter_us = 20000,
			},
			200000);
}
