/* The Internet checksum (RFC 1071). Sums are carried unfolded, so that pieces may be added up. */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include "lib/base.h"

/* Adds `len` bytes to `sum`. Every piece but the last must be of even length. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/* The sum of the pseudo header of TCP and UDP over IPv4; addresses in host order. */
uint64_t checksum_pseudo(uint32_t src, uint32_t dst, uint8_t protocol, size_t len);

/* The value for the checksum field; over data that already holds a right checksum it is 0. */
uint16_t checksum_fold(uint64_t sum);

#endif
