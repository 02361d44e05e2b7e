#include "tests/unit/net_sim.h"

#include "lib/bytes.h"
#include "tests/unit/test.h"

uint32_t sim_addr(int host)
{
	return NET_IPV4(10, 0, 0, host + 1);
}

static bool odds(struct sim *sim, unsigned int of_1000)
{
	return test_random(&sim->seed) % 1000 < of_1000;
}

static void enqueue(struct sim *sim, int to, const void *frame, size_t len, uint64_t arrival)
{
	struct sim_frame *f;

	CHECK(sim->frames < SIM_FRAMES);
	f = &sim->frame[sim->frames++];
	*f = (struct sim_frame){.arrival = arrival, .order = sim->order++, .to = to, .len = len};
	/* Exactly as long as the frame, so that the sanitizer sees a read beyond it. */
	f->data = malloc(len ? len : 1);
	memcpy(f->data, frame, len);
}

void sim_inject(struct sim *sim, int to, const void *frame, size_t len)
{
	enqueue(sim, to, frame, len, sim->now);
}

static void transmit(struct sim *sim, int to, const uint8_t *frame, size_t len)
{
	const struct sim_link *l = &sim->link;
	uint64_t arrival = sim->now + l->delay_us;
	uint8_t copy[NET_FRAME_MAX];

	if (odds(sim, l->loss))
		return;
	memcpy(copy, frame, len);
	/* Only what a checksum covers: ARP and the Ethernet header rely on the frame's FCS. */
	if (odds(sim, l->corrupt) && load_be16(frame + 12) == ETHERTYPE_IPV4)
		copy[14 + test_random(&sim->seed) % (len - 14)] ^=
			(uint8_t)(1u << test_random(&sim->seed) % 8);
	if (odds(sim, l->reorder))
		arrival += test_random(&sim->seed) % (l->jitter_us + 1);
	enqueue(sim, to, copy, len, arrival);
}

static int host_send(void *ctx, const void *frame, size_t len)
{
	struct sim_host *h = ctx;
	struct sim *sim = h->sim;

	CHECK(len >= 14 && len <= NET_FRAME_MAX);
	h->sent++;
	if (sim->filter && !sim->filter(sim, h->index, frame, len))
		return 0;
	transmit(sim, !h->index, frame, len);
	if (odds(sim, sim->link.duplicate))
		transmit(sim, !h->index, frame, len);
	return 0;
}

static void host_random(void *ctx, void *buf, size_t len)
{
	struct sim_host *h = ctx;
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)test_random(&h->sim->seed);
}

struct sim *sim_new(uint64_t seed, const struct net_config *config)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	sim->seed = seed;
	sim->now = SIM_SECOND;
	sim->link.delay_us = 100;
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];
		struct net_config c = {.max_connections = 16};
		size_t size;

		if (config)
			c = *config;
		memcpy(c.mac, (const uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, NET_MAC_LEN);
		c.address.addr = sim_addr(i);
		c.address.mask = 0xffffff00;
		c.send = host_send;
		c.random = host_random;
		c.ctx = h;
		h->sim = sim;
		h->index = i;
		size = net_arena_size(&c);
		h->arena = malloc(size);
		CHECK_EQ(net_init(&h->stack, &c, h->arena, size), 0);
		net_link(&h->stack, true, sim->now);
	}
	return sim;
}

void sim_free(struct sim *sim)
{
	for (size_t i = 0; i < sim->frames; i++)
		free(sim->frame[i].data);
	for (int i = 0; i < 2; i++)
		free(sim->host[i].arena);
	free(sim);
}

static size_t next_frame(const struct sim *sim)
{
	size_t first = 0;

	for (size_t i = 1; i < sim->frames; i++) {
		const struct sim_frame *a = &sim->frame[i], *b = &sim->frame[first];

		if (a->arrival < b->arrival || (a->arrival == b->arrival && a->order < b->order))
			first = i;
	}
	return first;
}

static void deliver(struct sim *sim, size_t i)
{
	struct sim_frame f = sim->frame[i];

	sim->frame[i] = sim->frame[--sim->frames];
	net_input(&sim->host[f.to].stack, f.data, f.len, sim->now);
	free(f.data);
}

/* One event. False if there is none before `end`. */
static bool step(struct sim *sim, uint64_t end)
{
	uint64_t timer0 = net_next_timer(&sim->host[0].stack);
	uint64_t timer1 = net_next_timer(&sim->host[1].stack);
	uint64_t next = MIN(timer0, timer1);
	size_t i = next_frame(sim);
	bool frame = sim->frames && sim->frame[i].arrival <= next;

	if (frame)
		next = sim->frame[i].arrival;
	if (next > end)
		return false;
	sim->now = MAX(sim->now, next);
	if (frame)
		deliver(sim, i);
	else
		net_poll(&sim->host[timer0 <= timer1 ? 0 : 1].stack, sim->now);
	return true;
}

bool sim_run_until(struct sim *sim, uint64_t us, bool (*done)(void *ctx), void *ctx)
{
	uint64_t end = sim->now + us;

	while (!done(ctx))
		if (!step(sim, end)) {
			sim->now = end;
			return false;
		}
	return true;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

void sim_run(struct sim *sim, uint64_t us)
{
	sim_run_until(sim, us, never, NULL);
}
