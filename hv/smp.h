/* Starting the other processors. */
#ifndef HV_SMP_H
#define HV_SMP_H

#include "boot/handover.h"
#include "hv/acpi.h"

struct core;

/* List the processors, and lay out a struct core and stacks for each; before memory is given out. */
void smp_prepare(struct boot_info *info, const struct acpi_info *acpi, struct core *boot_core);

/*
 * Start them all. When all have been tried, each runs `entry` on its own stack, which never returns;
 * those that are kept from running guests rest in a halt loop of ours. A processor that does not come
 * is named in the log and left out of cores[].
 */
void smp_start(const struct boot_info *info, void (*entry)(struct core *core));

#endif
