/*
 * A channel without a seal in the place of mgmt/channel.c, for those tests of the server that write and
 * read its frames byte by byte: who connects is the first of the host's clients, at once.
 */
#include "mgmt/channel.h"

void channel_open_host(struct channel *c, const struct transport_ops *ops, void *transport,
	const struct channel_host *host)
{
	*c = (struct channel){.ops = ops,
		.transport = transport,
		.state = CHANNEL_SEALED,
		.host = host,
		.client = &host->clients[0]};
}

int channel_handshake(struct channel *c)
{
	return c->state == CHANNEL_SEALED ? OK : ERR_CLOSED;
}

int64_t channel_read(struct channel *c, uint8_t *buf, size_t size)
{
	int64_t n = c->ops->read(c->transport, buf, size);

	c->drained = n == 0;
	return n;
}

int64_t channel_write(struct channel *c, const uint8_t *buf, size_t size)
{
	return c->ops->write(c->transport, buf, size);
}

void channel_close(struct channel *c, bool abort)
{
	c->ops->close(c->transport, abort);
	c->state = CHANNEL_OVER;
}
