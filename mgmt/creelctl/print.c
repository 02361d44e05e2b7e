/* How creelctl says things: errors, sizes, times, tables. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void complain(const char *format, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("creelctl: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int failed(const struct settings *s, int code)
{
	uint32_t retry = creel_retry_ms(s->host_connection);
	const char *text = creel_error_text(s->host_connection);

	if (code == CREEL_CANCELLED)
		return EXIT_INTERRUPTED;
	if (retry)
		complain("%s (try again in %u ms)", text, retry);
	else
		complain("%s", text);
	return code == CREEL_CONNECTION ? EXIT_CONNECTION : EXIT_REFUSED;
}

bool unicode_locale(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

const char *human_size(char buf[32], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		value /= 1024;
	snprintf(buf, 32, value < 9.95 && unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

const char *human_span(char buf[32], uint64_t ns)
{
	static const struct {
		const char *name;
		uint64_t seconds;
	} units[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}};
	uint64_t seconds = ns / 1000000000u;

	for (size_t i = 0; i < 4; i++) {
		uint64_t n = seconds / units[i].seconds;

		if (n) {
			snprintf(buf, 32, "%" PRIu64 " %s%s", n, units[i].name, n == 1 ? "" : "s");
			return buf;
		}
	}
	snprintf(buf, 32, ns < 1000000 ? "%" PRIu64 " us" : "%" PRIu64 " ms",
		ns < 1000000 ? ns / 1000 : ns / 1000000);
	return buf;
}

const char *human_age(char buf[32], uint64_t created_ns)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;

	/* The clocks of two machines may differ. */
	if (now < created_ns + 1000000000u)
		return "just now";
	human_span(buf, now - created_ns);
	strcat(buf, " ago");
	return buf;
}

const char *role_word(enum creel_role role)
{
	switch (role) {
	case CREEL_VIEWER:
		return "viewer";
	case CREEL_OWNER:
		return "owner";
	case CREEL_OPERATOR:
		return "operator";
	case CREEL_ADMIN:
		return "admin";
	}
	return "unknown";
}

const char *state_word(enum creel_state state)
{
	switch (state) {
	case CREEL_RUNNABLE:
		return "running";
	case CREEL_WAITING:
		return "waiting";
	case CREEL_PAUSED:
		return "paused";
	case CREEL_STOPPED:
		return "stopped";
	}
	return "unknown";
}

const char *stop_word(enum creel_stop stop)
{
	static const char *const words[] = {
		[CREEL_STOP_NONE] = "none",
		[CREEL_STOP_EXIT] = "exited",
		[CREEL_STOP_KILLED] = "killed",
		[CREEL_STOP_CRASHED] = "crashed",
		[CREEL_STOP_BAD_ADDRESS] = "bad address",
		[CREEL_STOP_TRIPLE_FAULT] = "triple fault",
		[CREEL_STOP_FORBIDDEN] = "forbidden",
		[CREEL_STOP_HALTED] = "halted",
		[CREEL_STOP_BAD_STATE] = "bad state",
		[CREEL_STOP_CLIENT] = "by a client",
		[CREEL_STOP_MEMORY_LIMIT] = "memory limit",
		[CREEL_STOP_HOST_RESERVE] = "host full",
		[CREEL_STOP_FORBIDDEN_LOOP] = "exception loop",
		[CREEL_STOP_POWER_OFF] = "power off",
		[CREEL_STOP_REBOOT] = "reboot",
		[CREEL_STOP_PANIC] = "kernel panic",
		[CREEL_STOP_DEADLINE] = "deadline",
	};

	return (size_t)stop < sizeof(words) / sizeof(words[0]) ? words[stop] : "unknown";
}

const char *human_state(char buf[64], enum creel_state state, enum creel_stop stop, int exit_status)
{
	if (state == CREEL_STOPPED && stop == CREEL_STOP_EXIT)
		snprintf(buf, 64, "exited (%d)", exit_status);
	else if (state == CREEL_STOPPED)
		snprintf(buf, 64, "%s", stop_word(stop));
	else if (state == CREEL_PAUSED && stop != CREEL_STOP_CLIENT)
		snprintf(buf, 64, "paused (%s)", stop_word(stop));
	else
		snprintf(buf, 64, "%s", state_word(state));
	return buf;
}

int exit_of(const struct creel_status *status)
{
	switch (status->stop) {
	case CREEL_STOP_EXIT:
		return status->exit_status & 0xff;
	case CREEL_STOP_POWER_OFF:
		return EXIT_DONE;
	case CREEL_STOP_KILLED:
		return EXIT_KILLED;
	case CREEL_STOP_CRASHED:
	case CREEL_STOP_PANIC:
		return EXIT_CRASHED;
	case CREEL_STOP_BAD_ADDRESS:
		return EXIT_BAD_ADDRESS;
	case CREEL_STOP_TRIPLE_FAULT:
		return EXIT_TRIPLE_FAULT;
	case CREEL_STOP_FORBIDDEN:
	case CREEL_STOP_FORBIDDEN_LOOP:
		return EXIT_FORBIDDEN;
	case CREEL_STOP_HALTED:
		return EXIT_HALTED;
	case CREEL_STOP_DEADLINE:
		return EXIT_DEADLINE;
	default:
		return EXIT_STOPPED;
	}
}

/* ---- tables ---- */

static void add_cell(struct table *t, char *text)
{
	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 256;
		t->cells = realloc(t->cells, t->room * sizeof(*t->cells));
		if (!t->cells)
			abort();
	}
	t->cells[t->count++] = text;
}

void table_begin(struct table *t, const char *right, size_t columns, const char *const *titles)
{
	*t = (struct table){.columns = columns, .right = right};
	for (size_t i = 0; i < columns; i++)
		add_cell(t, strdup(titles[i]));
}

void table_add(struct table *t, const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort();
	va_end(ap);
	add_cell(t, text);
}

void table_drop(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	t->count = 0;
}

void table_end(struct table *t)
{
	int width[16] = {0};

	for (size_t i = 0; i < t->count; i++) {
		int n = (int)strlen(t->cells[i]);

		if (n > width[i % t->columns])
			width[i % t->columns] = n;
	}
	for (size_t i = 0; i < t->count; i++) {
		size_t column = i % t->columns;
		bool last = column + 1 == t->columns;

		if (t->right[column] == 'r')
			printf("%*s%s", width[column], t->cells[i], last ? "\n" : "   ");
		else if (last)
			printf("%s\n", t->cells[i]);
		else
			printf("%-*s   ", width[column], t->cells[i]);
		free(t->cells[i]);
	}
	free(t->cells);
}
