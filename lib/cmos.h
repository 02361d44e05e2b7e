/* The PC's battery clock as numbers: decoding of its registers. MC146818 data sheet. Pure. */
#ifndef LIB_CMOS_H
#define LIB_CMOS_H

#include "lib/base.h"
#include "lib/err.h"

struct cmos_time {
	uint8_t second, minute, hour; /* as in the registers: BCD or binary, 12 or 24 hours */
	uint8_t day, month, year;
	uint8_t century; /* 0 where the machine has no such register */
	uint8_t mode;    /* register B */
};

#define CMOS_MODE_24_HOURS 0x02
#define CMOS_MODE_BINARY   0x04
#define CMOS_HOUR_PM       0x80

/* Seconds since 1970-01-01 00:00 UTC, taking the clock as UTC. ERR_RANGE when it shows no time. */
int cmos_to_seconds(const struct cmos_time *t, uint64_t *seconds) MUST_CHECK;

#endif
