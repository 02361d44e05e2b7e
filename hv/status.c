#include "hv/status.h"

#include "hv/clock.h"
#include "hv/console.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/host.h"
#include "hv/log.h"
#include "hv/screen.h"
#include "lib/qr.h"
#include "lib/string.h"
#include "lib/utc.h"

#define TEXT_MAX   200
#define LABEL      11 /* columns of a row's name */
#define MARGIN     2
#define BAR_MAX    64 /* columns */
#define LEGEND     20
#define FACTS_AT   3  /* the panel's first row below its head */
#define KEY_DIGITS 64

/* On a screen with less, the panel is small and has no code. */
#define FULL_ROWS    36u
#define FULL_COLUMNS 100u
#define FULL_PANEL   22u
#define SMALL_PANEL  10u

#define PAGES_PER_MIB (MIB / PAGE_SIZE)

static uint16_t port;
static char key[STATUS_KEY_SIZE];
static bool key_lasts;
static struct qr code; /* of the key; size 0: none */
static unsigned facts_column;
static bool full, announced;

/* What is shown now. */
static struct facts {
	struct host_info host;
	unsigned load; /* percent */
	char address[TEXT_MAX], machine[TEXT_MAX], up[TEXT_MAX], now[UTC_TEXT_SIZE];
	char memory[TEXT_MAX], guests[TEXT_MAX], kept[TEXT_MAX];
} facts;

static struct event {
	char text[TEXT_MAX];
} events[STATUS_EVENTS]; /* the newest last */

void status_event(uint64_t wall_ns, const char *text)
{
	char when[UTC_TEXT_SIZE];

	utc_text(when, wall_ns);
	for (size_t i = 0; i + 1 < STATUS_EVENTS; i++)
		events[i] = events[i + 1];
	fmt(events[STATUS_EVENTS - 1].text, TEXT_MAX, "%.8s  %s", when + 11, text);
}

/* ---- gathering ---- */

/* Ticks that all cores have spent halted. */
static uint64_t idle_ticks(void)
{
	uint64_t sum = 0, now = rdtsc();

	for (unsigned i = 0; i < core_count; i++) {
		uint64_t since = __atomic_load_n(&cores[i]->idle_since, __ATOMIC_RELAXED);

		sum += __atomic_load_n(&cores[i]->idle_tsc, __ATOMIC_RELAXED);
		if (since && now > since)
			sum += now - since;
	}
	return sum;
}

/* Of all cores, in percent, since the last call. */
static unsigned load(void)
{
	static uint64_t last_idle, last_tsc;
	uint64_t idle = idle_ticks(), now = rdtsc();
	uint64_t passed = (now - last_tsc) * core_count;
	uint64_t halted = idle > last_idle ? MIN(idle - last_idle, passed) : 0;

	last_idle = idle;
	last_tsc = now;
	return passed ? (unsigned)((passed - halted) * 100 / passed) : 0;
}

static void gather(void)
{
	struct host_info *h = &facts.host;
	uint64_t seconds = clock_us() / 1000000, free, total;
	const char *cpu = h->cpu;

	host_info(h, OWNER_ANY);
	while (*cpu == ' ')
		cpu++;
	facts.load = load();
	utc_text(facts.now, h->wall_ns);
	fmt(facts.now + 10, sizeof(facts.now) - 10, " %.8s UTC", facts.now + 11);
	fmt(facts.up, sizeof(facts.up), "up %llu:%02u:%02u", (unsigned long long)(seconds / 3600),
		(unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
	if (h->address)
		fmt(facts.address, sizeof(facts.address), "%u.%u.%u.%u, port %u", h->address >> 24,
			h->address >> 16 & 255, h->address >> 8 & 255, h->address & 255, port);
	else
		fmt(facts.address, sizeof(facts.address), "none");
	fmt(facts.machine, sizeof(facts.machine), "%s, %u core%s, %s", cpu, h->cores,
		h->cores == 1 ? "" : "s", h->backend);
	free = h->frames_free / PAGES_PER_MIB;
	total = h->frames_total / PAGES_PER_MIB;
	fmt(facts.memory, sizeof(facts.memory), "%llu of %llu MiB in use",
		(unsigned long long)(total - free), (unsigned long long)total);
	fmt(facts.guests, sizeof(facts.guests),
		"%llu running, %llu waiting, %llu paused, %llu stopped",
		(unsigned long long)h->guests_runnable, (unsigned long long)h->guests_waiting,
		(unsigned long long)h->guests_paused, (unsigned long long)h->guests_stopped);
	fmt(facts.kept, sizeof(facts.kept), "%llu snapshot%s, %llu image%s",
		(unsigned long long)h->snapshots, h->snapshots == 1 ? "" : "s",
		(unsigned long long)h->images, h->images == 1 ? "" : "s");
}

/* ---- the screen; each of these is called by log_consoles() ---- */

static unsigned width_from(unsigned column)
{
	return screen_columns() > column + MARGIN ? screen_columns() - column - MARGIN : 0;
}

static void row(unsigned at, const char *name, enum screen_color ink, const char *value)
{
	screen_text(at, facts_column, LABEL, COLOR_DIM, COLOR_BACK, name);
	screen_text(at, facts_column + LABEL, width_from(facts_column + LABEL), ink, COLOR_BACK, value);
}

static unsigned bar_width(void)
{
	return MIN(width_from(facts_column + LABEL) / 2, (unsigned)BAR_MAX);
}

/* The text behind a bar. */
static void bar_text(unsigned at, const char *text)
{
	unsigned column = facts_column + LABEL + bar_width() + 2;

	screen_text(at, column, width_from(column), COLOR_BRIGHT, COLOR_BACK, text);
}

/* Set to the right; what was there before may have been longer. */
static void draw_times(unsigned column, unsigned width)
{
	char text[TEXT_MAX];

	fmt(text, sizeof(text), "%s   %s", facts.up, facts.now);
	if (strlen(text) > width)
		fmt(text, sizeof(text), "%s", facts.now);
	unsigned blank = width - MIN(width, (unsigned)strlen(text));

	screen_text(1, column, blank, COLOR_BRIGHT, COLOR_LOBSTER, "");
	screen_text(1, column + blank, width - blank, COLOR_BRIGHT, COLOR_LOBSTER, text);
}

static void draw_head(void)
{
	unsigned right = screen_columns() / 2, width = screen_columns() - right - MARGIN;
	char version[TEXT_MAX];

	fmt(version, sizeof(version), "Creel %s on %s", facts.host.version, facts.host.backend);
	screen_text(0, right + width - MIN(width, (unsigned)strlen(version)), width, COLOR_BRIGHT,
		COLOR_LOBSTER, version);
	draw_times(right, width);
}

/* A key that is lost at the next boot is red. */
static unsigned draw_key(unsigned at)
{
	enum screen_color ink = key_lasts ? COLOR_BRIGHT : COLOR_ERROR;
	unsigned width = width_from(facts_column + LABEL);

	if (!key[0]) {
		row(at, "Key", COLOR_ERROR, "none: the management port is closed");
		return at + 1;
	}
	row(at, "Key", ink, key);
	if (width >= KEY_DIGITS)
		return at + 1;
	screen_text(at, facts_column + LABEL + KEY_DIGITS / 2, width - KEY_DIGITS / 2, COLOR_BRIGHT,
		COLOR_BACK, "");
	row(at + 1, "", ink, key + KEY_DIGITS / 2);
	return at + 2;
}

static unsigned draw_load(unsigned at)
{
	const struct screen_part part = {
		facts.load, facts.load > 90 ? COLOR_WARN : COLOR_GREEN};
	char text[TEXT_MAX];

	screen_text(at, facts_column, LABEL, COLOR_DIM, COLOR_BACK, "Load");
	screen_bar(at, facts_column + LABEL, bar_width(), &part, 1, 100);
	fmt(text, sizeof(text), "%u %%", facts.load);
	bar_text(at, text);
	return at + 1;
}

/* A bar of what memory is used for, and below it what the colours mean. */
static unsigned draw_memory(unsigned at)
{
	const struct host_info *h = &facts.host;
	const struct {
		const char *name;
		struct screen_part part;
	} uses[] = {
		{"guests", {h->frames_data + h->frames_table + h->frames_state + h->frames_stream,
				   COLOR_BLUE}},
		{"images", {h->frames_image, COLOR_VIOLET}},
		{"host", {h->frames_host, COLOR_LOBSTER}},
	};
	struct screen_part parts[ARRAY_SIZE(uses)];
	unsigned column = facts_column + LABEL;
	char text[TEXT_MAX];

	screen_text(at, facts_column, LABEL, COLOR_DIM, COLOR_BACK, "Memory");
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
		const struct screen_part whole = {1, uses[i].part.color};

		parts[i] = uses[i].part;
		fmt(text, sizeof(text), "%s %llu MiB", uses[i].name,
			(unsigned long long)(parts[i].amount / PAGES_PER_MIB));
		screen_bar(at + 1, column, 2, &whole, 1, 1);
		screen_text(at + 1, column + 3, LEGEND, COLOR_DIM, COLOR_BACK, text);
		column += LEGEND + 3;
	}
	screen_bar(at, facts_column + LABEL, bar_width(), parts, ARRAY_SIZE(parts), h->frames_total);
	bar_text(at, facts.memory);
	return at + 2;
}

static void draw_events(unsigned at)
{
	bool any = events[STATUS_EVENTS - 1].text[0];

	/* from the top, whether there are all of them yet or not */
	for (unsigned i = 0, r = 0; i < STATUS_EVENTS; i++) {
		if (events[i].text[0] || !any) {
			row(at + r, r || !any ? "" : "Last", COLOR_DIM, events[i].text);
			r++;
		}
	}
}

static void draw(void *ctx)
{
	unsigned at = FACTS_AT;

	(void)ctx;
	draw_head();
	row(at++, "Address", facts.host.address ? COLOR_BRIGHT : COLOR_WARN, facts.address);
	at = draw_key(at);
	if (full) {
		row(at, "Machine", COLOR_TEXT, facts.machine);
		at += 2;
	}
	at = draw_load(at) + full;
	at = draw_memory(at);
	at += full;
	row(at++, "Guests", COLOR_TEXT, facts.guests);
	row(at++, "Kept", COLOR_TEXT, facts.kept);
	if (full)
		draw_events(at + 1);
}

static void draw_frame(void *ctx)
{
	unsigned columns;

	(void)ctx;
	screen_panel(full ? FULL_PANEL : SMALL_PANEL);
	for (unsigned r = 0; r < 2; r++)
		screen_text(r, 0, screen_columns(), COLOR_BRIGHT, COLOR_LOBSTER, "");
	screen_title(0, MARGIN, COLOR_BRIGHT, COLOR_LOBSTER, "Creel");
	facts_column = MARGIN;
	if (!full || !code.size)
		return;
	columns = screen_qr(FACTS_AT, MARGIN, FULL_PANEL - FACTS_AT - 1, &code);
	if (columns)
		facts_column = MARGIN + columns + 2 * MARGIN;
}

/* ---- the serial port ---- */

/* Two rows of modules are one of text: a block, its upper or its lower half is light. */
static void say_code_row(unsigned y)
{
	static const char *const blocks[] = {" ", "\xe2\x96\x84", "\xe2\x96\x80", "\xe2\x96\x88"};
	char line[16 + 3 * (QR_SIZE_MAX + 2 * QR_QUIET)];
	int size = (int)code.size;
	size_t n = fmt(line, sizeof(line), "\033[97;40m");

	for (int x = -QR_QUIET; x < size + QR_QUIET; x++) {
		int upper = 2 * (int)y - QR_QUIET;
		unsigned light = 2u * !qr_dark(&code, x, upper) + !qr_dark(&code, x, upper + 1);

		n += fmt(line + n, sizeof(line) - n, "%s", blocks[light]);
	}
	fmt(line + n, sizeof(line) - n, "\033[m");
	console_serial_line(line);
}

static unsigned said = UINT32_MAX; /* rows of the present announcement; UINT32_MAX: there is none */

static void say_row(void *ctx)
{
	static const struct {
		const char *name, *value;
	} rows[] = {
		{"Address", facts.address},
		{"Key", key},
		{"Machine", facts.machine},
		{"Clock", facts.now},
		{"Memory", facts.memory},
		{"Guests", facts.guests},
		{"Kept", facts.kept},
	};
	unsigned modules = code.size ? code.size + 2 * QR_QUIET : 0;
	char line[TEXT_MAX];

	(void)ctx;
	if (said == 0) {
		fmt(line, sizeof(line), "Creel %s, %s, load %u %%", facts.host.version, facts.up,
			facts.load);
		console_serial_line(line);
	} else if (said <= ARRAY_SIZE(rows)) {
		fmt(line, sizeof(line), "  %-*s%s", LABEL, rows[said - 1].name, rows[said - 1].value);
		console_serial_line(line);
	} else if (said - ARRAY_SIZE(rows) <= (modules + 1) / 2) {
		say_code_row(said - (unsigned)ARRAY_SIZE(rows) - 1);
	} else {
		said = UINT32_MAX - 1;
	}
	said++;
}

bool status_say(void)
{
	if (said != UINT32_MAX)
		log_consoles(say_row, NULL);
	return said != UINT32_MAX;
}

static void look_for_key(void *pressed)
{
	*(bool *)pressed = console_key();
}

/* ---- both ---- */

void status_start(uint16_t management_port, const char *host_key, bool lasts)
{
	key_lasts = lasts;
	port = management_port;
	fmt(key, sizeof(key), "%s", host_key);
	if (key[0] && qr_make(&code, key, strlen(key)) < 0)
		code.size = 0;
	full = screen_rows() >= FULL_ROWS && screen_columns() >= FULL_COLUMNS;
	if (screen_rows() > SMALL_PANEL)
		log_consoles(draw_frame, NULL);
}

void status_show(void)
{
	bool pressed = false;

	gather();
	if (screen_rows() > SMALL_PANEL)
		log_consoles(draw, NULL);
	log_consoles(look_for_key, &pressed);
	if (said == UINT32_MAX && (pressed || (!announced && facts.host.address))) {
		announced = true;
		said = 0;
	}
}
