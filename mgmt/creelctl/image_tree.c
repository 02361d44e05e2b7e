/* The tree of an image: layers laid one on the other, and the initramfs that comes out. */
#include "mgmt/creelctl/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WHITEOUT  ".wh."
#define OPAQUE    ".wh..wh..opq"
#define LINKS_MAX 16
#define NODES_MAX 1000000u
#define FILES_MAX (3ull << 30) /* bytes: no guest has more memory */

static struct node *new_node(struct tree *t, struct node *parent, const char *name, size_t size)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n || !(n->name = strndup(name, size)))
		abort();
	t->nodes++;
	n->parent = parent;
	n->mode = S_IFDIR | 0755;
	n->layer = t->layer;
	if (parent) {
		n->next = parent->children;
		parent->children = n;
	}
	return n;
}

bool tree_begin(struct tree *t)
{
	*t = (struct tree){.spool = tmpfile()};
	t->root = new_node(t, NULL, "", 0);
	if (!t->spool)
		complain("can't make a temporary file: %s", strerror(errno));
	return t->spool;
}

static struct node *child(const struct node *parent, const char *name, size_t size)
{
	for (struct node *n = parent->children; n; n = n->next) {
		if (strlen(n->name) == size && !memcmp(n->name, name, size))
			return n;
	}
	return NULL;
}

static void free_node(struct node *n)
{
	while (n->children) {
		struct node *c = n->children;

		n->children = c->next;
		free_node(c);
	}
	free(n->name);
	free(n->link);
	free(n);
}

/* `n` and what is in it; only what lower layers put there, if `lower`. */
static void take_away(struct node *n, const struct tree *t, bool lower)
{
	struct node **at = &n->parent->children;

	if (lower && n->layer == t->layer)
		return;
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	free_node(n);
}

static struct node *walk(struct tree *t, struct node *from, const char *path, bool make, int links);

/* Where a link leads to, within the tree. */
static struct node *follow(struct tree *t, struct node *n, bool make, int links)
{
	if (links == LINKS_MAX)
		return NULL;
	return walk(t, n->link[0] == '/' ? t->root : n->parent, n->link, make, links + 1);
}

/* The folder at `path`, links followed; NULL: there is none, or something else is in its place. */
static struct node *walk(struct tree *t, struct node *from, const char *path, bool make, int links)
{
	struct node *n = from;

	while (n && *path) {
		size_t size = strcspn(path, "/");

		if (size == 2 && !memcmp(path, "..", 2)) {
			n = n->parent ? n->parent : n;
		} else if (size && !(size == 1 && path[0] == '.')) {
			struct node *c = child(n, path, size);

			if (!c && make)
				c = new_node(t, n, path, size);
			if (c && S_ISLNK(c->mode))
				c = follow(t, c, make, links);
			n = c && S_ISDIR(c->mode) ? c : NULL;
		}
		path += size;
		while (*path == '/')
			path++;
	}
	return n;
}

/* A new node at `path` in the place of what is there; a folder stays the one that it is. */
static struct node *place(struct tree *t, const char *path, uint32_t mode)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *above = strndup(path, slash ? (size_t)(slash - path) : 0);
	struct node *parent = walk(t, t->root, above, true, 0), *old;

	free(above);
	if (!parent) {
		complain("%s: something that is no folder is in the way", path);
		return NULL;
	}
	old = child(parent, name, strlen(name));
	if (old && S_ISDIR(mode) && S_ISDIR(old->mode)) {
		old->mode = mode;
		old->layer = t->layer;
		return old;
	}
	if (old)
		take_away(old, t, false);
	old = new_node(t, parent, name, strlen(name));
	old->mode = mode;
	return old;
}

bool tree_folder(struct tree *t, const char *path, uint32_t mode)
{
	return place(t, path, S_IFDIR | mode);
}

static bool spool(struct tree *t, struct node *n, const void *data, size_t size)
{
	n->size += size;
	t->spooled += size;
	if (fwrite(data, 1, size, t->spool) == size)
		return true;
	complain("can't write a temporary file: %s", strerror(errno));
	return false;
}

static struct node *begin_file(struct tree *t, const char *path, uint32_t mode)
{
	struct node *n = place(t, path, S_IFREG | mode);

	if (n)
		n->offset = t->spooled;
	return n;
}

bool tree_file(struct tree *t, const char *path, uint32_t mode, const void *data, size_t size)
{
	struct node *n = begin_file(t, path, mode);

	return n && spool(t, n, data, size);
}

bool tree_copy(struct tree *t, const char *path, uint32_t mode, const char *from)
{
	struct node *n = begin_file(t, path, mode);
	static char buf[1 << 16];
	FILE *f = fopen(from, "rb");
	bool good = n && f;
	size_t size;

	if (!f)
		complain("can't open %s: %s", from, strerror(errno));
	while (good && (size = fread(buf, 1, sizeof(buf), f)) > 0)
		good = spool(t, n, buf, size);
	if (f && ferror(f)) {
		complain("can't read %s", from);
		good = false;
	}
	if (f)
		fclose(f);
	return good;
}

/* ---- layers ----------------------------------------------------------------------------------- */

static bool lay_file(struct tree *t, struct tar_in *tar, const struct tar_entry *e, struct node *n)
{
	static char buf[1 << 16];
	ssize_t size;

	n->offset = t->spooled;
	while ((size = tar_data(tar, buf, sizeof(buf))) > 0) {
		if (!spool(t, n, buf, (size_t)size))
			return false;
	}
	if (size < 0)
		complain("%s: %s", e->path, tar->error);
	return size == 0;
}

/* The same bytes under another name. */
static bool lay_hard_link(struct tree *t, struct tar_entry *e, struct node *n)
{
	char *slash, *name = e->link;
	struct node *folder = t->root, *old;

	if (tar_clean(e->link) && (slash = strrchr(e->link, '/'))) {
		*slash = '\0';
		folder = walk(t, t->root, e->link, false, 0);
		name = slash + 1;
	}
	old = folder ? child(folder, name, strlen(name)) : NULL;
	if (!old || old == n || !S_ISREG(old->mode)) {
		complain("%s: a link to a file that is not there", e->path);
		return false;
	}
	n->mode = old->mode;
	n->size = old->size;
	n->offset = old->offset;
	return true;
}

static bool lay(struct tree *t, struct tar_in *tar, struct tar_entry *e)
{
	struct node *n;

	switch (e->type) {
	case TAR_DIRECTORY:
		n = e->path[0] ? place(t, e->path, S_IFDIR | e->mode) : t->root;
		break;
	case TAR_FILE:
	case TAR_HARD_LINK:
		n = place(t, e->path, S_IFREG | e->mode);
		break;
	case TAR_SYMLINK:
		n = place(t, e->path, S_IFLNK | 0777);
		break;
	default:
		/* Devices are devtmpfs's. */
		return true;
	}
	if (!n)
		return false;
	n->uid = e->uid;
	n->gid = e->gid;
	if (e->type == TAR_SYMLINK)
		n->link = strdup(e->link);
	if (e->type == TAR_HARD_LINK)
		return lay_hard_link(t, e, n);
	return e->type != TAR_FILE || lay_file(t, tar, e, n);
}

/* True: the name was one that takes away. */
static bool white_out(struct tree *t, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *above;
	struct node *folder, *n;

	if (strncmp(name, WHITEOUT, strlen(WHITEOUT)) != 0)
		return false;
	above = strndup(path, slash ? (size_t)(slash - path) : 0);
	folder = walk(t, t->root, above, false, 0);
	free(above);
	if (!folder)
		return true;
	if (!strcmp(name, OPAQUE)) {
		for (struct node *next, *c = folder->children; c; c = next) {
			next = c->next;
			take_away(c, t, true);
		}
		return true;
	}
	name += strlen(WHITEOUT);
	n = child(folder, name, strlen(name));
	if (n)
		take_away(n, t, true);
	return true;
}

bool tree_layer(struct tree *t, struct tar_in *tar, bool whiteouts)
{
	static struct tar_entry e;
	int more;

	t->layer++;
	tar->max_bytes = FILES_MAX - t->spooled;
	tar->max_entries = NODES_MAX - t->nodes;
	while ((more = tar_next(tar, &e)) > 0) {
		if (whiteouts && white_out(t, e.path))
			continue;
		if (!lay(t, tar, &e))
			return false;
	}
	if (more < 0)
		complain("%s", tar->error);
	return more == 0;
}

/* ---- the initramfs ---------------------------------------------------------------------------- */

/* Linux kernel documentation, "initramfs buffer format". */
static bool write_entry(FILE *to, const struct node *n, const char *path, size_t size, uint64_t *inode)
{
	static const char zeros[4];
	size_t name = strlen(path) + 1;

	fprintf(to, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", (unsigned)++*inode,
		n ? n->mode : 0, n ? n->uid : 0, n ? n->gid : 0, 1, 0, size, 0, 0, 0, 0, name, 0, path);
	return fwrite(zeros, 1, 1 + (size_t)(-(110 + name) % 4), to) == 1 + (size_t)(-(110 + name) % 4);
}

static bool write_bytes(struct tree *t, FILE *to, const struct node *n)
{
	static char buf[1 << 16];
	uint64_t left = n->size;

	if (fseeko(t->spool, (off_t)n->offset, SEEK_SET))
		return false;
	while (left) {
		size_t size = fread(buf, 1, left < sizeof(buf) ? (size_t)left : sizeof(buf), t->spool);

		if (!size || fwrite(buf, 1, size, to) != size)
			return false;
		left -= size;
	}
	memset(buf, 0, 4);
	return fwrite(buf, 1, (size_t)(-n->size % 4), to) == (size_t)(-n->size % 4);
}

static bool write_node(struct tree *t, FILE *to, struct node *n, const char *path, uint64_t *inode)
{
	size_t size = n->link ? strlen(n->link) : (size_t)n->size;
	bool good = !path[0] || write_entry(to, n, path, size, inode);

	if (good && n->link) {
		static const char zeros[4];

		good = fwrite(n->link, 1, size, to) == size &&
		       fwrite(zeros, 1, -size % 4, to) == -size % 4;
	} else if (good && size) {
		good = write_bytes(t, to, n);
	}
	for (struct node *c = n->children; good && c; c = c->next) {
		char *below;

		if (asprintf(&below, "%s%s%s", path, path[0] ? "/" : "", c->name) < 0)
			abort();
		good = write_node(t, to, c, below, inode);
		free(below);
	}
	return good;
}

bool tree_write(struct tree *t, FILE *to)
{
	uint64_t inode = 0;
	bool good = fflush(t->spool) == 0 && write_node(t, to, t->root, "", &inode) &&
		    write_entry(to, NULL, "TRAILER!!!", 0, &inode) && fflush(to) == 0;

	if (!good)
		complain("can't write the initramfs: %s", strerror(errno));
	return good;
}
