/*
 * The clock that Linux guests read from a page of their memory, which is filled once: their TSC runs
 * on at the same rate through snapshots and forks. Pure.
 * Linux kernel documentation, "KVM-specific MSRs".
 */
#ifndef HV_DEV_KVMCLOCK_H
#define HV_DEV_KVMCLOCK_H

#include "lib/base.h"

#define KVMCLOCK_MSR_WALL  0x4b564d00u
#define KVMCLOCK_MSR_CLOCK 0x4b564d01u
#define KVMCLOCK_ENABLED   1u
#define KVMCLOCK_SIZE      32u

/* Nanoseconds of `tsc` ticks. */
uint64_t kvmclock_ns(uint64_t tsc, uint64_t khz);

/* Each fills what has to lie at the address in its MSR; returns the size. */
unsigned kvmclock_time(uint8_t page[KVMCLOCK_SIZE], uint64_t tsc, uint64_t khz);
/* `boot_ns`: wall clock when the guest's TSC was 0. */
unsigned kvmclock_wall(uint8_t page[KVMCLOCK_SIZE], uint64_t boot_ns);

#endif
