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
#define LINEAGE_MAX 64 /* ancestors whose memory is counted */
#define DELAY       2.0

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

/* ---- measuring ---- */

static void *grown(void *list, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return list;
	*room = *room ? 2 * *room : 64;
	list = realloc(list, *room * size);
	if (!list)
		abort();
	return list;
}

static int take_guest(void *arg, const struct creel_guest *g)
{
	struct top_measurement *m = arg;

	m->rows = grown(m->rows, m->count, &m->room, sizeof(*m->rows));
	m->rows[m->count++] = (struct top_row){.guest = *g};
	return 0;
}

static struct top_origin *add_origin(struct top_origins *o, const char *name)
{
	struct top_origin *t;

	o->list = grown(o->list, o->count, &o->room, sizeof(*o->list));
	t = &o->list[o->count++];
	snprintf(t->name, sizeof(t->name), "%s", name);
	return t;
}

static int take_snapshot(void *arg, const struct creel_snapshot *s)
{
	struct top_origin *o = add_origin(&((struct top_measurement *)arg)->snapshots, s->name);

	o->id = s->id;
	o->parent = s->parent;
	o->image = s->image;
	o->pages = s->pages;
	return 0;
}

static int take_image(void *arg, const struct creel_image *i)
{
	struct top_origin *o = add_origin(&((struct top_measurement *)arg)->images, i->name);

	o->id = i->id;
	o->pages = i->pages;
	return 0;
}

static const struct top_origin *find_origin(const struct top_origins *o, uint64_t id)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (o->list[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->count && o->list[low].id == id ? &o->list[low] : NULL;
}

/* As they come from the host: by id. */
static const struct top_row *find_row(const struct top_measurement *m, uint64_t id)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->rows[mid].guest.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->count && m->rows[low].guest.id == id ? &m->rows[low] : NULL;
}

/* What those hold that it descends from, but not more than it has beside its own. */
static uint64_t shared_pages(const struct top_measurement *m, const struct creel_guest *g)
{
	const struct top_origin *image = find_origin(&m->images, g->image);
	uint64_t pages = image ? image->pages : 0, parent = g->parent;
	uint64_t most = g->memory / PAGE - (g->private_pages < g->memory / PAGE
						       ? g->private_pages
						       : g->memory / PAGE);

	for (int i = 0; parent && i < LINEAGE_MAX; i++) {
		const struct top_origin *s = find_origin(&m->snapshots, parent);
		const struct top_row *r = s ? NULL : find_row(m, parent);

		pages += s ? s->pages : r ? r->guest.private_pages : 0;
		parent = s ? s->parent : r ? r->guest.parent : 0;
	}
	return pages < most ? pages : most;
}

/* The rates since `before`, in whose rows a guest may be missing. */
static void compare(struct top_measurement *m, const struct top_measurement *before)
{
	double seconds = (double)(m->at_ns - before->at_ns) / 1e9;
	size_t b = 0;

	for (size_t i = 0; i < m->count; i++) {
		struct top_row *r = &m->rows[i];
		const struct creel_guest *g = &r->guest, *old;
		const struct top_origin *image = find_origin(&m->images, g->image);

		r->image = image ? image->name : "-";
		r->shared_pages = shared_pages(m, g);
		while (b < before->count && before->rows[b].guest.id < g->id)
			b++;
		if (b == before->count || before->rows[b].guest.id != g->id || seconds <= 0)
			continue;
		old = &before->rows[b].guest;
		/* A rollback takes the counts back too. */
		if (g->cpu_ns >= old->cpu_ns)
			r->cpu = (double)(g->cpu_ns - old->cpu_ns) / 1e9 / seconds;
		if (g->exits >= old->exits)
			r->exits = (double)(g->exits - old->exits) / seconds;
		if (g->faults >= old->faults)
			r->faults = (double)(g->faults - old->faults) / seconds;
		m->cpu += r->cpu;
	}
}

static void forget(struct top_measurement *m)
{
	free(m->rows);
	free(m->snapshots.list);
	free(m->images.list);
	memset(m, 0, sizeof(*m));
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int measure(const struct settings *s, struct top_measurement *m,
	const struct top_measurement *before)
{
	struct creel *c = s->host_connection;
	int code = creel_get_info(c, &m->info);

	if (code == CREEL_OK)
		code = creel_snapshots(c, 0, take_snapshot, m);
	if (code == CREEL_OK)
		code = creel_images(c, take_image, m);
	if (code == CREEL_OK)
		code = creel_guests(c, s->all, 0, take_guest, m);
	m->at_ns = now_ns();
	if (code == CREEL_OK)
		compare(m, before);
	return code;
}

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
	forget(&before);
	forget(&m);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

/* ---- on a terminal ---- */

static volatile sig_atomic_t ended;

static void on_end(int signal_number)
{
	(void)signal_number;
	ended = 1;
}

/* Draws, and takes keys until `until`. False: to leave. */
static bool show(struct settings *s, struct top_measurement *m, struct top_view *view,
	uint64_t until)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	bool all = s->all;
	char keys[64];

	for (;;) {
		uint64_t now = now_ns();
		int rows, columns;

		terminal_size(&rows, &columns);
		sort_rows(m, view);
		terminal_resized = 0;
		top_draw(m, view, s->host);
		if (now >= until || s->all != all)
			return true;
		if (poll(&in, 1, (int)((until - now) / 1000000) + 1) > 0) {
			ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

			if (n <= 0 && errno != EINTR)
				return false;
			if (n > 0 && !top_key(view, keys, (size_t)n, m->count, (size_t)rows))
				return false;
			s->all = view->all;
		}
		if (ended)
			return false;
	}
}

static int top_screen(struct settings *s, double delay)
{
	struct top_measurement before = {.count = 0}, m = {.count = 0};
	struct top_view view = {.sort = TOP_CPU, .all = s->all};
	struct sigaction end = {.sa_handler = on_end};
	bool go_on = true;
	int code = CREEL_OK;

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	if (!terminal_enter(TERMINAL_SCREEN)) {
		complain("can't use this terminal: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	while (go_on) {
		uint64_t began = now_ns(), took;
		/* The second one comes soon, for without it there are no rates. */
		double wait = before.at_ns || m.at_ns ? delay : 0.3;

		forget(&before);
		before = m;
		if (before.count)
			qsort(before.rows, before.count, sizeof(*before.rows), by_id);
		m = (struct top_measurement){.count = 0};
		code = measure(s, &m, &before);
		if (code != CREEL_OK)
			break;
		took = now_ns() - began;
		/* A host with very many guests is not kept busy by being watched. */
		if (wait < (double)took * 4e-9)
			wait = (double)took * 4e-9;
		go_on = show(s, &m, &view, now_ns() + (uint64_t)(wait * 1e9));
	}
	terminal_leave();
	forget(&before);
	forget(&m);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
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
