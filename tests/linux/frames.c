/*
 * A program for Linux: sends frames through eth0 as they are, good ones and others, and tells of
 *each whether something answered it.
 *
 *	frames GUEST
 *
 * where GUEST is the number of the guest that it runs in.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WAIT_MS 250
#define ARP     42u
#define PING    50u
#define NETWORK 0x64400000u

static const uint8_t gateway_mac[6] = {2, 0xc7, 0xee, 0, 0, 1};
static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};

static uint32_t gateway, own;
static uint8_t own_mac[6] = {6, 0xc7, 0xee};
static uint8_t frame[2048];
static int s;

static uint16_t sum(const uint8_t *p, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		v += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (n & 1)
		v += (uint32_t)p[n - 1] << 8;
	v = (v >> 16) + (v & 0xffff);
	v += v >> 16;
	return (uint16_t)~v;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static void make_arp(uint32_t from, uint32_t to)
{
	static const uint8_t kind[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	memset(frame, 0, sizeof(frame));
	memcpy(frame, all, 6);
	memcpy(frame + 6, own_mac, 6);
	memcpy(frame + 12, kind, sizeof(kind));
	memcpy(frame + 22, own_mac, 6);
	put32(frame + 28, from);
	put32(frame + 38, to);
}

/* Sums of a packet whose other fields are set. */
static void seal(void)
{
	unsigned length = (unsigned)(frame[16] << 8 | frame[17]);

	put16(frame + 24, 0);
	put16(frame + 24, sum(frame + 14, 20));
	put16(frame + 36, 0);
	put16(frame + 36, sum(frame + 34, length - 20));
}

static void make_ping(uint32_t from, uint32_t to)
{
	static const uint8_t head[] = {8, 0, 0x45, 0, 0, PING - 14, 0, 1, 0, 0, 64, 1};

	memset(frame, 0, sizeof(frame));
	memcpy(frame, gateway_mac, 6);
	memcpy(frame + 6, own_mac, 6);
	memcpy(frame + 12, head, sizeof(head));
	put32(frame + 26, from);
	put32(frame + 30, to);
	frame[34] = 8;
	memcpy(frame + 42, "creel", 5);
	seal();
}

/* Whoever it is: an answer that is none of the gateway's, or has a wrong sum, is told as such. */
static const char *judge(const uint8_t *p, size_t n)
{
	if (n < 42 || memcmp(p, own_mac, 6) || memcmp(p + 6, gateway_mac, 6))
		return "a stranger";
	if (p[12] == 8 && p[13] == 6)
		return p[21] == 2 && !memcmp(p + 22, gateway_mac, 6) ? "answered" : "a wrong ARP";
	if (p[23] != 1 || p[34] != 0 || sum(p + 14, 20) ||
		sum(p + 34, (size_t)(p[16] << 8 | p[17]) - 20))
		return "a wrong ping";
	return "answered";
}

static void try(const char *name, size_t size)
{
	struct pollfd p = {.fd = s, .events = POLLIN};
	const char *verdict = "silence";
	struct sockaddr_ll from;
	socklen_t length = sizeof(from);
	uint8_t got[2048];

	if (send(s, frame, size, 0) != (ssize_t)size)
		verdict = "not sent";
	while (poll(&p, 1, WAIT_MS) > 0) {
		ssize_t n = recvfrom(s, got, sizeof(got), 0, (struct sockaddr *)&from, &length);

		/* What other programs of this guest send is seen too. */
		if (n > 0 && from.sll_pkttype != PACKET_OUTGOING)
			verdict = judge(got, (size_t)n);
	}
	printf("%s: %s\n", name, verdict);
}

static void try_arp(void)
{
	make_arp(own, gateway);
	try("arp", ARP);
	make_arp(0, gateway);
	try("arp probe", ARP);
	make_arp(own, own + 4);
	try("arp for another guest", ARP);
	make_arp(own, gateway + 4);
	try("arp for another gateway", ARP);
	make_arp(own + 4, gateway);
	try("arp as another guest", ARP);
	make_arp(gateway, gateway);
	try("arp as the gateway", ARP);
	make_arp(own, gateway);
	frame[11]++;
	try("arp from another card", ARP);
	make_arp(own, gateway);
	frame[27]++;
	try("arp that names another card", ARP);
	make_arp(own, gateway);
	frame[21] = 2;
	try("arp answer that nobody asked for", ARP);
	make_arp(own, gateway);
	frame[18] = 16;
	try("arp with long addresses", ARP);
	make_arp(own, gateway);
	try("arp cut short", ARP - 1);
}

static void try_ping(void)
{
	make_ping(own, gateway);
	try("ping", PING);
	make_ping(own, gateway);
	put16(frame + 16, 1500);
	seal();
	try("ping as long as may be", 1514);
	make_ping(own, own + 4);
	try("ping to another guest", PING);
	make_ping(own, 0x0a00020f);
	try("ping to the host", PING);
	make_ping(own + 4, gateway);
	try("ping as another guest", PING);
	make_ping(gateway, gateway);
	try("ping as the gateway", PING);
	make_ping(own, gateway);
	memcpy(frame, all, 6);
	try("ping to all", PING);
	make_ping(own, gateway);
	frame[11]++;
	try("ping from another card", PING);
	make_ping(own, gateway);
	frame[24]++;
	try("ping with a wrong sum", PING);
	make_ping(own, gateway);
	frame[44]++;
	try("ping with other data", PING);
	make_ping(own, gateway);
	frame[20] = 0x20;
	seal();
	try("a piece of a ping", PING);
	make_ping(own, gateway);
	put16(frame + 16, PING);
	seal();
	try("ping that says it is longer", PING);
	make_ping(own, gateway);
	frame[14] = 0x46;
	seal();
	try("ping with options", PING);
	make_ping(own, gateway);
	frame[14] = 0x65;
	seal();
	try("ping of version 6", PING);
}

static void try_others(void)
{
	static const uint8_t protocols[] = {0, 2, 4, 6, 17, 41, 47, 58, 255};

	for (size_t i = 0; i < sizeof(protocols); i++) {
		char name[32];

		make_ping(own, gateway);
		frame[23] = protocols[i];
		seal();
		snprintf(name, sizeof(name), "protocol %u", protocols[i]);
		try(name, PING);
	}
	make_ping(own, gateway);
	put16(frame + 12, ETHERTYPE_IPV6);
	try("IPv6", PING);
	put16(frame + 12, ETHERTYPE_VLAN);
	try("a VLAN", PING);
	make_ping(own, gateway);
	try("a header alone", 14);
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	unsigned long guest = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	gateway = NETWORK + (uint32_t)(guest & 0xfffff) * 4 + 1;
	own = gateway + 1;
	for (unsigned i = 0; i < 3; i++)
		own_mac[3 + i] = (uint8_t)(guest >> 8 * (2 - i));
	to.sll_ifindex = (int)if_nametoindex("eth0");
	s = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (s < 0 || bind(s, (struct sockaddr *)&to, sizeof(to))) {
		perror("frames");
		return 1;
	}
	try_arp();
	try_ping();
	try_others();
	return 0;
}
