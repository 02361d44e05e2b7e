/* virtio-net: one receive and one transmit queue, no offloads; see drivers/nic.h. */
#ifndef DRIVERS_VIRTIO_NET_H
#define DRIVERS_VIRTIO_NET_H

#include "drivers/nic.h"
#include "drivers/pci.h"

/*
 * Bring up the virtio-net device at `f`. Returns 0 and the interface, ERR_UNSUPPORTED for another
 * device or one without what we need, ERR_NOMEM, or ERR_IO when it misbehaves.
 */
int virtio_net_open(const struct driver_env *env, const struct pci_function *f, struct nic **nic);

#endif
