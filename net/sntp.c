#include "net/sntp.h"

#include "lib/bytes.h"
#include "lib/err.h"
#include "lib/string.h"
#include "net/stack.h"

#define SECOND_US     1000000ull
#define SECOND_NS     1000000000ull
#define NEVER         UINT64_MAX

/* RFC 4330, "Message Format": where the fields stand. */
enum sntp_offset {
	AT_FIRST = 0, /* leap indicator, version, mode */
	AT_STRATUM = 1,
	AT_ROOT_DELAY = 4,
	AT_ROOT_DISPERSION = 8,
	AT_REFERENCE_ID = 12,
	AT_REFERENCE = 16,
	AT_ORIGIN = 24,
	AT_RECEIVE = 32,
	AT_TRANSMIT = 40,
	SNTP_LEN = 48,
};

#define VERSION        4
#define MODE_CLIENT    3
#define MODE_SERVER    4
#define LEAP_UNKNOWN   3
#define STRATUM_KISS   0
#define STRATUM_MAX    15
#define ROOT_LIMIT     (16u << 16) /* 16 s, RFC 5905 MAXDISP */

/* RFC 5905, "Kiss-o'-Death Packet". */
#define KISS_DENY 0x44454e59u
#define KISS_RSTR 0x52535452u

/* RFC 4330, section 3: a set top bit means 1968 to 2036, a clear one 2036 to 2104. */
#define UNIX_EPOCH 2208988800ull /* seconds from 1900 to 1970 */
#define ERA        (1ull << 32)

/* A clock that shows less was never set. 2024-01-01. */
#define EARLIEST_NS (1704067200ull * SECOND_NS)

#define ANSWER_US   (2 * SECOND_US) /* what comes later is of no use */
#define SLACK_US    20000u          /* clocks of servers tick as coarsely as this */
#define POLL_FIRST  3u              /* 8 s, until the first answer */
#define POLL_MIN    6u              /* 64 s */
#define POLL_MAX    10u             /* 1,024 s */
#define POLL_SLOW   17u             /* the most that a server can slow us down to: 36 h */

/* Once set, a clock is wrong by seconds a day at worst. RFC 5905's panic threshold. */
#define BELIEVED_NS ((int64_t)(1000 * SECOND_NS))

void sntp_init(struct sntp *s, const struct sntp_config *config)
{
	*s = (struct sntp){.config = *config, .next_us = NEVER};
}

/* Nanoseconds since 1970 of a timestamp. */
static uint64_t timestamp_ns(const uint8_t *at)
{
	uint64_t seconds = load_be32(at), fraction = load_be32(at + 4);

	if (!(seconds & 0x80000000u))
		seconds += ERA;
	seconds = seconds > UNIX_EPOCH ? seconds - UNIX_EPOCH : 0;
	return seconds * SECOND_NS + (fraction * SECOND_NS >> 32);
}

static void close_question(struct sntp *s)
{
	if (s->port)
		udp_unbind(s->config.stack, s->port);
	s->port = 0;
}

/* In 2^poll seconds, an eighth more or less, so that hosts which started together spread. */
static void ask_later(struct sntp *s, uint64_t now)
{
	uint64_t span = SECOND_US << s->poll;
	uint32_t spread;

	stack_random(s->config.stack, &spread, sizeof(spread));
	s->next_us = now + span - span / 8 + spread % (span / 4);
}

/* Twice as long as before, within bounds. */
static unsigned slower(const struct sntp *s, unsigned least)
{
	unsigned poll = MIN(s->poll + 1, POLL_MAX);

	least = MAX(least, s->poll_min);
	return MAX(poll, least);
}

static void kissed(struct sntp *s, uint32_t code, uint64_t now)
{
	s->stats.refused++;
	if (code == KISS_DENY || code == KISS_RSTR) {
		s->next_us = NEVER;
		s->config.note(s->config.ctx, "the time server refuses us; it is not asked again");
		return;
	}
	/* RATE, or a code we don't know: all but the two above ask for patience. */
	s->poll_min = MIN(s->poll + 2, POLL_SLOW);
	s->poll = MAX(s->poll, s->poll_min);
	ask_later(s, now);
}

/* What can be checked in the packet alone; RFC 4330, section 5, and RFC 5905, packet(). */
static bool well_formed(const struct sntp *s, const uint8_t *p)
{
	uint8_t leap = p[AT_FIRST] >> 6, version = p[AT_FIRST] >> 3 & 7, mode = p[AT_FIRST] & 7;

	return version == VERSION && mode == MODE_SERVER &&
	       memcmp(p + AT_ORIGIN, s->origin, sizeof(s->origin)) == 0 &&
	       (p[AT_STRATUM] == STRATUM_KISS || leap != LEAP_UNKNOWN) &&
	       p[AT_STRATUM] <= STRATUM_MAX;
}

static bool is_set(const uint8_t *timestamp)
{
	return load_le64(timestamp) != 0;
}

/* Fills *t; false if no clock that is worth asking says so. */
static bool reading(const struct sntp *s, const uint8_t *p, uint64_t now, struct sntp_time *t)
{
	uint64_t delay = load_be32(p + AT_ROOT_DELAY), dispersion = load_be32(p + AT_ROOT_DISPERSION);
	uint64_t reference = timestamp_ns(p + AT_REFERENCE), sent = timestamp_ns(p + AT_TRANSMIT);
	uint64_t received = timestamp_ns(p + AT_RECEIVE), trip = now - s->sent_us, held;

	if (!is_set(p + AT_RECEIVE) || !is_set(p + AT_TRANSMIT) ||
		delay / 2 + dispersion >= ROOT_LIMIT || reference > sent ||
		received > sent || received < EARLIEST_NS)
		return false;
	held = (sent - received) / 1000;
	if (held > trip + SLACK_US)
		return false;
	t->delay_us = trip > held ? trip - held : 0;
	t->stratum = p[AT_STRATUM];
	t->server = s->server;
	/* The middle of the server's two is the middle of ours. */
	t->offset_ns = (int64_t)(received + (sent - received) / 2) -
		       (int64_t)(s->sent_wall_ns + trip * 1000 / 2);
	return true;
}

static bool believable(struct sntp *s, int64_t offset)
{
	if (!s->set || (offset < BELIEVED_NS && offset > -BELIEVED_NS))
		return true;
	if (!s->doubted)
		s->config.note(s->config.ctx,
			"the time server differs from what it said by more than 1,000 s; not believed");
	s->doubted = true;
	return false;
}

static void sntp_input(void *ctx, struct net_stack *stack, const struct udp_message *m)
{
	struct sntp *s = ctx;
	struct sntp_time t;
	uint64_t now = stack->now;

	/* A forgery must not close the question: the true answer may still come. */
	if (m->src != s->server || m->src_port != s->server_port || m->len < SNTP_LEN ||
		!well_formed(s, m->data)) {
		s->stats.bad++;
		return;
	}
	close_question(s);
	if (m->data[AT_STRATUM] == STRATUM_KISS) {
		kissed(s, load_be32(m->data + AT_REFERENCE_ID), now);
		return;
	}
	s->poll = slower(s, POLL_MIN);
	ask_later(s, now);
	if (!reading(s, m->data, now, &t) || !believable(s, t.offset_ns)) {
		s->stats.bad++;
		return;
	}
	s->stats.answered++;
	s->set = true;
	s->doubted = false;
	s->config.answered(s->config.ctx, &t);
}

static void ask(struct sntp *s, uint64_t now)
{
	struct net_stack *stack = s->config.stack;
	uint8_t p[SNTP_LEN] = {[AT_FIRST] = VERSION << 3 | MODE_CLIENT};
	int port = udp_bind(stack, 0, sntp_input, s);

	ask_later(s, now);
	if (port < 0)
		return;
	s->port = (uint16_t)port;
	s->next_us = now + ANSWER_US;
	stack_random(stack, s->origin, sizeof(s->origin));
	memcpy(p + AT_TRANSMIT, s->origin, sizeof(s->origin));
	s->sent_us = now;
	s->sent_wall_ns = s->config.wall_ns(s->config.ctx);
	s->stats.asked++;
	udp_send(stack, s->port, s->server, s->server_port, p, sizeof(p));
}

void sntp_server(struct sntp *s, uint32_t server, uint16_t port, uint64_t now)
{
	if (s->server == server && s->server_port == port)
		return;
	close_question(s);
	s->server = server;
	s->server_port = port;
	s->poll = POLL_FIRST;
	s->poll_min = 0;
	s->next_us = server ? now : NEVER;
}

void sntp_poll(struct sntp *s, uint64_t now)
{
	if (now < s->next_us)
		return;
	if (!s->port) {
		ask(s, now);
		return;
	}
	close_question(s);
	s->stats.silent++;
	s->poll = slower(s, POLL_FIRST);
	ask_later(s, now);
}

uint64_t sntp_next_timer(const struct sntp *s)
{
	return s->next_us;
}
