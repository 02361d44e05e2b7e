/*
 * TCP by events (RFC 9293). A listener's connections report through its operations, all called
 * from inside net_input() or net_poll(). The calls below only change the connection and return:
 * what they cause to be sent leaves at the end of the event, or in the next net_poll(), which must
 * follow soon (net_next_timer() then says 0).
 *
 * A connection is the owner's from opened() until the owner calls tcp_close() or tcp_abort(), or
 * closed() was called. The handle must not be used after any of the three.
 */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "net/net.h"

#define TCP_LISTENERS_MAX 8

struct tcp_conn;

enum tcp_reason {
	TCP_RESET,   /* the peer reset the connection */
	TCP_REFUSED, /* tcp_connect() met a closed port */
	TCP_TIMEOUT, /* the peer stopped answering */
	TCP_NO_ADDRESS, /* our own address was lost or changed */
};

struct tcp_ops {
	/*
	 * A new connection is open, and `ctx` is the listener's (or that of tcp_connect()). A
	 * negative answer resets it; nothing else is then called.
	 */
	int (*opened)(struct tcp_conn *c, void *ctx);
	/* More can be read. Called again only when still more comes. */
	void (*received)(struct tcp_conn *c);
	/* There is room again, after a tcp_write() that could not take all. */
	void (*sendable)(struct tcp_conn *c);
	/*
	 * The peer has closed its side: after what can be read now, nothing follows. One may go on
	 * writing, and ends with tcp_close().
	 */
	void (*ended)(struct tcp_conn *c);
	/* The connection broke, and unread bytes with it. */
	void (*closed)(struct tcp_conn *c, enum tcp_reason reason);
};

/*
 * Accepts connections to `port`. Beyond `backlog` half-open ones (0: as many as the stack allows)
 * SYN cookies take over. `ops` must stay. Returns ERR_EXIST if the port is taken, ERR_LIMIT above
 * TCP_LISTENERS_MAX.
 */
int tcp_listen(struct net_stack *stack, uint16_t port, uint32_t backlog, const struct tcp_ops *ops,
	void *ctx);

/* Accepts no more; what is open stays. */
void tcp_unlisten(struct net_stack *stack, uint16_t port);

/* Opens a connection from a random port. NULL if none is free. The user pointer is `ctx`. */
struct tcp_conn *tcp_connect(struct net_stack *stack, uint32_t addr, uint16_t port,
	const struct tcp_ops *ops, void *ctx);

/* Bytes that can be read. */
size_t tcp_readable(const struct tcp_conn *c);

/* Copies up to `len` bytes out and consumes them. Returns how many: 0 when nothing is there. */
size_t tcp_read(struct tcp_conn *c, void *buf, size_t len);

/*
 * The bytes that come next, in place, and in `*len` how many lie together; NULL if there are none.
 * Valid until they are consumed or the event ends.
 */
const void *tcp_peek(const struct tcp_conn *c, size_t *len);

/* Done with the first `len` bytes, at most tcp_readable(). */
void tcp_consume(struct tcp_conn *c, size_t len);

/* True once the peer has closed its side and everything was read. */
bool tcp_at_end(const struct tcp_conn *c);

/*
 * Bytes that tcp_write() would take now. If fewer than `want`, sendable() is called once there is
 * room.
 */
size_t tcp_writable(struct tcp_conn *c, size_t want);

/*
 * Queues up to `len` bytes and returns how many it took. If fewer than `len`, sendable() is called
 * once there is room. Takes none after tcp_shutdown().
 */
size_t tcp_write(struct tcp_conn *c, const void *buf, size_t len);

/* Sends what is queued, then a FIN. Reading goes on. */
void tcp_shutdown(struct tcp_conn *c);

/*
 * The owner is done. What is queued is still sent, then a FIN, in the background and for a bounded
 * time. What the peer sends meanwhile is taken and dropped, so that it can read our last words.
 */
void tcp_close(struct tcp_conn *c);

/* Resets the connection; both sides lose what is under way. */
void tcp_abort(struct tcp_conn *c);

void tcp_set_user(struct tcp_conn *c, void *user);
void *tcp_user(const struct tcp_conn *c);
struct net_stack *tcp_stack(const struct tcp_conn *c);
void tcp_peer(const struct tcp_conn *c, uint32_t *addr, uint16_t *port);

#endif
