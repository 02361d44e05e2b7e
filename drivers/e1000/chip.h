/*
 * The controller without its rings: which parts we know, reset, address, link, counters. What
 * differs between the parts is known here and nowhere else.
 */
#ifndef DRIVERS_E1000_CHIP_H
#define DRIVERS_E1000_CHIP_H

#include "drivers/driver.h"
#include "drivers/e1000/regs.h"
#include "drivers/io.h"
#include "drivers/nic.h"
#include "drivers/pci.h"

struct e1000_model;

struct e1000_chip {
	const struct driver_env *env;
	const struct e1000_model *model;
	struct pci_function pci;
	uint8_t *registers;
};

static inline uint32_t e1000_read(const struct e1000_chip *c, enum e1000_reg at)
{
	return mmio_read32(c->registers + at);
}

static inline void e1000_write(struct e1000_chip *c, enum e1000_reg at, uint32_t value)
{
	mmio_write32(c->registers + at, value);
}

/*
 * Enable the function and map its registers. Returns 0, ERR_UNSUPPORTED for a part that we don't
 * know, or ERR_IO.
 */
int e1000_chip_open(
	struct e1000_chip *c, const struct driver_env *env, const struct pci_function *f);

/*
 * Reset the controller: receiver, transmitter and interrupts are off afterwards, the link is coming
 * up. Returns 0, or ERR_IO when the reset does not end or the controller has no usable address,
 * which is stored in `mac` and set as its receive filter.
 */
int e1000_chip_reset(struct e1000_chip *c, uint8_t mac[NIC_MAC_SIZE]);

#endif
