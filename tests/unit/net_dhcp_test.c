/* The DHCP client against a scripted server, good, bad and absent. */
#include "lib/bytes.h"
#include "net/dhcp_wire.h"
#include "net/stack.h"
#include "tests/unit/test.h"

#define SECOND 1000000ull

static const uint8_t client_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 9};
static const uint8_t server_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 1};

#define SERVER  NET_IPV4(192, 168, 7, 1)
#define OFFERED NET_IPV4(192, 168, 7, 50)

/* What the client sent last: the DHCP message, and where to. */
struct bench {
	struct net_stack stack;
	void *arena;
	uint64_t now, seed;
	uint8_t message[1500];
	size_t len;
	uint32_t to;
	int messages, changes;
	bool asked_for_server; /* by ARP */
	struct net_address address;
};

static int bench_send(void *ctx, const void *frame, size_t len)
{
	struct bench *b = ctx;
	const uint8_t *f = frame;

	if (load_be16(f + 12) == ETHERTYPE_ARP) {
		b->asked_for_server = load_be32(f + 38) == SERVER;
		return 0;
	}
	CHECK_EQ(f[23], IP_UDP);
	CHECK_EQ(load_be16(f + 34), DHCP_CLIENT_PORT);
	CHECK_EQ(load_be16(f + 36), DHCP_SERVER_PORT);
	b->to = load_be32(f + 30);
	b->len = len - 42;
	memcpy(b->message, f + 42, b->len);
	b->messages++;
	return 0;
}

static void bench_random(void *ctx, void *buf, size_t len)
{
	struct bench *b = ctx;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)test_random(&b->seed);
}

static void bench_changed(void *ctx, const struct net_address *address)
{
	struct bench *b = ctx;

	b->address = *address;
	b->changes++;
}

static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct net_config c = {
		.dhcp = true,
		.hostname = "creel",
		.max_connections = 4,
		.send = bench_send,
		.random = bench_random,
		.address_changed = bench_changed,
		.ctx = b,
	};

	memcpy(c.mac, client_mac, NET_MAC_LEN);
	b->arena = malloc(net_arena_size(&c));
	b->now = SECOND;
	CHECK_EQ(net_init(&b->stack, &c, b->arena, net_arena_size(&c)), 0);
	net_link(&b->stack, true, b->now);
	return b;
}

static void bench_free(struct bench *b)
{
	free(b->arena);
	free(b);
}

/* The value of the option in the client's last message, or NULL. */
static const uint8_t *sent_option(const struct bench *b, uint8_t code)
{
	for (size_t i = 240; i + 1 < b->len && b->message[i] != 255;) {
		if (b->message[i] == 0) {
			i++;
			continue;
		}
		if (b->message[i] == code)
			return &b->message[i + 2];
		i += 2u + b->message[i + 1];
	}
	return NULL;
}

static int sent_type(const struct bench *b)
{
	const uint8_t *type = sent_option(b, 53);

	CHECK(type);
	return *type;
}

/* An answer of the server, which tests spoil before it goes out. */
struct answer {
	uint8_t body[600];
	size_t len;
};

static void answer_option(struct answer *a, uint8_t code, const void *value, size_t len)
{
	a->body[a->len++] = code;
	a->body[a->len++] = (uint8_t)len;
	memcpy(a->body + a->len, value, len);
	a->len += len;
}

static void answer_u32(struct answer *a, uint8_t code, uint32_t value)
{
	uint8_t v[4];

	store_be32(v, value);
	answer_option(a, code, v, 4);
}

static struct answer answer_to(const struct bench *b, uint8_t type, uint32_t lease)
{
	struct answer a = {.len = 240};

	a.body[0] = 2;
	a.body[1] = 1;
	a.body[2] = 6;
	memcpy(a.body + 4, b->message + 4, 4);
	store_be32(a.body + 16, OFFERED);
	memcpy(a.body + 28, client_mac, 6);
	store_be32(a.body + 236, 0x63825363);
	answer_option(&a, 53, &type, 1);
	answer_u32(&a, 54, SERVER);
	if (type == DHCP_NAK)
		return a;
	answer_u32(&a, 1, 0xffffff00);
	answer_u32(&a, 3, SERVER);
	answer_u32(&a, 42, NET_IPV4(192, 168, 7, 2));
	answer_u32(&a, 51, lease);
	return a;
}

/* From `server`:`port` to the client, broadcast. */
static void deliver_from(struct bench *b, struct answer *a, uint16_t port)
{
	uint8_t frame[NET_HEADROOM + 1500];
	struct pkt p;

	a->body[a->len] = 255;
	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	memcpy(pkt_append(&p, a->len + 1), a->body, a->len + 1);
	udp_build(&p, SERVER, IPV4_BROADCAST,
		&(struct udp_header){.src_port = port, .dst_port = DHCP_CLIENT_PORT});
	ipv4_build(&p, SERVER, IPV4_BROADCAST, IP_UDP);
	eth_build(&p, (const uint8_t[]){255, 255, 255, 255, 255, 255}, server_mac, ETHERTYPE_IPV4);
	net_input(&b->stack, p.data, p.len, b->now);
}

static void deliver(struct bench *b, struct answer *a)
{
	deliver_from(b, a, DHCP_SERVER_PORT);
}

static void answer_arp(struct bench *b)
{
	struct arp_packet arp = {.op = ARP_REPLY, .sender = SERVER, .target = OFFERED};
	uint8_t frame[42];
	struct pkt p;

	b->asked_for_server = false;
	memcpy(arp.sender_mac, server_mac, NET_MAC_LEN);
	memcpy(arp.target_mac, client_mac, NET_MAC_LEN);
	pkt_init(&p, frame, sizeof(frame), sizeof(frame));
	arp_build(&p, &arp);
	eth_build(&p, client_mac, server_mac, ETHERTYPE_ARP);
	net_input(&b->stack, p.data, p.len, b->now);
}

static void advance(struct bench *b, uint64_t us)
{
	uint64_t end = b->now + us;

	while (net_next_timer(&b->stack) <= end) {
		b->now = MAX(b->now, net_next_timer(&b->stack));
		net_poll(&b->stack, b->now);
		if (b->asked_for_server)
			answer_arp(b);
	}
	b->now = end;
}

static struct bench *bench_bound(uint32_t lease)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_OFFER, lease);

	deliver(b, &a);
	a = answer_to(b, DHCP_ACK, lease);
	deliver(b, &a);
	CHECK_EQ(b->address.addr, OFFERED);
	return b;
}

TEST(discover_offer_request_ack)
{
	struct bench *b = bench_new();
	struct answer a;

	CHECK_EQ(b->messages, 1);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	CHECK_EQ(b->to, IPV4_BROADCAST);
	CHECK(b->len >= DHCP_MESSAGE_MIN);
	CHECK_EQ(load_be16(b->message + 10), 0x8000);
	CHECK(memcmp(sent_option(b, 12), "creel", 5) == 0);

	a = answer_to(b, DHCP_OFFER, 600);
	deliver(b, &a);
	CHECK_EQ(sent_type(b), DHCP_REQUEST);
	CHECK_EQ(load_be32(sent_option(b, 50)), OFFERED);
	CHECK_EQ(load_be32(sent_option(b, 54)), SERVER);
	CHECK_EQ(b->address.addr, 0);

	a = answer_to(b, DHCP_ACK, 600);
	deliver(b, &a);
	CHECK_EQ(b->address.addr, OFFERED);
	CHECK_EQ(b->address.mask, 0xffffff00);
	CHECK_EQ(b->address.gateway, SERVER);
	CHECK_EQ(b->address.ntp, NET_IPV4(192, 168, 7, 2));
	CHECK_EQ(b->address.lease_s, 600);
	CHECK_EQ(net_address(&b->stack)->addr, OFFERED);
	bench_free(b);
}

TEST(discover_is_repeated_with_back_off)
{
	struct bench *b = bench_new();
	int first;

	advance(b, 5 * SECOND);
	CHECK_EQ(b->messages, 2);
	advance(b, 55 * SECOND);
	first = b->messages;
	CHECK(first >= 4 && first <= 6);
	/* For ever, but not more often than each minute or so. */
	advance(b, 3600 * SECOND);
	CHECK(b->messages - first >= 55 && b->messages - first <= 60);
	bench_free(b);
}

TEST(lease_is_renewed_by_unicast)
{
	struct bench *b = bench_bound(600);
	struct answer a;
	int before = b->messages;

	advance(b, 299 * SECOND);
	CHECK_EQ(b->messages, before);
	advance(b, 2 * SECOND);
	CHECK_EQ(b->messages, before + 1);
	CHECK_EQ(sent_type(b), DHCP_REQUEST);
	CHECK_EQ(b->to, SERVER);
	CHECK_EQ(load_be32(b->message + 12), OFFERED);
	CHECK(!sent_option(b, 50) && !sent_option(b, 54));
	a = answer_to(b, DHCP_ACK, 600);
	deliver(b, &a);
	before = b->messages;
	advance(b, 298 * SECOND);
	CHECK_EQ(b->messages, before);
	CHECK_EQ(b->address.addr, OFFERED);
	bench_free(b);
}

TEST(lease_is_rebound_then_expires)
{
	struct bench *b = bench_bound(800);
	int changes = b->changes;

	advance(b, 690 * SECOND);
	CHECK_EQ(b->to, SERVER);
	advance(b, 20 * SECOND);
	CHECK_EQ(b->to, IPV4_BROADCAST);
	CHECK_EQ(sent_type(b), DHCP_REQUEST);
	CHECK_EQ(b->address.addr, OFFERED);
	advance(b, 95 * SECOND);
	CHECK_EQ(b->address.addr, 0);
	CHECK_EQ(b->changes, changes + 1);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	CHECK_EQ(net_stats(&b->stack)->dhcp_expired, 1);
	bench_free(b);
}

TEST(nak_takes_the_address_away)
{
	struct bench *b = bench_bound(600);
	struct answer a;

	advance(b, 301 * SECOND);
	a = answer_to(b, DHCP_NAK, 0);
	deliver(b, &a);
	CHECK_EQ(b->address.addr, 0);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	bench_free(b);
}

TEST(nak_of_a_request_waits_before_it_starts_anew)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_OFFER, 600);
	int before;

	deliver(b, &a);
	a = answer_to(b, DHCP_NAK, 0);
	before = b->messages;
	deliver(b, &a);
	CHECK_EQ(b->messages, before);
	advance(b, 6 * SECOND);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	bench_free(b);
}

TEST(request_without_answer_starts_anew)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_OFFER, 600);

	deliver(b, &a);
	CHECK_EQ(sent_type(b), DHCP_REQUEST);
	advance(b, 120 * SECOND);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	bench_free(b);
}

TEST(infinite_lease_never_expires)
{
	struct bench *b = bench_bound(DHCP_LEASE_FOREVER);
	int before = b->messages;

	advance(b, 365ull * 86400 * SECOND);
	CHECK_EQ(b->messages, before);
	CHECK_EQ(b->address.addr, OFFERED);
	bench_free(b);
}

TEST(link_that_comes_back_keeps_the_lease)
{
	struct bench *b = bench_bound(600);

	net_link(&b->stack, false, b->now);
	advance(b, 100 * SECOND);
	net_link(&b->stack, true, b->now);
	CHECK_EQ(b->address.addr, OFFERED);
	CHECK_EQ(sent_type(b), DHCP_REQUEST);
	CHECK_EQ(b->to, IPV4_BROADCAST);
	/* But not beyond its end. */
	net_link(&b->stack, false, b->now);
	advance(b, 600 * SECOND);
	net_link(&b->stack, true, b->now);
	CHECK_EQ(b->address.addr, 0);
	CHECK_EQ(sent_type(b), DHCP_DISCOVER);
	bench_free(b);
}

/* Finds the option in the answer, to spoil it. */
static uint8_t *option_in(struct answer *a, uint8_t code)
{
	for (size_t i = 240; i < a->len; i += 2u + a->body[i + 1])
		if (a->body[i] == code)
			return &a->body[i];
	return NULL;
}

static void wrong_op(struct answer *a) { a->body[0] = 1; }
static void wrong_hardware(struct answer *a) { a->body[1] = 6; }
static void wrong_hardware_length(struct answer *a) { a->body[2] = 16; }
static void wrong_xid(struct answer *a) { a->body[5] ^= 1; }
static void wrong_station(struct answer *a) { a->body[33] ^= 1; }
static void wrong_cookie(struct answer *a) { a->body[236] ^= 1; }
static void no_address(struct answer *a) { store_be32(a->body + 16, 0); }
static void loopback(struct answer *a) { store_be32(a->body + 16, NET_IPV4(127, 0, 0, 1)); }
static void multicast(struct answer *a) { store_be32(a->body + 16, NET_IPV4(224, 0, 0, 1)); }
static void broadcast(struct answer *a) { store_be32(a->body + 16, NET_IPV4(192, 168, 7, 255)); }
static void network(struct answer *a) { store_be32(a->body + 16, NET_IPV4(192, 168, 7, 0)); }
static void mask_with_holes(struct answer *a) { store_be32(option_in(a, 1) + 2, 0xff00ff00); }
static void empty_mask(struct answer *a) { store_be32(option_in(a, 1) + 2, 0); }
static void no_mask(struct answer *a) { option_in(a, 1)[0] = 200; }
static void no_lease(struct answer *a) { option_in(a, 51)[0] = 200; }
static void tiny_lease(struct answer *a) { store_be32(option_in(a, 51) + 2, 1); }
static void no_server(struct answer *a) { option_in(a, 54)[0] = 200; }
static void short_option(struct answer *a) { option_in(a, 51)[1] = 3; }
static void option_beyond_the_end(struct answer *a) { option_in(a, 51)[1] = 200; }
static void long_type(struct answer *a) { option_in(a, 53)[1] = 2; }
static void unknown_type(struct answer *a) { option_in(a, 53)[2] = 77; }
static void no_options(struct answer *a) { a->len = 240; }
static void cut_in_the_header(struct answer *a) { a->len = 200; }
static void bad_overload(struct answer *a)
{
	uint8_t both = 3;

	answer_option(a, 52, &both, 1);
	memset(a->body + 108, 51, 128); /* options whose length runs out of the field */
}

static void (*const spoilers[])(struct answer *) = {
	wrong_op, wrong_hardware, wrong_hardware_length, wrong_xid, wrong_station, wrong_cookie,
	no_address, loopback, multicast, broadcast, network, mask_with_holes, empty_mask, no_mask,
	no_lease, tiny_lease, no_server, short_option, option_beyond_the_end, long_type,
	unknown_type, no_options, cut_in_the_header, bad_overload,
};

TEST(bad_offers_and_acks_are_ignored)
{
	for (size_t i = 0; i < ARRAY_SIZE(spoilers); i++) {
		struct bench *b = bench_new();
		struct answer a = answer_to(b, DHCP_OFFER, 600);

		spoilers[i](&a);
		deliver(b, &a);
		CHECK_EQ(b->messages, 1);
		CHECK_EQ(b->stack.dhcp.state, DHCP_SELECTING);
		CHECK_EQ(net_stats(&b->stack)->dhcp_ignored, 1);

		a = answer_to(b, DHCP_OFFER, 600);
		deliver(b, &a);
		a = answer_to(b, DHCP_ACK, 600);
		spoilers[i](&a);
		deliver(b, &a);
		CHECK_EQ(b->address.addr, 0);
		CHECK_EQ(b->stack.dhcp.state, DHCP_REQUESTING);
		CHECK_EQ(net_stats(&b->stack)->dhcp_ignored, 2);

		/* And a good answer still does. */
		a = answer_to(b, DHCP_ACK, 600);
		deliver(b, &a);
		CHECK_EQ(b->address.addr, OFFERED);
		bench_free(b);
	}
}

TEST(answers_out_of_turn_are_ignored)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_ACK, 600);

	deliver(b, &a);
	CHECK_EQ(b->address.addr, 0);
	a = answer_to(b, DHCP_OFFER, 600);
	deliver_from(b, &a, 1067);
	CHECK_EQ(b->messages, 1);
	deliver(b, &a);
	deliver(b, &a); /* a second offer, of another server */
	CHECK_EQ(b->messages, 2);
	/* The address or the server is not the one that was asked for. */
	a = answer_to(b, DHCP_ACK, 600);
	store_be32(a.body + 16, OFFERED + 1);
	deliver(b, &a);
	a = answer_to(b, DHCP_ACK, 600);
	store_be32(option_in(&a, 54) + 2, SERVER + 1);
	deliver(b, &a);
	a = answer_to(b, DHCP_NAK, 0);
	store_be32(option_in(&a, 54) + 2, SERVER + 1);
	deliver(b, &a);
	CHECK_EQ(b->stack.dhcp.state, DHCP_REQUESTING);
	a = answer_to(b, DHCP_ACK, 600);
	deliver(b, &a);
	CHECK_EQ(b->address.addr, OFFERED);
	a = answer_to(b, DHCP_NAK, 0);
	deliver(b, &a);
	CHECK_EQ(b->address.addr, OFFERED);
	bench_free(b);
}

/* T1 and T2 are the server's if they make sense. */
TEST(times_of_renewal)
{
	const struct {
		uint32_t t1, t2, renewal;
	} cases[] = {{0, 0, 300}, {100, 200, 100}, {300, 200, 300}, {100, 700, 300}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench *b = bench_new();
		struct answer a = answer_to(b, DHCP_OFFER, 600);
		int before;

		deliver(b, &a);
		a = answer_to(b, DHCP_ACK, 600);
		answer_u32(&a, 58, cases[i].t1);
		answer_u32(&a, 59, cases[i].t2);
		deliver(b, &a);
		before = b->messages;
		advance(b, (cases[i].renewal - 1) * SECOND);
		CHECK_EQ(b->messages, before);
		advance(b, 2 * SECOND);
		CHECK_EQ(b->messages, before + 1);
		bench_free(b);
	}
}

TEST(gateway_off_the_link_is_left_out)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_OFFER, 600);

	deliver(b, &a);
	a = answer_to(b, DHCP_ACK, 600);
	store_be32(option_in(&a, 3) + 2, NET_IPV4(8, 8, 8, 8));
	deliver(b, &a);
	CHECK_EQ(b->address.addr, OFFERED);
	CHECK_EQ(b->address.gateway, 0);
	bench_free(b);
}

TEST(options_may_stand_in_the_file_field)
{
	struct bench *b = bench_new();
	struct answer a = answer_to(b, DHCP_OFFER, 600);
	uint8_t overload = 1;

	option_in(&a, 51)[0] = 200;
	answer_option(&a, 52, &overload, 1);
	memcpy(a.body + 108, (const uint8_t[]){51, 4, 0, 0, 2, 88, 255}, 7);
	deliver(b, &a);
	CHECK_EQ(b->messages, 2);
	bench_free(b);
}
