/*
 * Random numbers, for keys, TCP sequence numbers and guests. Each core has a generator of its own
 * (lib/csprng.h), seeded from the boot's. Not for interrupt handlers.
 */
#ifndef HV_RANDOM_H
#define HV_RANDOM_H

#include "boot/handover.h"

struct core;

/* On the boot core, once: gather entropy from the firmware, the processor and timing; wipes the
 * firmware's from `info`. */
void random_init(struct boot_info *info);

/* On the boot core: stir in what a device gave. Counts as trusted when `trusted`. */
void random_add(const void *data, size_t size, bool trusted);

/* On the boot core, for a core that has not been started yet. */
void random_seed_core(struct core *core);

/* True when sources that can be trusted have given at least 256 bits. Keys must not be made without. */
bool random_seeded(void);

void random_bytes(void *buf, size_t size);
uint64_t random_u64(void);

#endif
