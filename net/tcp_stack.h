/* TCP's part of the stack: the table of connections, the listeners, the pool of buffers. */
#ifndef NET_TCP_STACK_H
#define NET_TCP_STACK_H

#include "lib/list.h"
#include "net/rate.h"
#include "net/ring.h"
#include "net/siphash.h"
#include "net/tcp.h"

/* Resets a second, and at once, in answer to segments that belong to no connection. */
#define TCP_RESET_BURST 200
#define TCP_RESET_PER_S 1000

struct tcp_listener {
	const struct tcp_ops *ops; /* NULL if the slot is free */
	void *ctx;
	uint16_t port;
	uint32_t backlog;
	uint32_t half_open;
};

struct tcp {
	struct siphash_key key;
	struct tcp_conn *conn;   /* config.max_connections of them */
	struct list *bucket;     /* by hash of addresses and ports */
	uint32_t bucket_mask;
	struct list free;
	struct list ready;       /* the owner wrote, read or closed: output is due */
	struct list time_wait;   /* oldest first; those without an owner */
	uint32_t time_waits;
	uint32_t half_open;
	struct chunk_pool pool;
	struct tcp_listener listener[TCP_LISTENERS_MAX];
	struct net_rate reset_rate;
	uint64_t cookies_until;  /* no cookie that could still come back was sent after this */
};

#endif
