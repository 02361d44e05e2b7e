/*
 * Time. The TSC is the one clock; its frequency is measured at boot. Wall time is an offset to it,
 * from the CMOS clock first and SNTP later (hv/timesync.h). Before clock_init() all times are 0.
 */
#ifndef HV_CLOCK_H
#define HV_CLOCK_H

#include "lib/base.h"

struct acpi_info;

void clock_init(const struct acpi_info *acpi, uint64_t tsc_at_entry);

uint64_t clock_tsc_khz(void);

/* Since clock zero, which is when the loader was entered; never goes back on one core. */
uint64_t clock_ns(void);
uint64_t clock_us(void);

/* The TSC value of that instant, and spans of time in TSC ticks. */
uint64_t clock_tsc_zero(void);
uint64_t clock_us_to_tsc(uint64_t us);
uint64_t clock_ns_to_tsc(uint64_t ns);
uint64_t clock_tsc_to_ns(uint64_t ticks);

/* Nanoseconds since 1970 in UTC. */
uint64_t clock_wall_ns(void);
void clock_set_wall(uint64_t ns);
void clock_step_wall(int64_t ns); /* forward, or back if negative */

void clock_delay_us(uint64_t us);

#endif
