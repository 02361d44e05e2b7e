/* The agent's own commands (agent_proto.h), each in a process of its own. */
#include "guest-sdk/linux/agent.h"
#include "guest-sdk/linux/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *path, const char *what)
{
	fprintf(stderr, "%s: %s\n", path, what);
	return 1;
}

/* As much as `size`, unless it ends; -1: an error. */
static ssize_t read_whole(int fd, char *buf, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, buf + got, size - got);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static bool write_whole(int fd, const char *buf, size_t size)
{
	while (size) {
		ssize_t n = write(fd, buf, size);

		if (n < 0)
			return false;
		buf += n;
		size -= (size_t)n;
	}
	return true;
}

static char buffer[64 * 1024];

/* stdin to a file. */
static bool store(int to)
{
	ssize_t n;

	while ((n = read_whole(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
		if (!tar_write(to, buffer, (size_t)n))
			return false;
	}
	return n == 0 && tar_write_end(to);
}

/* A file to stdout. */
static bool load(int from)
{
	ssize_t n;

	while ((n = read(from, buffer, sizeof(buffer))) > 0) {
		if (!write_whole(STDOUT_FILENO, buffer, (size_t)n))
			return false;
	}
	return n == 0;
}

/* Under another name until it is whole. */
static int push(const char *path, const char *mode_text)
{
	char part[PATH_MAX];
	struct stat st;
	int fd, err = 0;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return fails(path, strerror(EISDIR));
	if (snprintf(part, sizeof(part), "%s.%d.part", path, getpid()) >= PATH_MAX)
		return fails(path, strerror(ENAMETOOLONG));
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fails(path, strerror(errno));
	if (!store(fd) || fchmod(fd, (mode_t)strtoul(mode_text, NULL, 8) & 07777))
		err = errno;
	if (close(fd) && !err)
		err = errno;
	if (!err && rename(part, path))
		err = errno;
	if (err)
		unlink(part);
	return err ? fails(path, strerror(err)) : 0;
}

static int pull(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st))
		return fails(path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return fails(path, strerror(EISDIR));
	return load(fd) ? 0 : fails(path, strerror(errno));
}

static bool write_out(void *arg, const void *buf, size_t size)
{
	(void)arg;
	return fwrite(buf, 1, size, stdout) == size;
}

static ssize_t read_in(void *arg, void *buf, size_t size)
{
	(void)arg;
	return read(STDIN_FILENO, buf, size);
}

/* A link to a directory stands for the directory here, as it does in its look(). */
static int pack(const char *path)
{
	static struct tar_out t = {.write = write_out};
	int folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	const char *name = strrchr(path, '/');
	bool good;

	name = name ? name + 1 : path;
	if (folder >= 0)
		good = tar_put(&t, folder, ".", "");
	else
		good = tar_put(&t, AT_FDCWD, path, name);
	if (!good || !tar_end(&t))
		return fails(path, t.error);
	return fflush(stdout) ? fails(path, strerror(errno)) : 0;
}

static int unpack(const char *path)
{
	struct tar_in t = {.read = read_in};
	int top;

	mkdir(path, 0755);
	top = open(path, O_DIRECTORY | O_RDONLY);
	if (top < 0)
		return fails(path, strerror(errno));
	return tar_extract(&t, top, 0) ? 0 : fails(path, t.error);
}

static int look(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return 1;
	printf("%s %o\n", S_ISDIR(st.st_mode) ? "directory" : S_ISREG(st.st_mode) ? "file" : "other",
		(unsigned)st.st_mode & 07777);
	return fflush(stdout) ? 1 : 0;
}

int builtin(char **argv)
{
	/* Pipes of other commands must end when those do. */
	for (int fd = 3; fd < 3 * SESSIONS_MAX + 16; fd++)
		close(fd);
	if (!argv[1])
		return fails(argv[0], "a path is missing");
	if (!strcmp(argv[0], "push") && argv[2])
		return push(argv[1], argv[2]);
	if (!strcmp(argv[0], "pull"))
		return pull(argv[1]);
	if (!strcmp(argv[0], "tar"))
		return pack(argv[1]);
	if (!strcmp(argv[0], "untar"))
		return unpack(argv[1]);
	if (!strcmp(argv[0], "stat"))
		return look(argv[1]);
	return fails(argv[0], "the agent has no such command");
}
