#include "hv/dev/console.h"

#include "hv/core.h"
#include "hv/dev/board.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/sched.h"
#include "lib/string.h"

#define PANIC_TEXT "Kernel panic - not syncing: "

static void watch_line(struct board *b, char c)
{
	if (c != '\n') {
		if (b->line_size < sizeof(b->line) - 1 && c != '\r')
			b->line[b->line_size++] = c;
		return;
	}
	b->line[b->line_size] = '\0';
	b->line_size = 0;
	for (const char *p = b->line; *p; p++) {
		if (strncmp(p, PANIC_TEXT, sizeof(PANIC_TEXT) - 1) == 0)
			fmt(b->panic, sizeof(b->panic), "%s", p + sizeof(PANIC_TEXT) - 1);
	}
}

int64_t console_put(struct core *core, struct guest *g, const uint8_t *data, size_t size)
{
	struct stream **s = &g->stream[STREAM_OUT];
	int64_t n = 0;

	spin_lock(&g->lock);
	if (!*s)
		n = stream_create(&hv.pool, core->id, g->account, s);
	if (!n)
		n = stream_put(*s, core->id, data, size);
	if (!n)
		sched_wait(g, WAIT_ROOM, UINT64_MAX);
	bool read = n > 0 && guest_followed(g);

	spin_unlock(&g->lock);
	for (int64_t i = 0; i < n; i++)
		watch_line(g->machine.board, (char)data[i]);
	if (read)
		news_add(core, g, NEWS_OUTPUT);
	return n;
}

/* g->lock is held. */
static bool has_input(const struct guest *g)
{
	const struct stream *s = g->stream[STREAM_IN];

	return s && s->written != s->reader[0];
}

bool console_waiting(const struct guest *g)
{
	const struct stream *s = __atomic_load_n(&g->stream[STREAM_IN], __ATOMIC_ACQUIRE);

	return s && __atomic_load_n(&s->written, __ATOMIC_ACQUIRE) != s->reader[0];
}

size_t console_take(struct core *core, struct guest *g, uint8_t *buf, size_t size)
{
	bool wanted = false;
	size_t n = 0;

	spin_lock(&g->lock);
	if (has_input(g)) {
		struct stream *s = g->stream[STREAM_IN];
		uint64_t at = s->reader[0];

		n = stream_get(s, &at, buf, size);
		stream_reader_done(s, 0, at);
		wanted = n && g->input_wanted;
		g->input_wanted = g->input_wanted && !wanted;
	}
	spin_unlock(&g->lock);
	if (wanted)
		news_add(core, g, NEWS_INPUT);
	return n;
}

int console_peek(struct guest *g)
{
	uint8_t byte;
	int next = -1;

	spin_lock(&g->lock);
	if (has_input(g)) {
		uint64_t at = g->stream[STREAM_IN]->reader[0];

		if (stream_get(g->stream[STREAM_IN], &at, &byte, 1) == 1)
			next = byte;
	}
	spin_unlock(&g->lock);
	return next;
}
