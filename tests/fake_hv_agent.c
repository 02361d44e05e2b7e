/* The agent's port of guests of the fake hypervisor, which a guest has whose script begins "agent". */
#include "tests/fake_hv_internal.h"

#include "guest-sdk/linux/agent_link.h"

static struct thing *agent_guest(uint64_t id)
{
	struct thing *g = fake_find(id, false);

	return g && strncmp(g->script->text, "agent", 5) == 0 ? g : NULL;
}

static bool put(struct stream *s, const uint8_t *data, size_t size)
{
	if (!s->ring)
		s->ring = malloc(STREAM_CAPACITY);
	if (s->end - s->begin + size > STREAM_CAPACITY)
		return false;
	for (size_t i = 0; i < size; i++)
		s->ring[s->end++ % STREAM_CAPACITY] = data[i];
	return true;
}

static void announce(struct thing *g)
{
	struct agent_reset reset = {.generation = g->info.generation + 1, .guest = g->info.id};
	struct stream *s = &g->stream[STREAM_AGENT_IN];
	uint8_t wire[512] = {0};

	if (g->announced == reset.generation)
		return;
	snprintf(reset.name, sizeof(reset.name), "%s", g->info.name);
	s->begin = s->end;
	put(s, wire, 1 + agent_encode(wire + 1, AGENT_RESET, 0, &reset, sizeof(reset)));
	g->announced = reset.generation;
}

int guest_agent_send(uint64_t id, const uint8_t *data, size_t size)
{
	struct thing *g = agent_guest(id);

	if (!g)
		return fake_fail(ERR_UNSUPPORTED, "guest %llu is not a Linux guest",
			(unsigned long long)id);
	if (g->info.state == GUEST_STOPPED)
		return fake_fail(ERR_BUSY, "guest %llu has stopped", (unsigned long long)id);
	announce(g);
	return put(&g->stream[STREAM_AGENT_IN], data, size) ? OK : ERR_AGAIN;
}

size_t fake_agent_take(uint64_t id, uint8_t *buf, size_t size)
{
	struct thing *g = agent_guest(id);
	size_t n = 0;

	if (!g)
		return 0;
	struct stream *s = &g->stream[STREAM_AGENT_IN];

	while (n < size && s->begin < s->end)
		buf[n++] = s->ring[s->begin++ % STREAM_CAPACITY];
	if (n)
		fake_tell(g, NEWS_INPUT);
	return n;
}

size_t fake_agent_say(uint64_t id, const uint8_t *data, size_t size)
{
	struct thing *g = agent_guest(id);

	return g ? fake_write(g, STREAM_AGENT_OUT, data, size) : size;
}
