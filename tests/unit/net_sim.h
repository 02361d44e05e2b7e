/*
 * Two stacks joined by a link that loses, repeats, delays and damages frames, in virtual time and
 * from a seed, so that hours of network pass in seconds and every run can be had again.
 */
#ifndef TESTS_UNIT_NET_SIM_H
#define TESTS_UNIT_NET_SIM_H

#include "net/net.h"
#include "net/stack.h"
#include "net/tcp.h"
#include "net/udp.h"

#define SIM_FRAMES 4096
#define SIM_SECOND 1000000ull

/* Odds are out of 1000 frames. */
struct sim_link {
	unsigned int loss, duplicate, corrupt, reorder;
	uint64_t delay_us;
	uint64_t jitter_us; /* what a reordered frame is late by, at most */
};

struct sim_frame {
	uint64_t arrival;
	uint64_t order; /* frames of one arrival keep their order */
	int to;
	size_t len;
	uint8_t *data;
};

struct sim;

struct sim_host {
	struct sim *sim;
	int index;
	struct net_stack stack;
	void *arena;
	uint64_t sent;
};

struct sim {
	uint64_t now;
	uint64_t seed;
	struct sim_link link;
	struct sim_host host[2];
	struct sim_frame frame[SIM_FRAMES];
	size_t frames;
	uint64_t order;
	/* Optional: sees each frame that host `from` sends; false takes it off the link. */
	bool (*filter)(struct sim *sim, int from, const uint8_t *frame, size_t len);
	void *ctx;
};

/* Host i has address 10.0.0.(i + 1) in a /24. `config` gives the limits; NULL for small ones. */
struct sim *sim_new(uint64_t seed, const struct net_config *config);
void sim_free(struct sim *sim);

uint32_t sim_addr(int host);

/* Runs until `done(ctx)`, or for `us`. Returns whether it was done. */
bool sim_run_until(struct sim *sim, uint64_t us, bool (*done)(void *ctx), void *ctx);
void sim_run(struct sim *sim, uint64_t us);

/* Puts a frame on the link as if the host other than `to` had sent it, unimpaired. */
void sim_inject(struct sim *sim, int to, const void *frame, size_t len);

#endif
