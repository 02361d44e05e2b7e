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

/* Both sides send `bytes` of their own and close when they have all. */
static void both_ways(uint64_t seed, const struct net_config *config, const struct sim_link *link,
	uint64_t bytes)
{
	struct peer server = {.to_send = bytes, .close_when_sent = true};
	struct peer client = {.to_send = bytes, .close_when_sent = true};
	struct sim *sim = sim_new(seed, config);

	sim->link = *link;
	start(sim, &server, &client);
	sim_run(sim, 600 * SIM_SECOND);
	if (!server.ended || !client.ended || server.received != bytes || client.received != bytes) {
		fprintf(stderr, "seed %" PRIu64 ": server has %" PRIu64 ", client %" PRIu64 "\n", seed,
			server.received, client.received);
		exit(1);
	}
	tcp_close(server.conn);
	tcp_close(client.conn);
	sim_run(sim, 100 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

TEST(bulk_both_ways)
{
	both_ways(1, NULL, &(struct sim_link){.delay_us = 100}, 10 * MIB);
}

TEST(bulk_with_window_scaling)
{
	struct net_config config = {
		.max_connections = 4,
		.rx_buffer = 512 * 1024,
		.tx_buffer = 512 * 1024,
		.pool_per_conn = 1024 * 1024,
	};

	both_ways(1, &config, &(struct sim_link){.delay_us = 20000}, 10 * MIB);
	both_ways(2, &config, &(struct sim_link){.delay_us = 20000, .loss = 5}, 2 * MIB);
}

TEST(bulk_on_bad_links)
{
	for (uint64_t seed = 0; seed < 10; seed++) {
		both_ways(seed, NULL, &(struct sim_link){.delay_us = 1000, .loss = 50}, 300000);
		both_ways(seed, NULL, &(struct sim_link){.delay_us = 1000, .duplicate = 300}, 300000);
		both_ways(seed, NULL, &(struct sim_link){.delay_us = 1000, .corrupt = 50}, 300000);
		both_ways(seed, NULL,
			&(struct sim_link){.delay_us = 1000, .reorder = 300, .jitter_us = 5000}, 300000);
		both_ways(seed, NULL,
			&(struct sim_link){.delay_us = 3000, .loss = 30, .duplicate = 30, .corrupt = 30,
				.reorder = 200, .jitter_us = 20000},
			100000);
	}
}

/* More connections at once than the pool could serve if each took its ring's worth. */
TEST(a_short_pool_starves_nobody)
{
	enum { N = 32 };
	struct net_config config = {.max_connections = N, .pool_per_conn = 3 * CHUNK_SIZE};
	static struct peer server[N], client[N];
	struct sim *sim = sim_new(5, &config);
	const struct tcp *t = &sim->host[0].stack.tcp;

	sim->link.loss = 10;
	for (int i = 0; i < N; i++) {
		server[i] = (struct peer){.to_send = 200000, .in_seed = 1, .out_seed = 2};
		client[i] = (struct peer){.to_send = 200000, .in_seed = 2, .out_seed = 1};
	}
	/* Each from a listener of its own, so that each finds its peer. */
	for (int i = 0; i < N; i++) {
		uint16_t port = (uint16_t)(PORT + i);

		CHECK_EQ(tcp_listen(&sim->host[0].stack, port, 0, &peer_ops, &server[i]), 0);
		client[i].conn = tcp_connect(&sim->host[1].stack, sim_addr(0), port, &peer_ops,
			&client[i]);
		CHECK(client[i].conn);
		sim_run(sim, SIM_SECOND / 10);
		while (!client[i].open)
			sim_run(sim, SIM_SECOND);
		tcp_unlisten(&sim->host[0].stack, port);
	}
	for (int i = 0; i < N; i++)
		while (client[i].received < 200000 || server[i].received < 200000) {
			uint64_t before = client[i].received + server[i].received;

			sim_run(sim, 60 * SIM_SECOND);
			CHECK(client[i].received + server[i].received > before);
		}
	CHECK(t->pool.free <= t->pool.total);
	for (int i = 0; i < N; i++) {
		tcp_close(client[i].conn);
		tcp_close(server[i].conn);
	}
	sim_run(sim, 200 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

TEST(zero_window_stalls_and_recovers)
{
	struct peer server = {.paused = true}, client = {.to_send = 200000};
	struct sim *sim = sim_new(3, NULL);
	uint64_t stuck;

	start(sim, &server, &client);
	sim_run(sim, 5 * SIM_SECOND);
	stuck = client.sent;
	CHECK(stuck < client.to_send);
	CHECK(server.received == 0);
	CHECK_EQ(tcp_readable(server.conn), ring_capacity(&server.conn->rx));
	/* Stays so for hours, without a byte lost and without the connection given up. */
	sim_run(sim, 4 * 3600 * SIM_SECOND);
	CHECK_EQ(client.sent, stuck);
	CHECK(!client.closed && !server.closed);
	CHECK(net_stats(&sim->host[1].stack)->tcp_window_probes > 100);
	server.paused = false;
	peer_receive(&server);
	sim_run(sim, 5 * SIM_SECOND);
	CHECK_EQ(server.received, client.to_send);
	tcp_close(client.conn);
	tcp_close(server.conn);
	sim_run(sim, 100 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

static bool drop_window_updates(struct sim *sim, int from, const uint8_t *frame, size_t len)
{
	(void)frame;
	return from != 0 || len > 60 || *(uint64_t *)sim->ctx < sim->now;
}

TEST(lost_window_update_is_found_by_a_probe)
{
	struct peer server = {.paused = true}, client = {.to_send = 100000};
	struct sim *sim = sim_new(3, NULL);
	uint64_t until;

	start(sim, &server, &client);
	sim_run(sim, 5 * SIM_SECOND);
	until = sim->now + SIM_SECOND;
	sim->ctx = &until;
	sim->filter = drop_window_updates;
	server.paused = false;
	peer_receive(&server);
	sim_run(sim, 90 * SIM_SECOND);
	CHECK_EQ(server.received, client.to_send);
	tcp_close(client.conn);
	tcp_close(server.conn);
	sim_run(sim, 100 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

/* Takes chosen data segments of the client, counted from its first, off the link, once each. */
struct dropper {
	uint64_t seen;
	uint64_t drop; /* bit n: the nth data segment */
};

static bool drop_chosen(struct sim *sim, int from, const uint8_t *frame, size_t len)
{
	struct dropper *d = sim->ctx;

	(void)frame;
	if (from != 1 || len < 1000)
		return true;
	return d->seen >= 64 || !(d->drop >> d->seen++ & 1);
}

/* NewReno: one loss, or several in one window, are repaired without a timeout. */
TEST(losses_are_repaired_by_fast_retransmit)
{
	const uint64_t patterns[] = {1 << 12, 1 << 12 | 1 << 14, 7 << 12, 0x55 << 12};

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		struct peer server = {0}, client = {.to_send = 200000};
		struct dropper dropper = {.drop = patterns[i]};
		struct sim *sim = sim_new(3, NULL);
		const struct net_stats *stats = net_stats(&sim->host[1].stack);
		uint64_t began = sim->now;

		sim->link.delay_us = 5000;
		sim->ctx = &dropper;
		sim->filter = drop_chosen;
		start(sim, &server, &client);
		while (server.received < client.to_send) {
			CHECK(sim->now - began < 10 * SIM_SECOND);
			sim_run(sim, 1000);
		}
		CHECK_EQ(stats->tcp_fast_retransmits, 1);
		CHECK_EQ(stats->tcp_retransmits, __builtin_popcountll(patterns[i]));
		CHECK(sim->now - began < SIM_SECOND);
		tcp_abort(client.conn);
		sim_run(sim, SIM_SECOND);
		CHECK(server.closed);
		check_no_leak(sim);
		sim_free(sim);
	}
}

static bool drop_all(struct sim *sim, int from, const uint8_t *frame, size_t len)
{
	(void)sim;
	(void)from;
	(void)frame;
	(void)len;
	return false;
}

TEST(peer_that_vanishes_with_data_in_flight)
{
	struct peer server = {0}, client = {.to_send = 1000};
	struct sim *sim = sim_new(3, NULL);
	uint64_t began;

	start(sim, &server, &client);
	sim_run(sim, SIM_SECOND);
	sim->filter = drop_all;
	client.to_send = 5000;
	peer_send(&client);
	began = sim->now;
	while (!client.closed)
		sim_run(sim, SIM_SECOND);
	CHECK_EQ(client.reason, TCP_TIMEOUT);
	/* RFC 1122, "TCP Connection Failures": at least 100 seconds. */
	CHECK(sim->now - began > 100 * SIM_SECOND && sim->now - began < 400 * SIM_SECOND);
	/* The other side had nothing to send: keep-alive finds it. */
	sim_run(sim, 300 * SIM_SECOND);
	CHECK(server.closed);
	CHECK_EQ(server.reason, TCP_TIMEOUT);
	CHECK_EQ(net_stats(&sim->host[0].stack)->tcp_keepalive_drops, 1);
	check_no_leak(sim);
	sim_free(sim);
}

TEST(idle_connection_is_kept_and_holds_no_buffer)
{
	struct peer server = {.echo = true}, client = {.to_send = 1000};
	struct sim *sim = sim_new(3, NULL);

	start(sim, &server, &client);
	sim_run(sim, 10 * 3600 * SIM_SECOND);
	CHECK(!client.closed && !server.closed);
	CHECK_EQ(client.received, 1000);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(sim->host[i].stack.tcp.pool.free, sim->host[i].stack.tcp.pool.total);
	tcp_close(client.conn);
	sim_run(sim, SIM_SECOND);
	tcp_close(server.conn);
	sim_run(sim, 100 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

TEST(close_delivers_what_was_written)
{
	struct peer server = {0}, client = {.to_send = 20000};
	struct sim *sim = sim_new(3, NULL);

	sim->link.loss = 100;
	start(sim, &server, &client);
	while (!client.open)
		sim_run(sim, 1000);
	CHECK_EQ(client.sent, 20000);
	tcp_close(client.conn);
	client.conn = NULL;
	sim_run(sim, 20 * SIM_SECOND);
	CHECK_EQ(server.received, 20000);
	CHECK(server.ended);
	tcp_close(server.conn);
	sim_run(sim, 200 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}

/* What is still sent to an owner that has closed is taken and dropped, for a bounded time. */
TEST(lingering_ends)
{
	struct peer server = {0}, client = {.to_send = 1ull << 40};
	struct sim *sim = sim_new(3, NULL);

	sim->link.delay_us = 10000;
	start(sim, &server, &client);
	sim_run(sim, SIM_SECOND);
	CHECK(server.received > 0);
	tcp_close(server.conn);
	server.conn = NULL;
	sim_run(sim, TCP_LINGER_US / 2);
	CHECK(client.ended && !client.closed);
	sim_run(sim, TCP_LINGER_US);
	CHECK(client.closed);
	CHECK_EQ(client.reason, TCP_RESET);
	sim_run(sim, 200 * SIM_SECOND);
	check_no_leak(sim);
	sim_free(sim);
}
