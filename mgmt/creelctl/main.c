/* creelctl: the table of commands, and what surrounds each. */
#include "mgmt/creelctl/creelctl.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000

/* clang-format off: rows, and macros that make rows */
#define FLAG(letter, name, member, text)                                                           \
	{                                                                                          \
		letter, name, OPTION_FLAG, offsetof(struct settings, member), NULL, text           \
	}
#define VALUE(letter, name, kind, member, value, text)                                             \
	{                                                                                          \
		letter, name, OPTION_##kind, offsetof(struct settings, member), value, text        \
	}
#define END                                                                                        \
	{                                                                                          \
		0                                                                                  \
	}

static const struct option quiet_options[] = {FLAG('q', "quiet", quiet, "only the numbers"), END};

static const struct option ps_options[] = {
	FLAG('a', "all", all, "stopped guests too"),
	FLAG('q', "quiet", quiet, "only the numbers"),
	END,
};

#define BEGIN_OPTIONS                                                                              \
	VALUE(0, "max-memory", SIZE, max_memory, "SIZE", "memory that it and its forks may hold"), \
		VALUE(0, "max-pages", NUMBER, max_pages, "N", "the same in pages of 4 KiB"),       \
		VALUE(0, "max-guests", NUMBER, max_guests, "N", "forks alive at once (1024)"),     \
		VALUE(0, "max-snapshots", NUMBER, max_snapshots, "N", "snapshots (64)"),           \
		VALUE(0, "weight", NUMBER, weight, "N",                                            \
			"share of the processor, 1 to 10000 (100)"),                               \
		VALUE('e', "env", LIST, env, "K=V",                                                \
			"set an environment variable; may be repeated"),                           \
		FLAG('i', "interactive", interactive, "send stdin to the guest"),                  \
		FLAG(0, "rm", remove, "remove it when it has stopped"),                            \
		FLAG(0, "paused", paused, "make it, but do not start it yet")

#define KERNEL_OPTIONS                                                                             \
	VALUE(0, "kernel", TEXT, kernel, "FILE", "a Linux kernel (bzImage)"),                       \
		VALUE(0, "initrd", TEXT, initrd, "FILE", "its initramfs"),                       \
		VALUE(0, "cmdline", TEXT, cmdline, "TEXT",                                       \
			"its command line (console=ttyS0 panic=-1)")

static const struct option image_options[] = {
	KERNEL_OPTIONS,
	VALUE('m', "memory", SIZE, memory, "SIZE", "memory of its guests (256M)"),
	END,
};

static const struct option run_options[] = {
	VALUE(0, "name", TEXT, name, "NAME", "a name to call it by"),
	VALUE('m', "memory", SIZE, memory, "SIZE", "its memory (what the image asks for)"),
	FLAG('d', "detach", detach, "print its number and return at once"),
	KERNEL_OPTIONS,
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
	FLAG(0, "from-start", from_start, "begin with the oldest output kept, not with new one"),
	FLAG(0, "hold", hold, "the guest waits for us, so that nothing is missed"),
	FLAG(0, "stdout", only_stdout, "only its stdout"),
	FLAG(0, "stderr", only_stderr, "only its stderr"),
	END,
};

static const struct option log_options[] = {
	FLAG('f', "follow", follow, "go on as lines come"), END};

static const struct option tree_options[] = {
	FLAG(0, "full", full, "all children, also where there are many"), END};

static const struct option stats_options[] = {
	FLAG(0, "reset", reset, "set the counts of operations to zero afterwards"), END};
/* clang-format on */

const struct command commands[] = {
	{
		.name = "info",
		.synopsis = "",
		.summary = "show the host",
		.run = run_info,
	},
	{
		.name = "put",
		.synopsis = "FILE [NAME]",
		.summary = "upload a guest image",
		.text = "NAME is the file's name without \".elf\" if not given.\n"
			"An image of the same name is replaced; guests that came from it go on.",
		.least = 1,
		.most = 2,
		.run = run_put,
	},
	{
		.name = "image",
		.synopsis = "build --kernel FILE [OPTION...] OUTPUT",
		.summary = "make an image of a Linux guest",
		.text = "OUTPUT is one file, which \"creelctl put\" and the boot volume take.",
		.options = image_options,
		.least = 1,
		.most = 2,
		.offline = true,
		.run = run_image,
	},
	{
		.name = "images",
		.synopsis = "",
		.summary = "list images",
		.options = quiet_options,
		.run = run_images,
	},
	{
		.name = "rmi",
		.synopsis = "IMAGE...",
		.summary = "remove images",
		.least = 1,
		.most = -1,
		.run = run_rmi,
	},
	{
		.name = "run",
		.synopsis = "[OPTION...] IMAGE [ARG...]",
		.summary = "run an image as a new guest",
		.text = "Without -d its stdout and stderr come here until it stops, and its\n"
			"exit status is ours. ^C kills it. With --json all of it is one\n"
			"document at the end. The guest's arguments are IMAGE and the ARGs.\n"
			"With --kernel and no IMAGE a Linux kernel is put as an image of its\n"
			"file's name, and run.",
		.options = run_options,
		.least = 0,
		.most = -1,
		.arguments_follow = true,
		.run = run_run,
	},
	{
		.name = "ps",
		.alias = "ls",
		.synopsis = "",
		.summary = "list guests",
		.options = ps_options,
		.run = run_ps,
	},
	{
		.name = "inspect",
		.synopsis = "WHAT...",
		.summary = "show all about guests, snapshots or images",
		.least = 1,
		.most = -1,
		.run = run_inspect,
	},
	{
		.name = "snapshot",
		.synopsis = "GUEST [NAME]",
		.summary = "freeze the whole of a guest as a snapshot",
		.text = "The guest goes on at once.",
		.options = snapshot_options,
		.least = 1,
		.most = 2,
		.run = run_snapshot,
	},
	{
		.name = "snapshots",
		.synopsis = "[GUEST]",
		.summary = "list snapshots, of all or of a guest's lineage",
		.options = quiet_options,
		.most = 1,
		.run = run_snapshots,
	},
	{
		.name = "fork",
		.synopsis = "[OPTION...] SOURCE [ARG...]",
		.summary = "make new guests of a guest or a snapshot",
		.text = "Prints the number of each fork. Without ARGs they have their parent's\n"
			"arguments.",
		.options = fork_options,
		.least = 1,
		.most = -1,
		.arguments_follow = true,
		.run = run_fork,
	},
	{
		.name = "rollback",
		.synopsis = "GUEST SNAPSHOT",
		.summary = "take a guest back to a snapshot of its lineage",
		.least = 2,
		.most = 2,
		.run = run_rollback,
	},
	{
		.name = "pause",
		.synopsis = "GUEST...",
		.summary = "pause guests",
		.least = 1,
		.most = -1,
		.run = run_pause,
	},
	{
		.name = "resume",
		.alias = "unpause",
		.synopsis = "GUEST...",
		.summary = "let paused guests go on",
		.least = 1,
		.most = -1,
		.run = run_resume,
	},
	{
		.name = "kill",
		.alias = "stop",
		.synopsis = "GUEST...",
		.summary = "stop guests for good",
		.least = 1,
		.most = -1,
		.run = run_kill,
	},
	{
		.name = "rm",
		.synopsis = "[-f] WHAT...",
		.summary = "remove stopped guests, or snapshots",
		.options = rm_options,
		.least = 1,
		.most = -1,
		.run = run_rm,
	},
	{
		.name = "logs",
		.synopsis = "[-f] GUEST",
		.summary = "print what a guest has written",
		.text = "A host keeps about the last 64 KiB of each stream.",
		.options = logs_options,
		.least = 1,
		.most = 1,
		.run = run_logs,
	},
	{
		.name = "attach",
		.synopsis = "[OPTION...] GUEST",
		.summary = "connect to the streams of a guest",
		.text = "Ends when the guest stops, with its exit status. ^C detaches.",
		.options = attach_options,
		.least = 1,
		.most = 1,
		.run = run_attach,
	},
	{
		.name = "wait",
		.synopsis = "GUEST...",
		.summary = "wait until guests have stopped, print their exit status",
		.text = "The status is what \"creelctl run\" would have ended with.",
		.least = 1,
		.most = -1,
		.run = run_wait,
	},
	{
		.name = "limit",
		.alias = "update",
		.synopsis = "[OPTION...] GUEST...",
		.summary = "change budget and weight of guests",
		.text = "A guest that was paused at its limit goes on after \"creelctl resume\".",
		.options = limit_options,
		.least = 1,
		.most = -1,
		.run = run_limit,
	},
	{
		.name = "tree",
		.synopsis = "",
		.summary = "draw the lineage of guests and snapshots",
		.text = "◆ marks a snapshot. Sizes are what each holds alone.",
		.options = tree_options,
		.run = run_tree,
	},
	{
		.name = "stats",
		.synopsis = "",
		.summary = "show memory by kind, and what operations cost",
		.options = stats_options,
		.run = run_stats,
	},
	{
		.name = "log",
		.synopsis = "[-f]",
		.summary = "print the host's own log",
		.options = log_options,
		.run = run_log,
	},
	{
		.name = "help",
		.synopsis = "[COMMAND]",
		.summary = "tell about creelctl, or about a command",
		.most = 1,
		.offline = true,
		.run = run_help,
	},
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
			count < c->least ? "needs more arguments" : "takes fewer arguments",
			c->name, c->synopsis);
		return EXIT_USAGE;
	}
	if (c->offline)
		return c->run(s, count, argv);
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
