/*
 * One stack and a peer that is played by the test: it makes any segment, and sees each that the
 * stack sends.
 */
#ifndef TESTS_UNIT_NET_BENCH_H
#define TESTS_UNIT_NET_BENCH_H

#include "lib/err.h"
#include "net/tcp_conn.h"

#define BENCH_PORT      80
#define BENCH_PEER_PORT 5000
#define BENCH_SENT      512
#define BENCH_SECOND    1000000ull

#define BENCH_OURS NET_IPV4(10, 0, 0, 1)
#define BENCH_PEER NET_IPV4(10, 0, 0, 2)

struct bench_frame {
	size_t len;
	uint8_t data[NET_FRAME_MAX];
};

struct bench {
	struct net_stack stack;
	void *arena;
	uint64_t now, seed;
	struct bench_frame sent[BENCH_SENT]; /* IPv4, since bench_forget() */
	size_t sent_count;
	bool asked; /* by ARP; the peer answers, and nobody sees it */

	/* The owner's view of its one connection. */
	struct tcp_conn *conn;
	int opened, received, sendable, ended, closed;
	enum tcp_reason reason;
	bool refuse;
	void (*in_event)(struct bench *b); /* optional: called in each but closed() */

	/* The peer's: what it sends next, and has heard. */
	uint32_t seq, ack;
	uint16_t window;
};

/* `config` may give limits; NULL for small ones. The stack listens on BENCH_PORT, link up. */
struct bench *bench_new(const struct net_config *config);
void bench_free(struct bench *b);

/* Closes what is open, lets minutes pass, checks that nothing is left, and frees. */
void bench_end(struct bench *b);

void bench_forget(struct bench *b);
void bench_advance(struct bench *b, uint64_t us);

/* A frame, in memory of its exact size. */
void bench_input(struct bench *b, const void *frame, size_t len);

/* The peer sends a segment with `len` bytes of 'x' at its seq and ack; seq does not move. */
void bench_send(struct bench *b, uint8_t flags, size_t len);
void bench_send_at(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, size_t len);
/* Any segment; addresses are filled in, ports if they are 0. */
void bench_send_segment(struct bench *b, struct tcp_segment *seg);

/* The last segment that the stack sent since bench_forget(). False if there was none. */
bool bench_last(const struct bench *b, struct tcp_segment *out);
bool bench_nth(const struct bench *b, size_t n, struct tcp_segment *out);

/* Opens the connection by a handshake from the peer. */
void bench_open(struct bench *b);

extern const struct tcp_ops bench_ops;

#endif
