/* creelctl top: guests by what they use, measured again and again. */
#include "mgmt/creelctl/top.h"
#include "mgmt/creelctl/terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE        4096u
#define DELAY       2.0
#define FIRST_DELAY 0.3 /* without a second measurement there are no rates */

static const char *delay_text;
static bool once;

/* clang-format off: a table */
const struct option top_options[] = {
	FLAG('a', "all", &settings.all, "stopped guests too"),
	VALUE('d', "delay", TEXT, &delay_text, "SECONDS", "between two measurements (2)"),
	FLAG('1', "once", &once, "measure once and print lines, as is done without a terminal"),
	END_OPTIONS,
};
/* clang-format on */

/* ---- sorting ---- */

static const struct top_view *sorting; /* for by_column() */

static int compare_numbers(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int by_value(const struct top_row *a, const struct top_row *b)
{
	switch (sorting->sort) {
	case TOP_NAME:
		return strcmp(a->guest.name, b->guest.name);
	case TOP_IMAGE:
		return strcmp(a->image, b->image);
	case TOP_STATE:
		return (int)a->guest.state - (int)b->guest.state;
	case TOP_CPU:
		return compare_numbers(a->cpu, b->cpu);
	case TOP_EXITS:
		return compare_numbers(a->exits, b->exits);
	case TOP_FAULTS:
		return compare_numbers(a->faults, b->faults);
	case TOP_PRIVATE:
		return compare_numbers(
			(double)a->guest.private_pages, (double)b->guest.private_pages);
	case TOP_SHARED:
		return compare_numbers((double)a->shared_pages, (double)b->shared_pages);
	case TOP_MEMORY:
		return compare_numbers((double)a->guest.memory, (double)b->guest.memory);
	default:
		return 0;
	}
}

static int by_column(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;
	int order = by_value(x, y);

	if (!order)
		order = x->guest.id < y->guest.id ? -1 : x->guest.id > y->guest.id;
	return sorting->reverse ? -order : order;
}

static int by_id(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;

	return x->guest.id < y->guest.id ? -1 : x->guest.id > y->guest.id;
}

static void sort_rows(struct top_measurement *m, const struct top_view *view)
{
	sorting = view;
	if (m->count)
		qsort(m->rows, m->count, sizeof(*m->rows), by_column);
}

const char *top_cell(char buf[64], const struct top_row *row, enum top_column column)
{
	const struct creel_guest *g = &row->guest;

	switch (column) {
	case TOP_ID:
		snprintf(buf, 64, "%" PRIu64, g->id);
		return buf;
	case TOP_NAME:
		return g->name[0] ? g->name : "-";
	case TOP_IMAGE:
		return row->image;
	case TOP_STATE:
		return human_state(buf, g->state, g->stop, g->exit_status);
	case TOP_CPU:
		snprintf(buf, 64, "%.1f", 100 * row->cpu);
		return buf;
	case TOP_EXITS:
		snprintf(buf, 64, "%.0f", row->exits);
		return buf;
	case TOP_FAULTS:
		snprintf(buf, 64, "%.0f", row->faults);
		return buf;
	case TOP_PRIVATE:
		return human_size(buf, g->private_pages * PAGE);
	case TOP_SHARED:
		return human_size(buf, row->shared_pages * PAGE);
	default:
		return human_size(buf, g->memory);
	}
}

/* ---- once ---- */

static int measure(
	const struct settings *s, struct top_measurement *m, const struct top_measurement *before)
{
	struct creel *c = s->host_connection;
	int code = creel_get_info(c, &m->info);

	if (code == CREEL_OK)
		code = creel_snapshots(c, 0, top_take_snapshot, m);
	if (code == CREEL_OK)
		code = creel_images(c, top_take_image, m);
	if (code == CREEL_OK)
		code = creel_guests(c, s->all, 0, top_take_guest, m);
	m->at_ns = top_now_ns();
	if (code == CREEL_OK)
		top_compare(m, before);
	return code;
}

static void print_json(const struct top_measurement *m)
{
	json_begin_array(NULL);
	for (size_t i = 0; i < m->count; i++) {
		const struct top_row *r = &m->rows[i];
		char rate[32];

		json_begin_object(NULL);
		json_number("id", r->guest.id);
		json_text("name", r->guest.name);
		json_text("image", r->image);
		json_text("state", state_word(r->guest.state));
		snprintf(rate, sizeof(rate), "%.2f", 100 * r->cpu);
		json_text("cpu_percent", rate);
		json_number("exits_per_second", (uint64_t)r->exits);
		json_number("faults_per_second", (uint64_t)r->faults);
		json_number("private_pages", r->guest.private_pages);
		json_number("shared_pages_at_most", r->shared_pages);
		json_number("memory", r->guest.memory);
		json_end_object();
	}
	json_end_array();
	json_end();
}

static void print_rows(const struct top_measurement *m)
{
	const char *titles[TOP_COLUMNS];
	char right[TOP_COLUMNS], buf[64];
	struct table t;

	for (int i = 0; i < TOP_COLUMNS; i++) {
		titles[i] = top_looks[i].title;
		right[i] = top_looks[i].right ? 'r' : 'l';
	}
	table_begin(&t, right, TOP_COLUMNS, titles);
	for (size_t i = 0; i < m->count; i++) {
		for (enum top_column c = 0; c < TOP_COLUMNS; c++)
			table_add(&t, "%s", top_cell(buf, &m->rows[i], c));
	}
	table_end(&t);
}

static void pause_for(double seconds)
{
	struct timespec t = {.tv_sec = (time_t)seconds};

	t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
	nanosleep(&t, NULL);
}

static int top_once(const struct settings *s, double delay)
{
	struct top_measurement before = {.count = 0}, m = {.count = 0};
	const struct top_view view = {.sort = TOP_CPU};
	int code = measure(s, &before, &before);

	if (code == CREEL_OK) {
		pause_for(delay);
		code = measure(s, &m, &before);
	}
	if (code == CREEL_OK) {
		sort_rows(&m, &view);
		(s->json ? print_json : print_rows)(&m);
	}
	top_forget(&before);
	top_forget(&m);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

/* ---- on a terminal ---- */

struct watch {
	struct settings *s;
	struct top_view view;
	double delay;
	struct top_measurement m, coming; /* what is shown, and what is being measured */
	unsigned calls;                   /* of that one, under way */
	uint64_t began, next;
	int code; /* of the first that failed */
	bool changed;
};

static volatile sig_atomic_t ended;

static void on_end(int signal_number)
{
	(void)signal_number;
	ended = 1;
}

/* All of a measurement has come. */
static void take_measurement(struct watch *w)
{
	uint64_t took, wait = (uint64_t)((w->m.at_ns ? w->delay : FIRST_DELAY) * 1e9);

	w->coming.at_ns = top_now_ns();
	if (w->m.count)
		qsort(w->m.rows, w->m.count, sizeof(*w->m.rows), by_id);
	top_compare(&w->coming, &w->m);
	top_forget(&w->m);
	w->m = w->coming;
	w->coming = (struct top_measurement){.count = 0};
	sort_rows(&w->m, &w->view);
	/* A host with very many guests is not kept busy by being watched. */
	took = w->m.at_ns - w->began;
	w->next = w->m.at_ns + (wait > 4 * took ? wait : 4 * took);
	w->changed = true;
}

static void one_came(void *arg, int code)
{
	struct watch *w = arg;

	if (code != CREEL_OK && w->code == CREEL_OK)
		w->code = code;
	if (--w->calls == 0 && w->code == CREEL_OK)
		take_measurement(w);
}

static void measure_later(struct watch *w)
{
	struct creel *c = w->s->host_connection;
	struct top_measurement *m = &w->coming;

	w->began = top_now_ns();
	w->calls = 4;
	creel_async(c, one_came, w);
	w->code = creel_get_info(c, &m->info);
	creel_async(c, one_came, w);
	if (w->code == CREEL_OK)
		w->code = creel_snapshots(c, 0, top_take_snapshot, m);
	creel_async(c, one_came, w);
	if (w->code == CREEL_OK)
		w->code = creel_images(c, top_take_image, m);
	creel_async(c, one_came, w);
	if (w->code == CREEL_OK)
		w->code = creel_guests(c, w->view.all, 0, top_take_guest, m);
}

/* False: the user wants to leave, or the terminal has gone. */
static bool take_keys(struct watch *w)
{
	bool all = w->view.all;
	int rows, columns;
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	terminal_size(&rows, &columns);
	if (!top_key(&w->view, keys, (size_t)n, w->m.count, (size_t)rows))
		return false;
	if (w->view.all != all)
		w->next = 0;
	w->changed = true;
	return true;
}

static void draw(struct watch *w)
{
	if (terminal_resized)
		w->changed = true;
	if (!w->changed || !w->m.at_ns)
		return;
	terminal_resized = 0;
	w->changed = false;
	sort_rows(&w->m, &w->view);
	top_draw(&w->m, &w->view, w->s->host);
}

/* What happens next; false when it is over. */
static bool turn(struct watch *w)
{
	struct pollfd fds[2] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = creel_fd(w->s->host_connection), .events = POLLIN},
	};
	uint64_t now = top_now_ns();
	int timeout = -1;

	if (!w->calls && now >= w->next)
		measure_later(w);
	else if (!w->calls)
		timeout = (int)((w->next - now) / 1000000) + 1;
	draw(w);
	if (w->code != CREEL_OK || ended)
		return false;
	if (poll(fds, 2, timeout) <= 0)
		return true;
	if (fds[0].revents && !take_keys(w))
		return false;
	if (fds[1].revents) {
		int code = creel_process(w->s->host_connection);

		w->code = w->code == CREEL_OK ? code : w->code;
	}
	return true;
}

static int top_screen(struct settings *s, double delay)
{
	struct watch w = {.s = s, .delay = delay, .view = {.sort = TOP_CPU, .all = s->all}};
	struct sigaction end = {.sa_handler = on_end};

	creel_fd(s->host_connection);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	if (!terminal_enter(TERMINAL_SCREEN)) {
		complain("can't use this terminal: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	while (turn(&w))
		;
	terminal_leave();
	top_forget(&w.m);
	top_forget(&w.coming);
	return w.code == CREEL_OK ? EXIT_DONE : failed(s, w.code);
}

int run_top(struct settings *s, int argc, char **argv)
{
	char *end = NULL;
	double delay = delay_text ? strtod(delay_text, &end) : DELAY;

	(void)argc, (void)argv;
	if (end && (end == delay_text || *end || delay < 0.1 || delay > 3600)) {
		complain("--delay takes 0.1 to 3600 seconds, not \"%s\"", delay_text);
		return EXIT_USAGE;
	}
	if (once || s->json || !terminal_usable())
		return top_once(s, delay);
	return top_screen(s, delay);
}
