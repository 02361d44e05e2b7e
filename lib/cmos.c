#include "lib/cmos.h"

/* A clock without a century register that shows less than this is in the next century. */
#define FIRST_YEAR 2024

static unsigned decode(uint8_t v, bool binary)
{
	return binary ? v : (v >> 4) * 10u + (v & 0xf);
}

static bool is_bcd(uint8_t v)
{
	return (v & 0xf) < 10 && v >> 4 < 10;
}

static bool well_formed(const struct cmos_time *t)
{
	if (t->mode & CMOS_MODE_BINARY)
		return true;
	return is_bcd(t->second) && is_bcd(t->minute) && is_bcd(t->hour & ~CMOS_HOUR_PM & 0xff) &&
		is_bcd(t->day) && is_bcd(t->month) && is_bcd(t->year) && is_bcd(t->century);
}

static bool is_leap(unsigned year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_in(unsigned month, unsigned year)
{
	static const uint8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static uint64_t days_before_year(unsigned year)
{
	uint64_t y = year - 1; /* complete years since the year 1 */

	return y * 365 + y / 4 - y / 100 + y / 400;
}

int cmos_to_seconds(const struct cmos_time *t, uint64_t *seconds)
{
	bool binary = t->mode & CMOS_MODE_BINARY;
	unsigned second = decode(t->second, binary), minute = decode(t->minute, binary);
	unsigned hour = decode(t->hour & ~CMOS_HOUR_PM & 0xff, binary);
	unsigned day = decode(t->day, binary), month = decode(t->month, binary);
	unsigned year = decode(t->year, binary), century = decode(t->century, binary);
	uint64_t days;

	if (!well_formed(t) || year > 99)
		return ERR_RANGE;
	if (!(t->mode & CMOS_MODE_24_HOURS)) {
		if (hour < 1 || hour > 12)
			return ERR_RANGE;
		hour = hour % 12 + (t->hour & CMOS_HOUR_PM ? 12 : 0);
	}
	/* a register that is no century holds something else: the year alone then decides */
	if (century == 20 || century == 21)
		year += century * 100;
	else
		year += year + 2000 < FIRST_YEAR ? 2100 : 2000;
	if (second > 59 || minute > 59 || hour > 23 || month < 1 || month > 12 || day < 1 ||
		day > days_in(month, year))
		return ERR_RANGE;

	days = days_before_year(year) - days_before_year(1970);
	for (unsigned m = 1; m < month; m++)
		days += days_in(m, year);
	days += day - 1;
	*seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
	return 0;
}
