/* creelctl: the table of commands, and what surrounds each. */
#include "mgmt/creelctl/creelctl.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000

#define FLAG(letter, name, member, text) \
	{letter, name, OPTION_FLAG, offsetof(struct settings, member), NULL, text}
#define VALUE(letter, name, kind, member, value, text) \
	{letter, name, OPTION_##kind, offsetof(struct settings, member), value, text}
#define END {0}

static const struct option quiet_options[] = {FLAG('q', "quiet", quiet, "only the numbers"), END};

static const struct option ps_options[] = {
	FLAG('a', "all", all, "stopped guests too"),
	FLAG('q', "quiet", quiet, "only the numbers"),
	END,
};

#define BEGIN_OPTIONS \
	VALUE(0, "max-memory", SIZE, max_memory, "SIZE", "budget: memory that it and its forks may hold"), \
	VALUE(0, "max-pages", NUMBER, max_pages, "N", "the same in pages of 4 KiB"), \
	VALUE(0, "max-guests", NUMBER, max_guests, "N", "forks alive at once (1024)"), \
	VALUE(0, "max-snapshots", NUMBER, max_snapshots, "N", "snapshots (64)"), \
	VALUE(0, "weight", NUMBER, weight, "N", "share of the processor, 1 to 10000 (100)"), \
	VALUE('e', "env", LIST, env, "K=V", "set an environment variable; may be repeated"), \
	FLAG('i', "interactive", interactive, "send stdin to the guest"), \
	FLAG(0, "rm", remove, "remove it when it has stopped"), \
	FLAG(0, "paused", paused, "make it, but do not start it yet")

static const struct option run_options[] = {
	VALUE(0, "name", TEXT, name, "NAME", "a name to call it by"),
	VALUE('m', "memory", SIZE, memory, "SIZE", "its memory (what the image asks for)"),
	FLAG('d', "detach", detach, "print its number and return at once"),
	BEGIN_OPTIONS,
	END,
};

static const struct option fork_options[] = {
	VALUE('n', "count", NUMBER, count, "N", "so many forks, 1 to 100000 (1)"),
	VALUE(0, "name", TEXT, name, "NAME", "their name; with -n a prefix, NAME-1 and so on"),
	FLAG(0, "attach", attach, "run one fork with its streams, as run does"),
	BEGIN_OPTIONS,
	END,
};

static const struct option limit_options[] = {
	VALUE(0, "max-memory", SIZE, max_memory, "SIZE", "memory that it and its forks may hold"),
	VALUE(0, "max-pages", NUMBER, max_pages, "N", "the same in pages of 4 KiB"),
	VALUE(0, "max-guests", NUMBER, max_guests, "N", "forks alive at once"),
	VALUE(0, "weight", NUMBER, weight, "N", "share of the processor, 1 to 10000"),
	END,
};

static const struct option snapshot_options[] = {
	VALUE(0, "name", TEXT, name, "NAME", "a name to call it by"), END};

static const struct option rm_options[] = {
	FLAG('f', "force", force, "kill a guest that still runs"), END};

static const struct option logs_options[] = {
	FLAG('f', "follow", follow, "go on until the guest stops"),
	FLAG(0, "stdout", only_stdout, "only its stdout"),
	FLAG(0, "stderr", only_stderr, "only its stderr"),
	END,
};

static const struct option attach_options[] = {
	FLAG('i', "interactive", interactive, "send stdin to the guest"),
	FLAG(0, "from-start", from_start, "begin with the oldest output kept, not with what comes now"),
	FLAG(0, "hold", hold, "the guest waits for us, so that nothing is missed"),
	FLAG(0, "stdout", only_stdout, "only its stdout"),
	FLAG(0, "stderr", only_stderr, "only its stderr"),
	END,
};

static const struct option log_options[] = {FLAG('f', "follow", follow, "go on as lines come"), END};

static const struct option tree_options[] = {
	FLAG(0, "full", full, "all children, also where there are many"), END};

static const struct option stats_options[] = {
	FLAG(0, "reset", reset, "set the counts of operations to zero afterwards"), END};

const struct command commands[] = {
	{"info", NULL, "", "show the host", NULL, NULL, 0, 0, false, run_info},
	{"put", NULL, "FILE [NAME]", "upload a guest image",
		"NAME is the file's name without \".elf\" if not given. An image of the same name is replaced;\n"
		"guests that came from it go on.",
		NULL, 1, 2, false, run_put},
	{"images", NULL, "", "list images", NULL, quiet_options, 0, 0, false, run_images},
	{"rmi", NULL, "IMAGE...", "remove images", NULL, NULL, 1, -1, false, run_rmi},
	{"run", NULL, "[OPTION...] IMAGE [ARG...]", "run an image as a new guest",
		"Without -d its stdout and stderr come here until it stops, and its exit status is ours.\n"
		"^C kills it. With --json all of it is one document at the end.",
		run_options, 1, -1, true, run_run},
	{"ps", "ls", "", "list guests", NULL, ps_options, 0, 0, false, run_ps},
	{"inspect", NULL, "WHAT...", "show all about guests, snapshots or images", NULL, NULL, 1, -1, false,
		run_inspect},
	{"snapshot", NULL, "GUEST [NAME]", "freeze the whole of a guest as a snapshot",
		"The guest goes on at once.", snapshot_options, 1, 2, false, run_snapshot},
	{"snapshots", NULL, "[GUEST]", "list snapshots, of all or of a guest's lineage", NULL, quiet_options,
		0, 1, false, run_snapshots},
	{"fork", NULL, "[OPTION...] SOURCE [ARG...]", "make new guests of a guest or a snapshot",
		"Prints the number of each fork. Without ARGs they have their parent's arguments.", fork_options,
		1, -1, true, run_fork},
	{"rollback", NULL, "GUEST SNAPSHOT", "take a guest back to a snapshot of its lineage", NULL, NULL, 2,
		2, false, run_rollback},
	{"pause", NULL, "GUEST...", "pause guests", NULL, NULL, 1, -1, false, run_pause},
	{"resume", "unpause", "GUEST...", "let paused guests go on", NULL, NULL, 1, -1, false, run_resume},
	{"kill", "stop", "GUEST...", "stop guests for good", NULL, NULL, 1, -1, false, run_kill},
	{"rm", NULL, "[-f] WHAT...", "remove stopped guests, or snapshots", NULL, rm_options, 1, -1, false,
		run_rm},
	{"logs", NULL, "[-f] GUEST", "print what a guest has written",
		"A host keeps about the last 64 KiB of each stream.", logs_options, 1, 1, false, run_logs},
	{"attach", NULL, "[OPTION...] GUEST", "connect to the streams of a guest",
		"Ends when the guest stops, with its exit status. ^C detaches.", attach_options, 1, 1, false,
		run_attach},
	{"wait", NULL, "GUEST...", "wait until guests have stopped, print their exit status", NULL, NULL, 1,
		-1, false, run_wait},
	{"limit", "update", "[OPTION...] GUEST...", "change budget and weight of guests",
		"A guest that was paused at its limit goes on after \"creelctl resume\".", limit_options, 1, -1,
		false, run_limit},
	{"tree", NULL, "", "draw the lineage of guests and snapshots", "◆ marks a snapshot.", tree_options, 0,
		0, false, run_tree},
	{"stats", NULL, "", "show memory by kind, and what operations cost", NULL, stats_options, 0, 0, false,
		run_stats},
	{"log", NULL, "[-f]", "print the host's own log", NULL, log_options, 0, 0, false, run_log},
	{"help", NULL, "[COMMAND]", "tell about creelctl, or about a command", NULL, NULL, 0, 1, false,
		run_help},
	{0},
};

int run_help(struct settings *s, int argc, char **argv)
{
	(void)s;
	return help(argc ? argv[0] : NULL);
}

static int run_command(struct settings *s, const struct command *c, int argc, char **argv)
{
	int count = parse_options(s, c, argc, argv), code;

	if (count < 0)
		return EXIT_USAGE;
	argv[count] = NULL;
	if (count < c->least || (c->most >= 0 && count > c->most)) {
		complain("%s %s; usage: creelctl %s %s", c->name,
			count < c->least ? "needs more arguments" : "takes fewer arguments", c->name,
			c->synopsis);
		return EXIT_USAGE;
	}
	if (c->run == run_help)
		return run_help(s, count, argv);
	s->host_connection = creel_new();
	if (!s->host_connection)
		abort();
	code = creel_connect(s->host_connection, s->host, CONNECT_MS);
	if (code == CREEL_INVALID) {
		complain("%s", creel_error_text(s->host_connection));
		code = EXIT_USAGE;
	} else if (code != CREEL_OK) {
		complain("%s", creel_error_text(s->host_connection));
		code = EXIT_CONNECTION;
	} else {
		code = c->run(s, count, argv);
	}
	creel_free(s->host_connection);
	return code;
}

int main(int argc, char **argv)
{
	static struct settings s;
	const struct command *c;
	int count;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	s.host = getenv("CREEL_HOST");
	if (!s.host || !s.host[0])
		s.host = "127.0.0.1";
	count = parse_options(&s, NULL, argc - 1, argv + 1);
	if (count < 0)
		return EXIT_USAGE;
	if (!count) {
		help(NULL);
		return EXIT_USAGE;
	}
	c = find_command(argv[1]);
	if (!c)
		return EXIT_USAGE;
	int status = run_command(&s, c, count - 1, argv + 2);

	if (fflush(stdout) || ferror(stdout)) {
		complain("can't write to stdout");
		return status ? status : EXIT_REFUSED;
	}
	return status;
}
