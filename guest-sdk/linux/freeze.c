/*
 * Standing still for a snapshot, so that nothing is half-way in it. Process 1 has put all that it
 * started into a control group, which the kernel freezes; elsewhere every process gets SIGSTOP.
 */
#include "guest-sdk/linux/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP   "/sys/fs/cgroup/creel"
#define WAIT_US 2000
#define WAITS   500

static bool has_group, frozen;
static uint64_t frozen_until; /* ms */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

void freeze_prepare(void)
{
	/* A service has not started the others, and they are not in its group. */
	has_group = mode.init && (mkdir(GROUP, 0755) == 0 || errno == EEXIST);
	has_group = has_group && access(GROUP "/cgroup.freeze", W_OK) == 0;
}

void freeze_join(void)
{
	if (has_group)
		write_text(GROUP "/cgroup.procs", "0");
}

static bool group_is_frozen(void)
{
	char text[128] = "";
	int fd = open(GROUP "/cgroup.events", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

	if (fd >= 0)
		close(fd);
	return n > 0 && strstr(text, "frozen 1");
}

static bool freeze_group(void)
{
	if (!write_text(GROUP "/cgroup.freeze", "1"))
		return false;
	for (int i = 0; i < WAITS; i++) {
		if (group_is_frozen())
			return true;
		usleep(WAIT_US);
	}
	write_text(GROUP "/cgroup.freeze", "0");
	errno = ETIMEDOUT;
	return false;
}

/* Every process that has a program and is neither 1 nor we. */
static void signal_all(int number)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[300], link[8];
		int pid = atoi(e->d_name);

		snprintf(path, sizeof(path), "/proc/%s/exe", e->d_name);
		/* The kernel's own have none. */
		if (pid > 1 && pid != getpid() && readlink(path, link, sizeof(link)) > 0)
			kill(pid, number);
	}
	if (d)
		closedir(d);
}

bool freeze_begin(uint32_t ms)
{
	if (frozen || !mode.identity) {
		errno = frozen ? EBUSY : EPERM;
		return false;
	}
	if (has_group && !freeze_group())
		return false;
	if (!has_group)
		signal_all(SIGSTOP);
	frozen = true;
	frozen_until = now_ms() + ms;
	return true;
}

void freeze_end(void)
{
	if (!frozen)
		return;
	if (has_group)
		write_text(GROUP "/cgroup.freeze", "0");
	else
		signal_all(SIGCONT);
	frozen = false;
}

bool freeze_under_way(void)
{
	return frozen;
}

int freeze_left(void)
{
	uint64_t now = now_ms();

	return !frozen ? -1 : now >= frozen_until ? 0 : (int)(frozen_until - now);
}

void freeze_tick(void)
{
	if (freeze_left() == 0)
		freeze_end();
}
