/*
 * The local interrupt controller of each core, as xAPIC (registers in memory) or x2APIC (in MSRs):
 * interrupts between cores, messages from devices, a one-shot timer. The 8259s are masked.
 */
#ifndef HV_APIC_H
#define HV_APIC_H

#include "lib/base.h"

struct acpi_info;
struct core;

/* On the boot core, once: choose the mode, mask what would deliver elsewhere. */
void apic_init(const struct acpi_info *acpi);

/* On every core, the boot core too: enable its APIC. */
void apic_core_init(void);

bool apic_is_x2(void);

/* Of the core that this runs on. */
uint32_t apic_id(void);
void apic_eoi(void);
void apic_error(void); /* the handler of VECTOR_APIC_ERROR */

void apic_send(uint32_t apic_id, uint8_t vector);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint64_t page); /* page below 1 MiB */
void apic_nmi_others(void); /* to all other processors of the machine */

/* Make `core` leave its guest or its sleep. */
void apic_kick(const struct core *core);

/* What a device has to write where to raise `vector` on `core`. */
void apic_msi(const struct core *core, uint8_t vector, uint64_t *address, uint32_t *data);

/* Measure the timer against the clock, once, where there is no TSC deadline. */
void apic_timer_calibrate(void);

/*
 * Raise VECTOR_TIMER on this core when the TSC reaches `tsc` (at once when it has; in several seconds
 * at the latest where the timer cannot wait longer). Replaces what was armed before.
 */
void apic_timer_arm(uint64_t tsc);
void apic_timer_stop(void);

#endif
