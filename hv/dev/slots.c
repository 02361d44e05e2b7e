#include "hv/dev/slots.h"

#include "guest-sdk/linux/agent_link.h"
#include "hv/core.h"
#include "hv/dev/console.h"
#include "hv/dev/vblk.h"
#include "hv/dev/vrng.h"
#include "hv/guest_port.h"
#include "hv/hypervisor.h"
#include "hv/platform.h"

#define SECTOR 512u

enum slot { SLOT_BRIDGE, SLOT_CONSOLE, SLOT_RANDOM, SLOT_NET, SLOT_BLOCK };

void slots_create(struct board *b, uint64_t disk)
{
	virtio_create(&b->virtio[SLOT_CONSOLE], &vconsole_model, SLOT_CONSOLE, 0);
	virtio_create(&b->virtio[SLOT_RANDOM], &vrng_model, SLOT_RANDOM, 0);
	virtio_create(&b->virtio[SLOT_NET], &vnet_model, SLOT_NET, 0);
	if (disk)
		virtio_create(&b->virtio[SLOT_BLOCK], &vblk_model, SLOT_BLOCK, disk / SECTOR);
	vconsole_reset(&b->console);
}

/* The guest is another one than its devices knew. */
static void become(struct guest *g)
{
	struct board *b = g->machine.board;

	b->generation = g->generation;
	b->said_size = sizeof(b->said) + 1; /* in the middle of something, perhaps */
	vnet_become(&b->net, &b->virtio[SLOT_NET], g->object.id);
}

/*
 * The one thing that the agent says to the hypervisor: it knows which generation its guest is. The network,
 * which a fork or rollback stops, goes on then.
 */
static void hear(struct board *b, struct agent_frame *f)
{
	if (f->type == AGENT_HELLO && f->size == sizeof(uint64_t) &&
		agent_load(f->payload, sizeof(uint64_t)) == b->generation)
		vnet_release(&b->net);
}

static void listen(struct board *b, const uint8_t *data, size_t size)
{
	struct agent_frame f;

	for (size_t i = 0; i < size; i++) {
		if (data[i]) {
			if (b->said_size < sizeof(b->said))
				b->said[b->said_size] = data[i];
			if (b->said_size <= sizeof(b->said))
				b->said_size++;
			continue;
		}
		if (b->said_size <= sizeof(b->said) && agent_decode(b->said, b->said_size, &f))
			hear(b, &f);
		b->said_size = 0;
	}
}

static struct virtio_env env_of(const struct core *core, struct guest *g)
{
	return (struct virtio_env){
		.mem = &g->machine.mem, .core = core->id, .lapic = &g->machine.board->lapic};
}

/* ---- the console ------------------------------------------------------------------------------ */

struct on_core {
	struct core *core;
	struct guest *g;
};

static size_t take(void *ctx, enum vconsole_port port, uint8_t *buf, size_t size)
{
	const struct on_core *on = ctx;

	return port == VCONSOLE_HVC ? console_take(on->core, on->g, buf, size)
				    : port_take(on->core, on->g, buf, size);
}

static int64_t put(void *ctx, enum vconsole_port port, const uint8_t *data, size_t size)
{
	const struct on_core *on = ctx;

	if (port == VCONSOLE_AGENT) {
		int64_t n = port_put(on->core, on->g, data, size);

		if (n > 0)
			listen(on->g->machine.board, data, (size_t)n);
		return n;
	}
	on->g->machine.board->hvc_spoke = true;
	return console_put(on->core, on->g, data, size);
}

bool slots_take_input(const struct board *b)
{
	return b->console.open[VCONSOLE_HVC] && (b->hvc_spoke || !uart_open(&b->uart));
}

static bool port_has_input(struct core *core, struct guest *g, enum vconsole_port port)
{
	const struct board *b = g->machine.board;

	/* Before each entry: what costs least first. Rings are looked at when there is something for them. */
	if (port == VCONSOLE_HVC ? !console_waiting(g) || !slots_take_input(b) : !port_due(g))
		return false;
	if (!vconsole_receives(&b->console, &b->virtio[SLOT_CONSOLE], &g->machine.mem, port))
		return false;
	return port == VCONSOLE_HVC || port_waiting(core, g);
}

static int fill_console(struct core *core, struct guest *g, const struct virtio_env *env)
{
	struct board *b = g->machine.board;
	struct on_core on = {.core = core, .g = g};
	const struct vconsole_owner owner = {.take = take, .put = put, .ctx = &on};
	int err = OK;

	for (unsigned port = 0; port < VCONSOLE_PORTS && !err; port++) {
		if (port_has_input(core, g, (enum vconsole_port)port))
			err = vconsole_fill(&b->console, &b->virtio[SLOT_CONSOLE], env,
				(enum vconsole_port)port, &owner);
	}
	return err;
}

bool slots_waiting(struct core *core, struct guest *g)
{
	return port_has_input(core, g, VCONSOLE_HVC) || port_has_input(core, g, VCONSOLE_AGENT);
}

bool slots_due(const struct guest *g)
{
	const struct board *b = g->machine.board;
	const struct virtio *v = b->virtio;

	_Static_assert(VIRTIO_SLOTS == 5, "all devices are looked at");
	return (v[1].pending | v[2].pending | v[3].pending | v[4].pending) ||
	       b->generation != g->generation || console_waiting(g) || port_due(g);
}

enum run_next slots_enter(struct core *core, struct guest *g)
{
	struct board *b = g->machine.board;
	const struct virtio_env env = env_of(core, g);
	int err = OK;

	if (b->generation != g->generation)
		become(g);
	for (unsigned slot = 1; slot < VIRTIO_SLOTS; slot++) {
		if (b->virtio[slot].pending)
			virtio_retry(&b->virtio[slot], &env);
	}
	if (virtio_ready(&b->virtio[SLOT_CONSOLE]))
		err = fill_console(core, g, &env);
	return err ? exit_no_memory(core, g, err) : RUN_AGAIN;
}

/* ---- accesses --------------------------------------------------------------------------------- */

static int notify(struct core *core, struct guest *g, const struct virtio_env *env, unsigned slot,
	unsigned queue)
{
	struct board *b = g->machine.board;
	struct virtio *v = &b->virtio[slot];
	struct on_core on = {.core = core, .g = g};
	const struct vconsole_owner owner = {.take = take, .put = put, .ctx = &on};

	switch (slot) {
	case SLOT_CONSOLE:
		return vconsole_notify(&b->console, v, env, queue, &owner);
	case SLOT_RANDOM:
		return vrng_notify(v, env, platform_random);
	case SLOT_NET:
		return vnet_notify(&b->net, v, env, queue);
	default:
		return vblk_notify(v, env);
	}
}

/* The driver has reset a device. */
static void forget(struct board *b, unsigned slot)
{
	if (slot == SLOT_CONSOLE)
		vconsole_reset(&b->console);
	if (slot == SLOT_NET)
		vnet_release(&b->net);
}

/* Do what a write to a device's registers asks for, then skip the instruction, or have it made again. */
static enum run_next finish(struct core *core, struct guest *g, const struct vm_exit *exit,
	const struct virtio_env *env, unsigned slot, struct virtio_event event)
{
	int err = OK;

	if (event.kind == VIRTIO_RESET)
		forget(g->machine.board, slot);
	if (event.kind == VIRTIO_NOTIFY)
		err = notify(core, g, env, slot, event.queue);
	if (err == VCONSOLE_WAIT)
		return RUN_LEAVE;
	if (err)
		return exit_no_memory(core, g, err);
	hv.vm->skip(core, &g->machine.vcpu, exit);
	return RUN_AGAIN;
}

static struct virtio *device_at(struct board *b, unsigned slot)
{
	return slot < VIRTIO_SLOTS && b->virtio[slot].model ? &b->virtio[slot] : NULL;
}

uint32_t slots_config_read(struct guest *g, unsigned offset, unsigned size)
{
	struct board *b = g->machine.board;
	unsigned slot, reg;
	bool there = bus_target(&b->bus, offset, &slot, &reg);
	struct virtio *v = there ? device_at(b, slot) : NULL;

	return v ? virtio_config_read(v, reg, size) : bus_read(&b->bus, offset, size);
}

enum run_next slots_config_write(struct core *core, struct guest *g, const struct vm_exit *exit,
	uint32_t value)
{
	struct board *b = g->machine.board;
	const struct virtio_env env = env_of(core, g);
	unsigned slot = 0, reg, offset = exit->io.port - BUS_PORT;
	struct virtio *v = bus_target(&b->bus, offset, &slot, &reg) ? device_at(b, slot) : NULL;
	struct virtio_event event = {0};

	if (v)
		event = virtio_config_write(v, &env, reg, exit->io.size, value);
	else
		bus_write(&b->bus, offset, exit->io.size, value);
	return finish(core, g, exit, &env, slot, event);
}

static struct virtio *device_of_port(struct board *b, uint16_t port, unsigned *slot, unsigned *offset)
{
	for (*slot = 1; *slot < VIRTIO_SLOTS; ++*slot) {
		if (virtio_owns_port(&b->virtio[*slot], port, offset))
			return &b->virtio[*slot];
	}
	return NULL;
}

uint32_t slots_read(struct guest *g, uint16_t port, unsigned size)
{
	unsigned slot, offset;
	struct virtio *v = device_of_port(g->machine.board, port, &slot, &offset);

	return v ? virtio_read(v, offset, size) : UINT32_MAX;
}

enum run_next slots_write(struct core *core, struct guest *g, const struct vm_exit *exit, uint32_t value)
{
	const struct virtio_env env = env_of(core, g);
	unsigned slot, offset;
	struct virtio *v = device_of_port(g->machine.board, exit->io.port, &slot, &offset);
	struct virtio_event event = {0};

	if (v)
		event = virtio_write(v, &env, offset, exit->io.size, value);
	return finish(core, g, exit, &env, slot, event);
}
