/*
 * The virtio-console of a Linux guest. Port 0 is the console hvc0; port 1 is named AGENT_PORT and carries
 * the bytes of the agent. Pure; its owner carries the bytes to and from streams.
 * Virtual I/O Device (VIRTIO) Version 1.1, "Console Device".
 */
#ifndef HV_DEV_VCONSOLE_H
#define HV_DEV_VCONSOLE_H

#include "hv/dev/virtio.h"

enum vconsole_port { VCONSOLE_HVC, VCONSOLE_AGENT, VCONSOLE_PORTS };

extern const struct virtio_model vconsole_model;

struct vconsole {
	uint16_t unsent;               /* set of control messages that the guest has yet to be sent */
	bool open[VCONSOLE_PORTS];     /* by the guest */
	uint64_t taken[VCONSOLE_PORTS]; /* bytes of its next chain that were carried away already */
};

struct vconsole_owner {
	/* Bytes for the guest, at most `size` of them; 0: there are none. */
	size_t (*take)(void *ctx, enum vconsole_port port, uint8_t *buf, size_t size);
	/* Bytes of the guest. How many were taken; 0: wait for room; or an error of memory. */
	int64_t (*put)(void *ctx, enum vconsole_port port, const uint8_t *data, size_t size);
	void *ctx;
};

#define VCONSOLE_WAIT 1

void vconsole_reset(struct vconsole *c);

/*
 * The guest has notified queue `n`. OK; VCONSOLE_WAIT: put() wants it to wait, and the same to be
 * called again; or an error of memory, after which it can be called again too.
 */
int vconsole_notify(struct vconsole *c, struct virtio *v, const struct virtio_env *env, unsigned n,
	const struct vconsole_owner *owner) MUST_CHECK;

/* The guest has opened the port, and a buffer waits for bytes. */
bool vconsole_receives(const struct vconsole *c, const struct virtio *v, const struct gmem *m,
	enum vconsole_port port);

/* Move what the owner has for the port into the guest's buffers. Errors of memory. */
int vconsole_fill(struct vconsole *c, struct virtio *v, const struct virtio_env *env,
	enum vconsole_port port, const struct vconsole_owner *owner) MUST_CHECK;

#endif
