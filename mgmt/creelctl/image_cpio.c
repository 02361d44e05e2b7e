/* The tree of an image as an initramfs: Linux kernel documentation, "initramfs buffer format". */
#include "mgmt/creelctl/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct cpio {
	FILE *to, *spool;
	uint64_t inode; /* the last one that was given */
};

static bool pad(FILE *to, uint64_t size)
{
	static const char zeros[4];
	size_t n = (size_t)(-size % sizeof(zeros));

	return fwrite(zeros, 1, n, to) == n;
}

static bool write_head(struct cpio *c, const struct node *n, const char *path, uint64_t inode,
	unsigned names, uint64_t size)
{
	size_t name = strlen(path) + 1;

	fprintf(c->to, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08zx%08x%s", (unsigned)inode,
		n ? n->mode : 0, n ? n->uid : 0, n ? n->gid : 0, names, 0, (unsigned)size, 0, 0, 0, 0,
		name, 0, path);
	return fputc(0, c->to) == 0 && pad(c->to, 110 + name);
}

static bool write_bytes(struct cpio *c, const struct body *b)
{
	static char buf[1 << 16];
	uint64_t left = b->size;

	if (fseeko(c->spool, (off_t)b->offset, SEEK_SET))
		return false;
	while (left) {
		size_t size = fread(buf, 1, left < sizeof(buf) ? (size_t)left : sizeof(buf), c->spool);

		if (!size || fwrite(buf, 1, size, c->to) != size)
			return false;
		left -= size;
	}
	return pad(c->to, b->size);
}

/* A file of several names has its bytes with the last of them. */
static bool write_file(struct cpio *c, const struct node *n, const char *path)
{
	struct body *b = n->body;
	bool last = ++b->written == b->names;

	if (!b->inode)
		b->inode = ++c->inode;
	return write_head(c, n, path, b->inode, b->names, last ? b->size : 0) &&
	       (!last || write_bytes(c, b));
}

static bool write_link(struct cpio *c, const struct node *n, const char *path)
{
	size_t size = strlen(n->link);

	return write_head(c, n, path, ++c->inode, 1, size) &&
	       fwrite(n->link, 1, size, c->to) == size && pad(c->to, size);
}

static bool write_node(struct cpio *c, const struct node *n, const char *path)
{
	bool good = true;

	if (n->body)
		good = write_file(c, n, path);
	else if (n->link)
		good = write_link(c, n, path);
	else if (path[0])
		good = write_head(c, n, path, ++c->inode, 1, 0);
	for (const struct node *below = n->children; good && below; below = below->next) {
		char *name;

		if (asprintf(&name, "%s%s%s", path, path[0] ? "/" : "", below->name) < 0)
			abort();
		good = write_node(c, below, name);
		free(name);
	}
	return good;
}

bool tree_write(struct tree *t, FILE *to)
{
	struct cpio c = {.to = to, .spool = t->spool};
	bool good = fflush(t->spool) == 0 && write_node(&c, t->root, "") &&
		    write_head(&c, NULL, "TRAILER!!!", ++c.inode, 1, 0) && fflush(to) == 0;

	if (!good)
		complain("can't write the initramfs: %s", strerror(errno));
	return good;
}
