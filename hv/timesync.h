/* Wall time from the network: SNTP sets hv/clock.h's wall clock, and says so in the log. */
#ifndef HV_TIMESYNC_H
#define HV_TIMESYNC_H

#include "boot/config.h"
#include "lib/base.h"

struct net_stack;

/* Ask the server that creel.conf names, or else the one that DHCP will name. */
void timesync_start(struct net_stack *net, const struct boot_config *conf);

/* From the service's loop; when to call it next, in microseconds of clock_us(). */
uint64_t timesync_poll(uint64_t now_us);

/* Has the network told the time since boot? */
bool timesync_is_set(void);

#endif
