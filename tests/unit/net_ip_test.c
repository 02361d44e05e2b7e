/* Below TCP: wrong packets of all kinds, ARP, ICMP, UDP. Each drop is counted once. */
#include "lib/bytes.h"
#include "net/checksum.h"
#include "net/icmp.h"
#include "tests/unit/net_bench.h"
#include "tests/unit/test.h"

static const uint8_t our_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[NET_MAC_LEN] = {2, 0, 0, 0, 0, 2};

/* A frame in the making, which tests spoil. Checksums are mended afterwards, where asked for. */
struct packet {
	struct pkt p;
	uint8_t buf[NET_FRAME_MAX + 200];
};

static uint8_t *ip_of(struct packet *k)
{
	return k->p.data + ETH_HEADER_LEN;
}

static uint8_t *body_of(struct packet *k)
{
	return ip_of(k) + IPV4_HEADER_LEN;
}

static void mend_ip(struct packet *k)
{
	uint8_t *h = ip_of(k);

	store_be16(h + 10, 0);
	store_be16(h + 10, checksum_fold(checksum_add(0, h, (size_t)(h[0] & 0xf) * 4)));
}

/* Of TCP, whose checksum stands at 16. */
static void mend_tcp(struct packet *k)
{
	uint8_t *h = body_of(k);
	size_t len = k->p.len - ETH_HEADER_LEN - IPV4_HEADER_LEN;

	store_be16(h + 16, 0);
	store_be16(h + 16, checksum_fold(checksum_add(
				   checksum_pseudo(BENCH_PEER, BENCH_OURS, IP_TCP, len), h, len)));
}

static void finish_ip(struct packet *k, uint8_t protocol)
{
	ipv4_build(&k->p, BENCH_PEER, BENCH_OURS, protocol);
	eth_build(&k->p, our_mac, peer_mac, ETHERTYPE_IPV4);
}

static void make_empty(struct packet *k, size_t payload)
{
	pkt_init(&k->p, k->buf, sizeof(k->buf), 200);
	memset(pkt_append(&k->p, payload), 'p', payload);
}

static void make_echo(struct packet *k)
{
	make_empty(k, 32);
	icmp_build(&k->p, &(struct icmp_header){.type = ICMP_ECHO, .rest = 0x12340001});
	finish_ip(k, IP_ICMP);
}

static void make_udp(struct packet *k)
{
	make_empty(k, 32);
	udp_build(&k->p, BENCH_PEER, BENCH_OURS, &(struct udp_header){.src_port = 9, .dst_port = 7});
	finish_ip(k, IP_UDP);
}

static void make_tcp(struct packet *k)
{
	struct tcp_segment seg = {.src = BENCH_PEER, .dst = BENCH_OURS, .src_port = BENCH_PEER_PORT,
		.dst_port = BENCH_PORT, .flags = TCP_SYN, .mss = 1460, .wscale = 7};

	make_empty(k, 0);
	tcp_build(&k->p, &seg);
	finish_ip(k, IP_TCP);
}

static void make_arp(struct packet *k)
{
	struct arp_packet arp = {.op = ARP_REQUEST, .sender = BENCH_PEER, .target = BENCH_OURS};

	memcpy(arp.sender_mac, peer_mac, NET_MAC_LEN);
	make_empty(k, 0);
	arp_build(&k->p, &arp);
	eth_build(&k->p, our_mac, peer_mac, ETHERTYPE_ARP);
}

static void set_length(struct packet *k, size_t len)
{
	k->p.len = len;
}

/* Ethernet */
static void cut_header(struct packet *k) { set_length(k, 13); }
static void empty(struct packet *k) { set_length(k, 0); }
static void too_long(struct packet *k) { pkt_append(&k->p, NET_FRAME_MAX + 1 - k->p.len); }
static void for_another(struct packet *k) { k->p.data[5] ^= 1; }
static void from_a_group(struct packet *k) { k->p.data[6] |= 1; }
static void other_type(struct packet *k) { k->p.data[12] = 0x86; }

/* ARP */
static void cut_arp(struct packet *k) { set_length(k, ETH_HEADER_LEN + ARP_LEN - 1); }
static void arp_hardware(struct packet *k) { ip_of(k)[1] = 6; }
static void arp_protocol(struct packet *k) { ip_of(k)[2] = 0x86; }
static void arp_lengths(struct packet *k) { ip_of(k)[4] = 8; }
static void arp_operation(struct packet *k) { ip_of(k)[7] = 9; }
static void arp_group_sender(struct packet *k) { ip_of(k)[8] |= 1; }

/* IPv4 */
static void ip_version(struct packet *k) { ip_of(k)[0] = 0x65; mend_ip(k); }
static void ip_short_header(struct packet *k) { ip_of(k)[0] = 0x44; mend_ip(k); }
static void ip_header_beyond(struct packet *k) { set_length(k, 50); ip_of(k)[0] = 0x4f; }
static void ip_cut(struct packet *k) { set_length(k, ETH_HEADER_LEN + 19); }
static void ip_total_beyond(struct packet *k) { store_be16(ip_of(k) + 2, 1400); mend_ip(k); }
static void ip_total_tiny(struct packet *k) { store_be16(ip_of(k) + 2, 19); mend_ip(k); }
static void ip_checksum(struct packet *k) { ip_of(k)[10] ^= 1; }
static void ip_first_fragment(struct packet *k) { store_be16(ip_of(k) + 6, 0x2000); mend_ip(k); }
static void ip_last_fragment(struct packet *k) { store_be16(ip_of(k) + 6, 0x0010); mend_ip(k); }
static void set_source(struct packet *k, uint32_t a) { store_be32(ip_of(k) + 12, a); mend_ip(k); }
static void set_dest(struct packet *k, uint32_t a) { store_be32(ip_of(k) + 16, a); mend_ip(k); }
static void source_zero(struct packet *k) { set_source(k, 0); }
static void source_loopback(struct packet *k) { set_source(k, NET_IPV4(127, 0, 0, 1)); }
static void source_multicast(struct packet *k) { set_source(k, NET_IPV4(224, 0, 0, 5)); }
static void source_broadcast(struct packet *k) { set_source(k, IPV4_BROADCAST); }
static void source_net_broadcast(struct packet *k) { set_source(k, NET_IPV4(10, 0, 0, 255)); }
static void source_ours(struct packet *k) { set_source(k, BENCH_OURS); }
static void dest_other(struct packet *k) { set_dest(k, NET_IPV4(10, 0, 0, 77)); }
static void dest_multicast(struct packet *k) { set_dest(k, NET_IPV4(224, 0, 0, 1)); }
static void dest_broadcast(struct packet *k) { set_dest(k, IPV4_BROADCAST); }
static void dest_net_broadcast(struct packet *k) { set_dest(k, NET_IPV4(10, 0, 0, 255)); }
static void ip_protocol(struct packet *k) { ip_of(k)[9] = 132; mend_ip(k); }

/* Shortens the datagram and the frame to `len` bytes after the IPv4 header. */
static void cut_body(struct packet *k, size_t len)
{
	store_be16(ip_of(k) + 2, (uint16_t)(IPV4_HEADER_LEN + len));
	mend_ip(k);
	set_length(k, ETH_HEADER_LEN + IPV4_HEADER_LEN + len);
}

/* ICMP */
static void icmp_cut(struct packet *k) { cut_body(k, 7); }
static void icmp_checksum(struct packet *k) { body_of(k)[20] ^= 1; }
static void set_icmp_type(struct packet *k, uint8_t type, uint8_t code)
{
	body_of(k)[2] = (uint8_t)(body_of(k)[2] - (type - body_of(k)[0]));
	body_of(k)[0] = type;
	body_of(k)[1] = code;
	store_be16(body_of(k) + 2, 0);
	store_be16(body_of(k) + 2, checksum_fold(checksum_add(0, body_of(k),
					   k->p.len - ETH_HEADER_LEN - IPV4_HEADER_LEN)));
}
static void icmp_timestamp(struct packet *k) { set_icmp_type(k, 13, 0); }
static void icmp_redirect(struct packet *k) { set_icmp_type(k, 5, 1); }
static void icmp_port_code(struct packet *k) { set_icmp_type(k, 3, 3); }
static void icmp_bad_quote(struct packet *k) { set_icmp_type(k, 3, 4); }

/* UDP */
static void udp_cut(struct packet *k) { cut_body(k, 7); }
static void udp_length_tiny(struct packet *k) { store_be16(body_of(k) + 4, 7); }
static void udp_length_beyond(struct packet *k) { store_be16(body_of(k) + 4, 100); }
static void udp_port_zero(struct packet *k) { store_be16(body_of(k) + 2, 0); }
static void udp_checksum(struct packet *k) { body_of(k)[6] ^= 1; }
static void udp_nobody(struct packet *k) { (void)k; }

/* TCP */
static void tcp_cut(struct packet *k) { cut_body(k, 19); }
static void tcp_checksum(struct packet *k) { body_of(k)[16] ^= 1; }
static void tcp_offset_tiny(struct packet *k) { body_of(k)[12] = 4 << 4; mend_tcp(k); }
static void tcp_offset_beyond(struct packet *k) { body_of(k)[12] = 15 << 4; mend_tcp(k); }
static void tcp_source_zero(struct packet *k) { store_be16(body_of(k), 0); mend_tcp(k); }
static void tcp_dest_zero(struct packet *k) { store_be16(body_of(k) + 2, 0); mend_tcp(k); }
static void tcp_no_flags(struct packet *k) { body_of(k)[13] = 0; mend_tcp(k); }
static void tcp_syn_fin(struct packet *k) { body_of(k)[13] = TCP_SYN | TCP_FIN; mend_tcp(k); }
static void tcp_syn_rst(struct packet *k) { body_of(k)[13] = TCP_SYN | TCP_RST; mend_tcp(k); }
static void tcp_xmas(struct packet *k) { body_of(k)[13] = 0x3f; mend_tcp(k); }
static void set_option(struct packet *k, size_t at, uint8_t v) { body_of(k)[20 + at] = v; mend_tcp(k); }
static void tcp_option_zero(struct packet *k) { set_option(k, 1, 0); }
static void tcp_option_one(struct packet *k) { set_option(k, 1, 1); }
static void tcp_option_beyond(struct packet *k) { body_of(k)[20] = 99; set_option(k, 1, 41); }
static void tcp_option_long_mss(struct packet *k) { set_option(k, 1, 5); }
static void tcp_option_at_end(struct packet *k) { memset(body_of(k) + 20, 1, 7); set_option(k, 7, 2); }
static void tcp_to_closed(struct packet *k) { store_be16(body_of(k) + 2, 81); mend_tcp(k); }

#define COUNTER(name) offsetof(struct net_stats, rx_drop_##name)

static const struct {
	void (*make)(struct packet *k);
	void (*spoil)(struct packet *k);
	size_t counter;
} wrong[] = {
	{make_echo, cut_header, COUNTER(length)},
	{make_echo, empty, COUNTER(length)},
	{make_echo, too_long, COUNTER(length)},
	{make_echo, for_another, COUNTER(mac)},
	{make_echo, from_a_group, COUNTER(mac)},
	{make_echo, other_type, COUNTER(ethertype)},
	{make_arp, cut_arp, COUNTER(arp)},
	{make_arp, arp_hardware, COUNTER(arp)},
	{make_arp, arp_protocol, COUNTER(arp)},
	{make_arp, arp_lengths, COUNTER(arp)},
	{make_arp, arp_operation, COUNTER(arp)},
	{make_arp, arp_group_sender, COUNTER(arp)},
	{make_echo, ip_version, COUNTER(ip_header)},
	{make_echo, ip_short_header, COUNTER(ip_header)},
	{make_echo, ip_header_beyond, COUNTER(ip_header)},
	{make_echo, ip_cut, COUNTER(ip_header)},
	{make_echo, ip_total_beyond, COUNTER(ip_header)},
	{make_echo, ip_total_tiny, COUNTER(ip_header)},
	{make_echo, ip_checksum, COUNTER(ip_checksum)},
	{make_udp, ip_first_fragment, COUNTER(ip_fragment)},
	{make_udp, ip_last_fragment, COUNTER(ip_fragment)},
	{make_echo, source_zero, COUNTER(ip_source)},
	{make_echo, source_loopback, COUNTER(ip_source)},
	{make_echo, source_multicast, COUNTER(ip_source)},
	{make_echo, source_broadcast, COUNTER(ip_source)},
	{make_echo, source_net_broadcast, COUNTER(ip_source)},
	{make_echo, source_ours, COUNTER(ip_source)},
	{make_echo, dest_other, COUNTER(ip_dest)},
	{make_echo, dest_multicast, COUNTER(ip_dest)},
	{make_echo, dest_broadcast, COUNTER(ip_dest)},
	{make_echo, dest_net_broadcast, COUNTER(ip_dest)},
	{make_tcp, dest_broadcast, COUNTER(ip_dest)},
	{make_echo, ip_protocol, COUNTER(ip_protocol)},
	{make_echo, icmp_cut, COUNTER(icmp_header)},
	{make_echo, icmp_checksum, COUNTER(icmp_checksum)},
	{make_echo, icmp_timestamp, COUNTER(icmp_type)},
	{make_echo, icmp_redirect, COUNTER(icmp_type)},
	{make_echo, icmp_port_code, COUNTER(icmp_type)},
	{make_echo, icmp_bad_quote, COUNTER(icmp_type)},
	{make_udp, udp_cut, COUNTER(udp_header)},
	{make_udp, udp_length_tiny, COUNTER(udp_header)},
	{make_udp, udp_length_beyond, COUNTER(udp_header)},
	{make_udp, udp_port_zero, COUNTER(udp_header)},
	{make_udp, udp_checksum, COUNTER(udp_checksum)},
	{make_udp, udp_nobody, COUNTER(udp_port)},
	{make_tcp, tcp_cut, COUNTER(tcp_header)},
	{make_tcp, tcp_checksum, COUNTER(tcp_checksum)},
	{make_tcp, tcp_offset_tiny, COUNTER(tcp_header)},
	{make_tcp, tcp_offset_beyond, COUNTER(tcp_header)},
	{make_tcp, tcp_source_zero, COUNTER(tcp_header)},
	{make_tcp, tcp_dest_zero, COUNTER(tcp_header)},
	{make_tcp, tcp_no_flags, COUNTER(tcp_header)},
	{make_tcp, tcp_syn_fin, COUNTER(tcp_header)},
	{make_tcp, tcp_syn_rst, COUNTER(tcp_header)},
	{make_tcp, tcp_xmas, COUNTER(tcp_header)},
	{make_tcp, tcp_option_zero, COUNTER(tcp_header)},
	{make_tcp, tcp_option_one, COUNTER(tcp_header)},
	{make_tcp, tcp_option_beyond, COUNTER(tcp_header)},
	{make_tcp, tcp_option_long_mss, COUNTER(tcp_header)},
	{make_tcp, tcp_option_at_end, COUNTER(tcp_header)},
	{make_tcp, tcp_to_closed, COUNTER(tcp_port)},
};

/* The sum of all rx_drop_ counters, which stand together. */
static uint64_t all_drops(const struct net_stats *stats)
{
	const size_t first = offsetof(struct net_stats, rx_drop_down);
	const size_t last = offsetof(struct net_stats, rx_drop_tcp_state);
	uint64_t sum = 0;

	for (size_t at = first; at <= last; at += sizeof(uint64_t))
		sum += load_le64((const uint8_t *)stats + at);
	return sum;
}

TEST(wrong_packets_are_dropped_and_counted)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct bench *b = bench_new(NULL);
		const struct net_stats *stats = net_stats(&b->stack);
		struct packet k;

		wrong[i].make(&k);
		wrong[i].spoil(&k);
		bench_input(b, k.p.data, k.p.len);
		if (load_le64((const uint8_t *)stats + wrong[i].counter) != 1 ||
			all_drops(stats) != 1) {
			fprintf(stderr, "packet %zu: its counter is %" PRIu64 ", all are %" PRIu64 "\n", i,
				load_le64((const uint8_t *)stats + wrong[i].counter),
				all_drops(stats));
			exit(1);
		}
		CHECK_EQ(stats->icmp_echoes, 0);
		CHECK_EQ(b->stack.tcp.half_open, 0);
		bench_end(b);
	}
}

TEST(right_packets_are_not)
{
	void (*const makers[])(struct packet *) = {make_echo, make_arp, make_tcp};

	for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
		struct bench *b = bench_new(NULL);
		struct packet k;

		makers[i](&k);
		bench_input(b, k.p.data, k.p.len);
		/* And with the padding of a short Ethernet frame. */
		memset(pkt_append(&k.p, 10), 0xee, 10);
		bench_input(b, k.p.data, k.p.len);
		CHECK_EQ(all_drops(net_stats(&b->stack)), 0);
		bench_end(b);
	}
}

/* Every prefix of every kind of packet, as a frame that was cut off. */
TEST(packets_cut_off_anywhere)
{
	void (*const makers[])(struct packet *) = {make_echo, make_arp, make_tcp, make_udp};

	for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
		struct bench *b = bench_new(NULL);
		struct packet k;

		makers[i](&k);
		for (size_t len = 0; len < k.p.len; len++)
			bench_input(b, k.p.data, len);
		CHECK_EQ(all_drops(net_stats(&b->stack)), k.p.len);
		bench_end(b);
	}
}

TEST(every_bit_of_a_packet_is_covered)
{
	struct packet k;
	struct bench *b = bench_new(NULL);
	size_t bits;

	/* Beyond the Ethernet header any flipped bit of a TCP packet is noticed. */
	make_tcp(&k);
	bits = (k.p.len - ETH_HEADER_LEN) * 8;
	for (size_t bit = 0; bit < bits; bit++) {
		ip_of(&k)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bench_input(b, k.p.data, k.p.len);
		ip_of(&k)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK_EQ(all_drops(net_stats(&b->stack)), bits);
	CHECK_EQ(b->stack.tcp.half_open, 0);
	bench_end(b);
}

TEST(echo_comes_back_as_it_was)
{
	struct bench *b = bench_new(NULL);
	struct packet k;
	const struct bench_frame *f = &b->sent[0];

	make_echo(&k);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(b->sent_count, 1);
	CHECK_EQ(f->len, k.p.len);
	CHECK(memcmp(f->data, peer_mac, NET_MAC_LEN) == 0);
	CHECK_EQ(f->data[34], ICMP_ECHO_REPLY);
	CHECK(memcmp(f->data + 38, k.p.data + 38, k.p.len - 38) == 0);
	bench_end(b);
}

TEST(echo_is_rate_limited)
{
	struct bench *b = bench_new(NULL);
	struct packet k;

	make_echo(&k);
	for (int i = 0; i < 1000; i++)
		bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(net_stats(&b->stack)->icmp_echoes, ICMP_ECHO_BURST);
	b->now += BENCH_SECOND;
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(net_stats(&b->stack)->icmp_echoes, ICMP_ECHO_BURST + 1);
	bench_end(b);
}

TEST(unreachable_port_is_reported_with_a_quote)
{
	struct bench *b = bench_new(NULL);
	struct packet k;
	const uint8_t *f = b->sent[0].data;

	make_udp(&k);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(b->sent_count, 1);
	CHECK_EQ(f[34], ICMP_UNREACHABLE);
	CHECK_EQ(f[35], ICMP_CODE_PORT);
	CHECK(memcmp(f + 42, ip_of(&k), 28) == 0);
	for (int i = 0; i < 1000; i++)
		bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(net_stats(&b->stack)->icmp_unreachables, ICMP_ERROR_BURST);
	/* Never about a broadcast. */
	b->now += 10 * BENCH_SECOND;
	dest_broadcast(&k);
	store_be16(body_of(&k) + 6, 0);
	bench_forget(b);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(b->sent_count, 0);
	bench_end(b);
}

static int heard;

static void on_message(void *ctx, struct net_stack *s, const struct udp_message *m)
{
	uint8_t reply[4] = {'d', 'o', 'n', 'e'};

	CHECK(ctx == &heard);
	CHECK_EQ(m->src, BENCH_PEER);
	CHECK_EQ(m->src_port, 9);
	CHECK_EQ(m->len, 32);
	heard++;
	CHECK_EQ(udp_send(s, 7, m->src, m->src_port, reply, sizeof(reply)), 0);
}

TEST(udp_is_heard_and_answered)
{
	struct bench *b = bench_new(NULL);
	static uint8_t big[UDP_PAYLOAD_MAX + 1];
	struct packet k;

	heard = 0;
	CHECK_EQ(udp_bind(&b->stack, 7, on_message, &heard), 7);
	CHECK_EQ(udp_bind(&b->stack, 7, on_message, &heard), ERR_EXIST);
	make_udp(&k);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(heard, 1);
	CHECK_EQ(b->sent_count, 1);
	CHECK(memcmp(b->sent[0].data + 42, "done", 4) == 0);
	/* RFC 768: no checksum was made. */
	store_be16(body_of(&k) + 6, 0);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(heard, 2);
	CHECK_EQ(udp_send(&b->stack, 7, BENCH_PEER, 9, big, sizeof(big)), ERR_TOOBIG);
	CHECK_EQ(udp_send(&b->stack, 7, BENCH_PEER, 9, big, sizeof(big) - 1), 0);
	CHECK_EQ(b->sent[b->sent_count - 1].len, NET_FRAME_MAX);
	udp_unbind(&b->stack, 7);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(heard, 2);
	for (int i = 0; i < UDP_PORTS_MAX; i++)
		CHECK(udp_bind(&b->stack, 0, on_message, &heard) >= (int)NET_EPHEMERAL_FIRST);
	CHECK_EQ(udp_bind(&b->stack, 0, on_message, &heard), ERR_LIMIT);
	bench_end(b);
}

/* ---- ARP: a stack whose peer answers when the test says so ---- */

static void arp_from(struct bench *b, uint16_t op, uint32_t sender, uint8_t station, uint32_t target)
{
	struct arp_packet arp = {.op = op, .sender = sender, .target = target};
	uint8_t frame[ETH_HEADER_LEN + ARP_LEN];
	struct pkt p;

	memcpy(arp.sender_mac, (const uint8_t[]){2, 0, 0, 0, 1, station}, NET_MAC_LEN);
	pkt_init(&p, frame, sizeof(frame), sizeof(frame));
	arp_build(&p, &arp);
	eth_build(&p, our_mac, arp.sender_mac, ETHERTYPE_ARP);
	bench_input(b, p.data, p.len);
}

static uint32_t neighbour(uint32_t n)
{
	return NET_IPV4(10, 0, 0, 0) + 10 + n;
}

TEST(packets_wait_for_an_address_in_order)
{
	struct bench *b = bench_new(NULL);
	const struct net_stats *stats = net_stats(&b->stack);

	for (uint8_t i = 0; i < ARP_QUEUE_PER_HOP + 3; i++)
		udp_send(&b->stack, 1, neighbour(0), 2, &i, 1);
	CHECK_EQ(b->sent_count, 0);
	CHECK_EQ(stats->tx_drop_arp_queue, 3);
	CHECK_EQ(stats->arp_requests, 2); /* the announcement was the other */
	arp_from(b, ARP_REPLY, neighbour(0), 5, BENCH_OURS);
	CHECK_EQ(b->sent_count, ARP_QUEUE_PER_HOP);
	for (uint8_t i = 0; i < ARP_QUEUE_PER_HOP; i++) {
		CHECK_EQ(b->sent[i].data[42], i);
		CHECK_EQ(b->sent[i].data[5], 5);
	}
	bench_end(b);
}

TEST(queue_for_addresses_is_bounded)
{
	struct bench *b = bench_new(NULL);
	const struct net_stats *stats = net_stats(&b->stack);

	for (uint32_t i = 0; i < 100; i++)
		udp_send(&b->stack, 1, neighbour(i), 2, "x", 1);
	CHECK_EQ(stats->tx_drop_arp_queue, 100 - ARP_QUEUE);
	CHECK_EQ(stats->arp_requests, 101);
	/* Nobody answers: the questions end, and the packets are dropped. */
	bench_advance(b, 20 * BENCH_SECOND);
	CHECK_EQ(stats->arp_requests, 1 + 100 * ARP_TRIES);
	CHECK_EQ(stats->tx_drop_arp_timeout, ARP_QUEUE);
	bench_end(b);
}

TEST(cache_is_bounded)
{
	struct bench *b = bench_new(NULL);

	stack_set_address(&b->stack,
		&(struct net_address){.addr = BENCH_OURS, .mask = NET_IPV4(255, 0, 0, 0)});
	for (uint32_t i = 0; i < 5000; i++)
		arp_from(b, ARP_REQUEST, neighbour(i), 7, BENCH_OURS);
	CHECK_EQ(net_stats(&b->stack)->arp_replies, 5001);
	CHECK_EQ(net_stats(&b->stack)->arp_evictions, 5000 - ARP_SETS * ARP_WAYS);
	/* The latest is still known. */
	udp_send(&b->stack, 1, neighbour(4999), 2, "x", 1);
	CHECK_EQ(b->sent_count, 1);
	bench_end(b);
}

TEST(neighbours_are_asked_again_while_in_use)
{
	struct bench *b = bench_new(NULL);
	const struct net_stats *stats = net_stats(&b->stack);
	uint64_t before;

	arp_from(b, ARP_REQUEST, neighbour(0), 5, BENCH_OURS);
	arp_from(b, ARP_REQUEST, neighbour(1), 5, BENCH_OURS);
	before = stats->arp_requests;
	bench_advance(b, ARP_LIFETIME_US / 2);
	udp_send(&b->stack, 1, neighbour(0), 2, "x", 1);
	bench_advance(b, ARP_LIFETIME_US / 2 + 10000);
	CHECK_EQ(stats->arp_requests, before + 1);
	/* Meanwhile it is known still; when nobody answers, no longer. */
	bench_forget(b);
	udp_send(&b->stack, 1, neighbour(0), 2, "x", 1);
	CHECK_EQ(b->sent_count, 1);
	bench_advance(b, 10 * BENCH_SECOND);
	udp_send(&b->stack, 1, neighbour(0), 2, "x", 1);
	CHECK_EQ(b->sent_count, 1);
	bench_end(b);
}

TEST(only_what_is_asked_for_is_learned)
{
	struct bench *b = bench_new(NULL);

	/* Replies nobody asked for, and requests for others. */
	arp_from(b, ARP_REPLY, neighbour(0), 5, neighbour(9));
	arp_from(b, ARP_REQUEST, neighbour(1), 5, neighbour(9));
	/* Not on our link, broadcast, multicast. */
	arp_from(b, ARP_REQUEST, NET_IPV4(11, 0, 0, 1), 5, BENCH_OURS);
	arp_from(b, ARP_REQUEST, NET_IPV4(10, 0, 0, 255), 5, BENCH_OURS);
	for (size_t i = 0; i < ARRAY_SIZE(b->stack.arp.entry); i++)
		CHECK(b->stack.arp.entry[i].state == ARP_FREE ||
			b->stack.arp.entry[i].addr == BENCH_PEER);
	bench_end(b);
}

TEST(our_address_is_defended_now_and_then)
{
	struct bench *b = bench_new(NULL);
	const struct net_stats *stats = net_stats(&b->stack);
	uint64_t before = stats->arp_requests;

	for (int i = 0; i < 100; i++)
		arp_from(b, ARP_REQUEST, BENCH_OURS, 66, BENCH_OURS);
	CHECK_EQ(stats->arp_conflicts, 100);
	CHECK_EQ(stats->arp_requests, before + 1);
	CHECK_EQ(net_address(&b->stack)->addr, BENCH_OURS);
	b->now += ARP_CONFLICT_US;
	arp_from(b, ARP_REPLY, BENCH_OURS, 66, BENCH_OURS);
	CHECK_EQ(stats->arp_requests, before + 2);
	bench_end(b);
}

TEST(routes)
{
	struct bench *b = bench_new(NULL);
	const struct net_stats *stats = net_stats(&b->stack);

	udp_send(&b->stack, 1, NET_IPV4(8, 8, 8, 8), 2, "x", 1);
	CHECK_EQ(stats->tx_drop_no_route, 1);
	stack_set_address(&b->stack,
		&(struct net_address){.addr = BENCH_OURS, .mask = 0xffffff00, .gateway = neighbour(0)});
	udp_send(&b->stack, 1, NET_IPV4(8, 8, 8, 8), 2, "x", 1);
	arp_from(b, ARP_REPLY, neighbour(0), 5, BENCH_OURS);
	CHECK_EQ(b->sent_count, 1);
	CHECK_EQ(b->sent[0].data[5], 5);
	CHECK_EQ(load_be32(b->sent[0].data + 30), NET_IPV4(8, 8, 8, 8));
	udp_send(&b->stack, 1, IPV4_BROADCAST, 2, "x", 1);
	CHECK_EQ(b->sent[1].data[0], 0xff);
	udp_send(&b->stack, 1, NET_IPV4(10, 0, 0, 255), 2, "x", 1);
	CHECK_EQ(b->sent[2].data[0], 0xff);
	bench_end(b);
}

TEST(link_that_is_down)
{
	struct bench *b = bench_new(NULL);
	struct packet k;

	net_link(&b->stack, false, b->now);
	make_echo(&k);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(net_stats(&b->stack)->rx_drop_down, 1);
	udp_send(&b->stack, 1, IPV4_BROADCAST, 2, "x", 1);
	CHECK_EQ(net_stats(&b->stack)->tx_drop_driver, 1);
	net_link(&b->stack, true, b->now);
	bench_input(b, k.p.data, k.p.len);
	CHECK_EQ(net_stats(&b->stack)->icmp_echoes, 1);
	bench_end(b);
}

static int no_send(void *ctx, const void *frame, size_t len)
{
	(void)ctx;
	(void)frame;
	(void)len;
	return 0;
}

static void no_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 1, len);
}

TEST(configurations_are_checked)
{
	const struct net_config good = {.max_connections = 4, .send = no_send, .random = no_random,
		.mac = {2, 0, 0, 0, 0, 1}, .address = {.addr = BENCH_OURS, .mask = 0xffffff00}};
	struct net_stack *s = malloc(sizeof(*s));
	void *arena = malloc(net_arena_size(&good));
	struct net_config c;

	CHECK_EQ(net_init(s, &good, arena, net_arena_size(&good)), 0);
	CHECK_EQ(net_init(s, &good, arena, net_arena_size(&good) - 1), ERR_TOOBIG);
#define BAD(field, value)                                                                          \
	do {                                                                                       \
		c = good;                                                                          \
		c.field = value;                                                                   \
		CHECK_EQ(net_init(s, &c, arena, net_arena_size(&good)), ERR_INVALID);              \
	} while (0)
	BAD(send, NULL);
	BAD(random, NULL);
	BAD(mac[0], 1);
	BAD(max_connections, 70000);
	BAD(rx_buffer, 100);
	BAD(tx_buffer, 2u << 20);
	BAD(pool_per_conn, 2048);
	BAD(address.addr, 0);
	BAD(address.addr, NET_IPV4(127, 0, 0, 1));
	BAD(address.addr, NET_IPV4(10, 0, 0, 255));
	BAD(address.addr, NET_IPV4(240, 0, 0, 1));
	BAD(address.mask, 0);
	BAD(address.mask, 0xff00ff00);
	free(arena);
	free(s);
}
