#include "lib/utc.h"

#include "lib/string.h"

#define NS_PER_SECOND 1000000000ull
#define DAY_S         86400u
#define DAYS_IN_ERA   146097u /* 400 years of the Gregorian calendar */
#define DAYS_TO_1970  719468u /* from 1 March of the year 0 */

/*
 * Years are counted from March, so that the leap day is a year's last: then the length of the months
 * is a straight line, and that of years repeats every four, with a hole every hundred, but for every
 * four hundred.
 */
size_t utc_text(char out[UTC_TEXT_SIZE], uint64_t ns)
{
	uint64_t seconds = ns / NS_PER_SECOND, days = seconds / DAY_S + DAYS_TO_1970;
	unsigned day = (unsigned)(days % DAYS_IN_ERA), of_day = (unsigned)(seconds % DAY_S);
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	unsigned month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153; /* 0 is March */
	day -= (153 * month + 2) / 5;
	year += (unsigned)(days / DAYS_IN_ERA) * 400 + (month >= 10);
	month = month < 10 ? month + 3 : month - 9;
	return fmt(out, UTC_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", year, month, day + 1,
		of_day / 3600, of_day / 60 % 60, of_day % 60,
		(unsigned)(ns % NS_PER_SECOND / 1000));
}
