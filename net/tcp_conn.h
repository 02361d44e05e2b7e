/*
 * The connection, and what the files of TCP share:
 *
 *	tcp.c         the public calls
 *	tcp_table.c   making, finding and releasing connections; events
 *	tcp_listen.c  the LISTEN state: half-open limits and SYN cookies
 *	tcp_input.c   "SEGMENT ARRIVES" (RFC 9293)
 *	tcp_data.c    its text: in and out of order, FIN
 *	tcp_ack.c     its ACK field: window, round trip time, congestion control
 *	tcp_output.c  what to send, and when
 *	tcp_timer.c   retransmission, probes, keep-alive, TIME-WAIT
 */
#ifndef NET_TCP_CONN_H
#define NET_TCP_CONN_H

#include "net/stack.h"
#include "net/tcp_seq.h"
#include "net/tcp_wire.h"

#define TCP_RTO_INITIAL_US  1000000u
#define TCP_RTO_MIN_US      200000u   /* below RFC 6298's second, as every stack of today */
#define TCP_RTO_MAX_US      60000000u
#define TCP_RETRIES         10        /* unanswered retransmissions, about 3 minutes at least */
#define TCP_SYN_RETRIES     5
#define TCP_DELAYED_ACK_US  40000u
#define TCP_TIME_WAIT_US    60000000u /* 2 MSL */
#define TCP_LINGER_US       30000000u /* for a connection without owner to finish */
#define TCP_CHALLENGE_US    500000u   /* between two acknowledgements of what may be forged */
#define TCP_KEEPALIVE_TRIES 5
#define TCP_KEEPALIVE_MAX_S 10u       /* between two probes, or the idle time if that is less */
#define TCP_OOO_RANGES      8         /* holes and pieces beyond RCV.NXT that are remembered */
#define TCP_MSS_MIN         256u      /* however small a path claims to be */
#define TCP_DUP_ACKS        3u

enum tcp_state {
	TCP_CLOSED,
	TCP_SYN_SENT,
	TCP_SYN_RECEIVED,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT_1,
	TCP_FIN_WAIT_2,
	TCP_CLOSE_WAIT,
	TCP_CLOSING,
	TCP_LAST_ACK,
	TCP_TIME_WAIT,
};

/* The deadlines of a connection; its one timer stands at the earliest. */
enum tcp_deadline {
	TCP_RETRANSMIT, /* or the probe of a window that is closed */
	TCP_DELAYED_ACK,
	TCP_KEEPALIVE,
	TCP_LIFE, /* end of TIME-WAIT, or of lingering without an owner */
	TCP_DEADLINES,
};

enum tcp_event {
	TCP_EV_OPENED = 1 << 0,
	TCP_EV_RECEIVED = 1 << 1,
	TCP_EV_ENDED = 1 << 2,
	TCP_EV_SENDABLE = 1 << 3,
	TCP_EV_CLOSED = 1 << 4,
};

/* Bytes [from, to) beyond RCV.NXT that have arrived. */
struct tcp_range {
	uint32_t from, to;
};

struct tcp_conn {
	struct list hash;   /* in its bucket */
	struct list link;   /* in tcp.free or tcp.time_wait */
	struct list ready;  /* in tcp.ready */
	struct net_stack *stack;
	struct net_timer timer;
	uint64_t deadline[TCP_DEADLINES];

	const struct tcp_ops *ops; /* NULL without owner: before opened(), after tcp_close() */
	void *user;
	struct tcp_listener *listener; /* while half-open, else NULL */
	enum tcp_state state;
	enum tcp_reason reason; /* of TCP_EV_CLOSED */
	uint8_t events;         /* of enum tcp_event, to be delivered */
	bool in_use;            /* not on the free list */
	bool passive;           /* came through a listener */

	uint32_t local, remote;
	uint16_t local_port, remote_port;

	/* Send sequence variables (RFC 9293). The send ring starts at SND.UNA. */
	uint32_t iss, snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2;
	uint32_t snd_max;     /* highest SND.NXT; SND.NXT goes back to retransmit */
	uint32_t snd_wnd_max; /* the largest window that the peer ever offered */
	struct ring tx;
	bool fin_queued;      /* a FIN follows what is in the send ring */
	bool want_write;      /* the owner waits for room */
	uint32_t mss;         /* what the peer and the path take */
	uint8_t snd_wscale, rcv_wscale;
	bool scaling;         /* both SYNs had the option */

	/* Receive sequence variables. The receive ring ends at RCV.NXT. */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_edge;    /* right edge of the window that was offered */
	struct ring rx;
	struct tcp_range ooo[TCP_OOO_RANGES]; /* ascending, apart from each other */
	uint8_t ooo_count;
	bool fin_seen;        /* a FIN stands at fin_seq, perhaps still out of order */
	bool fin_received;    /* RCV.NXT has passed it */
	uint32_t fin_seq;
	bool ack_now;         /* an acknowledgement is due at once */
	uint8_t unacked_segments;

	/* Round trip time (RFC 6298), microseconds; srtt is 0 before the first measurement. */
	uint32_t srtt, rttvar, rto;
	uint32_t rtt_seq;     /* the octet that is being timed */
	uint64_t rtt_start;
	bool rtt_timing;
	uint8_t retries;
	uint8_t unanswered;   /* probes since the peer was last heard */

	/* Congestion control (RFC 5681, RFC 6582), bytes. */
	uint32_t cwnd, ssthresh;
	uint32_t recover;     /* SND.MAX when the last recovery began */
	uint8_t dup_acks;
	bool recovering;

	uint64_t last_sent;   /* data, for the restart after an idle time */
	uint64_t last_received;
	uint64_t next_challenge;
};

/* tcp_table.c */
void tcp_init(struct net_stack *s);
struct tcp_conn *tcp_lookup(struct net_stack *s, const struct tcp_segment *seg);

/* A new connection in state CLOSED with the sender of `seg`. NULL if the table is full. */
struct tcp_conn *tcp_create(struct net_stack *s, const struct tcp_segment *seg);

/* Back to the free list, without a word to the peer. */
void tcp_release(struct tcp_conn *c);

/* Ends the connections that were made from another address than the present one. */
void tcp_address_changed(struct net_stack *s);

/* The connection is over for `reason`; its owner hears it with the other events. */
void tcp_drop(struct tcp_conn *c, enum tcp_reason reason);

/* Takes the owner away; see tcp_close(). */
void tcp_orphan(struct tcp_conn *c);

/* The end of whatever happened to `c`: delivers events, sends what is due, sets the timer. */
void tcp_finish(struct tcp_conn *c);

/* A connection without owner joins the end of the line in TIME-WAIT. */
void tcp_wait_in_line(struct tcp_conn *c);

/* Sets `c` to be given to tcp_finish() by the next net_poll(). */
void tcp_mark_ready(struct tcp_conn *c);

/* Sends for all that were marked. */
void tcp_poll(struct net_stack *s);

/* What makes the sequence number of `seg`, a SYN, and `extra` a cookie that nobody can forge. */
uint32_t tcp_cookie_hash(const struct net_stack *s, const struct tcp_segment *seg, uint32_t extra);

/* RFC 6528, for the connection with the sender of `seg`. */
uint32_t tcp_initial_seq(const struct net_stack *s, const struct tcp_segment *seg);

/* tcp_listen.c */
struct tcp_listener *tcp_find_listener(struct net_stack *s, uint16_t port);
/* `seg` came to `l`; a connection that it opens begins at `iss`. */
void tcp_listen_input(struct net_stack *s, struct tcp_listener *l, const struct tcp_segment *seg,
	uint32_t iss);
/* Counts `c`, whose initial sequence numbers are set, as one of the listener's half-open ones. */
void tcp_start_half_open(struct tcp_conn *c, struct tcp_listener *l);
void tcp_leave_half_open(struct tcp_conn *c);

/* tcp_input.c */
void tcp_input(struct net_stack *s, const struct ipv4_header *ip, struct span in);
void tcp_segment_arrives(struct tcp_conn *c, const struct tcp_segment *seg);
void tcp_enter_time_wait(struct tcp_conn *c);

/* The network says that a segment of ours, quoted, was larger than `mtu`. */
void tcp_path_mtu(struct net_stack *s, const struct ipv4_header *quoted, struct span in,
	uint32_t mtu);

/* tcp_data.c */
void tcp_take_data(struct tcp_conn *c, const struct tcp_segment *seg);

/* tcp_ack.c */
/* False if the segment must be dropped: it acknowledges what it can't. */
bool tcp_take_ack(struct tcp_conn *c, const struct tcp_segment *seg);
void tcp_learn_options(struct tcp_conn *c, const struct tcp_segment *syn);
void tcp_congestion_init(struct tcp_conn *c);
void tcp_congestion_timeout(struct tcp_conn *c);
void tcp_congestion_restart(struct tcp_conn *c);
/* The window of a segment without SYN, scaled, becomes SND.WND. */
void tcp_set_send_window(struct tcp_conn *c, const struct tcp_segment *seg);

/* tcp_output.c */
void tcp_output(struct tcp_conn *c);
void tcp_send_syn(struct tcp_conn *c);
/* The window in a SYN, which is never scaled. */
uint8_t tcp_own_wscale(const struct net_stack *s);
uint32_t tcp_syn_window(const struct net_stack *s);
void tcp_send_ack(struct tcp_conn *c);
void tcp_send_reset(struct tcp_conn *c);
/* The segment at SND.UNA, again. */
void tcp_retransmit_first(struct tcp_conn *c);
/* One octet beyond the window, or what fits. */
void tcp_send_probe(struct tcp_conn *c);
/* An old octet, which the peer must acknowledge. */
void tcp_send_keepalive(struct tcp_conn *c);
/* A reset in answer to a segment that belongs to no connection. Never to a reset. */
void tcp_reject(struct net_stack *s, const struct tcp_segment *seg);
/* An acknowledgement of something that may be forged: rate limited (RFC 5961). */
void tcp_challenge(struct tcp_conn *c);
/* Completes `seg` with addresses and ports to answer `to`, and sends it with the payload in `p`. */
void tcp_answer(struct net_stack *s, struct pkt *p, const struct tcp_segment *to,
	struct tcp_segment *seg);

/* tcp_timer.c */
void tcp_timer(struct net_stack *s, struct net_timer *t);
void tcp_arm_retransmit(struct tcp_conn *c);
void tcp_rearm(struct tcp_conn *c);

/* Octets that were queued but not yet acknowledged, the FIN included. */
static inline uint32_t tcp_pending(const struct tcp_conn *c)
{
	return c->tx.len + c->fin_queued;
}

static inline uint32_t tcp_in_flight(const struct tcp_conn *c)
{
	return c->snd_max - c->snd_una;
}

/* RFC 9293, "State Machine Overview": both sides know each other's sequence numbers. */
static inline bool tcp_synchronized(const struct tcp_conn *c)
{
	return c->state >= TCP_ESTABLISHED;
}

#endif
