/* Commands that work in a Linux guest through its agent: exec, cp, push, pull. */
#include "mgmt/creelctl/creelctl.h"

#include "guest-sdk/linux/tar.h"
#include "mgmt/creelctl/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS     120000u /* a guest that boots has so long until its agent answers */
#define TREE_BYTES   (16ull << 30)
#define TREE_ENTRIES 1000000u

static const char *directory, *user, *mode_text;
static uint64_t max_size, wait_seconds;

/* clang-format off: rows of tables */
#define WAIT_OPTION VALUE(0, "wait", NUMBER, &wait_seconds, "SECONDS", \
	"so long for the guest's agent to answer (120)")

static const struct option exec_options[] = {
	FLAG('i', "interactive", &settings.interactive, "send stdin to the command"),
	FLAG('t', "tty", &settings.tty, "give it a terminal of the size of ours"),
	VALUE('w', "workdir", TEXT, &directory, "DIR", "its working directory (the image's, or /)"),
	VALUE('e', "env", LIST, settings.env, "K=V", "set an environment variable; may be repeated"),
	VALUE('u', "user", TEXT, &user, "USER[:GROUP]",
		"run it as this user, by names or numbers (root)"),
	WAIT_OPTION,
	END_OPTIONS,
};

static const struct option cp_options[] = {
	VALUE(0, "max-size", SIZE, &max_size, "SIZE", "take no more than this of a directory (16G)"),
	WAIT_OPTION,
	END_OPTIONS,
};

static const struct option push_options[] = {
	VALUE(0, "mode", TEXT, &mode_text, "OCTAL", "permissions of the file (644)"),
	WAIT_OPTION,
	END_OPTIONS,
};

static const struct option pull_options[] = {
	WAIT_OPTION,
	END_OPTIONS,
};
/* clang-format on */

/* ---- what all have in common ------------------------------------------------------------------ */

struct sink {
	int fd[3]; /* where CREEL_OUT and CREEL_ERR go */
	bool broken;
};

static int take(void *arg, enum creel_stream_id stream, const void *data, size_t size)
{
	struct sink *k = arg;
	const char *at = data;

	while (size) {
		ssize_t n = write(k->fd[stream], at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			k->broken = true;
			return 1;
		}
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static struct creel_exec exec_of(const char *const *argv, struct sink *k)
{
	*k = (struct sink){.fd = {-1, STDOUT_FILENO, STDERR_FILENO}};
	return (struct creel_exec){
		.argv = argv,
		.input_fd = -1,
		.output = take,
		.arg = k,
		.start_ms = wait_seconds ? (uint32_t)wait_seconds * 1000 : START_MS,
	};
}

static int exec_status(const struct settings *s, const struct sink *k, int code,
	const struct creel_exec_status *status)
{
	if (k->broken) {
		if (errno != EPIPE)
			complain("can't write what came: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	if (code != CREEL_OK)
		return failed(s, code);
	return status->signal ? 128 + status->signal : status->exit_status;
}

/* One of the agent's own commands, which say on stderr what is wrong. */
static int run_builtin(struct settings *s, const char *guest, const char *const *argv, int input,
	int output)
{
	struct creel_exec_status status;
	struct sink k;
	struct creel_exec e = exec_of(argv, &k);

	e.builtin = true;
	e.input_fd = input;
	if (output >= 0)
		k.fd[CREEL_OUT] = output;
	return exec_status(s, &k, creel_exec(s->host_connection, guest, &e, &status), &status);
}

/* ---- exec ------------------------------------------------------------------------------------- */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
static volatile sig_atomic_t arrived[NSIG];

static void on_signal(int number)
{
	arrived[number] = 1;
}

static void catch_signals(void)
{
	struct sigaction a = {.sa_handler = on_signal};

	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		sigaction(forwarded[i], &a, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void window(uint16_t *rows, uint16_t *columns)
{
	int r, c;

	terminal_size(&r, &c);
	*rows = (uint16_t)r;
	*columns = (uint16_t)c;
}

static bool next_event(void *arg, struct creel_exec_event *e)
{
	(void)arg;
	*e = (struct creel_exec_event){0};
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++) {
		if (arrived[forwarded[i]]) {
			arrived[forwarded[i]] = 0;
			e->signal = (uint8_t)forwarded[i];
			return true;
		}
	}
	if (!terminal_resized || !settings.tty)
		return false;
	terminal_resized = 0;
	window(&e->rows, &e->columns);
	return true;
}

struct kept {
	struct sink sink;
	char *data[3];
	size_t size[3];
};

/* For JSON: in one document at the end. */
static int keep(void *arg, enum creel_stream_id stream, const void *data, size_t size)
{
	struct kept *k = arg;

	k->data[stream] = realloc(k->data[stream], k->size[stream] + size);
	if (!k->data[stream])
		abort();
	memcpy(k->data[stream] + k->size[stream], data, size);
	k->size[stream] += size;
	return 0;
}

static int exec_json(struct settings *s, const char *guest, struct creel_exec *e)
{
	struct creel_exec_status status;
	struct kept k = {0};
	int code;

	e->output = keep;
	e->arg = &k;
	code = creel_exec(s->host_connection, guest, e, &status);
	if (code != CREEL_OK)
		return failed(s, code);
	json_begin_object(NULL);
	json_signed("exit_status", status.exit_status);
	json_signed("signal", status.signal);
	json_bytes("stdout", k.data[CREEL_OUT], k.size[CREEL_OUT]);
	json_bytes("stderr", k.data[CREEL_ERR], k.size[CREEL_ERR]);
	json_end_object();
	json_end();
	free(k.data[CREEL_OUT]);
	free(k.data[CREEL_ERR]);
	return status.signal ? 128 + status.signal : status.exit_status;
}

static int run_exec(struct settings *s, int argc, char **argv)
{
	struct creel_exec_status status;
	const char *guest = argv[0];
	struct sink k;
	int code;

	/* "--" may stand between the guest and the command. */
	argv += argc > 1 && !strcmp(argv[1], "--") ? 2 : 1;
	struct creel_exec e = exec_of((const char *const *)argv, &k);

	if (!argv[0]) {
		complain("exec needs a command");
		return EXIT_USAGE;
	}
	e.user = user;
	e.env = s->env;
	e.cwd = directory;
	e.tty = s->tty;
	e.event = next_event;
	if (s->interactive)
		e.input_fd = STDIN_FILENO;
	window(&e.rows, &e.columns);
	if (s->tty && s->interactive && !s->json && terminal_usable())
		terminal_enter(TERMINAL_CONSOLE);
	catch_signals();
	if (s->json)
		return exec_json(s, guest, &e);
	code = creel_exec(s->host_connection, guest, &e, &status);
	terminal_leave();
	return exec_status(s, &k, code, &status);
}

/* ---- files ------------------------------------------------------------------------------------ */

enum remote_kind { REMOTE_NONE, REMOTE_FILE, REMOTE_DIRECTORY, REMOTE_UNKNOWN };

struct remote {
	enum remote_kind kind;
	unsigned mode;
};

/* What `path` is in the guest. False: it could not be asked; *status says how that ends. */
static bool look(struct settings *s, const char *guest, const char *path, struct remote *r, int *status)
{
	const char *argv[] = {"stat", path, NULL};
	struct creel_exec_status ended;
	struct sink unused;
	struct creel_exec e = exec_of(argv, &unused);
	struct kept k = {0};
	char word[16] = "";
	int code;

	e.builtin = true;
	e.output = keep;
	e.arg = &k;
	code = creel_exec(s->host_connection, guest, &e, &ended);
	keep(&k, CREEL_OUT, "", 1);
	*r = (struct remote){REMOTE_NONE, 0};
	if (code == CREEL_OK && sscanf(k.data[CREEL_OUT], "%15s %o", word, &r->mode) == 2)
		r->kind = !strcmp(word, "directory") ? REMOTE_DIRECTORY
			  : !strcmp(word, "file")    ? REMOTE_FILE
						     : REMOTE_UNKNOWN;
	free(k.data[CREEL_OUT]);
	free(k.data[CREEL_ERR]);
	*status = code == CREEL_OK ? EXIT_DONE : failed(s, code);
	return code == CREEL_OK;
}

/* FOLDER/NAME, the name being the last part of `of`. */
static char *in_folder(const char *folder, const char *of)
{
	char *copy = strdup(of), *path = NULL;

	if (!copy || asprintf(&path, "%s/%s", folder, basename(copy)) < 0)
		abort();
	free(copy);
	return path;
}

static bool write_pipe(void *arg, const void *buf, size_t size)
{
	const char *at = buf;
	int fd = *(int *)arg;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n <= 0)
			return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

static ssize_t read_pipe(void *arg, void *buf, size_t size)
{
	return read(*(int *)arg, buf, size);
}

/* In a process of its own: a tree to or from `fd`. */
static int pack(const char *from, int fd)
{
	struct tar_out t = {.write = write_pipe, .arg = &fd};
	int folder = open(from, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

	signal(SIGPIPE, SIG_IGN);
	if (folder < 0) {
		complain("can't open %s: %s", from, strerror(errno));
		return EXIT_REFUSED;
	}
	if (tar_put(&t, folder, ".", "") && tar_end(&t))
		return EXIT_DONE;
	complain("%s", t.error);
	return EXIT_REFUSED;
}

static int unpack(const char *to, int fd)
{
	struct tar_in t = {
		.read = read_pipe,
		.arg = &fd,
		.max_bytes = max_size ? max_size : TREE_BYTES,
		.max_entries = TREE_ENTRIES,
	};
	int top;

	mkdir(to, 0777);
	top = open(to, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (top < 0) {
		complain("can't make %s: %s", to, strerror(errno));
		return EXIT_REFUSED;
	}
	if (!tar_extract(&t, top, TAR_LINKS_INSIDE)) {
		complain("%s", t.error);
		return EXIT_REFUSED;
	}
	/* What fills the stream's last block is nobody's. */
	char rest[4096];

	while (read(fd, rest, sizeof(rest)) > 0)
		;
	return EXIT_DONE;
}

/* Starts `work` in a process on one end of a pipe; the other end is returned. */
static int start_tree(int (*work)(const char *, int), const char *path, bool reads, pid_t *pid)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return -1;
	*pid = fork();
	if (*pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(fd[reads]);
		_exit(work(path, fd[!reads]));
	}
	close(fd[!reads]);
	if (*pid > 0)
		return fd[reads];
	close(fd[reads]);
	return -1;
}

static int end_tree(pid_t pid, int status)
{
	int ended;

	if (waitpid(pid, &ended, 0) != pid || !WIFEXITED(ended))
		return EXIT_REFUSED;
	return status ? status : WEXITSTATUS(ended);
}

static int tree_to_guest(struct settings *s, const char *from, const char *guest, const char *to)
{
	const char *argv[] = {"untar", to, NULL};
	pid_t pid;
	int fd = start_tree(pack, from, false, &pid), status;

	if (fd < 0) {
		complain("can't start packing: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	status = run_builtin(s, guest, argv, fd, -1);
	close(fd);
	return end_tree(pid, status);
}

static int tree_from_guest(struct settings *s, const char *guest, const char *from, const char *to)
{
	const char *argv[] = {"tar", from, NULL};
	pid_t pid;
	int fd = start_tree(unpack, to, true, &pid), status;

	if (fd < 0) {
		complain("can't start unpacking: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	signal(SIGPIPE, SIG_IGN);
	status = run_builtin(s, guest, argv, -1, fd);
	close(fd);
	return end_tree(pid, status);
}

static int push_file(struct settings *s, const char *guest, const char *to, const char *mode, int fd)
{
	const char *argv[] = {"push", to, mode, NULL};

	return run_builtin(s, guest, argv, fd, -1);
}

static int copy_to_guest(struct settings *s, const char *from, const char *guest, const char *to)
{
	struct remote r;
	struct stat st;
	char *inside = NULL, mode[16];
	int status, fd;

	if (stat(from, &st)) {
		complain("can't open %s: %s", from, strerror(errno));
		return EXIT_REFUSED;
	}
	if (!look(s, guest, to, &r, &status))
		return status;
	if (r.kind == REMOTE_DIRECTORY)
		to = inside = in_folder(to, from);
	if (S_ISDIR(st.st_mode)) {
		status = tree_to_guest(s, from, guest, to);
	} else {
		fd = open(from, O_RDONLY | O_CLOEXEC);
		snprintf(mode, sizeof(mode), "%o", (unsigned)st.st_mode & 07777);
		if (fd < 0)
			complain("can't open %s: %s", from, strerror(errno));
		status = fd < 0 ? EXIT_REFUSED : push_file(s, guest, to, mode, fd);
		if (fd >= 0)
			close(fd);
	}
	free(inside);
	return status;
}

/* Under another name until it is whole. */
static int file_from_guest(struct settings *s, const char *guest, const char *from, const char *to,
	unsigned mode)
{
	const char *argv[] = {"pull", from, NULL};
	char *part;
	int fd, status;

	if (asprintf(&part, "%s.%d.part", to, getpid()) < 0)
		abort();
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		complain("can't make %s: %s", part, strerror(errno));
		free(part);
		return EXIT_REFUSED;
	}
	status = run_builtin(s, guest, argv, -1, fd);
	if (!status && (fchmod(fd, mode & 0777) || fsync(fd) || rename(part, to))) {
		complain("can't make %s: %s", to, strerror(errno));
		status = EXIT_REFUSED;
	}
	close(fd);
	if (status)
		unlink(part);
	free(part);
	return status;
}

static int copy_from_guest(struct settings *s, const char *guest, const char *from, const char *to)
{
	char *inside = NULL;
	struct remote r;
	struct stat st;
	int status;

	if (!look(s, guest, from, &r, &status))
		return status;
	if (r.kind == REMOTE_NONE) {
		complain("there is no %s in guest %s", from, guest);
		return EXIT_REFUSED;
	}
	if (stat(to, &st) == 0 && S_ISDIR(st.st_mode))
		to = inside = in_folder(to, from);
	status = r.kind == REMOTE_DIRECTORY ? tree_from_guest(s, guest, from, to)
					    : file_from_guest(s, guest, from, to, r.mode);
	free(inside);
	return status;
}

/* GUEST:PATH as two strings; NULL: it is a path here. */
static char *guest_path(char *word, const char **path)
{
	char *colon = strchr(word, ':');

	if (!colon || colon == word || memchr(word, '/', (size_t)(colon - word)))
		return NULL;
	*colon = '\0';
	*path = colon[1] ? colon + 1 : "/";
	return word;
}

static int run_cp(struct settings *s, int argc, char **argv)
{
	const char *from = argv[0], *to = argv[1];
	char *source = guest_path(argv[0], &from), *target = guest_path(argv[1], &to);

	(void)argc;
	if (!source == !target) {
		complain("one of the two has to be GUEST:PATH");
		return EXIT_USAGE;
	}
	return target ? copy_to_guest(s, from, target, to) : copy_from_guest(s, source, from, to);
}

static int run_push(struct settings *s, int argc, char **argv)
{
	(void)argc;
	return push_file(s, argv[0], argv[1], mode_text ? mode_text : "644", STDIN_FILENO);
}

static int run_pull(struct settings *s, int argc, char **argv)
{
	const char *pull[] = {"pull", argv[1], NULL};

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	return run_builtin(s, argv[0], pull, -1, STDOUT_FILENO);
}

const struct command linux_commands[] = {
	{
		.name = "exec",
		.synopsis = "[OPTION...] GUEST [--] COMMAND [ARG...]",
		.summary = "run a command in a Linux guest",
		.text = "Its stdout and stderr come here, and its exit status is ours (128 and the\n"
			"number, if a signal ended it). Signals that we get are passed on.",
		.options = exec_options,
		.least = 2,
		.most = -1,
		.arguments_follow = true,
		.arguments = NAMES_GUEST,
		.run = run_exec,
	},
	{
		.name = "cp",
		.synopsis = "[OPTION...] FROM TO",
		.summary = "copy a file or a directory to a Linux guest, or from it",
		.text = "FROM or TO is GUEST:PATH. Into a directory that is there, it goes under its\n"
			"own name. From a guest nothing is taken that would lie outside of TO.",
		.options = cp_options,
		.least = 2,
		.most = 2,
		.arguments = NAMES_FILE,
		.more = NAMES_FILE,
		.run = run_cp,
	},
	{
		.name = "push",
		.synopsis = "[OPTION...] GUEST PATH",
		.summary = "write stdin to a file in a Linux guest",
		.options = push_options,
		.least = 2,
		.most = 2,
		.arguments = NAMES_GUEST,
		.run = run_push,
	},
	{
		.name = "pull",
		.synopsis = "[OPTION...] GUEST PATH",
		.summary = "write a file of a Linux guest to stdout",
		.options = pull_options,
		.least = 2,
		.most = 2,
		.arguments = NAMES_GUEST,
		.run = run_pull,
	},
	END_COMMANDS,
};
