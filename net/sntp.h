/*
 * The client side of SNTP (RFC 4330), with the packet checks of NTP (RFC 5905). It asks one server
 * now and then what time it is. UDP is forged easily, so an answer counts only if it comes from
 * where the question went, to the random port that asked, and repeats the 64 random bits that the
 * question had for its transmit timestamp. Who can read the wire can still lie about the time: SNTP
 * has no secret.
 *
 * A machine that is driven, like the stack below it: its owner calls sntp_poll() when
 * sntp_next_timer() has come, and is told of the time through the functions it gave.
 */
#ifndef NET_SNTP_H
#define NET_SNTP_H

#include "net/net.h"

#define SNTP_PORT 123

/* One reading that passed all checks. */
struct sntp_time {
	int64_t offset_ns; /* what our wall clock lacks */
	uint64_t delay_us; /* of the network, there and back; the offset is as good as half of it */
	uint32_t server;
	uint8_t stratum;
};

struct sntp_config {
	struct net_stack *stack;
	uint64_t (*wall_ns)(void *ctx); /* our wall clock, since 1970 */
	void (*answered)(void *ctx, const struct sntp_time *t);
	/* Something that a person should know, as a sentence without a full stop. */
	void (*note)(void *ctx, const char *sentence);
	void *ctx;
};

struct sntp_stats {
	uint64_t asked, answered, silent;
	uint64_t refused; /* kiss-o'-death packets */
	uint64_t bad;     /* forged, malformed, of a clock that is not set, or not to be believed */
};

struct sntp {
	struct sntp_config config;
	struct sntp_stats stats;
	uint32_t server; /* 0: none */
	uint16_t server_port;
	uint16_t port;        /* ours while a question is open, else 0 */
	uint8_t origin[8];    /* what the open question had for its transmit timestamp */
	uint64_t sent_us;     /* ... and when, by the stack's clock and by the wall */
	uint64_t sent_wall_ns;
	uint64_t next_us;     /* when something is to be done; UINT64_MAX: never */
	unsigned poll;        /* seconds between questions, as a power of two */
	unsigned poll_min;    /* raised by a server that finds us too eager */
	bool set;             /* an answer has been taken: later ones may not differ by much */
	bool doubted;         /* the owner was told of an answer that differs by too much */
};

void sntp_init(struct sntp *s, const struct sntp_config *config);

/* Asks `server` from now on; 0: nobody. The same as before changes nothing. */
void sntp_server(struct sntp *s, uint32_t server, uint16_t port, uint64_t now_us);

void sntp_poll(struct sntp *s, uint64_t now_us);
uint64_t sntp_next_timer(const struct sntp *s);

#endif
