#include "guest-sdk/linux/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_FOLDER "/run/creel"

struct agent_mode mode = {.identity = true, .run = RUN_FOLDER, .cwd = "/"};

static int child_pipe[2];

void complain(const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fprintf(stderr, "creel-agent: %s\n", text);
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_child(int number)
{
	int saved = errno;

	(void)number;
	if (write(child_pipe[1], "", 1) < 0 && errno != EAGAIN)
		abort();
	errno = saved;
}

static void reap(void)
{
	char rest[64];
	int status;
	pid_t pid;

	while (read(child_pipe[0], rest, sizeof(rest)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		sessions_reaped(pid, status);
}

static void prepare_signals(void)
{
	struct sigaction a = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};

	if (pipe2(child_pipe, O_CLOEXEC | O_NONBLOCK))
		abort();
	sigaction(SIGCHLD, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

/* Ahead of everything that a fork must not let go on as it was. Children are ordinary. The call is the
 * kernel's: of musl's, sched_setscheduler() only fails. */
static void come_first(void)
{
	const struct sched_param p = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};

	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p))
		complain("not at the highest priority: %s", strerror(errno));
}

/* Milliseconds that a turn may wait; -1: for ever. */
static int patience(void)
{
	int freeze = freeze_left(), unique = unique_left();

	if (sessions_ready())
		return 0;
	return freeze < 0 ? unique : unique < 0 || freeze < unique ? freeze : unique;
}

static bool turn(void)
{
	static struct pollfd fds[2 + 3 * SESSIONS_MAX];
	bool good = true;

	fds[0] = (struct pollfd){.fd = link_fd(), .events = POLLIN};
	if (!link_idle())
		fds[0].events |= POLLOUT;
	fds[1] = (struct pollfd){.fd = child_pipe[0], .events = POLLIN};
	unsigned n = 2 + sessions_poll(fds + 2);

	if (poll(fds, n, patience()) < 0)
		return errno == EINTR;
	freeze_tick();
	unique_tick();
	if (fds[0].revents & (POLLIN | POLLERR))
		good = link_read();
	else if (fds[0].revents & POLLHUP)
		good = false;
	if (fds[1].revents)
		reap();
	sessions_work();
	return good && link_write();
}

static void usage(void)
{
	fprintf(stderr, "usage: creel-agent [--fd N] [--run FOLDER]\n"
			"  As process 1 it starts the system. --fd takes a descriptor in the place of the\n"
			"  host's port, and leaves the system's clock, names and addresses alone.\n");
	exit(2);
}

static int parse(int argc, char **argv)
{
	int fd = -1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--fd") && i + 1 < argc) {
			fd = atoi(argv[++i]);
			mode.identity = false;
		} else if (!strcmp(argv[i], "--run") && i + 1 < argc) {
			mode.run = argv[++i];
		} else {
			usage();
		}
	}
	return fd;
}

int main(int argc, char **argv)
{
	int fd;

	mode.init = getpid() == 1;
	/* A kernel without a console gives no descriptors. */
	while ((fd = open("/", O_RDONLY | O_DIRECTORY)) >= 0 && fd <= STDERR_FILENO)
		;
	close(fd);
	fd = mode.init ? -1 : parse(argc, argv);
	prepare_signals();
	if (mode.init)
		boot_system();
	if (mode.identity) {
		freeze_prepare();
		come_first();
	}
	unique_start();
	if (mode.init) {
		fd = boot_port();
		boot_console();
		boot_entry();
	}
	for (;;) {
		if (fd < 0)
			fd = boot_port();
		if (fd < 0) {
			complain("the host has no port named %s", AGENT_PORT);
			if (!mode.init)
				return 1;
			pause();
			continue;
		}
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		link_open(fd);
		while (turn())
			;
		sessions_abandon();
		close(fd);
		fd = -1;
		if (!mode.identity)
			return 0;
		sleep(1);
	}
}
