/* Test vectors are written in hexadecimal. */
#ifndef TESTS_UNIT_HEX_H
#define TESTS_UNIT_HEX_H

#include "tests/unit/test.h"

static inline void unhex(const char *text, uint8_t *out, size_t size)
{
	CHECK_EQ(strlen(text), 2 * size);
	for (size_t i = 0; i < size; i++) {
		unsigned v;

		CHECK(sscanf(text + 2 * i, "%2x", &v) == 1);
		out[i] = (uint8_t)v;
	}
}

static inline const char *to_hex(const void *data, size_t size)
{
	static char text[1024];
	const uint8_t *p = data;

	CHECK(size < sizeof(text) / 2);
	for (size_t i = 0; i < size; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	return text;
}

#define CHECK_HEX(data, size, want) CHECK_STR(to_hex(data, size), want)

#endif
