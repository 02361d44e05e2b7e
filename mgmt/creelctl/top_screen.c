/* How creelctl top looks, and what its keys do. */
#include "mgmt/creelctl/terminal.h"
#include "mgmt/creelctl/top.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE       4096u
#define HEAD_ROWS  5 /* above the guests: the host, and the titles */
#define CELLS_MOST 400

/* ECMA-48 sequences. */
#define REVERSE "\033[7m"
#define BOLD    "\033[1m"
#define PLAIN   "\033[0m"
#define GREEN   "\033[32m"
#define YELLOW  "\033[33m"
#define RED     "\033[31m"

const struct top_column_look top_looks[TOP_COLUMNS] = {
	[TOP_ID] = {"ID", 8, true, "i"},
	[TOP_NAME] = {"NAME", 16, false, "n"},
	[TOP_IMAGE] = {"IMAGE", 12, false, "g"},
	[TOP_STATE] = {"STATE", 14, false, "t"},
	[TOP_CPU] = {"CPU%", 6, true, "c"},
	[TOP_EXITS] = {"EXITS/S", 9, true, "e"},
	[TOP_FAULTS] = {"FAULTS/S", 8, true, "f"},
	[TOP_PRIVATE] = {"PRIVATE", 8, true, "p"},
	[TOP_SHARED] = {"SHARED", 8, true, "s"},
	[TOP_MEMORY] = {"MEMORY", 8, true, "m"},
};

/* ---- a screen in the making ---- */

struct screen {
	char *text;
	size_t size, room;
	int rows, columns;
	int row, column; /* where the next character goes */
	bool colour;
};

static void put_bytes(struct screen *s, const char *text, size_t size)
{
	if (size > s->room - s->size) {
		s->room = 2 * (s->room + size);
		s->text = realloc(s->text, s->room);
		if (!s->text)
			abort();
	}
	memcpy(s->text + s->size, text, size);
	s->size += size;
}

static void put_look(struct screen *s, const char *sequence)
{
	put_bytes(s, sequence, strlen(sequence));
}

static void put_colour(struct screen *s, const char *sequence)
{
	if (s->colour)
		put_look(s, sequence);
}

/* What is beyond the right edge is cut. All that comes here is ASCII. */
static void put(struct screen *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct screen *s, const char *format, ...)
{
	char line[CELLS_MOST + 1];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (n > CELLS_MOST)
		n = CELLS_MOST;
	if (n > s->columns - s->column)
		n = s->columns - s->column;
	if (n > 0) {
		put_bytes(s, line, (size_t)n);
		s->column += n;
	}
}

/* The rest of the line is empty; false at the bottom. */
static bool next_line(struct screen *s)
{
	put_look(s, "\033[K" PLAIN);
	s->column = 0;
	if (++s->row >= s->rows)
		return false;
	put_look(s, "\r\n");
	return true;
}

static void show_screen(struct screen *s)
{
	size_t done = 0;

	put_look(s, "\033[J");
	while (done < s->size) {
		ssize_t n = write(STDOUT_FILENO, s->text + done, s->size - done);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(s->text);
}

/* ---- what stands where ---- */

static void draw_bar(struct screen *s, double share, int width)
{
	int full = (int)(share * width + 0.5);

	if (full > width)
		full = width;
	put(s, "[");
	put_colour(s, share > 0.9 ? RED : share > 0.7 ? YELLOW : GREEN);
	for (int i = 0; i < width; i++)
		put(s, "%c", i < full ? '|' : ' ');
	put_colour(s, PLAIN);
	put(s, "]");
}

static void draw_host(struct screen *s, const struct top_measurement *m, const char *host)
{
	const struct creel_info *i = &m->info;
	uint64_t used = i->frames_total - i->frames_free;
	char a[32], b[32], c[32];

	put_look(s, BOLD);
	put(s, "%s", host ? host : "host");
	put_look(s, PLAIN);
	put(s, "  Creel %s on %s, up %s, %u client%s", i->version, i->backend,
		human_span(a, i->uptime_ns), i->connections, i->connections == 1 ? "" : "s");
	next_line(s);
	put(s, "Memory ");
	draw_bar(s, i->frames_total ? (double)used / (double)i->frames_total : 0, 20);
	put(s, " %s of %s used, %s in reserve", human_size(a, used * PAGE),
		human_size(b, i->frames_total * PAGE), human_size(c, i->frames_reserve * PAGE));
	next_line(s);
	put(s, "Cores  ");
	draw_bar(s, i->cores ? m->cpu / i->cores : 0, 20);
	put(s, " %.2f of %u used by guests", m->cpu, i->cores);
	next_line(s);
	put(s,
		"Guests %" PRIu64 ": %" PRIu64 " running, %" PRIu64 " waiting, %" PRIu64
		" paused, %" PRIu64 " stopped; %" PRIu64 " snapshot%s",
		i->guests, i->guests_runnable, i->guests_waiting, i->guests_paused,
		i->guests_stopped, i->snapshots, i->snapshots == 1 ? "" : "s");
	next_line(s);
}

static void draw_text(struct screen *s, enum top_column c, const char *text)
{
	int width = top_looks[c].width;

	if (top_looks[c].right)
		put(s, "%*.*s", width, width, text);
	else
		put(s, "%-*.*s", width, width, text);
}

/* The one that is sorted by is marked. */
static void draw_title(struct screen *s, enum top_column c, const struct top_view *view)
{
	const char *mark = c != view->sort ? " " : view->reverse ? "^" : "v";
	int width = top_looks[c].width;
	char title[16];

	if (c == view->sort)
		put_look(s, BOLD);
	snprintf(title, sizeof(title), "%s%s", top_looks[c].title, mark);
	put(s, top_looks[c].right ? "%*s" : "%-*s", width + 1, title);
	if (c == view->sort)
		put_look(s, PLAIN REVERSE);
}

static void draw_titles(struct screen *s, const struct top_view *view)
{
	put_look(s, REVERSE);
	for (enum top_column c = 0; c < TOP_COLUMNS; c++)
		draw_title(s, c, view);
	while (s->column < s->columns)
		put(s, " ");
	next_line(s);
}

static const char *state_colour(enum creel_state state)
{
	return state == CREEL_RUNNABLE  ? GREEN
	       : state == CREEL_PAUSED  ? YELLOW
	       : state == CREEL_STOPPED ? RED
					: PLAIN;
}

static void draw_row(struct screen *s, const struct top_row *row, bool selected)
{
	char buf[64];

	if (selected)
		put_look(s, REVERSE);
	for (enum top_column c = 0; c < TOP_COLUMNS; c++) {
		bool coloured = c == TOP_STATE && !selected;

		if (coloured)
			put_colour(s, state_colour(row->guest.state));
		draw_text(s, c, top_cell(buf, row, c));
		if (coloured)
			put_colour(s, PLAIN);
		put(s, " ");
	}
	while (selected && s->column < s->columns)
		put(s, " ");
}

static void draw_help(struct screen *s)
{
	static const char *const lines[] = {"", "  up, down, page up, page down, home, end   move",
		"  < and >   sort by the column to the left, to the right",
		"  r         the other way round", "  a         stopped guests too, or not", "",
		"  Sort by:", NULL};

	for (int i = 0; lines[i]; i++) {
		put(s, "%s", lines[i]);
		if (!next_line(s))
			return;
	}
	for (int c = 0; c < TOP_COLUMNS; c++) {
		put(s, "  %s         %s", top_looks[c].key, top_looks[c].title);
		if (!next_line(s))
			return;
	}
	put(s, "  SHARED is at most what those hold that a guest descends from.");
	if (next_line(s))
		put(s, "  Any key goes back.");
}

static void draw_rows(struct screen *s, const struct top_measurement *m, struct top_view *view)
{
	size_t room = s->rows > s->row + 1 ? (size_t)(s->rows - s->row - 1) : 1;

	if (view->selected >= m->count)
		view->selected = m->count ? m->count - 1 : 0;
	if (view->first > view->selected)
		view->first = view->selected;
	if (view->selected - view->first >= room)
		view->first = view->selected - room + 1;
	for (size_t i = view->first; i < m->count && i - view->first < room; i++) {
		draw_row(s, &m->rows[i], i == view->selected);
		if (!next_line(s))
			return;
	}
	while (s->row < s->rows - 1)
		next_line(s);
	put(s, "%zu of %zu  q leave  < > sort  r reverse  a all  h help",
		m->count ? view->selected + 1 : 0, m->count);
}

void top_draw(const struct top_measurement *m, struct top_view *view, const char *host)
{
	struct screen s = {.colour = terminal_colour(STDOUT_FILENO)};

	terminal_size(&s.rows, &s.columns);
	put_look(&s, "\033[H");
	if (s.rows > HEAD_ROWS + 2)
		draw_host(&s, m, host);
	if (view->help) {
		draw_help(&s);
	} else {
		draw_titles(&s, view);
		draw_rows(&s, m, view);
	}
	put_look(&s, "\033[K" PLAIN);
	show_screen(&s);
}

/* ---- keys ---- */

enum key { KEY_NONE, KEY_UP, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END };

/* What terminals send for these keys, behind ESC. */
static const struct {
	const char *sequence;
	enum key key;
} sequences[] = {
	{"[A", KEY_UP},
	{"OA", KEY_UP},
	{"[B", KEY_DOWN},
	{"OB", KEY_DOWN},
	{"[5~", KEY_PAGE_UP},
	{"[6~", KEY_PAGE_DOWN},
	{"[H", KEY_HOME},
	{"OH", KEY_HOME},
	{"[1~", KEY_HOME},
	{"[F", KEY_END},
	{"OF", KEY_END},
	{"[4~", KEY_END},
};

/* The key that begins at keys[*at]; moves *at to its last byte. */
static enum key escape_key(const char *keys, size_t size, size_t *at)
{
	const char *p = keys + *at + 1;
	size_t left = size - *at - 1;

	for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
		size_t n = strlen(sequences[i].sequence);

		if (n <= left && !memcmp(p, sequences[i].sequence, n)) {
			*at += n;
			return sequences[i].key;
		}
	}
	return KEY_NONE;
}

static void move(struct top_view *view, enum key key, size_t count, size_t page)
{
	size_t last = count ? count - 1 : 0, step = key == KEY_UP || key == KEY_DOWN ? 1 : page;

	switch (key) {
	case KEY_UP:
	case KEY_PAGE_UP:
		view->selected -= step < view->selected ? step : view->selected;
		break;
	case KEY_DOWN:
	case KEY_PAGE_DOWN:
		view->selected = step < last - view->selected ? view->selected + step : last;
		break;
	case KEY_HOME:
		view->selected = 0;
		break;
	case KEY_END:
		view->selected = last;
		break;
	default:
		break;
	}
}

static void letter(struct top_view *view, char key)
{
	for (enum top_column c = 0; c < TOP_COLUMNS; c++) {
		if (top_looks[c].key[0] == key)
			view->sort = c;
	}
	if (key == '<' && view->sort > 0)
		view->sort--;
	if (key == '>' && view->sort + 1 < TOP_COLUMNS)
		view->sort++;
	if (key == 'r')
		view->reverse = !view->reverse;
	if (key == 'a')
		view->all = !view->all;
	if (key == 'h' || key == '?')
		view->help = true;
}

bool top_key(struct top_view *view, const char *keys, size_t size, size_t count, size_t page)
{
	size_t step = page > HEAD_ROWS + 2 ? page - HEAD_ROWS - 1 : 1;

	for (size_t i = 0; i < size; i++) {
		if (keys[i] == 'q')
			return false;
		if (view->help)
			view->help = false;
		else if (keys[i] == '\033')
			move(view, escape_key(keys, size, &i), count, step);
		else if (keys[i] == 'k')
			move(view, KEY_UP, count, step);
		else if (keys[i] == 'j')
			move(view, KEY_DOWN, count, step);
		else
			letter(view, keys[i]);
	}
	return true;
}
