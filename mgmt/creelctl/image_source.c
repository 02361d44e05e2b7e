/*
 * Where an image's files come from: a folder, a tar file, or an OCI image layout (image_oci.c). What is
 * compressed goes through gzip, zstd or xz, which have to be there.
 */
#include "mgmt/creelctl/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEHIND_MAX (16u << 20) /* bytes behind the end of a tar stream: what fills a tape's record */

struct stream {
	int fd;
	struct sha256 hash; /* of what was read */
};

static ssize_t read_stream(void *arg, void *buf, size_t size)
{
	struct stream *s = arg;
	ssize_t n;

	do
		n = read(s->fd, buf, size);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		sha256_add(&s->hash, buf, (size_t)n);
	return n;
}

static bool write_fd(void *arg, const void *buf, size_t size)
{
	const char *at = buf;

	while (size) {
		ssize_t n = write(*(int *)arg, at, size);

		if (n <= 0)
			return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

/* In a process of its own: the folder as a tar stream. */
static void pack(int folder, int to)
{
	struct tar_out t = {.write = write_fd, .arg = &to};

	if (tar_put(&t, folder, ".", "") && tar_end(&t))
		_exit(0);
	complain("%s", t.error);
	_exit(1);
}

static const char *decompressor(int fd)
{
	static const struct {
		const char *magic, *program;
		size_t size;
	} known[] = {
		{"\x1f\x8b", "gzip", 2},
		{"\x28\xb5\x2f\xfd", "zstd", 4},
		{"\xfd" "7zXZ", "xz", 5},
	};
	char start[8] = "";
	ssize_t n = pread(fd, start, sizeof(start), 0);

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (n >= (ssize_t)known[i].size && !memcmp(start, known[i].magic, known[i].size))
			return known[i].program;
	}
	return NULL;
}

/* A tar stream of what `from` is; with a process behind it, or *pid 0. `path` is its name. */
static int open_stream(int from, const char *path, pid_t *pid)
{
	struct stat st;
	bool folder = fstat(from, &st) == 0 && S_ISDIR(st.st_mode);
	const char *program = folder ? NULL : decompressor(from);
	int fd[2];

	*pid = 0;
	if (!folder && !program)
		return dup(from);
	if (pipe2(fd, O_CLOEXEC))
		return -1;
	*pid = fork();
	if (*pid == 0) {
		if (folder)
			pack(from, fd[1]);
		dup2(from, STDIN_FILENO);
		dup2(fd[1], STDOUT_FILENO);
		execlp(program, program, "-dc", (char *)NULL);
		complain("%s is compressed, and there is no %s", path, program);
		_exit(127);
	}
	close(fd[1]);
	if (*pid > 0)
		return fd[0];
	close(fd[0]);
	return -1;
}

/* What stands behind the tar stream's end. False: too much. */
static bool drain(struct stream *s)
{
	char rest[4096];
	size_t size = 0;
	ssize_t n;

	while ((n = read_stream(s, rest, sizeof(rest))) > 0) {
		size += (size_t)n;
		if (size > BEHIND_MAX)
			return false;
	}
	return n == 0;
}

bool source_layer(struct tree *t, int from, const char *path, bool whiteouts, uint8_t digest[SHA256_SIZE])
{
	pid_t pid;
	int status = 0;
	struct stream s = {.fd = open_stream(from, path, &pid)};
	struct tar_in tar = {.read = read_stream, .arg = &s};

	if (s.fd < 0) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	sha256_begin(&s.hash);
	bool good = tree_layer(t, &tar, whiteouts);

	if (good && !drain(&s)) {
		complain("%s goes on behind its end", path);
		good = false;
	}
	close(s.fd);
	if (pid && (waitpid(pid, &status, 0) != pid || (good && status))) {
		complain("%s could not be read to its end", path);
		return false;
	}
	sha256_end(&s.hash, digest);
	return good;
}

/* An OCI layout that was packed again is none, but an image of it would be made. */
static bool is_packed_layout(struct tree *t)
{
	return tree_find(t, "oci-layout") && tree_find(t, "index.json") && tree_find(t, "blobs");
}

static bool read_plain(struct tree *t, const char *path)
{
	uint8_t unused[SHA256_SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good;

	if (fd < 0) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	good = source_layer(t, fd, path, false, unused);
	close(fd);
	if (good && is_packed_layout(t)) {
		complain("%s is a tar file of an OCI image layout: unpack it, and name the folder", path);
		return false;
	}
	return good;
}

static bool is_layout(const char *path)
{
	struct stat st;
	char *mark;

	if (asprintf(&mark, "%s/oci-layout", path) < 0)
		abort();
	bool is = stat(mark, &st) == 0;

	free(mark);
	return is;
}

bool source_read(struct tree *t, const char *path, struct entry_point *entry)
{
	const char *colon = strrchr(path, ':');
	struct stat st;

	if (is_layout(path))
		return oci_read(t, path, NULL, entry);
	if (colon && stat(path, &st)) {
		char *folder = strndup(path, (size_t)(colon - path));
		bool layout = is_layout(folder), good = layout && oci_read(t, folder, colon + 1, entry);

		free(folder);
		if (layout)
			return good;
	}
	return read_plain(t, path);
}
