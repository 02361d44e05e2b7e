/* Intel gigabit Ethernet with legacy descriptors; see drivers/nic.h. */
#ifndef DRIVERS_E1000_E1000_H
#define DRIVERS_E1000_E1000_H

#include "drivers/nic.h"
#include "drivers/pci.h"

/*
 * Bring up the controller at `f`. Returns 0 and the interface, ERR_UNSUPPORTED for another device,
 * ERR_NOMEM, or ERR_IO when it misbehaves.
 */
int e1000_open(const struct driver_env *env, const struct pci_function *f, struct nic **nic);

#endif
