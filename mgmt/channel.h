/*
 * What a connection's bytes pass through. Below is a transport: TCP of the appliance, or a socket
 * of the system that tests run on. Above, the server and its frames. A channel carries bytes as
 * they are; the sealed one will stand here, and neither side will see the difference.
 */
#ifndef MGMT_CHANNEL_H
#define MGMT_CHANNEL_H

#include "lib/base.h"
#include "lib/err.h"

struct transport_ops {
	/* Bytes read, 0 if there are none now, ERR_CLOSED if no more will come. */
	int64_t (*read)(void *transport, uint8_t *buf, size_t size);
	/* Bytes taken, 0 if there is no room now, ERR_CLOSED if the peer has gone. */
	int64_t (*write)(void *transport, const uint8_t *buf, size_t size);
	/* The last call for this transport. `abort`: what was written may be lost. */
	void (*close)(void *transport, bool abort);
};

struct channel {
	const struct transport_ops *ops;
	void *transport;
};

static inline void channel_open(struct channel *c, const struct transport_ops *ops, void *transport)
{
	c->ops = ops;
	c->transport = transport;
}

/* As the operations of the transport, for the bytes inside. */
static inline int64_t channel_read(struct channel *c, uint8_t *buf, size_t size)
{
	return c->ops->read(c->transport, buf, size);
}

static inline int64_t channel_write(struct channel *c, const uint8_t *buf, size_t size)
{
	return c->ops->write(c->transport, buf, size);
}

static inline void channel_close(struct channel *c, bool abort)
{
	c->ops->close(c->transport, abort);
}

#endif
