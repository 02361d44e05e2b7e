/* The tree of an image: layers laid one on the other. */
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
#define TEXT_MAX  (1 << 20)

/* FNV-1a, over the folder and the name: a folder of a hostile tar may have a million names. */
static struct node **bucket(struct tree *t, const struct node *parent, const char *name, size_t size)
{
	uint64_t h = 0xcbf29ce484222325ull ^ (uintptr_t)parent;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3ull;
	return &t->buckets[(h ^ h >> 32) % TREE_BUCKETS];
}

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
		struct node **at = bucket(t, parent, name, size);

		n->same_bucket = *at;
		*at = n;
		n->next = parent->children;
		n->at = &parent->children;
		if (n->next)
			n->next->at = &n->next;
		parent->children = n;
	}
	return n;
}

bool tree_begin(struct tree *t)
{
	*t = (struct tree){.spool = tmpfile(), .buckets = calloc(TREE_BUCKETS, sizeof(struct node *))};
	if (!t->buckets)
		abort();
	t->root = new_node(t, NULL, "", 0);
	if (!t->spool)
		complain("can't make a temporary file: %s", strerror(errno));
	return t->spool;
}

void tree_end(struct tree *t)
{
	while (t->root->children)
		tree_remove(t, t->root->children);
	free(t->root->name);
	free(t->root);
	free(t->buckets);
	if (t->spool)
		fclose(t->spool);
	*t = (struct tree){0};
}

static struct node *child(struct tree *t, const struct node *parent, const char *name, size_t size)
{
	struct node *n = *bucket(t, parent, name, size);

	while (n && (n->parent != parent || strlen(n->name) != size || memcmp(n->name, name, size)))
		n = n->same_bucket;
	return n;
}

/* The one more name of these bytes is gone. */
static void let_go(struct body *b)
{
	if (b && !--b->names)
		free(b);
}

void tree_remove(struct tree *t, struct node *n)
{
	struct node **at = bucket(t, n->parent, n->name, strlen(n->name));

	while (n->children)
		tree_remove(t, n->children);
	while (*at != n)
		at = &(*at)->same_bucket;
	*at = n->same_bucket;
	*n->at = n->next;
	if (n->next)
		n->next->at = n->at;
	let_go(n->body);
	free(n->name);
	free(n->link);
	free(n);
}

/* Takes away what lower layers put there. True: nothing of this layer is `n` or in it. */
static bool prune(struct tree *t, struct node *n)
{
	for (struct node *next, *c = n->children; c; c = next) {
		next = c->next;
		if (prune(t, c))
			tree_remove(t, c);
	}
	return n->layer != t->layer && !n->children;
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
			struct node *c = child(t, n, path, size);

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

struct node *tree_find(struct tree *t, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *above = strndup(path, slash ? (size_t)(slash - path) : 0);
	struct node *folder = walk(t, t->root, above, false, 0);

	free(above);
	return folder ? child(t, folder, name, strlen(name)) : NULL;
}

/* Links followed, to a file. */
static struct node *find_file(struct tree *t, const char *path)
{
	struct node *n = tree_find(t, path);
	char *next;

	for (int links = 0; n && S_ISLNK(n->mode) && links < LINKS_MAX; links++) {
		const char *slash = strrchr(n->link, '/'), *name = slash ? slash + 1 : n->link;
		struct node *from = n->link[0] == '/' ? t->root : n->parent;

		next = strndup(n->link, slash ? (size_t)(slash - n->link) : 0);
		from = walk(t, from, next, false, 0);
		free(next);
		n = from ? child(t, from, name, strlen(name)) : NULL;
	}
	return n && S_ISREG(n->mode) ? n : NULL;
}

char *tree_text(struct tree *t, const char *path)
{
	struct node *n = find_file(t, path);
	char *text;

	if (!n || n->body->size > TEXT_MAX)
		return NULL;
	text = calloc(1, (size_t)n->body->size + 1);
	if (!text)
		abort();
	if (fseeko(t->spool, (off_t)n->body->offset, SEEK_SET) ||
		fread(text, 1, (size_t)n->body->size, t->spool) != n->body->size ||
		fseeko(t->spool, 0, SEEK_END)) {
		free(text);
		return NULL;
	}
	return text;
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
	old = child(t, parent, name, strlen(name));
	if (old && S_ISDIR(mode) && S_ISDIR(old->mode)) {
		old->mode = mode;
		old->layer = t->layer;
		return old;
	}
	if (old)
		tree_remove(t, old);
	old = new_node(t, parent, name, strlen(name));
	old->mode = mode;
	return old;
}

bool tree_folder(struct tree *t, const char *path, uint32_t mode)
{
	return place(t, path, S_IFDIR | mode);
}

bool tree_make(struct tree *t, const char *path)
{
	if (walk(t, t->root, path, true, 0))
		return true;
	complain("%s: something that is no folder is in the way", path);
	return false;
}

static bool spool(struct tree *t, struct node *n, const void *data, size_t size)
{
	n->body->size += size;
	t->spooled += size;
	if (fwrite(data, 1, size, t->spool) == size)
		return true;
	complain("can't write a temporary file: %s", strerror(errno));
	return false;
}

static void new_body(struct tree *t, struct node *n)
{
	n->body = calloc(1, sizeof(*n->body));
	if (!n->body)
		abort();
	*n->body = (struct body){.offset = t->spooled, .names = 1};
}

static struct node *begin_file(struct tree *t, const char *path, uint32_t mode)
{
	struct node *n = place(t, path, S_IFREG | mode);

	if (n)
		new_body(t, n);
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

	new_body(t, n);
	while ((size = tar_data(tar, buf, sizeof(buf))) > 0) {
		if (!spool(t, n, buf, (size_t)size))
			return false;
	}
	if (size < 0)
		complain("%s: %s", e->path, tar->error);
	return size == 0;
}

/* The same file under another name. */
static bool lay_hard_link(struct tree *t, struct tar_entry *e)
{
	struct node *n, *old = NULL;

	if (tar_clean(e->link) && e->link[0])
		old = tree_find(t, e->link);
	if (!old || !S_ISREG(old->mode)) {
		complain("%s: a link to a file that is not there", e->path);
		return false;
	}
	struct body *body = old->body;
	uint32_t mode = old->mode, uid = old->uid, gid = old->gid;

	/* `old` may be what stands at the name. */
	body->names++;
	n = place(t, e->path, mode);
	if (!n) {
		let_go(body);
		return false;
	}
	n->body = body;
	n->uid = uid;
	n->gid = gid;
	return true;
}

static bool lay(struct tree *t, struct tar_in *tar, struct tar_entry *e)
{
	struct node *n;

	if (!e->path[0] && e->type != TAR_DIRECTORY) {
		complain("an entry has no name");
		return false;
	}
	switch (e->type) {
	case TAR_DIRECTORY:
		n = e->path[0] ? place(t, e->path, S_IFDIR | e->mode) : t->root;
		break;
	case TAR_FILE:
		n = place(t, e->path, S_IFREG | e->mode);
		break;
	case TAR_SYMLINK:
		n = place(t, e->path, S_IFLNK | 0777);
		break;
	case TAR_HARD_LINK:
		return lay_hard_link(t, e);
	case TAR_CHARACTER:
	case TAR_BLOCK_DEVICE:
	case TAR_FIFO:
		/* Devices are devtmpfs's. */
		return true;
	default:
		complain("%s: an entry of type '%c', which is unknown", e->path,
			e->type >= ' ' && e->type < 0x7f ? e->type : '?');
		return false;
	}
	if (!n)
		return false;
	n->uid = e->uid;
	n->gid = e->gid;
	if (e->type == TAR_SYMLINK && !(n->link = strdup(e->link)))
		abort();
	return e->type != TAR_FILE || lay_file(t, tar, e, n);
}

/* True: the name was one that takes away, or of what is beside the files. */
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
			if (prune(t, c))
				tree_remove(t, c);
		}
		return true;
	}
	name += strlen(WHITEOUT);
	n = child(t, folder, name, strlen(name));
	if (n && prune(t, n))
		tree_remove(t, n);
	return true;
}

bool tree_layer(struct tree *t, struct tar_in *tar, bool whiteouts)
{
	static struct tar_entry e;
	int more;

	t->layer++;
	/* 0 would be no limit. */
	tar->max_bytes = t->spooled < FILES_MAX ? FILES_MAX - t->spooled : 1;
	tar->max_entries = t->nodes < NODES_MAX ? NODES_MAX - t->nodes : 1;
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
