#include "net/checksum.h"

#include "lib/bytes.h"

/*
 * The sum is taken over 32-bit words in network order: RFC 1071 "Parallel Summation" allows any
 * word size, since the carries are folded in at the end. A 64-bit sum of 32-bit words can't
 * overflow within any packet.
 */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len >= 4; p += 4, len -= 4)
		sum += load_be32(p);
	if (len >= 2) {
		sum += load_be16(p);
		p += 2;
		len -= 2;
	}
	if (len)
		sum += (uint64_t)*p << 8;
	return sum;
}

uint64_t checksum_pseudo(uint32_t src, uint32_t dst, uint8_t protocol, size_t len)
{
	return (uint64_t)src + dst + protocol + len;
}

uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~sum;
}
