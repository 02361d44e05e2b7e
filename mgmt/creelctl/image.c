/* image build --rootfs: an initramfs of a root file system, with the agent as its /init. */
#include "guest-sdk/linux/agent_proto.h"
#include "mgmt/creelctl/image.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULES "usr/lib/creel/modules"

/* Drivers of what a guest has, in the order in which they have to be loaded. */
static const char *const modules[] = {
	"drivers/virtio/virtio_ring.ko",
	"drivers/virtio/virtio.ko",
	"drivers/virtio/virtio_pci_legacy_dev.ko",
	"drivers/virtio/virtio_pci_modern_dev.ko",
	"drivers/virtio/virtio_pci.ko",
	"drivers/char/virtio_console.ko",
	"drivers/char/hw_random/rng-core.ko",
	"drivers/char/hw_random/virtio-rng.ko",
	"drivers/block/virtio_blk.ko",
	"net/core/failover.ko",
	"drivers/net/net_failover.ko",
	"drivers/net/virtio_net.ko",
};

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The folder of the kernel's modules: as said, or beside a kernel as Debian's package unpacks. */
static char *modules_folder(const struct settings *s, const char *said)
{
	static const char *const places[] = {"%s/../lib/modules/%s", "%s/../usr/lib/modules/%s"};
	char *for_name = strdup(s->kernel), *for_folder = strdup(s->kernel), *path = NULL;
	const char *name = basename(for_name), *folder = dirname(for_folder);

	if (said)
		path = strdup(said);
	if (strncmp(name, "vmlinuz-", 8) == 0)
		name += 8;
	for (size_t i = 0; !path && i < sizeof(places) / sizeof(places[0]); i++) {
		if (asprintf(&path, places[i], folder, name) < 0)
			abort();
		if (!is_folder(path)) {
			free(path);
			path = NULL;
		}
	}
	free(for_name);
	free(for_folder);
	return path;
}

static bool add_modules(struct tree *t, const struct settings *s, const char *said)
{
	char *folder = modules_folder(s, said);
	bool good = true;

	if (!folder)
		return true;
	for (size_t i = 0; good && i < sizeof(modules) / sizeof(modules[0]); i++) {
		char *from, *to, *copy = strdup(modules[i]);

		if (asprintf(&from, "%s/kernel/%s", folder, modules[i]) < 0 ||
			asprintf(&to, MODULES "/%02zu-%s", i, basename(copy)) < 0)
			abort();
		/* What is not there is in the kernel itself. */
		if (access(from, R_OK) == 0)
			good = tree_copy(t, to, 0644, from);
		free(copy);
		free(from);
		free(to);
	}
	free(folder);
	return good;
}

static bool add_agent(struct tree *t, const char *said)
{
	static const char *const places[] = {"%s/creel-agent", "%s/../lib/creel/creel-agent"};
	char self[PATH_MAX] = "", *path = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (said)
		return tree_copy(t, "init", 0755, said);
	for (size_t i = 0; n > 0 && i < sizeof(places) / sizeof(places[0]); i++) {
		char *copy = strdup(self);

		if (asprintf(&path, places[i], dirname(copy)) < 0)
			abort();
		free(copy);
		if (access(path, R_OK) == 0) {
			bool good = tree_copy(t, "init", 0755, path);

			free(path);
			return good;
		}
		free(path);
	}
	complain("there is no creel-agent beside creelctl: say where with --agent");
	return false;
}

static void add_setting(char **text, size_t *size, const char *key, const char *value)
{
	size_t more = strlen(key) + strlen(value) + 2;

	*text = realloc(*text, *size + more);
	if (!*text)
		abort();
	snprintf(*text + *size, more, "%s=%s", key, value);
	*size += more;
}

/* A line of "NAME:" in one of the tree's own files. Numbers need none. */
static bool is_known(struct tree *t, const char *file, const char *name, size_t size)
{
	char *text, *line;
	bool found = size && strspn(name, "0123456789") >= size;

	if (found)
		return true;
	text = tree_text(t, file);
	for (line = text; line && !found; line = strchr(line, '\n')) {
		line += *line == '\n';
		found = size && !strncmp(line, name, size) && line[size] == ':';
	}
	free(text);
	return found;
}

/* USER[:GROUP], which the agent looks up when it runs the entry point. */
static bool check_user(struct tree *t, const char *user)
{
	size_t n = strcspn(user, ":");
	const char *group = user[n] ? user + n + 1 : "0";

	if (is_known(t, "etc/passwd", user, n) && is_known(t, "etc/group", group, strlen(group)))
		return true;
	complain("the image has no user or group \"%s\" in its /etc: give another with --user", user);
	return false;
}

/* Made if it is not there, as others who run images do. */
static bool make_cwd(struct tree *t, const char *cwd)
{
	char *path = strdup(cwd + strspn(cwd, "/"));
	bool good = cwd[0] == '/' && tar_clean(path);

	if (!good)
		complain("the image's working directory is \"%s\"", cwd);
	good = good && tree_make(t, path);
	free(path);
	return good;
}

/* As the agent reads it: guest-sdk/linux/boot.c. */
static bool add_entry(struct tree *t, const struct entry_point *e)
{
	char *text = NULL;
	size_t size = 0;

	for (const char *const *w = e->words; *w; w++)
		add_setting(&text, &size, "arg", *w);
	for (const char *const *v = e->env; *v; v++)
		add_setting(&text, &size, "env", *v);
	if (e->cwd && e->cwd[0])
		add_setting(&text, &size, "cwd", e->cwd);
	if (e->user && e->user[0])
		add_setting(&text, &size, "user", e->user);
	bool good = size <= AGENT_ENTRY_MAX;

	if (!good)
		complain("the image's entry point and environment are more than %d bytes", AGENT_ENTRY_MAX);
	if (good && e->user && e->user[0])
		good = check_user(t, e->user);
	if (good && e->cwd && e->cwd[0])
		good = make_cwd(t, e->cwd);
	good = good && (!size || tree_file(t, "etc/creel/entry", 0644, text, size));
	free(text);
	return good;
}

static bool add_folders(struct tree *t)
{
	static const char *const folders[] = {"dev", "etc", "proc", "root", "run", "sys"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (!tree_folder(t, folders[i], 0755))
			return false;
	}
	return tree_folder(t, "tmp", 01777);
}

bool image_initrd(const struct settings *s, const struct rootfs *r, FILE *to)
{
	static struct entry_point entry;
	static struct tree t; /* lives as long as the process */

	if (!tree_begin(&t) || !source_read(&t, r->path, &entry))
		return false;
	if (r->user)
		entry.user = r->user;
	t.layer++;
	return add_entry(&t, &entry) && add_folders(&t) && add_agent(&t, r->agent) &&
	       add_modules(&t, s, r->modules) && tree_write(&t, to);
}
