/*
 * What we want to know from ACPI: processors, NMI wiring, the PM timer, IOMMUs,
 * and how to reset the machine and switch it off. Tables are the firmware's word: every length and
 * checksum is checked, and what does not fit is left out with a note. AML is not run.
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

/* "Generic Address Structure". */
enum acpi_space { ACPI_MEMORY, ACPI_IO, ACPI_PCI };

struct acpi_register {
	uint8_t space; /* enum acpi_space */
	uint64_t address; /* 0: there is none */
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
	struct acpi_register reset; /* write reset_value there */
	uint8_t reset_value;
	uint16_t pm1_control[2]; /* I/O ports; 0: none */
	bool has_s5;             /* s5_type is for each of the two */
	uint8_t s5_type[2];
	uint16_t smi_command; /* port that takes acpi_enable, where the firmware has not; 0: none */
	uint8_t acpi_enable;
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

/*
 * The values that _S5_, soft off, has for SLP_TYP of both PM1 control registers, out of `size` bytes of
 * the DSDT's AML, which is searched for the one form in which firmware writes it: Name (_S5_, Package
 * () { constants }). False: it is not there, or malformed.
 */
bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t type[2]);

#endif
