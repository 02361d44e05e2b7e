/*
 * The few things of the machine that scheduling and guests need. hv/platform.c implements them on the
 * local APIC, the clock and the generator; the host's tests have their own.
 */
#ifndef HV_PLATFORM_H
#define HV_PLATFORM_H

#include "lib/base.h"

/* Make `core` leave its guest, or its halt, soon. Safe from any core; may be the calling one. */
void platform_kick(unsigned core);

/* Let the calling core's timer interrupt once when its TSC reaches `tsc`; 0 stops it. */
void platform_timer(uint64_t tsc);

/* Halt the calling core until an interrupt; returns with interrupts off, after its handler ran.
 * Interrupts that came since they were last off end it at once. */
void platform_halt(void);

uint64_t platform_tsc_khz(void);
uint64_t platform_wall_ns(void); /* UTC since 1970 */
void platform_random(void *buf, size_t size);

/* Our IPv4 address (host byte order, 0: none yet) and the network card's. */
void platform_network(uint32_t *address, uint8_t mac[6]);

#endif
