/* Process 1: what a kernel leaves to be done, the drivers of the port, and the image's entry point. */
#include "guest-sdk/linux/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULES   "/usr/lib/creel/modules"
#define ENTRY     "/etc/creel/entry"
#define WORDS_MAX 1024
#define PORTS     "/sys/class/virtio-ports"
#define PORT_TRIES 1000
#define PORT_US    10000

static void mount_on(const char *type, const char *where, unsigned long flags, const char *options)
{
	mkdir(where, 0755);
	if (mount(type, where, type, flags, options) && errno != EBUSY)
		complain("can't mount %s: %s", where, strerror(errno));
}

static void link_name(const char *to, const char *name)
{
	if (symlink(to, name) && errno != EEXIST)
		complain("can't make %s: %s", name, strerror(errno));
}

/* In the order of their names, which the image was built with. */
static void load_modules(void)
{
	struct dirent **list;
	int n = scandir(MODULES, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[512];

		snprintf(path, sizeof(path), MODULES "/%s", list[i]->d_name);
		if (list[i]->d_name[0] != '.') {
			int fd = open(path, O_RDONLY | O_CLOEXEC);

			if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
				complain("%s was not loaded: %s", path, strerror(errno));
			if (fd >= 0)
				close(fd);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void start_loopback(void)
{
	struct ifreq q = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0 && ioctl(s, SIOCSIFFLAGS, &q))
		complain("no loopback interface");
	if (s >= 0)
		close(s);
}

void boot_system(void)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	mount_on("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	mount_on("proc", "/proc", safe, NULL);
	mount_on("sysfs", "/sys", safe, NULL);
	mount_on("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5");
	mount_on("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_on("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
	mount_on("cgroup2", "/sys/fs/cgroup", safe, NULL);
	mkdir("/tmp", 01777);
	mkdir("/etc", 0755);
	chmod("/tmp", 01777);
	link_name("/proc/self/fd", "/dev/fd");
	link_name("/proc/self/fd/0", "/dev/stdin");
	link_name("/proc/self/fd/1", "/dev/stdout");
	link_name("/proc/self/fd/2", "/dev/stderr");
	load_modules();
	start_loopback();
}

/* The folder's entry whose file `name` holds AGENT_PORT. */
static bool is_ours(const char *port)
{
	char path[512], name[64] = "";
	int fd;

	snprintf(path, sizeof(path), PORTS "/%s/name", port);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, name, sizeof(name) - 1);

	close(fd);
	return n > 0 && strncmp(name, AGENT_PORT, strlen(AGENT_PORT)) == 0 &&
	       (name[strlen(AGENT_PORT)] == '\n' || !name[strlen(AGENT_PORT)]);
}

static int open_port(void)
{
	DIR *d = opendir(PORTS);
	struct dirent *e;
	int fd = -1;

	while (d && fd < 0 && (e = readdir(d))) {
		char path[300];

		if (e->d_name[0] == '.' || !is_ours(e->d_name))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", e->d_name);
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (d)
		closedir(d);
	return fd;
}

int boot_port(void)
{
	/* The host names its ports a moment after the driver has found the device. */
	for (int i = 0; i < PORT_TRIES; i++) {
		int fd = open_port();

		if (fd >= 0)
			return fd;
		usleep(PORT_US);
	}
	return -1;
}

void boot_console(void)
{
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* ---- the entry point -------------------------------------------------------------------------- */

static char *words[WORDS_MAX + 1], *settings[WORDS_MAX + 1];

/* As agent_proto.h has it. */
static void read_entry(char *text, size_t size, struct spawn *s)
{
	size_t argc = 0, envc = 0;

	for (char *at = text; at < text + size; at += strlen(at) + 1) {
		char *value = strchr(at, '=');

		if (!value)
			continue;
		*value++ = '\0';
		if (!strcmp(at, "arg") && argc < WORDS_MAX)
			words[argc++] = value;
		else if (!strcmp(at, "env") && envc < WORDS_MAX)
			settings[envc++] = value;
		else if (!strcmp(at, "cwd"))
			s->cwd = value;
		else if (!strcmp(at, "user"))
			s->user = value;
		at = value;
	}
	s->argv = words;
	s->env = settings;
}

void boot_entry(void)
{
	static char text[AGENT_ENTRY_MAX + 1];
	struct spawn s = {.cwd = "/", .uid = AGENT_NO_ID, .gid = AGENT_NO_ID};
	int fd = open(ENTRY, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, AGENT_ENTRY_MAX) : 0;

	if (fd >= 0)
		close(fd);
	if (n > 0)
		read_entry(text, (size_t)n, &s);
	/* Commands find the image's environment and folder too. */
	for (char **e = settings; *e; e++)
		putenv(*e);
	mode.cwd = s.cwd;
	if (!words[0])
		return;
	int err = spawn_console(&s);

	if (err)
		complain("the entry point %s can't be run: %s", words[0], strerror(err));
}
