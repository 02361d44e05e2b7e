/* What the guests of the fake hypervisor do: a line of their script a tick. */
#include "tests/fake_hv_internal.h"

static void print_strings(struct thing *g, uint32_t first, uint32_t count)
{
	const char *s = g->args;

	for (uint32_t i = 0; i < first + count; i++, s += strlen(s) + 1) {
		if (i >= first) {
			fake_write(g, STREAM_OUT, s, strlen(s));
			fake_write(g, STREAM_OUT, "\n", 1);
		}
	}
}

/* True: the line is done with. */
static bool cat(struct thing *g)
{
	struct stream *in = &g->stream[STREAM_IN];

	while (in->begin < in->end) {
		uint8_t c = in->ring[in->begin % STREAM_CAPACITY];

		if (!fake_write(g, STREAM_OUT, &c, 1))
			return false;
		in->begin++;
		g->info.stream_bytes[STREAM_IN]++;
		if (in->end - in->begin == STREAM_CAPACITY / 2)
			fake_tell(g, NEWS_INPUT);
	}
	fake_tell(g, NEWS_INPUT);
	if (!in->closed)
		g->info.state = GUEST_WAITING;
	return in->closed;
}

static bool flood(struct thing *g, size_t total)
{
	while (g->progress < total) {
		uint8_t c = (uint8_t)('a' + g->progress % 26);

		if (!fake_write(g, STREAM_OUT, &c, 1))
			return false;
		g->progress++;
	}
	g->progress = 0;
	return true;
}

static bool command(struct thing *g, char *line)
{
	char *text = strchr(line, ' ');

	if (text)
		*text++ = 0;
	else
		text = line + strlen(line);
	if (!strcmp(line, "echo") || !strcmp(line, "err")) {
		enum guest_stream to = line[1] == 'c' ? STREAM_OUT : STREAM_ERR;

		fake_write(g, to, text, strlen(text));
		fake_write(g, to, "\n", 1);
	} else if (!strcmp(line, "args")) {
		print_strings(g, 0, g->argc);
	} else if (!strcmp(line, "env")) {
		print_strings(g, g->argc, g->envc);
	} else if (!strcmp(line, "cat")) {
		return cat(g);
	} else if (!strcmp(line, "flood")) {
		return flood(g, strtoul(text, NULL, 10));
	} else if (!strcmp(line, "sleep")) {
		if (++g->progress < strtoul(text, NULL, 10))
			return false;
		g->progress = 0;
	} else if (!strcmp(line, "spin")) {
		return false;
	} else if (!strcmp(line, "wait") || !strcmp(line, "agent")) {
		g->info.state = GUEST_WAITING;
		return false;
	} else if (!strcmp(line, "paused")) {
		fake_pause(g, STOP_MEMORY_LIMIT, "its budget of 64 pages has no page left");
	} else if (!strcmp(line, "exit")) {
		g->info.exit_status = (int32_t)strtol(text, NULL, 10);
		fake_stop(g, STOP_EXIT, "exited");
	} else if (!strcmp(line, "crash")) {
		fake_stop(g, STOP_CRASHED, text);
	}
	return true;
}

/* The guest may be gone afterwards. */
static bool guest_tick(struct thing *g)
{
	const char *line = g->script->text + g->pc;
	size_t n = strcspn(line, "\n");
	char copy[256];
	size_t pc = g->pc + n + (line[n] ? 1 : 0);
	uint64_t id = g->info.id;

	g->info.cpu_ns += 1000;
	g->info.exits++;
	if (!*line) {
		fake_stop(g, STOP_EXIT, "exited");
		return true;
	}
	snprintf(copy, sizeof(copy), "%.*s", (int)n, line);
	bool done = command(g, copy);

	if (done && fake_find(id, false))
		g->pc = pc;
	return done;
}

bool fake_tick(void)
{
	bool busy = false;
	uint64_t id = 0;
	struct thing *g;

	while ((g = fake_next(id, false)) != NULL) {
		id = g->info.id;
		if (g->info.state == GUEST_RUNNABLE)
			busy |= guest_tick(g);
	}
	return busy;
}
