#include "hv/piix4.h"

#include "hv/cpu.h"

#define PCI_ADDRESS     0xcf8
#define PCI_DATA        0xcfc
#define PCI_ENABLE      0x80000000u
#define PCI_SLOTS       256 /* device and function on bus 0 */
#define PIIX4_POWER_ID  0x71138086u
#define PIIX4_PMBA      0x40
#define PIIX4_PMBA_MASK 0xffc0u
#define PIIX4_PMREGMISC 0x80
#define PIIX4_PMIOSE    1u

static uint32_t pci_read(unsigned slot, unsigned offset)
{
	out32(PCI_ADDRESS, PCI_ENABLE | slot << 8 | offset);
	return in32(PCI_DATA);
}

uint16_t piix4_power_base(void)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		if (pci_read(slot, 0) == PIIX4_POWER_ID && pci_read(slot, PIIX4_PMREGMISC) & PIIX4_PMIOSE)
			return (uint16_t)(pci_read(slot, PIIX4_PMBA) & PIIX4_PMBA_MASK);
	}
	return 0;
}
