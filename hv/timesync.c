#include "hv/timesync.h"

#include "hv/clock.h"
#include "hv/log.h"
#include "lib/utc.h"
#include "net/sntp.h"

#define NS_PER_MS 1000000
#define STEP_MS   128 /* RFC 5905, STEPT: less is drift, more is worth a line */

static struct sntp sntp;
static const struct net_stack *stack;
static uint32_t server; /* of creel.conf; 0: DHCP's */
static uint16_t port;
static bool set;

static uint64_t wall(void *ctx)
{
	(void)ctx;
	return clock_wall_ns();
}

static void note(void *ctx, const char *sentence)
{
	(void)ctx;
	log_warn("clock: %s", sentence);
}

static void answered(void *ctx, const struct sntp_time *t)
{
	int64_t ms = t->offset_ns / NS_PER_MS;
	uint64_t step = (uint64_t)(ms < 0 ? -ms : ms);
	bool first = !set;
	char now[UTC_TEXT_SIZE];

	(void)ctx;
	clock_step_wall(t->offset_ns);
	set = true;
	utc_text(now, clock_wall_ns());
	if (first || step >= STEP_MS)
		log_write(first ? LOG_INFO : LOG_WARN,
			"clock: %s by SNTP from %u.%u.%u.%u (stratum %u), a step of %c%llu.%03u s", now,
			t->server >> 24, t->server >> 16 & 255, t->server >> 8 & 255, t->server & 255,
			t->stratum, ms < 0 ? '-' : '+', (unsigned long long)(step / 1000),
			(unsigned)(step % 1000));
	else
		log_debug("clock: SNTP differs by %lld us", (long long)(t->offset_ns / 1000));
}

void timesync_start(struct net_stack *net, const struct boot_config *conf)
{
	const struct sntp_config config = {
		.stack = net, .wall_ns = wall, .answered = answered, .note = note};

	stack = net;
	server = conf->ntp;
	port = conf->ntp_port;
	sntp_init(&sntp, &config);
}

uint64_t timesync_poll(uint64_t now_us)
{
	const struct net_address *a = net_address(stack);
	uint32_t ask = server ? server : a->ntp;

	sntp_server(&sntp, a->addr ? ask : 0, server ? port : SNTP_PORT, now_us);
	sntp_poll(&sntp, now_us);
	return sntp_next_timer(&sntp);
}

bool timesync_is_set(void)
{
	return set;
}
