/* creelctl events: a line for each thing that happens. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <time.h>

static const char *what_word(enum creel_what what)
{
	switch (what) {
	case CREEL_EVENT_NONE:
		return "none";
	case CREEL_EVENT_CREATED:
		return "created";
	case CREEL_EVENT_STATE:
		return "state";
	case CREEL_EVENT_REMOVED:
		return "removed";
	case CREEL_EVENT_ROLLED_BACK:
		return "rolled back";
	}
	return "unknown";
}

static const char *kind_word(enum creel_kind kind)
{
	return kind == CREEL_GUEST ? "guest" : kind == CREEL_SNAPSHOT ? "snapshot" : "image";
}

static void event_json(const struct creel_event *e)
{
	json_begin_object(NULL);
	json_number("time_ns", e->time_ns);
	json_number("lost", e->lost);
	json_text("what", what_word(e->what));
	json_text("kind", e->what ? kind_word(e->kind) : "");
	json_number("id", e->id);
	json_number("parent", e->parent);
	json_text("name", e->name);
	json_text("owner", e->owner);
	json_text("state", e->kind == CREEL_GUEST ? state_word(e->state) : "");
	json_text("stop", stop_word(e->stop));
	json_signed("exit_status", e->exit_status);
	json_text("reason", e->reason);
	json_text("labels", e->labels);
	json_end_object();
	json_end();
}

static void event_line(const struct creel_event *e)
{
	time_t seconds = (time_t)(e->time_ns / 1000000000u);
	char when[32], state[64];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	printf("%s.%03uZ %s %" PRIu64, when, (unsigned)(e->time_ns / 1000000 % 1000),
		kind_word(e->kind), e->id);
	if (e->name[0])
		printf(" %s", e->name);
	if (e->what == CREEL_EVENT_STATE) {
		printf(": %s", human_state(state, e->state, e->stop, e->exit_status));
		if (e->reason[0] && e->stop != CREEL_STOP_EXIT)
			printf(" (%s)", e->reason);
	} else {
		printf(": %s", what_word(e->what));
		if (e->what == CREEL_EVENT_CREATED && e->parent)
			printf(" from %" PRIu64, e->parent);
	}
	putchar('\n');
}

static int show_event(void *arg, const struct creel_event *e)
{
	const struct settings *s = arg;

	if (e->lost)
		complain("%u events were lost: this was too slow for them", e->lost);
	if (s->json)
		event_json(e);
	else if (e->what)
		event_line(e);
	return fflush(stdout) || ferror(stdout);
}

int run_events(struct settings *s, int argc, char **argv)
{
	int code = creel_events(s->host_connection, s->selector, show_event, s);

	(void)argc, (void)argv;
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}
