#include "hv/dev/vconsole.h"

#include "guest-sdk/linux/agent_link.h"
#include "lib/bytes.h"
#include "lib/string.h"

#define FEATURE_MULTIPORT (1ull << 1)
#define PCI_COMMUNICATION 0x07
#define PCI_SERIAL_OTHER  0x80
#define CONFIG_MAX_PORTS  4 /* offset of max_nr_ports */
#define CHUNK             512u
#define TRANSMIT_MAX      65536u /* bytes carried before others have their turn */

/* "Device Operation", "Multiport Device Operation" */
enum {
	QUEUE_CONTROL_IN = 2,
	QUEUE_CONTROL_OUT = 3,
	QUEUES = 2 + 2 * VCONSOLE_PORTS,
};

enum {
	CONTROL_READY = 0,
	CONTROL_ADD = 1,
	CONTROL_PORT_READY = 3,
	CONTROL_CONSOLE = 4,
	CONTROL_OPEN = 6,
	CONTROL_NAME = 7,
};

#define CONTROL_SIZE 8u /* "struct virtio_console_control": port, event, value */

/* Everything that the device ever says. They are sent in this order. */
static const struct {
	uint16_t port, event;
} messages[] = {
	{VCONSOLE_HVC, CONTROL_ADD},
	{VCONSOLE_AGENT, CONTROL_ADD},
	{VCONSOLE_HVC, CONTROL_CONSOLE},
	{VCONSOLE_HVC, CONTROL_OPEN},
	{VCONSOLE_AGENT, CONTROL_NAME},
	{VCONSOLE_AGENT, CONTROL_OPEN},
};

static void show_own(const struct virtio_model *model, uint64_t value, uint8_t out[VIRTIO_CONFIG_SIZE])
{
	(void)model;
	(void)value;
	store_le32(out + CONFIG_MAX_PORTS, VCONSOLE_PORTS);
}

const struct virtio_model vconsole_model = {
	.type = 3,
	.class = PCI_COMMUNICATION,
	.subclass = PCI_SERIAL_OTHER,
	.queues = QUEUES,
	.features = FEATURE_MULTIPORT,
	.config = show_own,
};

_Static_assert(QUEUES <= VIRTIO_QUEUES, "the console's queues fit");

static unsigned queue_in(enum vconsole_port port)
{
	return port == VCONSOLE_HVC ? 0 : 2 + 2 * (unsigned)port;
}

void vconsole_reset(struct vconsole *c)
{
	*c = (struct vconsole){0};
}

/* ---- control ---------------------------------------------------------------------------------- */

static void want(struct vconsole *c, unsigned port, uint16_t event)
{
	for (unsigned i = 0; i < ARRAY_SIZE(messages); i++) {
		if (messages[i].port == port && messages[i].event == event)
			c->unsent |= (uint16_t)(1u << i);
	}
}

static void hear(struct vconsole *c, uint32_t port, uint16_t event, uint16_t value)
{
	if (event == CONTROL_READY && value) {
		for (unsigned i = 0; i < VCONSOLE_PORTS; i++)
			want(c, i, CONTROL_ADD);
	}
	if (port >= VCONSOLE_PORTS)
		return;
	if (event == CONTROL_PORT_READY && value) {
		want(c, port, CONTROL_CONSOLE);
		want(c, port, CONTROL_NAME);
		want(c, port, CONTROL_OPEN);
	}
	if (event == CONTROL_OPEN)
		c->open[port] = value;
}

static int send_message(struct virtio *v, const struct virtio_env *env, struct vring *q,
	const struct vring_chain *chain, unsigned which)
{
	uint8_t bytes[CONTROL_SIZE + sizeof(AGENT_PORT) - 1];
	unsigned size = CONTROL_SIZE;
	int err;

	store_le32(bytes, messages[which].port);
	store_le16(bytes + 4, messages[which].event);
	store_le16(bytes + 6, 1);
	if (messages[which].event == CONTROL_NAME) {
		memcpy(bytes + size, AGENT_PORT, sizeof(AGENT_PORT) - 1);
		size += (unsigned)sizeof(AGENT_PORT) - 1;
	}
	if (chain->writable < size) {
		virtio_break(v, env);
		return OK;
	}
	err = vring_prepare(q, env->mem, env->core, chain, size);
	if (!err)
		err = vring_write(env->mem, env->core, chain, 0, bytes, size);
	return err ? err : vring_give(q, env->mem, env->core, chain, size);
}

/* Send what there is to say, as far as the guest has buffers. */
static int speak(struct vconsole *c, struct virtio *v, const struct virtio_env *env)
{
	struct vring *q = &v->queue[QUEUE_CONTROL_IN];
	struct vring_chain chain;
	bool used = false;
	int err = OK;

	vring_begin(q);
	while (c->unsent && virtio_ready(v) && !err) {
		unsigned which = (unsigned)__builtin_ctz(c->unsent);

		err = vring_next(q, env->mem, &chain);
		if (!err)
			err = send_message(v, env, q, &chain, which);
		if (!err) {
			c->unsent &= (uint16_t)(c->unsent - 1);
			used = true;
		}
	}
	if (used)
		virtio_used(v, env, QUEUE_CONTROL_IN);
	return err;
}

static int listen(struct vconsole *c, struct virtio *v, const struct virtio_env *env)
{
	struct vring *q = &v->queue[QUEUE_CONTROL_OUT];
	uint8_t bytes[CONTROL_SIZE];
	struct vring_chain chain;
	bool used = false;
	int err;

	vring_begin(q);
	while (!(err = vring_next(q, env->mem, &chain))) {
		err = vring_prepare(q, env->mem, env->core, &chain, 0);
		if (err)
			break;
		if (vring_read(env->mem, &chain, 0, bytes, sizeof(bytes)) == sizeof(bytes))
			hear(c, load_le32(bytes), load_le16(bytes + 4), load_le16(bytes + 6));
		err = vring_give(q, env->mem, env->core, &chain, 0);
		if (err)
			break;
		used = true;
	}
	if (used)
		virtio_used(v, env, QUEUE_CONTROL_OUT);
	return err == ERR_NOENT ? speak(c, v, env) : err;
}

/* ---- bytes ------------------------------------------------------------------------------------ */

/* The rest of a chain of output to the owner; *left more bytes at most. */
static int carry(struct vconsole *c, const struct virtio_env *env, const struct vring_chain *chain,
	enum vconsole_port port, const struct vconsole_owner *owner, size_t *left)
{
	uint8_t bytes[CHUNK];
	size_t n;

	while ((n = vring_read(env->mem, chain, c->taken[port], bytes, sizeof(bytes)))) {
		if (n > *left)
			return ERR_AGAIN;
		int64_t taken = owner->put(owner->ctx, port, bytes, n);

		if (taken < 0)
			return (int)taken;
		if (!taken)
			return VCONSOLE_WAIT;
		c->taken[port] += (uint64_t)taken;
		*left -= (size_t)taken;
	}
	return OK;
}

static int transmit(struct vconsole *c, struct virtio *v, const struct virtio_env *env,
	enum vconsole_port port, const struct vconsole_owner *owner)
{
	unsigned n = queue_in(port) + 1;
	struct vring *q = &v->queue[n];
	struct vring_chain chain;
	size_t left = TRANSMIT_MAX;
	bool used = false;
	int err;

	vring_begin(q);
	while (!(err = vring_next(q, env->mem, &chain))) {
		err = vring_prepare(q, env->mem, env->core, &chain, 0);
		if (!err)
			err = carry(c, env, &chain, port, owner, &left);
		if (!err)
			err = vring_give(q, env->mem, env->core, &chain, 0);
		if (err)
			break;
		c->taken[port] = 0;
		used = true;
	}
	if (used)
		virtio_used_lazily(v, env, n); /* Linux has waited for them when it notified */
	return err;
}

bool vconsole_receives(const struct vconsole *c, const struct virtio *v, const struct gmem *m,
	enum vconsole_port port)
{
	return c->open[port] && virtio_ready(v) && vring_waiting(&v->queue[queue_in(port)], m);
}

static int fill(struct virtio *v, const struct virtio_env *env, enum vconsole_port port,
	const struct vconsole_owner *owner)
{
	unsigned n = queue_in(port);
	struct vring *q = &v->queue[n];
	struct vring_chain chain;
	uint8_t bytes[CHUNK];
	bool used = false;
	int err;

	vring_begin(q);
	while (!(err = vring_next(q, env->mem, &chain))) {
		size_t size = MIN(chain.writable, sizeof(bytes));

		if (!size) {
			err = ERR_INVALID;
			break;
		}
		/* First, so that no byte is taken that can't be delivered. */
		err = vring_prepare(q, env->mem, env->core, &chain, size);
		if (err)
			break;
		size = owner->take(owner->ctx, port, bytes, size);
		if (!size)
			break;
		err = vring_write(env->mem, env->core, &chain, 0, bytes, size);
		if (!err)
			err = vring_give(q, env->mem, env->core, &chain, (uint32_t)size);
		if (err)
			break;
		used = true;
	}
	if (used)
		virtio_used(v, env, n);
	return err;
}

int vconsole_fill(struct vconsole *c, struct virtio *v, const struct virtio_env *env,
	enum vconsole_port port, const struct vconsole_owner *owner)
{
	if (!vconsole_receives(c, v, env->mem, port))
		return OK;
	return virtio_conclude(v, env, fill(v, env, port, owner));
}

int vconsole_notify(struct vconsole *c, struct virtio *v, const struct virtio_env *env, unsigned n,
	const struct vconsole_owner *owner)
{
	if (!virtio_ready(v))
		return OK;
	switch (n) {
	case QUEUE_CONTROL_IN:
		return virtio_conclude(v, env, speak(c, v, env));
	case QUEUE_CONTROL_OUT:
		return virtio_conclude(v, env, listen(c, v, env));
	case 1:
		return virtio_conclude(v, env, transmit(c, v, env, VCONSOLE_HVC, owner));
	case 2 + 2 * VCONSOLE_AGENT + 1:
		return virtio_conclude(v, env, transmit(c, v, env, VCONSOLE_AGENT, owner));
	default: /* buffers for input: the owner looks before each entry */
		return OK;
	}
}
