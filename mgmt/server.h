/*
 * The management server: clients of the network on one side, hv/guest.h and hv/host.h on the other.
 *
 * It runs in the loop of the core that serves the network. Nothing here blocks: a poll does a
 * bounded amount of work for each connection in turn, so that none starves another, and what a
 * client does not take or send in time costs that client its connection. All memory comes from the
 * arena given at the start. Everything that a connection holds (requests, reader slots, buffers) is
 * freed when it goes; guests that it made stay, and uploads that were cut off for a while.
 */
#ifndef MGMT_SERVER_H
#define MGMT_SERVER_H

#include "lib/base.h"
#include "lib/err.h"
#include "lib/list.h"
#include "mgmt/channel.h"
#include "net/rate.h"

/* Limits of one connection. */
#define SERVER_REQUESTS_PER_CONN 64
#define SERVER_UPLOADS_PER_CONN  4
#define SERVER_UPLOAD_CREDIT     (256 * 1024u)
#define SERVER_INPUT_CREDIT      4096u /* bytes of guest input held for a request */

/*
 * Connections that have not said hello. One more, and the oldest goes of the address that has most of
 * them: who floods the port displaces itself.
 */
#define SERVER_STRANGERS             64
#define SERVER_STRANGERS_PER_ADDRESS 32
#define SERVER_ADDRESSES             128 /* that are remembered; more than SERVER_STRANGERS */

/*
 * Handshakes: one a poll, since its curve costs what a hundred requests do. Of one address at most so
 * many at once, and then one each interval, but for those that let an authorised client in.
 */
#define SERVER_HANDSHAKES_PER_POLL   1
#define SERVER_HANDSHAKE_BURST       32
#define SERVER_HANDSHAKE_INTERVAL_US 50000u

/*
 * Admission. A client is an authorised key, over all of its connections. What it asks for begins at
 * once while it has credit and nothing of its own waits; else it waits in the client's queue, and is
 * refused with a time to come back when that is full. Each poll gives a client credit by the weight of
 * its role; beginning a request takes 1, and so does each guest made or 16 items listed.
 */
#define SERVER_QUEUE_PER_CLIENT 128 /* requests that wait */
#define SERVER_QUEUE_PER_ROLE   512
#define SERVER_QUEUE_SURE       8   /* for each client, however many wait of its role */
#define SERVER_CREDIT           32  /* a poll, times the weight */
#define SERVER_WORK_PER_POLL    256 /* steps and beginnings, of all clients */
#define SERVER_TICKET_BYTES     256 /* a waiting request that is longer takes a block */
#define SERVER_TICKET_BLOCKS    32
#define SERVER_ROLES            5   /* none, viewer, owner, operator, admin */

/*
 * What a client has for sure, however much others take, which get at most the rest. Strangers count
 * as one client.
 */
#define SERVER_SURE_CONNECTIONS 8
#define SERVER_SURE_REQUESTS    16
#define SERVER_SURE_BUFFERS     2

/* Requests with a key that are remembered of each client; and blocks for the ids of batches, of all. */
#define SERVER_KEYS_PER_CLIENT 512
#define SERVER_KEY_BLOCKS      128
#define KEY_BLOCK_SIZE         4096

/*
 * Uploads that were cut off and are kept: so many of each owner, and not more than that part of the memory;
 * all of them only while that part of it is free.
 */
#define SERVER_KEPT_PER_OWNER 4
#define SERVER_KEPT_SHARE     8
#define SERVER_KEPT_US        3600000000u
#define SERVER_KEPT_LOOK_US   1000000u
#define SERVER_SILENT_US      3000000u /* of a client, until its upload can be taken up elsewhere */

/*
 * Bytes that an agent may be ahead of its client's connection; and how many sessions whose clients are slow
 * can wait without the others of their guest.
 */
#define SERVER_AGENT_WINDOW 65536u
#define SERVER_LATE_BLOCKS  16

/* Requests that are told of events, and bytes of events that wait for each. */
#define SERVER_EVENT_QUEUES 64
#define SERVER_EVENT_QUEUE  8192u

/* Work of one turn of a connection, and of one poll. */
#define SERVER_FRAMES_PER_TURN 16
#define SERVER_STEPS_PER_TURN  8  /* steps and beginnings, of a client that has only this to do */
#define SERVER_ITEMS_PER_STEP  16 /* guests made, or items listed */
#define SERVER_TURNS_PER_POLL  32
#define SERVER_NEWS_PER_POLL   256

/* A client gets so long, in microseconds. */
#define SERVER_HELLO_US  5000000u  /* for its hello */
#define SERVER_FRAME_US  10000000u /* to complete a frame */
#define SERVER_SEND_US   30000000u /* to take any of what is sent to it */
#define SERVER_UPLOAD_US 60000000u /* between bytes of an upload */
#define SERVER_IDLE_US                                                                             \
	60000000u /* without a request, before it may have to make room for another */

#define SERVER_LOOK_US  100000u /* between looks at what tells no news: the host's log, say */
#define AUDIT_REFUSED_US 1000000u /* between records of refused handshakes */
#define SERVER_RETRY_MS 1000u   /* what a client is told that found the host full */
#define SERVER_RETRY_MIN_MS 10u /* and one whose queue is full: as long as the queue takes */
#define SERVER_RETRY_MAX_MS 5000u

struct server_config {
	uint32_t connections; /* at most so many at once */
	uint32_t requests;    /* in progress, of all connections */
	uint32_t buffers;     /* to receive (32 KiB) and to send (16 KiB), so many of each kind */
	uint32_t inputs;      /* requests that give input to a guest or its agent; 4 KiB each */
	const struct channel_host *host; /* its key, and the clients that it lets in */
};

#define SERVER_CONFIG_DEFAULT                                                                      \
	{                                                                                          \
		.connections = 1024, .requests = 4096, .buffers = 256, .inputs = 256               \
	}

enum server_timer { TIMER_HELLO, TIMER_FRAME, TIMER_SEND, TIMER_UPLOAD, TIMER_COUNT };

/* Blocks of one size; free ones are chained through their first word. */
struct server_pool {
	void *free;
	uint32_t count, used;
	size_t size;
};

struct party;
struct audit_ring;
struct key_ring;

/* Where connections come from that have not said hello, or did not lately. */
struct server_address {
	uint32_t address, strangers;
	struct net_rate handshakes;
};

/* Latencies, from the frame to the last answer: bucket i counts those below 2^i microseconds. */
#define SERVER_BUCKETS 24
struct server_histogram {
	uint64_t count, sum_us;
	uint64_t bucket[SERVER_BUCKETS]; /* the last one has all that took longer, too */
};

enum server_work {
	WORK_RUN,
	WORK_FORK,
	WORK_SNAPSHOT,
	WORK_ROLLBACK,
	WORK_KILL,
	WORK_LIST,
	WORK_OTHER,
	WORK_KINDS,
};

struct server {
	struct server_config config;
	uint64_t now_us;
	struct conn *conns;
	struct list free_conns;
	struct party *parties; /* strangers, then a client for each key */
	uint32_t party_count;
	struct key_ring *rings; /* one for each party */
	uint64_t polls;
	struct list ready;               /* parties with conns that have something to do */
	struct list turn;                /* those of them that a poll has still to serve */
	struct list working;             /* parties with conns that have requests to go on with */
	struct list starved;             /* conns that wait for a buffer */
	struct list slowed;              /* conns whose address must wait for its handshakes */
	struct list timers[TIMER_COUNT]; /* conns, the first to expire first */
	struct list listeners;           /* requests that are told of events */
	struct list uploading;           /* requests */
	struct list kept;                /* uploads that were cut off, the oldest first */
	uint64_t kept_due_us, kept_bytes;
	uint64_t snapshot_seen;          /* the newest that they were told of */
	struct list looking;             /* requests that are woken every SERVER_LOOK_US */
	struct list *watchers; /* requests by the guest they wait for; watch_mask + 1 lists */
	uint64_t watch_mask;
	uint64_t look_due_us;
	struct server_pool receive, send, input, args, request_pool, tickets, large_tickets, links, late, key_blocks, event_queues, kept_pool;
	uint64_t last_session; /* with a guest's agent */
	uint32_t connections;
	uint32_t strangers; /* of these, those that have not said hello */
	uint32_t queued[SERVER_ROLES];
	uint32_t handshakes_left; /* of this poll */
	struct server_address addresses[SERVER_ADDRESSES];
	struct server_histogram latency[WORK_KINDS];
	struct audit_ring *audit; /* mgmt/audit.h */
	uint32_t handshakes_refused, handshake_refused_from; /* not in the ring yet; the last */
	uint64_t handshakes_refused_due_us;
	/* Since the start. */
	uint64_t accepted, refused, timed_out, broken;
	uint64_t handshakes, handshakes_slowed, requests_begun, requests_refused;
};

struct conn;

/* Bytes of arena that server_init() needs. */
size_t server_memory(const struct server_config *config);

/* `arena` is aligned to 16 bytes and stays the server's. ERR_NOMEM: it is too small. */
int server_init(struct server *s, const struct server_config *config, void *arena, size_t size);

/*
 * A client has connected from the IPv4 address `from`. The server owns the transport from here, until
 * it calls its close(); *conn names it in server_event(). ERR_LIMIT: no connection is free, and the
 * transport was closed.
 */
int server_accept(struct server *s, const struct transport_ops *ops, void *transport,
	uint32_t from, uint64_t now_us, struct conn **conn);

/* The transport has bytes, has room again, or has closed. */
void server_event(struct server *s, struct conn *conn);

/* Works. True: there is more to do at once. */
bool server_poll(struct server *s, uint64_t now_us);

/* When to poll next if nothing else happens; UINT64_MAX: never. */
uint64_t server_next_timer(const struct server *s);

/* Closes every connection. */
void server_stop(struct server *s);

#endif
