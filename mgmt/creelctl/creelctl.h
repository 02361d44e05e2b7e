/* What the files of creelctl share: settings, commands, and how things are printed. */
#ifndef MGMT_CREELCTL_H
#define MGMT_CREELCTL_H

#include "mgmt/client/creel.h"

#include <stdio.h>

#define LIST_MAX 256

/*
 * Exit status. run, attach and wait pass on the guest's own; what a guest can't choose stands
 * above, and from 128 on in the manner of a shell that saw a process die of a signal.
 */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_REFUSED = 125,    /* the host refused, or something here failed */
	EXIT_CONNECTION = 126, /* no host, or the connection was lost */
	EXIT_USAGE = 127,      /* the command line makes no sense */
	EXIT_INTERRUPTED = 130,
	EXIT_FORBIDDEN = 132, /* the guest used what no guest may */
	EXIT_CRASHED = 134,   /* it reported a fault of its own */
	EXIT_TRIPLE_FAULT = 135,
	EXIT_KILLED = 137,
	EXIT_BAD_ADDRESS = 139, /* it touched an address that is not there */
	EXIT_HALTED = 140,      /* it halted with nothing that could wake it */
	EXIT_DEADLINE = 142,    /* its time was over */
	EXIT_STOPPED = 141,     /* in some other way */
};

/*
 * What the options that several commands share were given; each is 0 or NULL unless it was. An
 * option of one file's commands may as well have a static variable of that file.
 */
struct settings {
	const char *host, *format;
	bool json; /* also with --format */
	bool quiet, all, full, detach, interactive, remove, paused, follow, hold, attach, tty;
	bool only_stdout, only_stderr, reset, force, from_start, public, off, quiesce, no_quiesce, yes;
	const char *name, *kernel, *initrd, *cmdline, *disk;
	const char *selector;
	const char *labels[LIST_MAX + 1];
	uint64_t timeout_ns;
	bool timeout_running;
	uint64_t memory, max_memory, max_pages, max_guests, max_snapshots, weight, count;
	const char *env[LIST_MAX + 1];
	struct creel *host_connection;
};

extern struct settings settings; /* the only one */

/* Where an option's value goes: bool, const char *, the same, uint64_t above 0, the same, the same in
 * nanoseconds, an array of LIST_MAX + 1 pointers, a path as const char *. */
enum option_kind {
	OPTION_FLAG,
	OPTION_TEXT,
	OPTION_LINE, /* text that may be empty */
	OPTION_NUMBER,
	OPTION_SIZE,
	OPTION_SPAN,
	OPTION_LIST,
	OPTION_FILE,
};

struct option {
	char letter; /* 0: none */
	const char *name;
	enum option_kind kind;
	void *to;
	const char *value; /* what help calls it */
	const char *help;
};

/* clang-format off: rows of a table of options */
#define FLAG(letter, name, to, help)              {letter, name, OPTION_FLAG, to, NULL, help}
#define VALUE(letter, name, kind, to, value, help) {letter, name, OPTION_##kind, to, value, help}
#define FILENAME(letter, name, to, help)          {letter, name, OPTION_FILE, to, "FILE", help}
#define END_OPTIONS                               {0}
#define END_COMMANDS                              {0}
/* clang-format on */

/* What the arguments of a command name: completion offers such. */
enum names {
	NAMES_NOTHING,
	NAMES_GUEST,
	NAMES_THING,  /* guests and snapshots, to be removed */
	NAMES_SOURCE, /* the same, to be forked */
	NAMES_SNAPSHOT,
	NAMES_IMAGE,
	NAMES_ANY, /* guests, snapshots and images */
	NAMES_FILE,
	NAMES_HOST, /* that the user knows */
	NAMES_COMMAND,
};

struct command {
	const char *name;  /* one word, or two as in "image build" */
	const char *alias; /* another name, or NULL */
	const char *synopsis, *summary; /* summary NULL: not for people, in no list */
	const char *text;             /* more help, or NULL */
	const struct option *options; /* NULL: none but the global ones */
	int least, most;              /* arguments; most -1: any number */
	enum names arguments; /* what the first names */
	enum names more;      /* and the others */
	bool offline;          /* it needs no host */
	bool arguments_follow; /* options end at the first argument; the rest is the guest's */
	int (*run)(struct settings *s, int argc, char **argv);
};

struct command_group {
	const char *title;
	const struct command *commands; /* name NULL at the end */
};

extern const struct command linux_commands[]; /* exec.c */
extern const struct option image_options[];   /* bundle.c */
extern const struct command_group command_groups[]; /* title NULL at the end */
extern const struct command key_commands[];         /* host.c */
extern const struct command iso_commands[];         /* iso.c */

/* ---- args.c ---- */

/*
 * Takes the options out of argv, leaving the arguments in place; returns how many, or -1 after it
 * has said what is wrong. `command` may be NULL: options before the command.
 */
int parse_options(const struct command *command, int argc, char **argv);
/*
 * The command that argv begins with, and how many words its name has; NULL after it has said what
 * is wrong.
 */
const struct command *find_command(int argc, char **argv, int *words);
/* The same without a word. */
const struct command *lookup_command(int argc, char **argv, int *words);
/* The option that "-x", "--xyz" or "--xyz=..." begins with, or NULL. */
const struct option *find_option(const struct option *list, const char *word);
/* The commands one by one: NULL for the first, NULL after the last. */
const struct command *next_command(const struct command *c);
extern const struct option global_options[];
/* "12", "64M", "1.5GiB" as bytes. */
bool parse_size(const char *text, uint64_t *out);

/* ---- main.c ---- */

/* Makes s->host_connection. EXIT_DONE, or another status after it has said what is wrong. */
int connect_host(struct settings *s);

/* ---- help.c ---- */

/* Returns the exit status. */
int help(int argc, char **argv);
int help_on(const struct command *c);

/* ---- print.c ---- */

/* "creelctl: ..." on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Complains about the last call; returns the exit status for `code`. */
int failed(const struct settings *s, int code);
/* The user's terminal can show more than ASCII. */
bool unicode_locale(void);
/* A size in bytes as "1.5 MiB", a span as "3 hours". `buf` is returned. */
const char *human_size(char buf[32], uint64_t bytes);
const char *human_span(char buf[32], uint64_t ns);
const char *human_age(char buf[32], uint64_t created_ns);
const char *role_word(enum creel_role role);
const char *state_word(enum creel_state state);
const char *stop_word(enum creel_stop stop);
/* "running", "exited (3)", "paused (memory limit)" */
const char *human_state(
	char buf[64], enum creel_state state, enum creel_stop stop, int exit_status);
int exit_of(const struct creel_status *status);

/* Rows of text in columns that fit what is in them. */
struct table {
	size_t columns, count, room;
	const char *right; /* 'r' for a column set to the right, by index */
	char **cells;
};

void table_begin(struct table *t, const char *right, size_t columns, const char *const *titles);
/* Adds the next cell. */
void table_add(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints and frees. */
void table_end(struct table *t);
/* Frees; nothing is left to print. */
void table_drop(struct table *t);

/* ---- progress.c ---- */

struct progress {
	const char *what;
	uint64_t from, done, total;
	uint64_t begun, next; /* in ms */
	bool bytes, silent, bar, drawn;
};

/* Of `total` bytes or other things; `what` must stay. */
void progress_begin(
	struct progress *p, const struct settings *s, const char *what, uint64_t total, bool bytes);
void progress_step(struct progress *p, uint64_t done);
/* It goes on at `from`, which was reached before; and says so. */
void progress_resume(struct progress *p, uint64_t from);
/* The next step will draw a bar. */
bool progress_due(const struct progress *p);
/* Before something else is printed, and at the end. */
void progress_hide(struct progress *p);

/* ---- json.c: written to stdout, commas and escapes included ---- */

void json_begin_object(const char *key);
void json_end_object(void);
void json_begin_array(const char *key);
void json_end_array(void);
void json_text(const char *key, const char *value);
void json_bytes(const char *key, const char *value, size_t size);
void json_number(const char *key, uint64_t value);
void json_signed(const char *key, int64_t value);
void json_bool(const char *key, bool value);
/* The end of a document. */
void json_end(void);

/* ---- format.c ---- */

/* From now on json_*() print by this template. False after it has said what is wrong with it. */
bool format_set(const char *text);
bool format_wanted(void);
/* For json.c: an object or a list begins or ends, a value comes. */
void format_open(const char *key, bool object);
void format_close(bool object);
void format_value(const char *key, const char *value, size_t size);

/* ---- host.c ---- */

const char *user_name(void);

/* ---- bundle.c ---- */

/* Puts what --kernel and its friends name as an image; false after it has said what is wrong, with
 * the exit status. */
bool put_kernel(struct settings *s, uint64_t *image, int *status);

/* ---- act.c ---- */

/* creel_put() of the `size` bytes of a file, with a progress bar where one is wanted. */
int upload_file(struct settings *s, FILE *f, uint64_t size, const char *name,
	struct creel_image *image);

/* ---- the commands ---- */

extern const struct command bench_commands[];
extern const struct command exporter_commands[];
int run_info(struct settings *s, int argc, char **argv);
int run_stats(struct settings *s, int argc, char **argv);
int run_log(struct settings *s, int argc, char **argv);
int run_audit(struct settings *s, int argc, char **argv);
int run_host_reboot(struct settings *s, int argc, char **argv);
int run_host_poweroff(struct settings *s, int argc, char **argv);
int run_images(struct settings *s, int argc, char **argv);
int run_ps(struct settings *s, int argc, char **argv);
int run_snapshots(struct settings *s, int argc, char **argv);
int run_inspect(struct settings *s, int argc, char **argv);
int run_tree(struct settings *s, int argc, char **argv);
int run_image_build(struct settings *s, int argc, char **argv);
int run_put(struct settings *s, int argc, char **argv);
int run_rmi(struct settings *s, int argc, char **argv);
int run_snapshot(struct settings *s, int argc, char **argv);
/* The labels separated by commas; NULL after it has said what is wrong. `out` is returned. */
const char *join_labels(const char *const *labels, char out[CREEL_LABELS_SIZE]);
int run_label(struct settings *s, int argc, char **argv);
int run_events(struct settings *s, int argc, char **argv);
int run_publish(struct settings *s, int argc, char **argv);
int run_rollback(struct settings *s, int argc, char **argv);
int run_pause(struct settings *s, int argc, char **argv);
int run_resume(struct settings *s, int argc, char **argv);
int run_kill(struct settings *s, int argc, char **argv);
int run_rm(struct settings *s, int argc, char **argv);
int run_limit(struct settings *s, int argc, char **argv);
extern const struct option top_options[];
int run_top(struct settings *s, int argc, char **argv);
int run_run(struct settings *s, int argc, char **argv);
int run_fork(struct settings *s, int argc, char **argv);
int run_attach(struct settings *s, int argc, char **argv);
int run_logs(struct settings *s, int argc, char **argv);
int run_wait(struct settings *s, int argc, char **argv);
int run_complete(struct settings *s, int argc, char **argv);
int run_manual(struct settings *s, int argc, char **argv);
int run_version(struct settings *s, int argc, char **argv);
int run_help(struct settings *s, int argc, char **argv);

#endif
