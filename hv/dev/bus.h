/*
 * The PCI bus of a Linux guest, by configuration mechanism 1. Pure.
 * PCI Local Bus Specification 3.0, "Software Generation of Configuration Transactions".
 */
#ifndef HV_DEV_BUS_H
#define HV_DEV_BUS_H

#include "lib/base.h"

#define BUS_PORT  0xcf8u /* the address, and four ports behind it the data */
#define BUS_PORTS 8u

struct bus {
	uint32_t address; /* last written to BUS_PORT */
};

/* What lies behind the data ports now: a register (of the four that `offset` chooses of) of the function 0
 * in a slot of bus 0. False: nothing. */
bool bus_target(const struct bus *b, unsigned offset, unsigned *slot, unsigned *reg);

/* The address itself, and the host bridge in slot 0. `offset` from BUS_PORT; `size` is 1, 2 or 4. */
uint32_t bus_read(const struct bus *b, unsigned offset, unsigned size);
void bus_write(struct bus *b, unsigned offset, unsigned size, uint32_t value);

#endif
