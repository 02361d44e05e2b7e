/*
 * OCI image layouts on disk (OCI Image Format Specification, "Image Layout"), as `skopeo copy docker://NAME
 * oci:FOLDER:TAG` writes them. Every blob is what its descriptor says, in size and digest, before anything
 * of it is used.
 */
#include "mgmt/creelctl/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_MAX    (4 << 20)
#define LAYERS_MAX  512
#define INDEXES_MAX 4 /* in each other */
#define REF_NAME    "org.opencontainers.image.ref.name"

/* ---- blobs ------------------------------------------------------------------------------------ */

/* Of "sha256:HEX". */
static bool parse_digest(const char *text, uint8_t digest[SHA256_SIZE])
{
	if (!text || strncmp(text, "sha256:", 7) != 0)
		return false;
	text += 7;
	if (strspn(text, "0123456789abcdef") != 2 * SHA256_SIZE || text[2 * SHA256_SIZE])
		return false;
	for (size_t i = 0; i < SHA256_SIZE; i++)
		sscanf(text + 2 * i, "%2hhx", &digest[i]);
	return true;
}

static bool hash_file(int fd, uint8_t digest[SHA256_SIZE])
{
	static char buf[1 << 16];
	struct sha256 s;
	ssize_t n;

	sha256_begin(&s);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sha256_add(&s, buf, (size_t)n);
	sha256_end(&s, digest);
	return n == 0 && lseek(fd, 0, SEEK_SET) == 0;
}

static bool check_blob(int fd, const char *path, const struct json_value *descriptor,
	const uint8_t digest[SHA256_SIZE])
{
	uint8_t found[SHA256_SIZE];
	uint64_t size;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		complain("%s is no file", path);
		return false;
	}
	if (!json_whole(json_member(descriptor, "size"), &size) || size != (uint64_t)st.st_size) {
		complain("%s has %lld bytes, which is not what its descriptor says", path,
			(long long)st.st_size);
		return false;
	}
	if (!hash_file(fd, found)) {
		complain("can't read %s: %s", path, strerror(errno));
		return false;
	}
	if (memcmp(found, digest, SHA256_SIZE) != 0) {
		complain("%s is damaged: its digest is another one", path);
		return false;
	}
	return true;
}

/* The file of a descriptor, at its start, and its name in *path; or -1. */
static int open_blob(const char *layout, const struct json_value *descriptor, char **path)
{
	const char *name = json_string(json_member(descriptor, "digest"));
	uint8_t digest[SHA256_SIZE];
	int fd;

	*path = NULL;
	if (!parse_digest(name, digest)) {
		complain("%s: a digest is missing, malformed, or none of SHA-256", layout);
		return -1;
	}
	if (asprintf(path, "%s/blobs/sha256/%s", layout, name + 7) < 0)
		abort();
	fd = open(*path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		complain("can't open %s: %s", *path, strerror(errno));
	} else if (!check_blob(fd, *path, descriptor, digest)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static struct json_value *read_json(int fd, const char *path)
{
	char *text = malloc(JSON_MAX + 1);
	struct json_value *v = NULL;
	FILE *f = fdopen(fd, "rb");

	if (!text || !f)
		abort();
	size_t n = fread(text, 1, JSON_MAX + 1, f);

	if (n <= JSON_MAX) {
		text[n] = '\0';
		v = strlen(text) == n ? json_parse(text) : NULL;
	}
	fclose(f);
	free(text);
	if (!v)
		complain("%s is no JSON, or too much", path);
	return v;
}

static struct json_value *read_blob(const char *layout, const struct json_value *descriptor)
{
	char *path;
	int fd = open_blob(layout, descriptor, &path);
	struct json_value *v = fd >= 0 ? read_json(fd, path) : NULL;

	free(path);
	return v;
}

static struct json_value *read_index(const char *layout)
{
	struct json_value *v = NULL;
	char *path;

	if (asprintf(&path, "%s/index.json", layout) < 0)
		abort();
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		complain("can't open %s: %s", path, strerror(errno));
	else
		v = read_json(fd, path);
	free(path);
	return v;
}

/* ---- which image ------------------------------------------------------------------------------ */

static const struct json_value *list_of(const struct json_value *v, const char *key)
{
	v = json_member(v, key);
	return v && v->kind == JSON_LIST ? v->first : NULL;
}

static bool is(const struct json_value *v, const char *key, const char *wanted)
{
	const char *text = json_string(json_member(v, key));

	return !text || !strcmp(text, wanted);
}

/* Of a platform, or of an image's configuration; what does not say is taken for ours. */
static bool is_ours(const struct json_value *v)
{
	return is(v, "os", "linux") && is(v, "architecture", "amd64");
}

static const char *ref_name(const struct json_value *m)
{
	return json_string(json_member(json_member(m, "annotations"), REF_NAME));
}

/* Those that are there, for who has to choose. */
static void complain_choice(const char *layout, const char *what, const struct json_value *first)
{
	char text[512] = "";
	size_t n = 0;

	for (const struct json_value *m = first; m && n < sizeof(text); m = m->next) {
		const struct json_value *p = json_member(m, "platform");
		const char *os = json_string(json_member(p, "os"));
		const char *machine = json_string(json_member(p, "architecture"));
		const char *name = ref_name(m);

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%s%s%s%s", n ? ", " : "",
			name ? name : "", name && machine ? " " : "", os ? os : "", os && machine ? "/" : "",
			machine ? machine : "");
	}
	complain("%s: %s (%s)", layout, what, text);
}

/* The first for our kind of machine of those named `name`, or of all; NULL: it has complained. */
static const struct json_value *choose(const char *layout, const struct json_value *index, const char *name)
{
	const struct json_value *first = list_of(index, "manifests"), *found = NULL;

	for (const struct json_value *m = first; m; m = m->next) {
		const char *its = ref_name(m);

		if ((name && (!its || strcmp(its, name))) || !is_ours(json_member(m, "platform")))
			continue;
		if (found && its && ref_name(found) && strcmp(its, ref_name(found)) != 0) {
			complain_choice(layout, "several images: say which one, as FOLDER:NAME", first);
			return NULL;
		}
		if (!found)
			found = m;
	}
	if (!found)
		complain_choice(layout, "no such image for linux/amd64", first);
	return found;
}

/* ---- what it says ----------------------------------------------------------------------------- */

/* Adds the strings of a list to those in `to`, whose number is *n. */
static bool take_list(const char **to, size_t *n, const struct json_value *config, const char *key)
{
	for (const struct json_value *v = list_of(config, key); v; v = v->next) {
		if (!json_string(v) || *n == LIST_MAX) {
			complain("the image's %s is malformed, or has more than %d members", key, LIST_MAX);
			return false;
		}
		to[(*n)++] = v->text;
	}
	to[*n] = NULL;
	return true;
}

static bool take_config(const struct json_value *config, struct entry_point *entry)
{
	size_t words = 0, variables = 0;

	entry->cwd = json_string(json_member(config, "WorkingDir"));
	entry->user = json_string(json_member(config, "User"));
	return take_list(entry->words, &words, config, "Entrypoint") &&
	       take_list(entry->words, &words, config, "Cmd") &&
	       take_list(entry->env, &variables, config, "Env");
}

/* `diff_id`: what the configuration says of the uncompressed layer; NULL: nothing. */
static bool read_layer(struct tree *t, const char *layout, const struct json_value *layer,
	const struct json_value *diff_id)
{
	uint8_t found[SHA256_SIZE], said[SHA256_SIZE];
	char *path;
	int fd = open_blob(layout, layer, &path);
	bool good = fd >= 0 && source_layer(t, fd, path, true, found);

	if (good && diff_id &&
		(!parse_digest(json_string(diff_id), said) || memcmp(found, said, sizeof(said)) != 0)) {
		complain("%s is another layer than the image's configuration names", path);
		good = false;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return good;
}

static bool read_layers(struct tree *t, const char *layout, const struct json_value *manifest,
	const struct json_value *config)
{
	const struct json_value *layer = list_of(manifest, "layers");
	const struct json_value *ids = list_of(json_member(config, "rootfs"), "diff_ids"), *id = ids;
	int count = 0;

	for (; layer; layer = layer->next) {
		if (++count > LAYERS_MAX || (ids && !id)) {
			complain("%s: more layers than %s", layout, ids ? "it names" : "can be");
			return false;
		}
		if (!read_layer(t, layout, layer, id))
			return false;
		id = id ? id->next : NULL;
	}
	if (count && !id)
		return true;
	complain("%s: layers are missing", layout);
	return false;
}

bool oci_read(struct tree *t, const char *layout, const char *name, struct entry_point *entry)
{
	const struct json_value *manifest = read_index(layout), *config;

	for (int i = 0; manifest && json_member(manifest, "manifests"); i++) {
		const struct json_value *m = i < INDEXES_MAX ? choose(layout, manifest, name) : NULL;

		if (i == INDEXES_MAX)
			complain("%s: an index in an index, and so on", layout);
		manifest = m ? read_blob(layout, m) : NULL;
		/* The name is of the layout's own index. */
		name = NULL;
	}
	if (!manifest)
		return false;
	config = read_blob(layout, json_member(manifest, "config"));
	if (!config)
		return false;
	if (!is_ours(config)) {
		complain("%s: the image is not for linux/amd64", layout);
		return false;
	}
	return take_config(json_member(config, "config"), entry) &&
	       read_layers(t, layout, manifest, config);
}
