/*
 * Restarting the machine, and switching it off: host_power() of hv/host.h. What the machine offers is
 * known from boot on.
 */
#ifndef HV_POWER_H
#define HV_POWER_H

#include "lib/base.h"

struct acpi_info;

void power_init(const struct acpi_info *acpi);

/* Does what was asked for once its time has come. Returns when that is, in microseconds of clock_us(),
 * UINT64_MAX if nothing was. */
uint64_t power_poll(uint64_t now_us);

#endif
