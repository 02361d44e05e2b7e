/*
 * PCI configuration space of segment 0 by the ports 0xCF8 and 0xCFC, at boot and by one core only:
 * the port pair has no lock. Whatever a function claims about itself is checked before it is used.
 *
 * Sources: PCI Local Bus Specification 3.0, "Configuration Space" and "Message Signaled
 * Interrupts"; PCI Bus Power Management Interface Specification 1.2; PCI-to-PCI Bridge
 * Architecture 1.2.
 */
#ifndef DRIVERS_PCI_H
#define DRIVERS_PCI_H

#include "drivers/driver.h"
#include "lib/base.h"

#define PCI_CONFIG_SIZE 256
#define PCI_CAP_VENDOR  0x09

struct pci_function {
	uint8_t bus, device, function;
	uint16_t vendor_id, device_id;
	uint8_t class, subclass;
	uint8_t header_type; /* without the multifunction bit */
};

#define PCI_BAR_COUNT 6

struct pci_bar {
	uint64_t base;
	uint64_t size; /* a power of two */
	bool is_io;
};

/*
 * Call `visit` for every function on every bus until it returns other than 0, which is returned;
 * 0 when all have been seen.
 */
int pci_walk(int (*visit)(void *ctx, const struct pci_function *f), void *ctx);

/* "bus:device.function", as the tools write it. */
#define PCI_PLACE_SIZE 8

void pci_place(const struct pci_function *f, char place[PCI_PLACE_SIZE]);

/* Configuration registers; `offset` is a multiple of 4 below PCI_CONFIG_SIZE. */
uint32_t pci_read(const struct pci_function *f, unsigned offset);
void pci_write(const struct pci_function *f, unsigned offset, uint32_t value);

/*
 * Switch bus mastering off on every function of the machine, and on every bridge: what firmware
 * left running (network boot, USB, graphics) must not write into memory that is ours now. What we
 * drive gets it back by pci_master_on(), after its driver has reset it.
 */
void pci_quiesce(const struct driver_env *env);

/*
 * Wake the function (power state D0) and decode its memory. Its INTx line goes off, since we take
 * messages only. Returns 0, or ERR_IO when it does not do as told.
 */
int pci_enable(const struct driver_env *env, const struct pci_function *f);

/*
 * Let the function master the bus, and all bridges between it and the root pass its requests on.
 * Returns 0 or ERR_IO.
 */
int pci_master_on(const struct pci_function *f);
void pci_master_off(const struct pci_function *f);

/* Keep the function's PCI Express link, if it has one, from going to sleep (ASPM). */
void pci_link_awake(const struct pci_function *f);

/*
 * Where base address register `index` puts its window and how big that is. Decoding is off for the
 * moment of sizing, so that is to be asked before the device runs. Returns 0, ERR_NOENT when there
 * is no such register or firmware gave it no address, ERR_INVALID when it contradicts itself.
 */
int pci_bar(const struct pci_function *f, unsigned index, struct pci_bar *bar);

/* Map `size` bytes at `offset` of a memory BAR, which must hold them. NULL when it can't be. */
void *pci_map_bar(const struct driver_env *env, const struct pci_function *f, unsigned index,
	uint64_t offset, uint64_t size);

/* A walk along the capability list, cut off after as many as fit: a list may run in a circle. */
struct pci_capabilities {
	uint8_t next;
	uint8_t left;
};

struct pci_capabilities pci_capabilities(const struct pci_function *f);

/* The offset of the next capability with this id that has room for `size` bytes, 0 for none. */
unsigned pci_capability_next(
	const struct pci_function *f, struct pci_capabilities *walk, uint8_t id, unsigned size);

/* The first of these. */
unsigned pci_capability_find(const struct pci_function *f, uint8_t id, unsigned size);

/* Route the function's one interrupt by MSI. ERR_UNSUPPORTED when it has none. */
int pci_msi_enable(const struct pci_function *f, uint64_t address, uint32_t data);

/*
 * Switch MSI-X on with entry 0 carrying this message and all others masked. ERR_UNSUPPORTED when
 * the function has none, ERR_INVALID when its table lies outside its BAR.
 */
int pci_msix_enable(const struct driver_env *env, const struct pci_function *f, uint64_t address,
	uint32_t data);

#endif
