#include "tests/fake_agent_system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_PID 1000

struct fake_child fake_children[FAKE_CHILDREN];
bool fake_frozen;
uint64_t fake_generation;
static int link_end = -1;

static void must(bool good)
{
	if (!good)
		abort();
}

/* ---- what the agent calls --------------------------------------------------------------------- */

int fake_kill(pid_t pid, int number)
{
	struct fake_child *c = &fake_children[-pid - FIRST_PID];

	must(pid < -1 && c >= fake_children && c < fake_children + FAKE_CHILDREN && c->used);
	must(number >= 0 && number <= 64);
	c->signalled = number;
	return 0;
}

static void open_pipe(int *read_end, int *write_end)
{
	int fd[2];

	must(pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0);
	*read_end = fd[0];
	*write_end = fd[1];
}

int spawn(const struct spawn *s, struct spawned *to, const char **what)
{
	struct fake_child *c = fake_children;
	size_t bytes = strlen(s->cwd) + (s->user ? strlen(s->user) : 0);

	must(s->argv[0] && s->env);
	for (char **list = s->argv; *list; list++)
		bytes += strlen(*list);
	for (char **list = s->env; *list; list++)
		bytes += strlen(*list);
	must(bytes < AGENT_MESSAGE_MAX);
	while (c < fake_children + FAKE_CHILDREN && c->used)
		c++;
	*what = "a process";
	if (c == fake_children + FAKE_CHILDREN || strcmp(s->argv[0], "none") == 0)
		return ENOENT;
	*c = (struct fake_child){
		.used = true, .pid = FIRST_PID + (int)(c - fake_children), .in = -1, .err = -1};
	*to = (struct spawned){.pid = c->pid, .in = -1, .err = -1};
	open_pipe(&to->out, &c->out);
	if (!s->tty)
		open_pipe(&to->err, &c->err);
	if (s->tty || s->input)
		open_pipe(&c->in, &to->in);
	return 0;
}

bool freeze_begin(uint32_t ms)
{
	must(ms && ms <= 60000);
	if (fake_frozen) {
		errno = EBUSY;
		return false;
	}
	fake_frozen = true;
	return true;
}

void freeze_end(void)
{
	fake_frozen = false;
}

bool freeze_under_way(void)
{
	return fake_frozen;
}

void unique_reset(const struct agent_reset *r)
{
	must(memchr(r->name, '\0', sizeof(r->name)));
	fake_generation = r->generation;
	freeze_end();
}

/* ---- what a test calls ------------------------------------------------------------------------ */

int fake_agent_begin(void)
{
	int fd[2];

	signal(SIGPIPE, SIG_IGN);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
	link_end = fd[0];
	link_open(link_end);
	return fd[1];
}

void fake_agent_turn(void)
{
	static struct pollfd fds[3 * SESSIONS_MAX];
	unsigned n = sessions_poll(fds);

	must(n <= 3 * SESSIONS_MAX && poll(fds, n, 0) >= 0);
	sessions_work();
	must(link_write());
}

void fake_agent_hears(int port, uint8_t type, uint64_t session, const void *payload, uint32_t size)
{
	static uint8_t wire[AGENT_WIRE];
	uint32_t n = agent_encode(wire, type, session, payload, size);

	must(write(port, wire, n) == (ssize_t)n);
	while (recv(link_end, wire, 1, MSG_PEEK) > 0)
		must(link_read());
}

void fake_child_ends(struct fake_child *c, int status)
{
	int fd[] = {c->in, c->out, c->err};
	pid_t pid = c->pid;

	for (int i = 0; i < 3; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
	}
	*c = (struct fake_child){0};
	sessions_reaped(pid, status);
}

void fake_agent_end(int port)
{
	const struct agent_reset reset = {.generation = 1};
	static struct pollfd fds[3 * SESSIONS_MAX];
	static uint8_t rest[4096];

	for (struct fake_child *c = fake_children; c < fake_children + FAKE_CHILDREN; c++) {
		if (c->used)
			fake_child_ends(c, 0);
	}
	/* The zero ends what was half a frame. */
	must(write(port, "", 1) == 1);
	fake_agent_hears(port, AGENT_RESET, 0, &reset, sizeof(reset));
	must(fake_generation == 1 && !fake_frozen);
	fake_agent_turn();
	must(sessions_poll(fds) == 0 && !sessions_ready());
	while (!link_idle() || recv(port, rest, sizeof(rest), 0) > 0)
		must(link_write());
	close(port);
	close(link_end);
}
