/*
 * Runs the stack on a tap device, so that the Linux kernel is its peer:
 *
 *	peer TAP ADDRESS/PREFIX [loss=N] [dup=N] [corrupt=N] [reorder=N] [seed=N]
 *
 * The odds, of 1000 frames in either direction, impair the way between tap and stack. It serves
 * echo (port 7), a sink (9) that answers what it read with its length and hash, and a source (19)
 * that sends as many bytes of a known sequence as the first line asks for. Port 4000 never reads.
 * A line "connect ADDRESS PORT" on the standard input opens a connection to there, sends a greeting
 * and waits for the end. "settle" is answered "settled" once all connections have ended or are in
 * TIME-WAIT, or "unsettled" if that takes too long. SIGTERM prints the counters and ends it.
 */
#define _GNU_SOURCE /* ppoll */

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "lib/err.h"
#include "net/stack.h"
#include "net/tcp.h"

#define CONNECTIONS 4096
#define LATE_FRAMES 64
#define SETTLE_US   60000000u

struct odds {
	unsigned int loss, dup, corrupt, reorder;
	unsigned int seed;
};

struct late {
	size_t len;
	uint64_t due;
	int direction;
	uint8_t data[NET_FRAME_MAX];
};

enum direction {
	TO_STACK,
	TO_TAP,
};

struct peer {
	int tap;
	struct odds odds;
	uint64_t random_state;
	struct late late[LATE_FRAMES]; /* reordered frames that wait for others to pass */
	struct net_stack stack;
	uint64_t settle_until; /* 0 when nobody waits for it */
};

static volatile sig_atomic_t stopped;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint32_t draw(struct peer *p)
{
	p->random_state = p->random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(p->random_state >> 33);
}

static void forward(struct peer *p, int direction, const uint8_t *frame, size_t len)
{
	if (direction == TO_STACK)
		net_input(&p->stack, frame, len, now_us());
	else if (write(p->tap, frame, len) < 0 && errno != EIO && errno != EAGAIN)
		perror("tap");
}

static void delay(struct peer *p, int direction, const uint8_t *frame, size_t len)
{
	for (size_t i = 0; i < LATE_FRAMES; i++) {
		struct late *l = &p->late[i];

		if (l->len)
			continue;
		l->len = len;
		l->direction = direction;
		l->due = now_us() + draw(p) % 3000;
		memcpy(l->data, frame, len);
		return;
	}
	forward(p, direction, frame, len);
}

static void impair(struct peer *p, int direction, const uint8_t *frame, size_t len)
{
	uint8_t copy[NET_FRAME_MAX];

	if (draw(p) % 1000 < p->odds.loss || len < 14 || len > sizeof(copy))
		return;
	memcpy(copy, frame, len);
	/* IPv4 only: nothing else has a checksum. */
	if (draw(p) % 1000 < p->odds.corrupt && copy[12] == 8 && copy[13] == 0)
		copy[14 + draw(p) % (len - 14)] ^= (uint8_t)(1u << draw(p) % 8);
	if (draw(p) % 1000 < p->odds.dup)
		forward(p, direction, copy, len);
	if (draw(p) % 1000 < p->odds.reorder)
		delay(p, direction, copy, len);
	else
		forward(p, direction, copy, len);
}

/* Returns when the next one is due. */
static uint64_t release_late(struct peer *p)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < LATE_FRAMES; i++) {
		struct late *l = &p->late[i];
		size_t len = l->len;

		if (!len)
			continue;
		if (l->due > now_us()) {
			next = l->due < next ? l->due : next;
			continue;
		}
		l->len = 0;
		forward(p, l->direction, l->data, len);
	}
	return next;
}

static int send_frame(void *ctx, const void *frame, size_t len)
{
	impair(ctx, TO_TAP, frame, len);
	return 0;
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	if (getrandom(buf, len, 0) != (ssize_t)len)
		abort();
}

/* ---- services ---- */

struct client {
	uint64_t count; /* read by the sink, or still to send by the source */
	uint64_t hash;
	uint64_t at;
	bool asked;
	char line[32];
};

static int client_opened(struct tcp_conn *c, void *ctx)
{
	struct client *client = calloc(1, sizeof(*client));

	(void)ctx;
	client->hash = 0xcbf29ce484222325ull;
	tcp_set_user(c, client);
	return 0;
}

static void client_closed(struct tcp_conn *c, enum tcp_reason reason)
{
	(void)reason;
	free(tcp_user(c));
}

static void finish(struct tcp_conn *c)
{
	free(tcp_user(c));
	tcp_close(c);
}

static void echo_more(struct tcp_conn *c)
{
	const void *data;
	size_t len;

	while ((data = tcp_peek(c, &len))) {
		len = tcp_write(c, data, len);
		if (len == 0)
			return;
		tcp_consume(c, len);
	}
	if (tcp_at_end(c))
		finish(c);
}

/* FNV-1a, 64 bits. */
static void sink_more(struct tcp_conn *c)
{
	struct client *client = tcp_user(c);
	const uint8_t *data;
	size_t len;

	while ((data = tcp_peek(c, &len))) {
		for (size_t i = 0; i < len; i++)
			client->hash = (client->hash ^ data[i]) * 0x100000001b3ull;
		client->count += len;
		tcp_consume(c, len);
	}
}

static void sink_ended(struct tcp_conn *c)
{
	struct client *client = tcp_user(c);
	char answer[64];
	int n;

	sink_more(c);
	n = snprintf(answer, sizeof(answer), "%llu %016llx\n", (unsigned long long)client->count,
		(unsigned long long)client->hash);
	tcp_write(c, answer, (size_t)n);
	finish(c);
}

static void source_more(struct tcp_conn *c)
{
	struct client *client = tcp_user(c);
	uint8_t buf[4096];

	while (client->at < client->count) {
		size_t n = MIN(client->count - client->at, sizeof(buf));

		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)((client->at + i) * 31 >> 3);
		n = tcp_write(c, buf, n);
		if (n == 0)
			return;
		client->at += n;
	}
	if (client->asked)
		finish(c);
}

static void source_received(struct tcp_conn *c)
{
	struct client *client = tcp_user(c);
	size_t n = strlen(client->line);

	if (client->asked)
		return;
	n += tcp_read(c, client->line + n, sizeof(client->line) - 1 - n);
	if (!strchr(client->line, '\n'))
		return;
	client->asked = true;
	client->count = strtoull(client->line, NULL, 10);
	source_more(c);
}

static void ignore(struct tcp_conn *c)
{
	(void)c;
}

static int caller_opened(struct tcp_conn *c, void *ctx)
{
	client_opened(c, ctx);
	tcp_write(c, "greetings\n", 10);
	return 0;
}

static void caller_closed(struct tcp_conn *c, enum tcp_reason reason)
{
	printf("closed %d\n", (int)reason);
	if (tcp_user(c))
		free(tcp_user(c));
}

static void caller_received(struct tcp_conn *c)
{
	char buf[64];
	size_t n = tcp_read(c, buf, sizeof(buf) - 1);

	buf[n] = 0;
	printf("got %s", buf);
}

static const struct tcp_ops echo_ops = {client_opened, echo_more, echo_more, echo_more,
	client_closed};
static const struct tcp_ops sink_ops = {client_opened, sink_more, ignore, sink_ended,
	client_closed};
static const struct tcp_ops source_ops = {client_opened, source_received, source_more, ignore,
	client_closed};
static const struct tcp_ops stuck_ops = {client_opened, ignore, ignore, finish, client_closed};
static const struct tcp_ops caller_ops = {caller_opened, caller_received, ignore, finish,
	caller_closed};

/* ---- start and loop ---- */

static int tap_open(const char *name)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0) {
		perror("/dev/net/tun");
		exit(1);
	}
	return fd;
}

static void parse_odds(struct odds *o, const char *arg)
{
	if (sscanf(arg, "loss=%u", &o->loss) + sscanf(arg, "dup=%u", &o->dup) +
			sscanf(arg, "corrupt=%u", &o->corrupt) +
			sscanf(arg, "reorder=%u", &o->reorder) + sscanf(arg, "seed=%u", &o->seed) !=
		1) {
		fprintf(stderr, "peer: what is %s?\n", arg);
		exit(1);
	}
}

static void stack_open(struct peer *p, const char *address)
{
	struct net_config config = {
		.mac = {2, 0xc4, 0xee, 0x1, 0, 1},
		.max_connections = CONNECTIONS,
		.keepalive_s = 1,
		.send = send_frame,
		.random = random_bytes,
		.ctx = p,
	};
	unsigned int a, b, c, d, prefix;
	size_t size;

	if (sscanf(address, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &prefix) != 5)
		exit(1);
	config.address.addr = NET_IPV4(a, b, c, d);
	config.address.mask = 0xffffffffu << (32 - prefix);
	size = net_arena_size(&config);
	if (net_init(&p->stack, &config, malloc(size), size) != OK)
		exit(1);
	tcp_listen(&p->stack, 7, 0, &echo_ops, p);
	tcp_listen(&p->stack, 9, 0, &sink_ops, p);
	tcp_listen(&p->stack, 19, 0, &source_ops, p);
	tcp_listen(&p->stack, 4000, 0, &stuck_ops, p);
	net_link(&p->stack, true, now_us());
	fprintf(stderr, "peer: %zu KiB of memory for %d connections\n", size / 1024, CONNECTIONS);
}

static void read_command(struct peer *p)
{
	unsigned int a, b, c, d, port;
	char line[128];
	ssize_t n = read(0, line, sizeof(line) - 1);

	if (n <= 0) {
		stopped = 1;
		return;
	}
	line[n] = 0;
	if (sscanf(line, "connect %u.%u.%u.%u %u", &a, &b, &c, &d, &port) == 5)
		tcp_connect(&p->stack, NET_IPV4(a, b, c, d), (uint16_t)port, &caller_ops, NULL);
	else if (strcmp(line, "settle\n") == 0)
		p->settle_until = now_us() + SETTLE_US;
}

static uint32_t in_use(const struct net_stack *s)
{
	uint32_t n = s->config.max_connections;

	for (const struct list *l = s->tcp.free.next; l != &s->tcp.free; l = l->next)
		n--;
	return n;
}

static void answer_settle(struct peer *p)
{
	bool settled = in_use(&p->stack) == p->stack.tcp.time_waits;

	if (p->settle_until == 0 || (!settled && now_us() < p->settle_until))
		return;
	p->settle_until = 0;
	puts(settled ? "settled" : "unsettled");
}

static void read_frames(struct peer *p)
{
	uint8_t frame[2048];
	ssize_t n;

	for (int i = 0; i < 256 && (n = read(p->tap, frame, sizeof(frame))) > 0; i++)
		impair(p, TO_STACK, frame, (size_t)n);
}

static void loop(struct peer *p)
{
	while (!stopped) {
		uint64_t late = release_late(p), next, now = now_us();
		struct pollfd fds[] = {{.fd = p->tap, .events = POLLIN},
			{.fd = 0, .events = POLLIN}};
		struct timespec wait;

		net_poll(&p->stack, now);
		answer_settle(p);
		next = MIN(late, net_next_timer(&p->stack));
		next = next > now ? MIN(next - now, (uint64_t)1000000) : 0;
		wait = (struct timespec){.tv_sec = (time_t)(next / 1000000),
			.tv_nsec = (long)(next % 1000000) * 1000};
		fflush(stdout);
		if (ppoll(fds, 2, &wait, NULL) < 0)
			continue;
		if (fds[0].revents)
			read_frames(p);
		if (fds[1].revents)
			read_command(p);
	}
}

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void report(const struct net_stack *s)
{
	const struct net_stats *t = net_stats(s);

#define SHOW(field) printf("%s %llu\n", #field, (unsigned long long)t->field)
	SHOW(rx_frames);
	SHOW(tx_frames);
	SHOW(tcp_accepted);
	SHOW(tcp_retransmits);
	SHOW(tcp_fast_retransmits);
	SHOW(tcp_timeouts);
	SHOW(tcp_keepalive_drops);
	SHOW(tcp_out_of_order);
	SHOW(tcp_out_of_order_lost);
	SHOW(tcp_window_probes);
	SHOW(tcp_challenge_acks);
	SHOW(tcp_resets_sent);
	SHOW(tcp_resets_received);
	SHOW(tcp_cookies_sent);
	SHOW(tcp_cookies_accepted);
	SHOW(tcp_time_wait_recycled);
	SHOW(rx_drop_tcp_checksum);
	SHOW(rx_drop_ip_checksum);
	SHOW(rx_drop_tcp_full);
	SHOW(icmp_echoes);
	SHOW(icmp_unreachables);
	printf("time_waits %u\n", s->tcp.time_waits);
	printf("in_use %u\n", in_use(s));
	printf("chunks_in_use %u\n", s->tcp.pool.total - s->tcp.pool.free);
}

int main(int argc, char **argv)
{
	static struct peer p;

	if (argc < 3)
		return 1;
	for (int i = 3; i < argc; i++)
		parse_odds(&p.odds, argv[i]);
	p.random_state = p.odds.seed;
	p.tap = tap_open(argv[1]);
	signal(SIGTERM, stop);
	signal(SIGPIPE, SIG_IGN);
	stack_open(&p, argv[2]);
	puts("ready");
	loop(&p);
	report(&p.stack);
	return 0;
}
