/* The power management function of the PIIX4 (82371AB data sheet), for emulators without ACPI tables. */
#ifndef HV_PIIX4_H
#define HV_PIIX4_H

#include "lib/base.h"

#define PIIX4_PM_CONTROL 4 /* SLP_TYP 0 is soft off here */
#define PIIX4_PM_TIMER   8

/* The first port of its registers; 0: there is none, or it is switched off. */
uint16_t piix4_power_base(void);

#endif
