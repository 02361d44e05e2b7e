/* The SNTP client against a scripted server: good, mistaken, hostile and absent. */
#include "lib/bytes.h"
#include "lib/utc.h"
#include "net/sntp.h"
#include "net/stack.h"
#include "tests/unit/test.h"

#include <time.h>

#define SECOND  1000000ull
#define SECOND_NS 1000000000ull
#define OURS    NET_IPV4(192, 0, 2, 10)
#define SERVER  NET_IPV4(192, 0, 2, 1)
#define FORGER  NET_IPV4(192, 0, 2, 66)
#define PACKET  48
#define HEADERS (14 + 20 + 8)
#define TODAY   1795258410ull /* 2026-11-21 */
#define NTP_1970 2208988800ull

static const uint8_t our_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 9};
static const uint8_t their_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 1};

struct bench {
	struct net_stack stack;
	struct sntp sntp;
	void *arena;
	uint64_t now, seed, wall_ns;
	uint8_t asked[PACKET];
	uint16_t port;
	int questions, answers, notes;
	struct sntp_time last;
};

static void input_frame(struct bench *b, uint16_t type, const uint8_t *body, size_t len)
{
	uint8_t f[NET_FRAME_MAX];

	memcpy(f, our_mac, 6);
	memcpy(f + 6, their_mac, 6);
	store_be16(f + 12, type);
	memcpy(f + 14, body, len);
	net_input(&b->stack, f, 14 + len, b->now);
}

/* Whoever is asked for, we are it. */
static void answer_arp(struct bench *b, uint32_t asked)
{
	uint8_t p[28] = {0, 1, 8, 0, 6, 4, 0, 2};

	memcpy(p + 8, their_mac, 6);
	store_be32(p + 14, asked);
	memcpy(p + 18, our_mac, 6);
	store_be32(p + 24, OURS);
	input_frame(b, ETHERTYPE_ARP, p, sizeof(p));
}

static uint32_t arp_wanted;

static int on_send(void *ctx, const void *frame, size_t len)
{
	struct bench *b = ctx;
	const uint8_t *f = frame;

	if (load_be16(f + 12) == ETHERTYPE_ARP) {
		arp_wanted = load_be32(f + 38) == OURS ? 0 : load_be32(f + 38);
		return 0;
	}
	if (f[23] == IP_ICMP) /* that nobody listens there any more */
		return 0;
	CHECK_EQ(len, HEADERS + PACKET);
	CHECK_EQ(load_be32(f + 30), SERVER);
	b->port = load_be16(f + 34);
	memcpy(b->asked, f + HEADERS, PACKET);
	b->questions++;
	return 0;
}

static void on_random(void *ctx, void *buf, size_t len)
{
	struct bench *b = ctx;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)test_random(&b->seed);
}

static uint64_t wall(void *ctx)
{
	return ((struct bench *)ctx)->wall_ns;
}

static void answered(void *ctx, const struct sntp_time *t)
{
	struct bench *b = ctx;

	b->last = *t;
	b->answers++;
	b->wall_ns += (uint64_t)t->offset_ns;
}

static void note(void *ctx, const char *sentence)
{
	CHECK(sentence[0]);
	((struct bench *)ctx)->notes++;
}

static void poll_all(struct bench *b)
{
	sntp_poll(&b->sntp, b->now);
	net_poll(&b->stack, b->now);
	if (arp_wanted)
		answer_arp(b, arp_wanted);
	arp_wanted = 0;
}

static void pass(struct bench *b, uint64_t us)
{
	b->now += us;
	b->wall_ns += us * 1000;
	poll_all(b);
}

/* To the moment when something is due. */
static void pass_to_next(struct bench *b)
{
	uint64_t next = sntp_next_timer(&b->sntp);

	CHECK(next != UINT64_MAX);
	pass(b, next > b->now ? next - b->now : 0);
}

static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct net_config c = {
		.address = {.addr = OURS, .mask = 0xffffff00},
		.max_connections = 4,
		.send = on_send,
		.random = on_random,
		.ctx = b,
	};
	const struct sntp_config config = {
		.stack = &b->stack, .wall_ns = wall, .answered = answered, .note = note, .ctx = b};

	memcpy(c.mac, our_mac, NET_MAC_LEN);
	b->arena = malloc(net_arena_size(&c));
	b->now = SECOND;
	b->wall_ns = TODAY * SECOND_NS;
	CHECK_EQ(net_init(&b->stack, &c, b->arena, net_arena_size(&c)), 0);
	net_link(&b->stack, true, b->now);
	sntp_init(&b->sntp, &config);
	CHECK_EQ(sntp_next_timer(&b->sntp), UINT64_MAX);
	sntp_server(&b->sntp, SERVER, SNTP_PORT, b->now);
	poll_all(b);
	CHECK_EQ(b->questions, 1);
	return b;
}

static void bench_free(struct bench *b)
{
	free(b->arena);
	free(b);
}

static void put_time(uint8_t *at, uint64_t ns)
{
	store_be32(at, (uint32_t)(ns / SECOND_NS + NTP_1970));
	store_be32(at + 4, (uint32_t)((ns % SECOND_NS << 32) / SECOND_NS));
}

/* What a server whose clock shows `ns` answers. */
static void good_answer(const struct bench *b, uint8_t p[PACKET], uint64_t ns)
{
	memset(p, 0, PACKET);
	p[0] = 4 << 3 | 4;
	p[1] = 2;
	memcpy(p + 24, b->asked + 40, 8);
	put_time(p + 16, ns - 60 * SECOND_NS);
	put_time(p + 32, ns);
	put_time(p + 40, ns + 100000);
}

static void send_from(struct bench *b, uint32_t from, uint16_t port, const uint8_t *data, size_t len)
{
	uint8_t d[1500];
	struct pkt p;
	struct udp_header udp = {.src_port = port, .dst_port = b->port};

	pkt_init(&p, d, sizeof(d), 64);
	if (len)
		memcpy(pkt_append(&p, len), data, len);
	udp_build(&p, from, OURS, &udp);
	ipv4_build(&p, from, OURS, IP_UDP);
	input_frame(b, ETHERTYPE_IPV4, p.data, p.len);
}

static void send_answer(struct bench *b, const uint8_t *p)
{
	send_from(b, SERVER, SNTP_PORT, p, PACKET);
}

TEST(a_good_answer_sets_the_clock)
{
	struct bench *b = bench_new();
	uint8_t p[PACKET];

	CHECK_EQ(b->asked[0], 4 << 3 | 3);
	for (int i = 1; i < 40; i++)
		CHECK_EQ(b->asked[i], 0); /* nothing of ours is told to the wire */
	pass(b, 20000);
	good_answer(b, p, (TODAY + 5000) * SECOND_NS + 10 * 1000000);
	send_answer(b, p);
	CHECK_EQ(b->answers, 1);
	CHECK_EQ(b->last.stratum, 2);
	CHECK_EQ(b->last.delay_us, 20000 - 100);
	CHECK(llabs(b->last.offset_ns - 5000ll * (int64_t)SECOND_NS) < 100000);
	/* the same once more is no answer to anything */
	send_answer(b, p);
	CHECK_EQ(b->answers, 1);
	bench_free(b);
}

TEST(polls_back_off_to_1024_seconds)
{
	struct bench *b = bench_new();
	uint64_t asked_at = b->now;
	uint8_t p[PACKET];

	for (int i = 0; i < 8; i++) {
		good_answer(b, p, b->wall_ns);
		send_answer(b, p);
		CHECK_EQ(b->answers, i + 1);
		pass_to_next(b);
		CHECK_EQ(b->questions, i + 2);
		uint64_t want = MIN(64ull << i, 1024ull) * SECOND, took = b->now - asked_at;
		CHECK(took >= want - want / 8 && took <= want + want / 8);
		asked_at = b->now;
	}
	bench_free(b);
}

TEST(a_silent_server_is_asked_less_and_less)
{
	struct bench *b = bench_new();

	while (b->now < 86400 * SECOND)
		pass_to_next(b);
	CHECK(b->questions < 120 && b->questions > 70);
	CHECK_EQ(b->answers, 0);
	CHECK_EQ(b->sntp.stats.silent, b->sntp.stats.asked - (b->sntp.port ? 1 : 0));
	bench_free(b);
}

TEST(each_question_has_its_own_port_and_nonce)
{
	struct bench *b = bench_new();
	uint8_t first[8];
	uint16_t port = b->port;

	memcpy(first, b->asked + 40, 8);
	pass_to_next(b); /* it was not answered */
	pass_to_next(b);
	CHECK_EQ(b->questions, 2);
	CHECK(memcmp(first, b->asked + 40, 8) != 0);
	CHECK(port != b->port);
	bench_free(b);
}

/* Each thing that may be wrong with an answer; the question stays open for the true one. */
TEST(forgeries_change_nothing)
{
	struct bench *b = bench_new();
	uint8_t p[PACKET], bad[PACKET];

	good_answer(b, p, TODAY * SECOND_NS);
	send_from(b, FORGER, SNTP_PORT, p, PACKET);
	send_from(b, SERVER, 1023, p, PACKET);
	for (size_t len = 0; len < PACKET; len++)
		send_from(b, SERVER, SNTP_PORT, p, len);
	for (unsigned bit = 0; bit < 64; bit++) {
		memcpy(bad, p, PACKET);
		bad[24 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		send_answer(b, bad);
	}
	static const uint8_t firsts[] = {4 << 3 | 3, 4 << 3 | 5, 4 << 3 | 1, 3 << 3 | 4, 0, 3 << 6 | 4 << 3 | 4};
	for (unsigned i = 0; i < sizeof(firsts); i++) {
		memcpy(bad, p, PACKET);
		bad[0] = firsts[i];
		send_answer(b, bad);
	}
	for (unsigned stratum = 16; stratum < 256; stratum++) {
		memcpy(bad, p, PACKET);
		bad[1] = (uint8_t)stratum;
		send_answer(b, bad);
	}
	CHECK_EQ(b->answers, 0);
	send_answer(b, p);
	CHECK_EQ(b->answers, 1);
	bench_free(b);
}

/* The right server says what no right server says. */
static void answer_is_dropped(void (*spoil)(uint8_t *p))
{
	struct bench *b = bench_new();
	uint8_t p[PACKET];

	good_answer(b, p, TODAY * SECOND_NS);
	spoil(p);
	send_answer(b, p);
	CHECK_EQ(b->answers, 0);
	CHECK_EQ(b->sntp.stats.bad, 1);
	/* it is asked again, later */
	pass_to_next(b);
	CHECK_EQ(b->questions, 2);
	bench_free(b);
}

static void far_root(uint8_t *p) { store_be32(p + 4, 40u << 16); }
static void wide_root(uint8_t *p) { store_be32(p + 8, 16u << 16); }
static void largest_root(uint8_t *p) { memset(p + 4, 0xff, 8); }
static void sent_before_received(uint8_t *p) { put_time(p + 40, TODAY * SECOND_NS - 1000000); }
static void reference_after_sent(uint8_t *p) { put_time(p + 16, (TODAY + 10) * SECOND_NS); }
static void held_longer_than_the_trip(uint8_t *p) { put_time(p + 40, (TODAY + 3) * SECOND_NS); }
static void no_time(uint8_t *p) { memset(p + 16, 0, 8), memset(p + 32, 0, 16); }
static void no_receive_time(uint8_t *p) { memset(p + 32, 0, 8); }
static void before_the_program(uint8_t *p)
{
	put_time(p + 16, 946684800 * SECOND_NS);
	put_time(p + 32, 946684800 * SECOND_NS);
	put_time(p + 40, 946684800 * SECOND_NS);
}

TEST(implausible_answers_are_dropped)
{
	answer_is_dropped(far_root);
	answer_is_dropped(wide_root);
	answer_is_dropped(largest_root);
	answer_is_dropped(sent_before_received);
	answer_is_dropped(reference_after_sent);
	answer_is_dropped(held_longer_than_the_trip);
	answer_is_dropped(before_the_program);
	answer_is_dropped(no_time);
	answer_is_dropped(no_receive_time);
}

TEST(years_after_2036_are_understood)
{
	struct bench *b = bench_new();
	uint64_t later = 2208988800ull; /* 2040-01-01 in Unix time */
	uint8_t p[PACKET];

	good_answer(b, p, later * SECOND_NS);
	send_answer(b, p);
	CHECK_EQ(b->answers, 1);
	CHECK(llabs(b->last.offset_ns - (int64_t)((later - TODAY) * SECOND_NS)) < 1000000);
	bench_free(b);
}

TEST(a_clock_that_was_set_does_not_leap)
{
	struct bench *b = bench_new();
	uint8_t p[PACKET];

	good_answer(b, p, (TODAY + 400000) * SECOND_NS);
	send_answer(b, p);
	CHECK_EQ(b->answers, 1);
	for (int i = 0; i < 3; i++) {
		pass_to_next(b);
		good_answer(b, p, b->wall_ns + 1001 * SECOND_NS);
		send_answer(b, p);
		CHECK_EQ(b->answers, 1);
		CHECK_EQ(b->notes, 1);
	}
	pass_to_next(b);
	good_answer(b, p, b->wall_ns - 900 * SECOND_NS);
	send_answer(b, p);
	CHECK_EQ(b->answers, 2);
	CHECK(llabs(b->last.offset_ns + 900ll * (int64_t)SECOND_NS) < 1000000);
	bench_free(b);
}

static void kiss(struct bench *b, const char *code)
{
	uint8_t p[PACKET];

	good_answer(b, p, TODAY * SECOND_NS);
	p[0] |= 3 << 6;
	p[1] = 0;
	memcpy(p + 12, code, 4);
	send_answer(b, p);
}

TEST(kisses_of_death_are_obeyed)
{
	struct bench *b = bench_new();
	uint64_t before;

	for (int i = 0; i < 12; i++) {
		before = b->now;
		kiss(b, "RATE");
		pass_to_next(b);
		CHECK(b->now - before >= MIN(32ull << 2 * i, 131072ull) * SECOND * 7 / 8);
	}
	CHECK(b->now - before <= 131072ull * SECOND * 9 / 8);
	kiss(b, "DENY");
	CHECK_EQ(sntp_next_timer(&b->sntp), UINT64_MAX);
	CHECK_EQ(b->notes, 1);
	/* another server is another matter */
	sntp_server(&b->sntp, 0, 0, b->now);
	sntp_server(&b->sntp, SERVER, SNTP_PORT, b->now);
	poll_all(b);
	kiss(b, "RSTR");
	CHECK_EQ(sntp_next_timer(&b->sntp), UINT64_MAX);
	CHECK_EQ(b->answers, 0);
	bench_free(b);
}

TEST(a_forged_kiss_is_not_obeyed)
{
	struct bench *b = bench_new();
	uint8_t p[PACKET];

	good_answer(b, p, TODAY * SECOND_NS);
	p[1] = 0;
	memcpy(p + 12, "DENY", 4);
	p[24] ^= 1;
	send_answer(b, p);
	CHECK(sntp_next_timer(&b->sntp) != UINT64_MAX);
	CHECK_EQ(b->notes, 0);
	bench_free(b);
}

/* Packets of noise with the right origin: whatever is taken is a plausible time. */
TEST(noise)
{
	struct bench *b = bench_new();
	uint64_t seed = 7;
	uint8_t p[64];

	for (int i = 0; i < 200000; i++) {
		if (!b->sntp.port) {
			if (sntp_next_timer(&b->sntp) == UINT64_MAX) {
				sntp_server(&b->sntp, 0, 0, b->now);
				sntp_server(&b->sntp, SERVER, SNTP_PORT, b->now);
			}
			pass_to_next(b);
			continue;
		}
		for (unsigned n = 0; n < sizeof(p); n++)
			p[n] = (uint8_t)test_random(&seed);
		if (test_random(&seed) % 4)
			p[0] = 4 << 3 | 4;
		if (test_random(&seed) % 4)
			p[1] &= 15;
		if (test_random(&seed) % 4)
			memset(p + 4, 0, 8);
		if (test_random(&seed) % 2)
			memcpy(p + 40, p + 32, 4), p[40 + 3]++;
		memcpy(p + 24, b->asked + 40, 8);
		send_from(b, SERVER, SNTP_PORT, p, test_random(&seed) % (sizeof(p) + 1));
		CHECK(b->wall_ns >= 1704067200ull * SECOND_NS - SECOND_NS);
	}
	CHECK(b->sntp.stats.bad > 1000);
	bench_free(b);
}

TEST(utc_is_what_the_system_says)
{
	uint64_t seed = 11;

	for (int i = 0; i < 100000; i++) {
		uint64_t ns = test_random(&seed) % (16725225600ull * SECOND_NS); /* to 2500 */
		char ours[UTC_TEXT_SIZE], day[64], want[128];
		time_t s = (time_t)(ns / SECOND_NS);
		struct tm tm;

		gmtime_r(&s, &tm);
		strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(want, sizeof(want), "%s.%06uZ", day, (unsigned)(ns % SECOND_NS / 1000));
		CHECK_EQ(utc_text(ours, ns), strlen(want));
		CHECK_STR(ours, want);
	}
}
