/*
 * Where an image's files come from: a folder, a tar file, or an OCI image layout on disk (OCI Image Format
 * Specification, "Image Layout"), as `skopeo copy docker://... oci:...` writes it. What is compressed goes
 * through gzip, zstd or xz, which have to be there.
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

#define JSON_MAX   (4 << 20)
#define LAYERS_MAX 512

static ssize_t read_fd(void *arg, void *buf, size_t size)
{
	return read(*(int *)arg, buf, size);
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
static void pack(const char *path, int to)
{
	struct tar_out t = {.write = write_fd, .arg = &to};

	if (tar_put(&t, AT_FDCWD, path, "") && tar_end(&t))
		_exit(0);
	complain("%s", t.error);
	_exit(1);
}

static const char *decompressor(const char *path)
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
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, start, sizeof(start)) : 0;

	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (n >= (ssize_t)known[i].size && !memcmp(start, known[i].magic, known[i].size))
			return known[i].program;
	}
	return NULL;
}

/* A tar stream of `path`; with a process behind it, or *pid 0. */
static int open_stream(const char *path, bool folder, pid_t *pid)
{
	const char *program = folder ? NULL : decompressor(path);
	int fd[2], from = open(path, O_RDONLY | O_CLOEXEC);

	*pid = 0;
	if (from < 0 || (!folder && !program))
		return from;
	if (pipe2(fd, O_CLOEXEC))
		return -1;
	*pid = fork();
	if (*pid == 0) {
		if (folder)
			pack(path, fd[1]);
		dup2(from, STDIN_FILENO);
		dup2(fd[1], STDOUT_FILENO);
		execlp(program, program, "-dc", (char *)NULL);
		complain("%s is compressed, and there is no %s", path, program);
		_exit(127);
	}
	close(from);
	close(fd[1]);
	return fd[0];
}

static bool read_stream(struct tree *t, const char *path, bool folder, bool whiteouts)
{
	pid_t pid;
	int fd = open_stream(path, folder, &pid), status = 0;
	struct tar_in tar = {.read = read_fd, .arg = &fd};

	if (fd < 0) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	bool good = tree_layer(t, &tar, whiteouts);

	if (good) {
		char rest[4096];

		while (read(fd, rest, sizeof(rest)) > 0)
			;
	}
	close(fd);
	if (pid && (waitpid(pid, &status, 0) != pid || (good && status))) {
		complain("%s could not be read to its end", path);
		return false;
	}
	return good;
}

/* ---- OCI layouts ------------------------------------------------------------------------------ */

static struct json_value *read_json(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = malloc(JSON_MAX + 1);
	struct json_value *v = NULL;
	size_t n;

	if (!text)
		abort();
	if (f) {
		n = fread(text, 1, JSON_MAX, f);
		text[n] = '\0';
		v = json_parse(text);
		fclose(f);
	}
	free(text);
	if (!v)
		complain("%s can't be read, or is no JSON", path);
	return v;
}

/* The file of a digest "sha256:HEX", or NULL. */
static char *blob_path(const char *layout, const struct json_value *descriptor)
{
	const char *digest = json_string(json_member(descriptor, "digest")), *hex;
	char *path;

	hex = digest ? strchr(digest, ':') : NULL;
	if (!hex || strspn(digest, "abcdefghijklmnopqrstuvwxyz0123456789") != (size_t)(hex - digest) ||
		!hex[1] || strspn(hex + 1, "0123456789abcdef") != strlen(hex + 1)) {
		complain("%s: a digest is missing or malformed", layout);
		return NULL;
	}
	if (asprintf(&path, "%s/blobs/%.*s/%s", layout, (int)(hex - digest), digest, hex + 1) < 0)
		abort();
	return path;
}

static struct json_value *read_blob(const char *layout, const struct json_value *descriptor)
{
	char *path = blob_path(layout, descriptor);
	struct json_value *v = path ? read_json(path) : NULL;

	free(path);
	return v;
}

/* Of several, the one for our kind of machine. */
static const struct json_value *choose(const struct json_value *index)
{
	const struct json_value *list = json_member(index, "manifests"), *first;

	first = list && list->kind == JSON_LIST ? list->first : NULL;
	for (const struct json_value *m = first; m; m = m->next) {
		const char *machine =
			json_string(json_member(json_member(m, "platform"), "architecture"));

		if (machine && !strcmp(machine, "amd64"))
			return m;
	}
	return first;
}

static size_t take_list(const char **to, size_t n, const struct json_value *list)
{
	const struct json_value *v = list && list->kind == JSON_LIST ? list->first : NULL;

	for (; v && n < LIST_MAX; v = v->next) {
		if (json_string(v))
			to[n++] = v->text;
	}
	to[n] = NULL;
	return n;
}

static void take_config(const struct json_value *config, struct entry_point *entry)
{
	size_t n = take_list(entry->words, 0, json_member(config, "Entrypoint"));

	take_list(entry->words, n, json_member(config, "Cmd"));
	take_list(entry->env, 0, json_member(config, "Env"));
	entry->cwd = json_string(json_member(config, "WorkingDir"));
	entry->user = json_string(json_member(config, "User"));
}

static bool read_layout(struct tree *t, const char *layout, struct entry_point *entry)
{
	const struct json_value *manifest, *config, *layer;
	struct json_value *index;
	char *path;
	int count = 0;

	if (asprintf(&path, "%s/index.json", layout) < 0)
		abort();
	index = read_json(path);
	free(path);
	manifest = index ? read_blob(layout, choose(index)) : NULL;
	/* An index may lead to another. */
	if (manifest && json_member(manifest, "manifests"))
		manifest = read_blob(layout, choose(manifest));
	config = manifest ? read_blob(layout, json_member(manifest, "config")) : NULL;
	if (!config)
		return false;
	take_config(json_member(config, "config"), entry);
	layer = json_member(manifest, "layers");
	layer = layer && layer->kind == JSON_LIST ? layer->first : NULL;
	for (; layer; layer = layer->next) {
		path = blob_path(layout, layer);
		if (!path || ++count > LAYERS_MAX)
			return false;
		bool good = read_stream(t, path, false, true);

		free(path);
		if (!good)
			return false;
	}
	return count > 0;
}

bool source_read(struct tree *t, const char *path, struct entry_point *entry)
{
	struct stat st, layout;
	char *mark;

	if (stat(path, &st)) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	if (asprintf(&mark, "%s/oci-layout", path) < 0)
		abort();
	bool oci = stat(mark, &layout) == 0;

	free(mark);
	return oci ? read_layout(t, path, entry) : read_stream(t, path, S_ISDIR(st.st_mode), false);
}
