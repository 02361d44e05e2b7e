/* Commands for the host's operator: audit, host reboot, host poweroff. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* "2026-11-21 10:53:30", in UTC. */
static const char *utc(char buf[32], uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm);
	return buf;
}

struct audit_listing {
	struct settings *s;
	uint64_t last; /* number of the record before, 0: none */
};

static void audit_json(const struct settings *s, const struct creel_audit *a, const char *address)
{
	char when[32];

	json_begin_object(NULL);
	json_number("seq", a->seq);
	json_text("time", utc(when, a->wall_ns));
	json_number("wall_ns", a->wall_ns);
	json_text("client", a->client);
	json_text("role", role_word(a->role));
	json_text("address", address);
	json_text("action", a->action);
	json_text("object", a->object);
	json_text("result", creel_code_name((int)a->code));
	json_number("code", a->code);
	json_number("made", a->made);
	json_number("count", a->count);
	json_end_object();
	/* With -f there is no end at which an array could be closed: a document a line. */
	if (s->follow)
		json_end();
}

static void audit_line(struct audit_listing *l, const struct creel_audit *a, const char *address)
{
	char when[32];

	if (l->last && a->seq != l->last + 1)
		printf("(%" PRIu64 " records are no longer kept)\n", a->seq - l->last - 1);
	printf("%s  %s (%s, %s): %s", utc(when, a->wall_ns), a->client[0] ? a->client : "-",
		role_word(a->role),
		address, a->action);
	if (a->object[0])
		printf(" %s", a->object);
	if (a->count > 1)
		printf(", %" PRIu32 " times", a->count);
	if (a->made)
		printf(" -> %" PRIu64, a->made);
	printf(": %s\n", creel_code_name((int)a->code));
}

static int show_record(void *arg, const struct creel_audit *a)
{
	struct audit_listing *l = arg;
	uint32_t from = a->address;
	char address[16];

	snprintf(address, sizeof(address), "%u.%u.%u.%u", from >> 24, from >> 16 & 255,
		from >> 8 & 255, from & 255);
	if (l->s->json)
		audit_json(l->s, a, address);
	else
		audit_line(l, a, address);
	l->last = a->seq;
	if (l->s->follow)
		fflush(stdout);
	return ferror(stdout);
}

int run_audit(struct settings *s, int argc, char **argv)
{
	struct audit_listing l = {.s = s};
	uint64_t after = 0;
	int code;

	(void)argc, (void)argv;
	if (s->json && !s->follow)
		json_begin_array(NULL);
	code = creel_audit(s->host_connection, &after, s->follow, show_record, &l);
	if (s->json && !s->follow) {
		json_end_array();
		json_end();
	}
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

/* ---- power ---- */

static bool sure(const struct settings *s, const char *what)
{
	char answer[16];

	if (s->yes)
		return true;
	if (!isatty(STDIN_FILENO)) {
		complain("%s ends all guests and forgets all snapshots: say --yes if that is meant", what);
		return false;
	}
	fprintf(stderr, "%s: all guests end, and all snapshots are gone. Type yes to go on: ", what);
	return fgets(answer, sizeof(answer), stdin) && !strcmp(answer, "yes\n");
}

static int power(struct settings *s, enum creel_power action, const char *what)
{
	int code;

	if (!sure(s, what))
		return EXIT_USAGE;
	code = creel_host_power(s->host_connection, action);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

int run_host_reboot(struct settings *s, int argc, char **argv)
{
	(void)argc, (void)argv;
	return power(s, CREEL_REBOOT, "reboot of the host");
}

int run_host_poweroff(struct settings *s, int argc, char **argv)
{
	(void)argc, (void)argv;
	return power(s, CREEL_POWER_OFF, "switching the host off");
}
