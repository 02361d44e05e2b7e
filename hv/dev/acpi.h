/*
 * The ACPI tables of a Linux guest: bytes in its memory, made once with its image. Pure.
 * ACPI Specification 6.4, "ACPI Software Programming Model". A hardware-reduced machine with one
 * processor, so that Linux looks for no PIC, no PIT and no CMOS clock.
 */
#ifndef HV_DEV_ACPI_H
#define HV_DEV_ACPI_H

#include "lib/base.h"

#define ACPI_GPA         0xe0000ull /* of the RSDP; in what firmware keeps for itself */
#define ACPI_SIZE        1024u

/* Ports that the FADT names. */
#define ACPI_SLEEP_PORT  0x600u
#define ACPI_RESET_PORT  0x601u
#define ACPI_STATUS_PORT 0x602u
#define ACPI_RESET_VALUE 1u
/* "Sleep Control Register": sleep type 5, as the DSDT's _S5 says, and sleep enable. */
#define ACPI_SLEEP_OFF   (5u << 2 | 1u << 5)

/* Writes the tables as they have to lie at ACPI_GPA. */
void acpi_build(uint8_t tables[ACPI_SIZE]);

#endif
