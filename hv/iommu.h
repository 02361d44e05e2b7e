/* IOMMUs that the firmware left on: without tables of ours, translation would stop our devices. */
#ifndef HV_IOMMU_H
#define HV_IOMMU_H

struct acpi_info;

/* Switch translation and interrupt remapping of all units off, and say so in the log. */
void iommu_disable_all(const struct acpi_info *acpi);

#endif
