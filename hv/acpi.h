/*
 * What we want to know from ACPI: processors, NMI wiring, the PM timer, IOMMUs. Tables are the
 * firmware's word: every length and checksum is checked, and what does not fit is left out with a
 * note. No AML is read.
 *
 * Pure: memory is reached through a callback, so that tests can pass anything.
 */
#ifndef HV_ACPI_H
#define HV_ACPI_H

#include "lib/base.h"
#include "lib/err.h"

#define ACPI_MAX_CPUS    1024
#define ACPI_MAX_NMIS    64
#define ACPI_MAX_IOAPICS 16
#define ACPI_MAX_IOMMUS  64
#define ACPI_MAX_TABLES  256
#define ACPI_MAX_TABLE_SIZE (4 * MIB)

#define ACPI_ALL_CPUS UINT32_MAX

struct acpi_cpu {
	uint32_t apic_id;
	uint32_t uid;  /* the firmware's number for it */
	uint32_t node; /* NUMA proximity domain, 0 without an SRAT */
};

struct acpi_nmi {
	uint32_t uid; /* of a processor, or ACPI_ALL_CPUS */
	uint8_t lint; /* pin 0 or 1 */
};

enum acpi_iommu_kind { ACPI_IOMMU_INTEL, ACPI_IOMMU_AMD };

struct acpi_iommu {
	enum acpi_iommu_kind kind;
	uint64_t base; /* of its registers */
};

struct acpi_info {
	bool present; /* a valid RSDP and root table */
	struct acpi_cpu cpus[ACPI_MAX_CPUS]; /* enabled ones, in the firmware's order */
	unsigned cpu_count;
	struct acpi_nmi nmis[ACPI_MAX_NMIS];
	unsigned nmi_count;
	uint64_t ioapics[ACPI_MAX_IOAPICS];
	unsigned ioapic_count;
	struct acpi_iommu iommus[ACPI_MAX_IOMMUS];
	unsigned iommu_count;
	uint16_t pm_timer_port; /* 0: none, or not in I/O space */
	bool pm_timer_32bit;
	uint8_t cmos_century; /* CMOS index of the century, 0: none */
};

struct acpi_source {
	void *ctx;

	/* `size` readable bytes at `physical`, or NULL. */
	const void *(*map)(void *ctx, uint64_t physical, uint64_t size);

	/* A sentence about something that was left out. May be NULL. */
	void (*note)(void *ctx, const char *sentence);
};

/* Fill `info` with what is valid. `rsdp` 0 means that the firmware has no ACPI. */
void acpi_parse(struct acpi_info *info, uint64_t rsdp, const struct acpi_source *source);

#endif
