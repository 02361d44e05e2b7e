#include "hv/iommu.h"

#include "hv/acpi.h"
#include "hv/clock.h"
#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/log.h"

/* Intel VT-d specification, "Register Descriptions": commands and status share their bits. */
#define VTD_GCMD 0x18
#define VTD_GSTS 0x1c
#define   VTD_TRANSLATION (1u << 31)
#define   VTD_REMAPPING   (1u << 25) /* of interrupts */
#define   VTD_ONE_SHOT    0x69000000u /* set root pointer, fault log, flush, set IR table: clear in GCMD */
#define VTD_SIZE PAGE_SIZE

/* AMD IOMMU specification, "IOMMU Control Register". */
#define AMDVI_CONTROL 0x18
#define   AMDVI_ENABLE 1u
#define AMDVI_SIZE (16 * KIB)

#define WAIT_US 100000

static bool vtd_clear(uint64_t base, uint32_t bit)
{
	uint32_t status = mmio_read32(base + VTD_GSTS);
	uint64_t end = clock_us() + WAIT_US;

	if (!(status & bit))
		return true;
	mmio_write32(base + VTD_GCMD, status & ~VTD_ONE_SHOT & ~bit);
	do {
		if (!(mmio_read32(base + VTD_GSTS) & bit))
			return true;
		cpu_relax();
	} while (clock_us() < end);
	return false;
}

static bool disable(const struct acpi_iommu *unit, uint64_t base)
{
	bool ok = true;

	if (unit->kind == ACPI_IOMMU_INTEL) {
		ok = vtd_clear(base, VTD_TRANSLATION);
		return vtd_clear(base, VTD_REMAPPING) && ok;
	}
	mmio_write64(base + AMDVI_CONTROL, mmio_read64(base + AMDVI_CONTROL) & ~(uint64_t)AMDVI_ENABLE);
	return !(mmio_read64(base + AMDVI_CONTROL) & AMDVI_ENABLE);
}

void iommu_disable_all(const struct acpi_info *acpi)
{
	for (unsigned i = 0; i < acpi->iommu_count; i++) {
		const struct acpi_iommu *unit = &acpi->iommus[i];
		uint64_t size = unit->kind == ACPI_IOMMU_INTEL ? VTD_SIZE : AMDVI_SIZE;
		uint64_t base = (uint64_t)hostmap_mmio(unit->base, size);

		if (base && disable(unit, base))
			log_info("IOMMU at %llx: translation is off", (unsigned long long)unit->base);
		else
			log_error("IOMMU at %llx cannot be switched off: devices may not work",
				(unsigned long long)unit->base);
	}
}
