/* Making images of Linux guests out of root file systems: a tree in memory, whose files' bytes wait in
 * a temporary file, and which becomes an initramfs. */
#ifndef MGMT_CREELCTL_IMAGE_H
#define MGMT_CREELCTL_IMAGE_H

#include "guest-sdk/linux/tar.h"
#include "mgmt/creelctl/creelctl.h"
#include "mgmt/creelctl/sha256.h"

/* What a file holds; hard links share it. */
struct body {
	uint64_t size, offset; /* in the spool */
	unsigned names;        /* that it has */
	unsigned written;      /* of them */
	uint64_t inode;        /* once one is written */
};

struct node {
	char *name;
	char *link;              /* of a symbolic link */
	struct body *body;       /* of a file */
	uint32_t mode, uid, gid; /* mode with the type, as in struct stat */
	unsigned layer;          /* that put it there last */
	struct node *parent, *children, *next, *same_bucket;
	struct node **at; /* what leads to it in its folder */
};

#define TREE_BUCKETS 65536u

struct tree {
	struct node *root;
	struct node **buckets; /* all nodes, by their folders and names */
	FILE *spool;
	uint64_t spooled, nodes;
	unsigned layer; /* the one that is laid on now */
};

/* What an image says about its command. Lists end with NULL. */
struct entry_point {
	const char *words[LIST_MAX + 1], *env[LIST_MAX + 1];
	const char *cwd, *user;
};

/* All of these complain, and return false, when they fail. */
bool tree_begin(struct tree *t);
void tree_end(struct tree *t);
/* Lays a tar stream on what there is. With `whiteouts`, names that begin .wh. take away, as the OCI image
 * specification ("Image Layer Filesystem Changeset") has it. */
bool tree_layer(struct tree *t, struct tar_in *tar, bool whiteouts);
/* A folder, with those above it. */
bool tree_folder(struct tree *t, const char *path, uint32_t mode);
/* The same, but one that is there stays as it is. */
bool tree_make(struct tree *t, const char *path);
/* What is at `path`, or NULL; a link stands for itself. */
struct node *tree_find(struct tree *t, const char *path);
/* What a small file holds, links followed: of malloc(). NULL: there is none. */
char *tree_text(struct tree *t, const char *path);
/* With all that is in it. */
void tree_remove(struct tree *t, struct node *n);
/* A file with these bytes, or with those of another file. */
bool tree_file(struct tree *t, const char *path, uint32_t mode, const void *data, size_t size);
bool tree_copy(struct tree *t, const char *path, uint32_t mode, const char *from);
/* image_cpio.c: writes it, once, as "newc". */
bool tree_write(struct tree *t, FILE *to);

/* ---- image.c ---- */

struct rootfs {
	const char *path;
	const char *agent, *modules, *user; /* NULL: found, found, the image's */
};

/* Writes the initramfs of what `r` names, for the kernel of `s`. */
bool image_initrd(const struct settings *s, const struct rootfs *r, FILE *to);

/* ---- image_source.c ---- */

/* A folder, a tar file (compressed or not), or an OCI image layout, which may be FOLDER:NAME. */
bool source_read(struct tree *t, const char *path, struct entry_point *entry);
/* Lays the tar stream, compressed or not, or the folder that is open as `from`; and its digest. */
bool source_layer(struct tree *t, int from, const char *path, bool whiteouts,
	uint8_t digest[SHA256_SIZE]);

/* ---- image_oci.c ---- */

/* The image named `name`, or the only one, of the layout in a folder. */
bool oci_read(struct tree *t, const char *layout, const char *name, struct entry_point *entry);

/* ---- image_json.c ---- */

struct json_value {
	enum { JSON_NULL, JSON_OTHER, JSON_STRING, JSON_LIST, JSON_OBJECT } kind;
	char *key, *text; /* of a string, and of a number as it stands there */
	struct json_value *first, *next;
};

/* NULL: it is none, or it is too deep. Lives as long as the process. */
struct json_value *json_parse(const char *text);
/* The member, or NULL; so it is for a NULL or another kind of value. */
const struct json_value *json_member(const struct json_value *v, const char *key);
/* Its text, or NULL. */
const char *json_string(const struct json_value *v);
/* A whole number. False: it is none. */
bool json_whole(const struct json_value *v, uint64_t *number);

#endif
