/* Interrupts by message, MSI and MSI-X; see pci.h. */
#include "drivers/pci.h"

#include "drivers/io.h"

#define CAP_MSI  0x05
#define CAP_MSIX 0x11

#define MSI_ENABLE       (1u << 16)
#define MSI_COUNT_MASK   (7u << 20) /* vectors granted; 0 is one */
#define MSI_64           (1u << 23)
#define MSI_SIZE_MIN     12
#define MSI_ADDRESS      4
#define MSI_ADDRESS_HIGH 8
#define MSI_DATA_32      8
#define MSI_DATA_64      12
#define MSI_MASK_CAPABLE (1u << 24)
#define MSI_DATA_LIMIT   0xffffu

#define MSIX_ENABLE        (1u << 31)
#define MSIX_FUNCTION_MASK (1u << 30)
#define MSIX_LAST(control) ((control) >> 16 & 0x7ff)
#define MSIX_SIZE          12
#define MSIX_TABLE         4
#define MSIX_BIR_MASK      7u
#define MSIX_ENTRY_SIZE    16
#define MSIX_ENTRY_DATA    8
#define MSIX_ENTRY_CONTROL 12
#define MSIX_ENTRY_MASKED  1u

/* PCI Local Bus 3.0, "MSI Capability Structure": 10 to 24 bytes, as two control bits say. */
int pci_msi_enable(const struct pci_function *f, uint64_t address, uint32_t data)
{
	unsigned at = pci_capability_find(f, CAP_MSI, MSI_SIZE_MIN);

	if (!at)
		return ERR_UNSUPPORTED;

	uint32_t control = pci_read(f, at);
	bool wide = control & MSI_64;
	unsigned data_at = at + (wide ? MSI_DATA_64 : MSI_DATA_32);

	if (data > MSI_DATA_LIMIT || (!wide && address >> 32))
		return ERR_UNSUPPORTED;
	if (data_at + (control & MSI_MASK_CAPABLE ? 8 : 4) > PCI_CONFIG_SIZE)
		return ERR_INVALID;
	control &= ~(MSI_ENABLE | MSI_COUNT_MASK);
	pci_write(f, at, control);
	pci_write(f, at + MSI_ADDRESS, (uint32_t)address);
	if (wide)
		pci_write(f, at + MSI_ADDRESS_HIGH, (uint32_t)(address >> 32));
	pci_write(f, data_at, data);
	if (control & MSI_MASK_CAPABLE)
		pci_write(f, data_at + 4, 0);
	pci_write(f, at, control | MSI_ENABLE);
	return 0;
}

/* PCI Local Bus 3.0, "MSI-X Capability and Table Structures". */
int pci_msix_enable(
	const struct driver_env *env, const struct pci_function *f, uint64_t address, uint32_t data)
{
	unsigned at = pci_capability_find(f, CAP_MSIX, MSIX_SIZE);

	if (!at)
		return ERR_UNSUPPORTED;

	uint32_t control = pci_read(f, at) | MSIX_ENABLE | MSIX_FUNCTION_MASK;
	uint32_t where = pci_read(f, at + MSIX_TABLE);
	unsigned count = MSIX_LAST(control) + 1;
	uint8_t *table = pci_map_bar(env, f, where & MSIX_BIR_MASK, where & ~MSIX_BIR_MASK,
		(uint64_t)count * MSIX_ENTRY_SIZE);

	if (!table)
		return ERR_INVALID;
	pci_write(f, at, control);
	for (unsigned i = 0; i < count; i++)
		mmio_write32(table + i * MSIX_ENTRY_SIZE + MSIX_ENTRY_CONTROL, MSIX_ENTRY_MASKED);
	mmio_write32(table, (uint32_t)address);
	mmio_write32(table + 4, (uint32_t)(address >> 32));
	mmio_write32(table + MSIX_ENTRY_DATA, data);
	mmio_write32(table + MSIX_ENTRY_CONTROL, 0);
	pci_write(f, at, control & ~MSIX_FUNCTION_MASK);
	return 0;
}
