/*
 * The virtio network device of a Linux guest: a link to the host's gateway, on a private /30 that follows
 * from the guest's number. Until there is policy, only the gateway answers, by ARP and ping, and nothing
 * goes further. Pure.
 *
 * A guest that became another one may send only when it has been told so: until then its frames are
 * dropped (see `held`).
 * Virtual I/O Device (VIRTIO) Version 1.1, "Network Device".
 */
#ifndef HV_DEV_VNET_H
#define HV_DEV_VNET_H

#include "hv/dev/virtio.h"

extern const struct virtio_model vnet_model; /* its value is the guest's number */

struct vnet {
	bool held;        /* what the guest sends is dropped */
	uint64_t dropped; /* frames: held, malformed, or for nobody */
};

#define VNET_PREFIX 30

/* The address of a guest's card. */
void vnet_mac(uint64_t guest, uint8_t mac[6]);

/* IPv4 addresses in host order: the gateway is the first of the /30, the guest the second. */
uint32_t vnet_gateway(uint64_t guest);

/* The device is another guest's now, which has not acknowledged it yet. */
void vnet_become(struct vnet *n, struct virtio *v, uint64_t guest);

/* The guest has acknowledged who it is, by its agent or by resetting the device. */
void vnet_release(struct vnet *n);

/* The guest has notified queue `n`. OK, or an error of memory, after which it can be called again. */
int vnet_notify(struct vnet *net, struct virtio *v, const struct virtio_env *env, unsigned n) MUST_CHECK;

#endif
