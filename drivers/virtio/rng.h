/* virtio-rng as a source of entropy at boot (virtio 1.2, "Entropy Device"). */
#ifndef DRIVERS_VIRTIO_RNG_H
#define DRIVERS_VIRTIO_RNG_H

#include "drivers/driver.h"

/*
 * Ask the machine's first entropy device for `size` bytes, at most a page, and switch it off again.
 * Waits at most a second. Returns how many bytes came, 0 where there is no such device: they are
 * the host's, to be mixed with other sources and not trusted alone.
 */
size_t virtio_rng_read(const struct driver_env *env, void *buf, size_t size);

#endif
