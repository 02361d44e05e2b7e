/*
 * The two streams of a Linux guest's agent, from the side of its device: a virtio-console port named
 * AGENT_PORT. What goes through is opaque but for one frame, which the hypervisor writes itself: who
 * the guest is now.
 */
#ifndef HV_GUEST_PORT_H
#define HV_GUEST_PORT_H

#include "hv/objects.h"

struct core;

/*
 * Whether port_waiting() may be true: a look without the guest's lock, by the core that runs it. What is
 * put in later wakes the guest.
 */
bool port_due(const struct guest *g);

/*
 * Bytes wait for the agent. Asked before each entry while the guest has the port open: one that is
 * another guest than it was (new, forked, rolled back) has its AGENT_RESET waiting by this, ahead of
 * anything else.
 */
bool port_waiting(struct core *core, struct guest *g);

/* Takes up to `size` of them. */
size_t port_take(struct core *core, struct guest *g, uint8_t *buf, size_t size);

/*
 * Bytes that the agent wrote: how many were taken. With 0 the guest waits for room in the stream, has
 * to leave its core, and makes its call again. Errors of frame_alloc(): exit_no_memory().
 */
int64_t port_put(struct core *core, struct guest *g, const uint8_t *data, size_t size);

#endif
