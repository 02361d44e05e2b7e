/*
 * Guests of the fake host with an agent get the real one: a process of this system for each guest, at
 * the end of a pair of sockets instead of a virtio port. $CREEL_AGENT is its path.
 */
#include "tests/mgmt/fake_agent.h"

#include "tests/fake_hv_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENTS_MAX 64

struct fake_agent {
	uint64_t guest; /* 0: free */
	int fd;
	pid_t pid;
	uint8_t in[4096], out[4096];
	size_t in_at, in_size, out_at, out_size;
};

static struct fake_agent agents[AGENTS_MAX];

static void start(struct fake_agent *a, uint64_t guest)
{
	const char *path = getenv("CREEL_AGENT");
	char folder[64] = "/tmp/creel-agent-XXXXXX", number[16];
	int fd[2];

	if (!path || !mkdtemp(folder) || socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		abort();
	*a = (struct fake_agent){.guest = guest, .fd = fd[0]};
	a->pid = fork();
	if (a->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(number, sizeof(number), "%d", fd[1]);
		setenv("CREEL_RUN", folder, 1);
		close(fd[0]);
		execl(path, path, "--fd", number, "--run", folder, NULL);
		_exit(127);
	}
	close(fd[1]);
	fcntl(fd[0], F_SETFD, FD_CLOEXEC);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
}

static void end(struct fake_agent *a)
{
	kill(a->pid, SIGKILL);
	waitpid(a->pid, NULL, 0);
	close(a->fd);
	*a = (struct fake_agent){0};
}

static bool to_agent(struct fake_agent *a)
{
	ssize_t n;

	if (!a->in_size) {
		a->in_at = 0;
		a->in_size = fake_agent_take(a->guest, a->in, sizeof(a->in));
	}
	n = a->in_size ? write(a->fd, a->in + a->in_at, a->in_size) : 0;
	if (n <= 0)
		return false;
	a->in_at += (size_t)n;
	a->in_size -= (size_t)n;
	return true;
}

static bool from_agent(struct fake_agent *a)
{
	if (!a->out_size) {
		ssize_t n = read(a->fd, a->out, sizeof(a->out));

		a->out_at = 0;
		a->out_size = n > 0 ? (size_t)n : 0;
	}
	size_t n = a->out_size ? fake_agent_say(a->guest, a->out + a->out_at, a->out_size) : 0;

	a->out_at += n;
	a->out_size -= n;
	return n;
}

static struct fake_agent *agent_of(uint64_t guest)
{
	for (struct fake_agent *a = agents; a < agents + AGENTS_MAX; a++) {
		if (a->guest == guest)
			return a;
	}
	return NULL;
}

bool fake_agents_tick(void)
{
	struct thing *g;
	bool busy = false;

	for (uint64_t id = 0; (g = fake_next(id, false));) {
		struct fake_agent *a;

		id = g->info.id;
		if (g->stream[STREAM_AGENT_IN].begin == g->stream[STREAM_AGENT_IN].end || agent_of(id))
			continue;
		a = agent_of(0);
		if (a)
			start(a, id);
	}
	for (struct fake_agent *a = agents; a < agents + AGENTS_MAX; a++) {
		g = a->guest ? fake_find(a->guest, false) : NULL;
		if (a->guest && (!g || g->info.state == GUEST_STOPPED))
			end(a);
		if (a->guest && g->info.state != GUEST_PAUSED) {
			busy |= to_agent(a);
			busy |= from_agent(a);
		}
	}
	return busy;
}

unsigned fake_agents_poll(struct pollfd *fds)
{
	unsigned n = 0;

	for (struct fake_agent *a = agents; a < agents + AGENTS_MAX; a++) {
		if (a->guest)
			fds[n++] = (struct pollfd){.fd = a->fd,
				.events = (short)(a->out_size ? 0 : POLLIN)};
	}
	return n;
}
