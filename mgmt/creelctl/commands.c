/*
 * The table of commands. Help, completion and the manual page are made of it. A file with commands
 * of its own defines its options and rows beside them, and is added to command_groups at the end.
 */
#include "mgmt/creelctl/creelctl.h"

/* clang-format off: rows, and macros that make rows */
static const struct option images_options[] = {
	FLAG('a', "all", &settings.all, "uploads that were cut off, too"),
	FLAG('q', "quiet", &settings.quiet, "only the numbers"),
	END_OPTIONS,
};

#define SELECTOR                                                                                   \
	VALUE('l', "selector", TEXT, &settings.selector, "K=V,K",                                  \
		"those with these labels; a key alone: any value")

#define TIMEOUT                                                                                    \
	VALUE(0, "timeout", SPAN, &settings.timeout_ns, "TIME",                                    \
		"stop it after so long, as in 500ms, 30s, 10m, 2h"),                               \
	FLAG(0, "timeout-running", &settings.timeout_running,                                      \
		"its time stands still while it is paused")

static const struct option ps_options[] = {
	SELECTOR,
	FLAG('a', "all", &settings.all, "stopped guests too"),
	FLAG('q', "quiet", &settings.quiet, "only the numbers"),
	END_OPTIONS,
};

#define TTY_HELP "the same, key by key from a raw terminal; ^P ^Q leaves"

/* What run and fork have in common. */
#define BEGIN_OPTIONS                                                                              \
	VALUE(0, "max-memory", SIZE, &settings.max_memory, "SIZE",                                 \
		"memory that it and its forks may hold"),                                          \
	VALUE(0, "max-pages", NUMBER, &settings.max_pages, "N", "the same in pages of 4 KiB"),     \
	VALUE(0, "max-guests", NUMBER, &settings.max_guests, "N", "forks alive at once (1024)"),   \
	VALUE(0, "max-snapshots", NUMBER, &settings.max_snapshots, "N", "snapshots (64)"),         \
	VALUE(0, "weight", NUMBER, &settings.weight, "N",                                          \
		"share of the processor, 1 to 10000 (100)"),                                       \
	VALUE('e', "env", LIST, settings.env, "K=V",                                               \
		"set an environment variable; may be repeated"),                                   \
	FLAG('i', "interactive", &settings.interactive, "send stdin to the guest"),                \
	FLAG('t', "tty", &settings.tty, TTY_HELP),                                                 \
	FLAG(0, "rm", &settings.remove, "remove it when it has stopped"),                          \
	FLAG(0, "paused", &settings.paused, "make it, but do not start it yet"),                   \
	VALUE('l', "label", LIST, settings.labels, "K=V", "give it a label; may be repeated"),     \
	TIMEOUT

#define KERNEL_OPTIONS                                                                             \
	FILENAME(0, "kernel", &settings.kernel, "a Linux kernel (bzImage)"),                       \
	FILENAME(0, "initrd", &settings.initrd, "its initramfs"),                                  \
	FILENAME(0, "disk", &settings.disk, "its disk, which guests share and each may change"),   \
	VALUE(0, "cmdline", LINE, &settings.cmdline, "TEXT",                                       \
		"its command line (console=ttyS0 panic=-1)")

static const struct option run_options[] = {
	VALUE(0, "name", TEXT, &settings.name, "NAME", "a name to call it by"),
	VALUE('m', "memory", SIZE, &settings.memory, "SIZE", "its memory (what the image asks for)"),
	FLAG('d', "detach", &settings.detach, "print its number and return at once"),
	KERNEL_OPTIONS,
	BEGIN_OPTIONS,
	END_OPTIONS,
};

static const struct option fork_options[] = {
	VALUE('n', "count", NUMBER, &settings.count, "N", "so many forks, 1 to 100000 (1)"),
	VALUE(0, "name", TEXT, &settings.name, "NAME",
		"their name; with -n a prefix, NAME-1 and so on"),
	FLAG(0, "attach", &settings.attach, "run one fork with its streams, as run does"),
	BEGIN_OPTIONS,
	END_OPTIONS,
};

static const struct option limit_options[] = {
	VALUE(0, "max-memory", SIZE, &settings.max_memory, "SIZE",
		"memory that it and its forks may hold"),
	VALUE(0, "max-pages", NUMBER, &settings.max_pages, "N", "the same in pages of 4 KiB"),
	VALUE(0, "max-guests", NUMBER, &settings.max_guests, "N", "forks alive at once"),
	VALUE(0, "weight", NUMBER, &settings.weight, "N", "share of the processor, 1 to 10000"),
	TIMEOUT,
	END_OPTIONS,
};

static const struct option snapshot_options[] = {
	VALUE(0, "name", TEXT, &settings.name, "NAME", "a name to call it by"),
	FLAG(0, "public", &settings.public, "all clients of the host may see and fork it"),
	FLAG(0, "quiesce", &settings.quiesce,
		"only if the agent of a Linux guest holds its processes still"),
	FLAG(0, "no-quiesce", &settings.no_quiesce, "without asking its agent"),
	END_OPTIONS,
};

static const struct option publish_options[] = {
	FLAG(0, "off", &settings.off, "no longer"),
	END_OPTIONS,
};

static const struct option rm_options[] = {
	FLAG('f', "force", &settings.force, "kill a guest that still runs"),
	SELECTOR,
	END_OPTIONS,
};

static const struct option selector_options[] = {
	SELECTOR,
	END_OPTIONS,
};

static const struct option snapshots_options[] = {
	SELECTOR,
	FLAG('q', "quiet", &settings.quiet, "only the numbers"),
	END_OPTIONS,
};

static const struct option logs_options[] = {
	FLAG('f', "follow", &settings.follow, "go on until the guest stops"),
	FLAG(0, "stdout", &settings.only_stdout, "only its stdout"),
	FLAG(0, "stderr", &settings.only_stderr, "only its stderr"),
	END_OPTIONS,
};

static const struct option attach_options[] = {
	FLAG('i', "interactive", &settings.interactive, "send stdin to the guest"),
	FLAG('t', "tty", &settings.tty, TTY_HELP),
	FLAG(0, "from-start", &settings.from_start,
		"begin with the oldest output kept, not with new one"),
	FLAG(0, "hold", &settings.hold, "the guest waits for us, so that nothing is missed"),
	FLAG(0, "stdout", &settings.only_stdout, "only its stdout"),
	FLAG(0, "stderr", &settings.only_stderr, "only its stderr"),
	END_OPTIONS,
};

static const struct option log_options[] = {
	FLAG('f', "follow", &settings.follow, "go on as lines come"),
	END_OPTIONS,
};

static const struct option power_options[] = {
	FLAG(0, "yes", &settings.yes, "do not ask"),
	END_OPTIONS,
};

static const struct option tree_options[] = {
	FLAG(0, "full", &settings.full, "all children, also where there are many"),
	END_OPTIONS,
};

static const struct option stats_options[] = {
	FLAG(0, "reset", &settings.reset, "set the counts of operations to zero afterwards"),
	END_OPTIONS,
};
/* clang-format on */

static const struct command guest_commands[] = {
	{
		.name = "run",
		.synopsis = "[OPTION...] IMAGE [ARG...]",
		.summary = "run an image as a new guest",
		.text = "Without -d its stdout and stderr come here until it stops, and its exit status\n"
			"is ours. ^C kills it; with -t, ^P ^Q leaves it to itself, and \"creelctl attach\"\n"
			"comes back to it. With --json all is one document at the end. The guest's\n"
			"arguments are IMAGE and the ARGs. With --kernel and no IMAGE a Linux kernel is\n"
			"put as an image of its file's name, and run.",
		.options = run_options,
		.least = 0,
		.most = -1,
		.arguments_follow = true,
		.arguments = NAMES_IMAGE,
		.run = run_run,
	},
	{
		.name = "ps",
		.alias = "ls",
		.synopsis = "[-a] [-q] [-l SELECTOR]",
		.summary = "list guests",
		.options = ps_options,
		.run = run_ps,
	},
	{
		.name = "top",
		.synopsis = "[-a] [-d SECONDS]",
		.summary = "watch guests: memory, processor, exits",
		.text = "On a terminal it is drawn anew every so often; h tells the keys, q leaves.\n"
			"CPU% is of one core. PRIVATE is what would be free without the guest. SHARED\n"
			"is what it may share with others: what the image, snapshots and guests hold\n"
			"that it descends from, at most.",
		.options = top_options,
		.run = run_top,
	},
	{
		.name = "attach",
		.synopsis = "[OPTION...] GUEST",
		.summary = "connect to the streams of a guest",
		.text = "Ends when the guest stops, with its exit status. ^C detaches; with -t, where ^C\n"
			"is for the guest, ^P ^Q does. A guest that is a program reads lines and does not\n"
			"show what is typed: -i is for it, and -t for the console of a Linux guest.",
		.options = attach_options,
		.least = 1,
		.most = 1,
		.arguments = NAMES_GUEST,
		.run = run_attach,
	},
	{
		.name = "logs",
		.synopsis = "[-f] GUEST",
		.summary = "print what a guest has written",
		.text = "A host keeps about the last 64 KiB of each stream.",
		.options = logs_options,
		.least = 1,
		.most = 1,
		.arguments = NAMES_GUEST,
		.run = run_logs,
	},
	{
		.name = "wait",
		.synopsis = "GUEST...",
		.summary = "wait until guests have stopped, print their exit status",
		.text = "The status is what \"creelctl run\" would have ended with.",
		.least = 1,
		.most = -1,
		.arguments = NAMES_GUEST,
		.more = NAMES_GUEST,
		.run = run_wait,
	},
	{
		.name = "pause",
		.synopsis = "GUEST... | -l SELECTOR",
		.summary = "pause guests",
		.options = selector_options,
		.most = -1,
		.arguments = NAMES_GUEST,
		.more = NAMES_GUEST,
		.run = run_pause,
	},
	{
		.name = "resume",
		.alias = "unpause",
		.synopsis = "GUEST... | -l SELECTOR",
		.summary = "let paused guests go on",
		.options = selector_options,
		.most = -1,
		.arguments = NAMES_GUEST,
		.more = NAMES_GUEST,
		.run = run_resume,
	},
	{
		.name = "kill",
		.alias = "stop",
		.synopsis = "GUEST... | -l SELECTOR",
		.summary = "stop guests for good",
		.options = selector_options,
		.most = -1,
		.arguments = NAMES_GUEST,
		.more = NAMES_GUEST,
		.run = run_kill,
	},
	{
		.name = "rm",
		.synopsis = "[-f] WHAT... | -l SELECTOR",
		.summary = "remove stopped guests, or snapshots",
		.text = "With -l all guests and snapshots that have the labels.",
		.options = rm_options,
		.most = -1,
		.arguments = NAMES_THING,
		.more = NAMES_THING,
		.run = run_rm,
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
		.arguments = NAMES_GUEST,
		.more = NAMES_GUEST,
		.run = run_limit,
	},
	{
		.name = "events",
		.synopsis = "[-l SELECTOR]",
		.summary = "tell of guests, snapshots and images as they come, change and go",
		.text = "A line for each, until ^C; with --json a document each, of which the first, \"none\",\n"
			"says that nothing is missed from there on.",
		.options = selector_options,
		.run = run_events,
	},
	{
		.name = "label",
		.synopsis = "WHAT KEY=VALUE... KEY-...",
		.summary = "set labels of a guest or snapshot, and remove some",
		.text = "KEY- removes. A fork has the labels that its source has then, unless it is given\n"
			"others in their place; so has what a guest forks itself, and a snapshot.",
		.least = 2,
		.most = -1,
		.arguments = NAMES_THING,
		.run = run_label,
	},
	{
		.name = "inspect",
		.synopsis = "WHAT...",
		.summary = "show all about guests, snapshots or images",
		.least = 1,
		.most = -1,
		.arguments = NAMES_ANY,
		.more = NAMES_ANY,
		.run = run_inspect,
	},
	END_COMMANDS,
};

static const struct command snapshot_commands[] = {
	{
		.name = "snapshot",
		.synopsis = "[OPTION...] GUEST [NAME]",
		.summary = "freeze the whole of a guest as a snapshot",
		.text = "The guest goes on at once. The processes of a Linux guest stand still\n"
			"meanwhile if its agent answers.",
		.options = snapshot_options,
		.least = 1,
		.most = 2,
		.arguments = NAMES_GUEST,
		.run = run_snapshot,
	},
	{
		.name = "snapshots",
		.synopsis = "[-q] [-l SELECTOR | GUEST]",
		.summary = "list snapshots, of all or of a guest's lineage",
		.options = snapshots_options,
		.most = 1,
		.arguments = NAMES_GUEST,
		.run = run_snapshots,
	},
	{
		.name = "fork",
		.synopsis = "[OPTION...] SOURCE [[--] ARG...]",
		.summary = "make new guests of a guest or a snapshot",
		.text = "Prints the number of each fork. Without ARGs they have their parent's\n"
			"arguments. ARGs that begin with \"-\" stand behind \"--\".",
		.options = fork_options,
		.least = 1,
		.most = -1,
		.arguments = NAMES_SOURCE,
		.run = run_fork,
	},
	{
		.name = "rollback",
		.synopsis = "GUEST SNAPSHOT",
		.summary = "take a guest back to a snapshot of its lineage",
		.least = 2,
		.most = 2,
		.arguments = NAMES_GUEST,
		.more = NAMES_SNAPSHOT,
		.run = run_rollback,
	},
	{
		.name = "publish",
		.synopsis = "[--off] WHAT...",
		.summary = "let all clients see and fork snapshots, or run images",
		.text = "Only their owner can change or remove them, and whoever may act on all.",
		.options = publish_options,
		.least = 1,
		.most = -1,
		.arguments = NAMES_ANY,
		.more = NAMES_ANY,
		.run = run_publish,
	},
	{
		.name = "tree",
		.synopsis = "[--full]",
		.summary = "draw the lineage of guests and snapshots",
		.text = "A snapshot is marked. What is a guest's own is what would be free without it; the\n"
			"rest it shares with those above it, or has not touched.",
		.options = tree_options,
		.run = run_tree,
	},
	END_COMMANDS,
};

static const struct command image_commands[] = {
	{
		.name = "put",
		.synopsis = "FILE [NAME]",
		.summary = "upload a guest image",
		.text = "NAME is the file's name without \".elf\" if not given.\n"
			"An image of the same name is replaced; guests that came from it go on.\n"
			"If the upload is cut off, the host keeps what it has for an hour, and the same\n"
			"command goes on from there. What arrived is checked by its hash.",
		.least = 1,
		.most = 2,
		.arguments = NAMES_FILE,
		.run = run_put,
	},
	{
		.name = "images",
		.synopsis = "[-a] [-q]",
		.summary = "list images",
		.options = images_options,
		.run = run_images,
	},
	{
		.name = "rmi",
		.synopsis = "IMAGE...",
		.summary = "remove images, or uploads that were cut off",
		.least = 1,
		.most = -1,
		.arguments = NAMES_IMAGE,
		.more = NAMES_IMAGE,
		.run = run_rmi,
	},
	{
		.name = "image build",
		.synopsis = "--kernel FILE [OPTION...] OUTPUT",
		.summary = "make an image of a Linux guest",
		.text = "OUTPUT is one file, which \"creelctl put\" and the boot volume take. With\n"
			"--rootfs all files of a system become its initramfs, with the agent as\n"
			"/init, and the entry point of an OCI image is run at its start.",
		.options = image_options,
		.least = 1,
		.most = 1,
		.offline = true,
		.arguments = NAMES_FILE,
		.run = run_image_build,
	},
	END_COMMANDS,
};

static const struct command host_commands[] = {
	{
		.name = "info",
		.synopsis = "",
		.summary = "show the host",
		.run = run_info,
	},
	{
		.name = "stats",
		.synopsis = "[--reset]",
		.summary = "show memory by kind, and what operations cost",
		.options = stats_options,
		.run = run_stats,
	},
	{
		.name = "host log",
		.alias = "log",
		.synopsis = "[-f]",
		.summary = "print the host's own log",
		.options = log_options,
		.run = run_log,
	},
	{
		.name = "audit",
		.synopsis = "[-f]",
		.summary = "print who did what on the host",
		.text = "One line for each action of a client: when in UTC, who from where, what, on what,\n"
			"and how it ended. For roles operator and admin.",
		.options = log_options,
		.run = run_audit,
	},
	{
		.name = "host reboot",
		.synopsis = "[--yes]",
		.summary = "restart the host: all guests end, all snapshots are gone",
		.options = power_options,
		.run = run_host_reboot,
	},
	{
		.name = "host poweroff",
		.synopsis = "[--yes]",
		.summary = "switch the host off",
		.options = power_options,
		.run = run_host_poweroff,
	},
	END_COMMANDS,
};

static const struct command own_commands[] = {
	{
		.name = "version",
		.synopsis = "",
		.summary = "tell which version this is",
		.offline = true,
		.run = run_version,
	},
	{
		.name = "__complete",
		.synopsis = "-- WORD...",
		.most = -1,
		.offline = true,
		.arguments_follow = true,
		.run = run_complete,
	},
	{
		.name = "__manual",
		.synopsis = "PART",
		.least = 1,
		.most = 1,
		.offline = true,
		.run = run_manual,
	},
	{
		.name = "help",
		.synopsis = "[COMMAND]",
		.summary = "tell about creelctl, or about a command",
		.most = 2,
		.offline = true,
		.arguments = NAMES_COMMAND,
		.run = run_help,
	},
	END_COMMANDS,
};

const struct command_group command_groups[] = {
	{"Guests", guest_commands},
	{"In Linux guests", linux_commands},
	{"Snapshots and forks", snapshot_commands},
	{"Images", image_commands},
	{"The host", host_commands},
	{"Keys, and the hosts that you know", key_commands},
	{"Boot media", iso_commands},
	{"Under load", bench_commands},
	{"For monitoring", exporter_commands},
	{"This program", own_commands},
	{0},
};
