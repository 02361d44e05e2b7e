/* The arithmetic of time: scaling between clocks, and the battery clock. */
#include "lib/cmos.h"
#include "lib/scale.h"
#include "tests/unit/test.h"

#include <time.h>

TEST(scale_is_exact_to_parts_in_a_billion)
{
	static const uint64_t hz[] = {1000000, 9999600, 99999600, 1000000000, 2596321000, 3579545, 100000000000};

	for (unsigned i = 0; i < sizeof(hz) / sizeof(hz[0]); i++) {
		struct scale to_ns = scale_make(hz[i], 1000000000), back = scale_make(1000000000, hz[i]);
		uint64_t day = 86400 * hz[i];
		double ns = (double)scale_apply(to_ns, day);

		CHECK(ns > 86400e9 * (1 - 1e-7) && ns <= 86400e9);
		CHECK(scale_apply(to_ns, 0) == 0);
		CHECK((double)scale_apply(back, 1000000000) > (double)hz[i] * (1 - 1e-5));
		CHECK(scale_apply(back, 1000000000) <= hz[i]);
	}
}

TEST(scale_never_goes_back)
{
	struct scale s = scale_make(2596321000, 1000000);
	uint64_t last = 0, state = 3;

	for (uint64_t t = 0, i = 0; i < 100000; i++) {
		uint64_t us;

		t += test_random(&state) % 100000;
		us = scale_apply(s, t);
		CHECK(us >= last);
		last = us;
	}
}

static uint8_t bcd(int v)
{
	return (uint8_t)(v / 10 << 4 | v % 10);
}

static struct cmos_time registers(time_t when, bool binary, bool hours24)
{
	struct tm tm;
	struct cmos_time t = {
		.mode = (uint8_t)((binary ? CMOS_MODE_BINARY : 0) | (hours24 ? CMOS_MODE_24_HOURS : 0)),
	};
	int hour, year;

	gmtime_r(&when, &tm);
	hour = hours24 ? tm.tm_hour : (tm.tm_hour + 11) % 12 + 1;
	year = tm.tm_year + 1900;
	t.second = binary ? (uint8_t)tm.tm_sec : bcd(tm.tm_sec);
	t.minute = binary ? (uint8_t)tm.tm_min : bcd(tm.tm_min);
	t.hour = binary ? (uint8_t)hour : bcd(hour);
	if (!hours24 && tm.tm_hour >= 12)
		t.hour |= CMOS_HOUR_PM;
	t.day = binary ? (uint8_t)tm.tm_mday : bcd(tm.tm_mday);
	t.month = binary ? (uint8_t)(tm.tm_mon + 1) : bcd(tm.tm_mon + 1);
	t.year = binary ? (uint8_t)(year % 100) : bcd(year % 100);
	t.century = binary ? (uint8_t)(year / 100) : bcd(year / 100);
	return t;
}

TEST(cmos_agrees_with_the_system_for_two_hundred_years)
{
	uint64_t state = 11, seconds;

	for (unsigned i = 0; i < 100000; i++) {
		/* 2000-01-01 to 2199-12-31 */
		time_t when = (time_t)(946684800 + test_random(&state) % 6311433600ull);
		struct cmos_time t = registers(when, i & 1, i & 2);

		CHECK_EQ(cmos_to_seconds(&t, &seconds), 0);
		CHECK_EQ(seconds, when);
	}
}

TEST(cmos_without_a_century)
{
	struct cmos_time t = registers(1795248000, false, true); /* 2026-11-21 */
	uint64_t seconds;

	t.century = 0;
	CHECK_EQ(cmos_to_seconds(&t, &seconds), 0);
	CHECK_EQ(seconds, 1795248000);
	t.century = 0x19; /* a register that holds something else */
	CHECK_EQ(cmos_to_seconds(&t, &seconds), 0);
	CHECK_EQ(seconds, 1795248000);
	t.year = 0x05;
	CHECK_EQ(cmos_to_seconds(&t, &seconds), 0);
	CHECK_EQ(seconds, 4288233600ll); /* 2105-11-21 */
}

TEST(cmos_refuses_what_is_no_time)
{
	const struct cmos_time good = registers(1795248000, false, true);
	uint64_t seconds;
	struct cmos_time t;

#define BAD(field, value)                                                                          \
	do {                                                                                       \
		t = good;                                                                          \
		t.field = (value);                                                                 \
		CHECK_EQ(cmos_to_seconds(&t, &seconds), ERR_RANGE);                                \
	} while (0)
	CHECK_EQ(cmos_to_seconds(&good, &seconds), 0);
	BAD(second, 0x60);
	BAD(second, 0x5a);
	BAD(minute, 0xff);
	BAD(hour, 0x24);
	BAD(day, 0);
	BAD(day, 0x31); /* of November */
	BAD(month, 0);
	BAD(month, 0x13);
	BAD(year, 0xa0);
#undef BAD
	t = good;
	t.mode = 0; /* 12 hours: there is no hour 0, nor 13 */
	t.hour = 0;
	CHECK_EQ(cmos_to_seconds(&t, &seconds), ERR_RANGE);
	t.hour = 0x13;
	CHECK_EQ(cmos_to_seconds(&t, &seconds), ERR_RANGE);
	t = good;
	t.month = 0x02;
	t.day = 0x29; /* 2026 has none */
	CHECK_EQ(cmos_to_seconds(&t, &seconds), ERR_RANGE);
	t.year = 0x28;
	CHECK_EQ(cmos_to_seconds(&t, &seconds), 0);
}
