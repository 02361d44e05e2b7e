/*
 * How far a long command is, on stderr: a bar that moves on a terminal, elsewhere a line from time
 * to time. Nothing for what is over soon, nor with --json or --quiet.
 */
#include "mgmt/creelctl/creelctl.h"
#include "mgmt/creelctl/terminal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS   300 /* before a bar appears */
#define REDRAW_MS     100
#define LINE_EVERY_MS 10000
#define BAR_MOST      40

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void progress_begin(
	struct progress *p, const struct settings *s, const char *what, uint64_t total, bool bytes)
{
	const char *kind = getenv("TERM");

	*p = (struct progress){
		.what = what,
		.total = total,
		.bytes = bytes,
		.begun = now_ms(),
		.silent = s->json || s->quiet || !total,
		.bar = isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0,
	};
	p->next = p->begun + (p->bar ? PATIENCE_MS : LINE_EVERY_MS);
}

static void amounts(const struct progress *p, char *text, size_t size)
{
	uint64_t ms = now_ms() - p->begun;
	char done[32], total[32], rate[32];

	if (!p->bytes) {
		snprintf(text, size, "%" PRIu64 " of %" PRIu64, p->done, p->total);
		return;
	}
	human_size(rate, ms ? (p->done - p->from) * 1000 / ms : 0);
	snprintf(text, size, "%s of %s, %s/s", human_size(done, p->done),
		human_size(total, p->total), rate);
}

static void draw_bar(struct progress *p, const char *amount)
{
	static const char full[BAR_MOST + 1] = "########################################";
	int rows, columns, room, filled;

	terminal_size(&rows, &columns);
	room = columns - (int)strlen(p->what) - (int)strlen(amount) - 12;
	if (room > BAR_MOST)
		room = BAR_MOST;
	if (room < 0)
		room = 0;
	filled = (int)((uint64_t)room * p->done / p->total);
	fprintf(stderr, "\r%s [%.*s%*s] %3u%%  %s\033[K", p->what, filled, full, room - filled, "",
		(unsigned)(100 * p->done / p->total), amount);
	fflush(stderr);
	p->drawn = true;
}

bool progress_due(const struct progress *p)
{
	return !p->silent && p->bar && now_ms() >= p->next;
}

void progress_step(struct progress *p, uint64_t done)
{
	uint64_t now = now_ms();
	char amount[112];

	p->done = done < p->total ? done : p->total;
	if (p->silent || now < p->next)
		return;
	p->next = now + (p->bar ? REDRAW_MS : LINE_EVERY_MS);
	amounts(p, amount, sizeof(amount));
	if (p->bar)
		draw_bar(p, amount);
	else
		complain("%s: %s", p->what, amount);
}

void progress_resume(struct progress *p, uint64_t from)
{
	char at[32], total[32];

	p->from = p->done = from;
	p->begun = now_ms();
	if (p->silent)
		return;
	progress_hide(p);
	complain("%s: goes on at %s of %s", p->what, human_size(at, from),
		human_size(total, p->total));
}

void progress_hide(struct progress *p)
{
	if (!p->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->drawn = false;
}
