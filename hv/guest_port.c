#include "hv/guest_port.h"

#include "guest-sdk/linux/agent_link.h"
#include "hv/core.h"
#include "hv/dev/vnet.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/platform.h"
#include "hv/sched.h"
#include "lib/bytes.h"
#include "lib/string.h"
#include "lib/wipe.h"

_Static_assert(sizeof(((struct agent_reset *)NULL)->name) == GUEST_NAME_MAX, "names fit");

/* g->lock is held, as for all static functions here. */
static int make_stream(struct core *core, struct guest *g, enum guest_stream stream)
{
	uint64_t position;

	if (g->stream[stream])
		return OK;
	int err = stream_create(&hv.pool, core->id, g->account, &g->stream[stream]);

	/* The agent is the one reader of what it is sent, and holds it from the start. */
	if (!err && stream == STREAM_AGENT_IN)
		(void)stream_reader_open(g->stream[stream], &position);
	return err;
}

static int put_whole(struct core *core, struct guest *g, const uint8_t *data, size_t size)
{
	struct stream *s = g->stream[STREAM_AGENT_IN];

	if (stream_room(s) < size)
		return ERR_AGAIN;
	int64_t n = stream_put(s, core->id, data, size);

	/* Half a frame for want of a page: the zero of the next one ends it. */
	return n < 0 ? (int)n : (size_t)n < size ? ERR_NOMEM : OK;
}

static int put_reset(struct core *core, struct guest *g)
{
	struct agent_reset reset = {
		.generation = g->generation,
		.guest = g->object.id,
		.wall_ns = platform_wall_ns(),
	};
	uint8_t wire[2 * sizeof(reset)];

	_Static_assert(sizeof(wire) > AGENT_HEAD + sizeof(reset) + 8, "room for the stuffing");
	platform_random(reset.entropy, sizeof(reset.entropy));
	platform_random(reset.identity, sizeof(reset.identity));
	memcpy(reset.name, g->object.name, sizeof(reset.name));
	vnet_mac(g->object.id, reset.mac);
	reset.prefix = VNET_PREFIX;
	store_be32(reset.gateway, vnet_gateway(g->object.id));
	store_be32(reset.address, vnet_gateway(g->object.id) + 1);
	/* Ends what the agent's reader may have been in the middle of. */
	wire[0] = 0;
	uint32_t size = 1 + agent_encode(wire + 1, AGENT_RESET, 0, &reset, sizeof(reset));
	int err = put_whole(core, g, wire, size);

	wipe(&reset, sizeof(reset));
	wipe(wire, sizeof(wire));
	return err;
}

/* What it had been sent as another one, and has not read, is not for it. */
static int announce(struct core *core, struct guest *g)
{
	int err = make_stream(core, g, STREAM_AGENT_IN);

	if (err || g->announced == g->generation)
		return err;
	struct stream *s = g->stream[STREAM_AGENT_IN];

	stream_reader_done(s, 0, s->written);
	err = put_reset(core, g);
	if (!err)
		g->announced = g->generation;
	return err;
}

int guest_agent_send(uint64_t id, const uint8_t *data, size_t size)
{
	struct core *core = cores[0];
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);
	int err;

	if (!o)
		return guest_fail(core, ERR_NOENT, "no guest %lu", id);
	struct guest *g = guest_of(o);

	spin_lock(&g->lock);
	if (!g->machine.board)
		err = guest_fail(core, ERR_UNSUPPORTED, "guest %lu is not a Linux guest", id);
	else if (g->state == GUEST_STOPPED)
		err = guest_fail(core, ERR_BUSY, "guest %lu has stopped", id);
	else
		err = announce(core, g);
	if (!err)
		err = put_whole(core, g, data, size);
	g->agent_wanted |= err == ERR_AGAIN;
	spin_unlock(&g->lock);
	if (!err)
		sched_wake(g, WAIT_INPUT);
	object_unpin(&hv.registry, o, core->id);
	return err;
}

bool port_due(const struct guest *g)
{
	const struct stream *s = __atomic_load_n(&g->stream[STREAM_AGENT_IN], __ATOMIC_ACQUIRE);

	return g->announced != g->generation ||
	       (s && __atomic_load_n(&s->written, __ATOMIC_ACQUIRE) != s->reader[0]);
}

bool port_waiting(struct core *core, struct guest *g)
{
	spin_lock(&g->lock);
	/* Without a page for it now, it is tried again at the next entry. */
	bool told = announce(core, g) == OK;
	const struct stream *s = g->stream[STREAM_AGENT_IN];
	bool waiting = told && s->written != s->reader[0];

	spin_unlock(&g->lock);
	return waiting;
}

size_t port_take(struct core *core, struct guest *g, uint8_t *buf, size_t size)
{
	size_t n = 0;
	bool wanted = false;

	spin_lock(&g->lock);
	struct stream *s = g->stream[STREAM_AGENT_IN];

	if (s) {
		uint64_t at = s->reader[0];

		n = stream_get(s, &at, buf, size);
		stream_reader_done(s, 0, at);
		wanted = n && g->agent_wanted;
		g->agent_wanted = g->agent_wanted && !wanted;
	}
	spin_unlock(&g->lock);
	if (wanted)
		news_add(core, g, NEWS_INPUT);
	return n;
}

int64_t port_put(struct core *core, struct guest *g, const uint8_t *data, size_t size)
{
	bool read = false;

	spin_lock(&g->lock);
	int64_t n = make_stream(core, g, STREAM_AGENT_OUT);

	if (!n)
		n = stream_put(g->stream[STREAM_AGENT_OUT], core->id, data, size);
	if (!n)
		sched_wait(g, WAIT_ROOM, UINT64_MAX);
	read = n > 0 && g->stream[STREAM_AGENT_OUT]->readers;
	spin_unlock(&g->lock);
	if (read)
		news_add(core, g, NEWS_OUTPUT);
	return n;
}
