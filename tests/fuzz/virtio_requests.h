/* What virtio devices are glad to find in a buffer, so that fuzzers reach what lies behind their
 * first checks. */
#ifndef TESTS_FUZZ_VIRTIO_REQUESTS_H
#define TESTS_FUZZ_VIRTIO_REQUESTS_H

#include "hv/dev/vnet.h"
#include "lib/bytes.h"
#include "lib/string.h"
#include "net/checksum.h"

#define REQUEST_MAX 64u

enum { TYPE_NET = 1, TYPE_BLOCK = 2, TYPE_RANDOM = 4, TYPE_CONSOLE = 3 };

/* The queue that requests to a device of the type go to. */
static inline unsigned request_queue(unsigned type)
{
	return type == TYPE_NET ? 1 : type == TYPE_CONSOLE ? 3 : 0;
}

static inline unsigned request_arp(uint8_t *f, uint64_t guest)
{
	static const uint8_t kind[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	memset(f, 0xff, 6);
	vnet_mac(guest, f + 6);
	memcpy(f + 12, kind, sizeof(kind));
	vnet_mac(guest, f + 22);
	store_be32(f + 28, vnet_gateway(guest) + 1);
	store_be32(f + 38, vnet_gateway(guest));
	return 42;
}

static inline unsigned request_ping(uint8_t *f, uint64_t guest)
{
	static const uint8_t head[] = {2, 0xc7, 0xee, 0, 0, 1},
			     ip[] = {8, 0, 0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1};

	memcpy(f, head, sizeof(head));
	vnet_mac(guest, f + 6);
	memcpy(f + 12, ip, sizeof(ip));
	store_be32(f + 26, vnet_gateway(guest) + 1);
	store_be32(f + 30, vnet_gateway(guest));
	store_be16(f + 24, checksum_fold(checksum_add(0, f + 14, 20)));
	f[34] = 8;
	store_be16(f + 36, checksum_fold(checksum_add(0, f + 34, 16)));
	return 50;
}

/* One to a device of `type`, of guest number `guest`; `what` chooses. Returns its size. */
static inline unsigned request_make(
	uint8_t b[REQUEST_MAX], unsigned type, uint64_t guest, unsigned what)
{
	memset(b, 0, REQUEST_MAX);
	switch (type) {
	case TYPE_NET:
		return 12 + (what & 1 ? request_arp(b + 12, guest) : request_ping(b + 12, guest));
	case TYPE_BLOCK:
		b[0] = (uint8_t)(what % 9);
		b[8] = (uint8_t)(what / 9);
		return 16;
	default:
		b[0] = (uint8_t)(what % 3);
		b[4] = (uint8_t)(what / 3 % 8);
		b[6] = (uint8_t)(what / 24 & 1);
		return 8;
	}
}

#endif
