/* Starting a command: pipes or a terminal, its place, its user, its program. */
#include "guest-sdk/linux/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What a child that could not become the command tells. */
struct failure {
	int number;
	int step;
};

enum step { STEP_CWD, STEP_USER, STEP_PROGRAM };

static const char *const step_name[] = {
	[STEP_CWD] = "the working directory",
	[STEP_USER] = "the user",
	[STEP_PROGRAM] = "the program",
};

static void fail(int tell, enum step step)
{
	struct failure f = {.number = errno, .step = (int)step};

	_exit(write(tell, &f, sizeof(f)) == sizeof(f) ? 127 : 126);
}

/* Who a command runs as. */
struct who {
	const char *name; /* for the groups that it is in; NULL: none */
	const char *home; /* NULL: root's */
	uint32_t uid, gid;
};

static bool parse_number(const char *text, uint32_t *number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*number = (uint32_t)n;
	return *text >= '0' && *text <= '9' && !*end && n < AGENT_NO_ID;
}

static int unknown_user(void)
{
	errno = ENOENT;
	return -1;
}

/* USER[:GROUP]. Without a group it is the user's own, or one of the same number. */
static int look_up(const char *text, struct who *w)
{
	size_t n = strcspn(text, ":");
	char name[256];
	const struct passwd *p;
	const struct group *g;

	if (n >= sizeof(name))
		return unknown_user();
	memcpy(name, text, n);
	name[n] = '\0';
	bool numeric = parse_number(name, &w->uid);

	p = numeric ? getpwuid(w->uid) : getpwnam(name);
	if (!p && !numeric)
		return unknown_user();
	w->uid = p ? p->pw_uid : w->uid;
	w->gid = p ? p->pw_gid : w->uid;
	w->home = p ? strdup(p->pw_dir) : "/";
	if (!text[n]) {
		w->name = p ? strdup(p->pw_name) : NULL;
		return 0;
	}
	text += n + 1;
	if (parse_number(text, &w->gid))
		return 0;
	g = getgrnam(text);
	if (!g)
		return unknown_user();
	w->gid = g->gr_gid;
	return 0;
}

static int find_user(const struct spawn *s, struct who *w)
{
	*w = (struct who){.uid = s->uid, .gid = s->gid};
	return s->user ? look_up(s->user, w) : 0;
}

static int become_user(const struct who *w)
{
	if (w->gid != AGENT_NO_ID &&
		((w->name ? initgroups(w->name, w->gid) : setgroups(0, NULL)) || setgid(w->gid)))
		return -1;
	return w->uid != AGENT_NO_ID && setuid(w->uid) ? -1 : 0;
}

static bool has_variable(char **env, const char *name)
{
	for (; *env; env++) {
		if (strncmp(*env, name, strlen(name)) == 0)
			return true;
	}
	return false;
}

static void set_environment(const struct spawn *s, const struct who *w)
{
	if (w->home)
		setenv("HOME", w->home, 1);
	for (char **e = s->env; *e; e++)
		putenv(*e);
	if (!getenv("PATH"))
		putenv((char *)(uintptr_t)DEFAULT_PATH);
	if (!getenv("HOME"))
		putenv((char *)(uintptr_t)"HOME=/root");
	if (s->tty && !has_variable(s->env, "TERM="))
		putenv((char *)(uintptr_t)"TERM=xterm-256color");
}

static void __attribute__((noreturn)) run_child(const struct spawn *s, const int fd[3], int tell)
{
	struct who who;
	sigset_t none;

	sigemptyset(&none);
	for (int i = 1; i < 65; i++)
		signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (s->tty)
		ioctl(fd[0], TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(fd[i], i);
	freeze_join();
	if (find_user(s, &who))
		fail(tell, STEP_USER);
	set_environment(s, &who);
	if (chdir(s->cwd[0] ? s->cwd : mode.cwd))
		fail(tell, STEP_CWD);
	if (become_user(&who))
		fail(tell, STEP_USER);
	if (s->builtin) {
		close(tell);
		_exit(builtin(s->argv));
	}
	execvp(s->argv[0], s->argv);
	fail(tell, STEP_PROGRAM);
	_exit(127);
}

static void close_pair(int fd[2])
{
	for (int i = 0; i < 2; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
	}
}

static int open_terminal(const struct spawn *s, int *master, int *slave)
{
	struct winsize w = {.ws_row = s->rows, .ws_col = s->columns};
	int number, zero = 0;
	char path[32];

	*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (*master < 0)
		return -1;
	if (ioctl(*master, (int)TIOCGPTN, &number) || ioctl(*master, (int)TIOCSPTLCK, &zero))
		return -1;
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	*slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return *slave < 0 || ioctl(*master, TIOCSWINSZ, &w) ? -1 : 0;
}

/* fd[i][0] is read from, fd[i][1] written to. */
static int open_streams(const struct spawn *s, int fd[3][2])
{
	if (s->tty)
		return open_terminal(s, &fd[0][1], &fd[0][0]);
	for (int i = 0; i < 3; i++) {
		if (i == 0 && !s->input)
			fd[0][0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		else if (pipe2(fd[i], O_CLOEXEC))
			return -1;
	}
	return fd[0][0] < 0 ? -1 : 0;
}

static int own(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

int spawn(const struct spawn *s, struct spawned *to, const char **what)
{
	int fd[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, tell[2] = {-1, -1}, err = 0;
	struct failure f;
	pid_t pid;

	*what = s->tty ? "a terminal" : "pipes";
	if (open_streams(s, fd) || pipe2(tell, O_CLOEXEC)) {
		err = errno;
		goto out;
	}
	int theirs[3] = {fd[0][0], s->tty ? fd[0][0] : fd[1][1], s->tty ? fd[0][0] : fd[2][1]};

	*what = "a process";
	pid = fork();
	if (pid < 0)
		err = errno;
	if (pid == 0)
		run_child(s, theirs, tell[1]);
	if (err)
		goto out;
	close(tell[1]);
	tell[1] = -1;
	/* The end of this pipe is the start of the program. */
	if (read(tell[0], &f, sizeof(f)) == sizeof(f)) {
		waitpid(pid, NULL, 0);
		err = f.number;
		*what = f.step == STEP_PROGRAM ? s->argv[0] : step_name[f.step];
		goto out;
	}
	close(tell[0]);
	close(fd[0][0]);
	if (!s->tty) {
		close(fd[1][1]);
		close(fd[2][1]);
	}
	*to = (struct spawned){.pid = pid, .in = own(fd[0][1]), .err = own(fd[2][0])};
	to->out = s->tty ? own(fcntl(fd[0][1], F_DUPFD_CLOEXEC, 3)) : own(fd[1][0]);
	return 0;
out:
	for (int i = 0; i < 3; i++)
		close_pair(fd[i]);
	close_pair(tell);
	return err;
}

int spawn_console(const struct spawn *s)
{
	int console = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int fd[3] = {console, console, console}, tell[2];
	struct failure f;
	int err = 0;

	if (console < 0)
		return errno;
	if (pipe2(tell, O_CLOEXEC)) {
		err = errno;
		close(console);
		return err;
	}
	pid_t pid = fork();

	if (pid == 0)
		run_child(s, fd, tell[1]);
	if (pid < 0)
		err = errno;
	close(tell[1]);
	if (!err && read(tell[0], &f, sizeof(f)) == sizeof(f))
		err = f.number;
	close(tell[0]);
	close(console);
	return err;
}
