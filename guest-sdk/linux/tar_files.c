/* Tar streams to files and from them. No name is looked up that could have become a link meanwhile. */
#include "guest-sdk/linux/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 128 /* folders in folders, of a tree that is written */
#define COPY_SIZE (64 * 1024)
#define HOLE      4096u /* bytes of zeros that are left out of a file */

struct owned {
	uint32_t mode, uid, gid;
	uint64_t mtime;
};

/* One that was made, and waits for its mode. */
struct folder {
	struct folder *next;
	char *path;
	struct owned owned;
};

/* ---- in --------------------------------------------------------------------------------------- */

static bool in_fails(struct tar_in *t, const char *path, const char *what)
{
	snprintf(t->error, sizeof(t->error), "%.300s: %.100s", path[0] ? path : ".", what);
	return false;
}

static bool in_error(struct tar_in *t, const char *path)
{
	return in_fails(t, path, strerror(errno));
}

/*
 * The folder that holds `path`, made if it is not there, and the last part of the name in *name.
 * Follows no link: each part is opened in the one before.
 */
static int open_parent(int top, const char *path, const char **name)
{
	char part[TAR_PATH_MAX];
	const char *slash;
	int at = dup(top);

	while (at >= 0 && (slash = strchr(path, '/'))) {
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdirat(at, part, 0755) && errno != EEXIST)
			next = -1;
		else
			next = openat(at, part, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
		close(at);
		at = next;
		path = slash + 1;
	}
	*name = path;
	return at;
}

static bool write_whole(int fd, const char *buf, size_t size)
{
	while (size) {
		ssize_t n = write(fd, buf, size);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			buf += n;
			size -= (size_t)n;
		}
	}
	return true;
}

static bool is_zero(const char *buf, size_t size)
{
	return !buf[0] && !memcmp(buf, buf + 1, size - 1);
}

bool tar_write(int fd, const char *buf, size_t size)
{
	for (size_t at = 0; at < size;) {
		size_t n = size - at < HOLE ? size - at : HOLE;
		bool good = is_zero(buf + at, n) ? lseek(fd, (off_t)n, SEEK_CUR) >= 0
						 : write_whole(fd, buf + at, n);

		if (!good)
			return false;
		at += n;
	}
	return true;
}

bool tar_write_end(int fd)
{
	off_t size = lseek(fd, 0, SEEK_CUR);

	return size >= 0 && ftruncate(fd, size) == 0;
}

/* Owner, mode, times of a file or a folder that is open. */
static bool set_metadata(struct tar_in *t, const char *path, int fd, const struct owned *o, unsigned flags)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = (time_t)o->mtime}};
	/* What runs as somebody else only does where the owners are those of the stream too. */
	uint32_t mode = flags & TAR_OWNERS ? o->mode : o->mode & 0777;

	if (flags & TAR_OWNERS && fchown(fd, o->uid, o->gid))
		return in_error(t, path);
	if (fchmod(fd, mode))
		return in_error(t, path);
	futimens(fd, times);
	return true;
}

static struct owned owned_of(const struct tar_entry *e)
{
	return (struct owned){.mode = e->mode, .uid = e->uid, .gid = e->gid, .mtime = e->mtime};
}

/* As much as `size`, unless the entry ends; -1: the stream is cut. */
static ssize_t fill_data(struct tar_in *t, char *buf, size_t size)
{
	size_t got = 0;
	ssize_t n = 1;

	while (got < size && (n = tar_data(t, buf + got, size - got)) > 0)
		got += (size_t)n;
	return n < 0 ? n : (ssize_t)got;
}

static bool extract_file(struct tar_in *t, const struct tar_entry *e, int at, const char *name,
	unsigned flags)
{
	static char buf[COPY_SIZE];
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const struct owned o = owned_of(e);
	bool good = true;
	ssize_t n = 0;

	if (fd < 0)
		return in_error(t, e->path);
	while (good && (n = fill_data(t, buf, sizeof(buf))) > 0)
		good = tar_write(fd, buf, (size_t)n);
	good = (good && tar_write_end(fd)) || in_error(t, e->path);
	good = good && n == 0 && set_metadata(t, e->path, fd, &o, flags);
	if (close(fd) && good)
		return in_error(t, e->path);
	return good;
}

static bool extract_hard_link(struct tar_in *t, struct tar_entry *e, int top, int at, const char *name)
{
	const char *old;
	bool good;
	int from;

	if (!tar_clean(e->link) || !e->link[0])
		return in_fails(t, e->path, "a link that leads out of the folder");
	from = open_parent(top, e->link, &old);
	if (from < 0)
		return in_error(t, e->link);
	good = linkat(from, old, at, name, 0) == 0;
	if (!good)
		in_error(t, e->path);
	close(from);
	return good;
}

/* Its mode may forbid what is still to come into it, which changes its time too: they are set at the end. */
static bool extract_directory(struct tar_in *t, const struct tar_entry *e, int at, const char *name,
	struct folder **folders)
{
	struct folder *f;
	struct stat st;

	if (mkdirat(at, name, 0700) && (errno != EEXIST || fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) ||
					       !S_ISDIR(st.st_mode))) {
		errno = errno == EEXIST ? ENOTDIR : errno;
		return in_error(t, e->path);
	}
	f = malloc(sizeof(*f));
	if (!f || !(f->path = strdup(e->path)))
		abort();
	f->owned = owned_of(e);
	f->next = *folders;
	*folders = f;
	return true;
}

/* The last first, so that those within come before those around them. */
static bool finish_folders(struct tar_in *t, int top, struct folder *f, unsigned flags)
{
	for (; f; f = f->next) {
		const char *name;
		int at = open_parent(top, f->path, &name), fd;

		fd = at < 0 ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		bool good = fd < 0 ? in_error(t, f->path) : set_metadata(t, f->path, fd, &f->owned, flags);

		if (fd >= 0)
			close(fd);
		if (at >= 0)
			close(at);
		if (!good)
			return false;
	}
	return true;
}

static void free_folders(struct folder *f)
{
	while (f) {
		struct folder *next = f->next;

		free(f->path);
		free(f);
		f = next;
	}
}

static bool extract_link(struct tar_in *t, const struct tar_entry *e, int at, const char *name,
	unsigned flags)
{
	if (flags & TAR_LINKS_INSIDE && !tar_link_inside(e->path, e->link))
		return in_fails(t, e->path, "a link that leads out of the folder");
	if (symlinkat(e->link, at, name) ||
		(flags & TAR_OWNERS && fchownat(at, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW)))
		return in_error(t, e->path);
	return true;
}

static bool extract_in(struct tar_in *t, struct tar_entry *e, int top, int at, const char *name,
	unsigned flags, struct folder **folders)
{
	if (e->type != TAR_DIRECTORY && unlinkat(at, name, 0) && errno != ENOENT)
		return in_error(t, e->path);
	switch (e->type) {
	case TAR_FILE:
		return extract_file(t, e, at, name, flags);
	case TAR_DIRECTORY:
		return extract_directory(t, e, at, name, folders);
	case TAR_SYMLINK:
		return extract_link(t, e, at, name, flags);
	case TAR_HARD_LINK:
		return extract_hard_link(t, e, top, at, name);
	default:
		return in_fails(t, e->path, "a device or something unknown, which is not unpacked");
	}
}

static bool extract(struct tar_in *t, int top, unsigned flags, struct folder **folders)
{
	static struct tar_entry e;
	int more;

	while ((more = tar_next(t, &e)) > 0) {
		const char *name;
		int at;
		bool good;

		if (!e.path[0] && e.type == TAR_DIRECTORY)
			continue;
		if (!e.path[0])
			return in_fails(t, "", "a name is missing");
		at = open_parent(top, e.path, &name);
		if (at < 0)
			return in_error(t, e.path);
		good = extract_in(t, &e, top, at, name, flags, folders);
		close(at);
		if (!good)
			return false;
	}
	return more == 0;
}

bool tar_extract(struct tar_in *t, int top, unsigned flags)
{
	struct folder *folders = NULL;
	bool good = extract(t, top, flags, &folders) && finish_folders(t, top, folders, flags);

	free_folders(folders);
	return good;
}

/* ---- out -------------------------------------------------------------------------------------- */

static bool out_error(struct tar_out *t, const char *path)
{
	snprintf(t->error, sizeof(t->error), "%.300s: %s", path, strerror(errno));
	return false;
}

static bool put(struct tar_out *t, const void *buf, size_t size)
{
	if (t->write(t->arg, buf, size))
		return true;
	if (!t->error[0])
		snprintf(t->error, sizeof(t->error), "the tar stream can't be written");
	return false;
}

static bool put_padding(struct tar_out *t, uint64_t size)
{
	static const char zeros[TAR_BLOCK];

	return put(t, zeros, (size_t)(-size % TAR_BLOCK));
}

/* Fields as struct header of tar_in.c has them. */
enum { AT_MODE = 100, AT_UID = 108, AT_GID = 116, AT_SIZE = 124, AT_MTIME = 136, AT_SUM = 148,
	AT_TYPE = 156, AT_LINK = 157, AT_MAGIC = 257 };

static void put_octal(char *at, size_t size, uint64_t value)
{
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		at[i] = (char)('0' + (value & 7));
	at[size - 1] = '\0';
}

static bool put_block(struct tar_out *t, char type, const char *name, const char *link,
	const struct stat *st, uint64_t size)
{
	char block[TAR_BLOCK] = "";
	unsigned sum = 0;

	memcpy(block, name, strnlen(name, 100));
	put_octal(block + AT_MODE, 8, st->st_mode & 07777);
	put_octal(block + AT_UID, 8, st->st_uid & 07777777);
	put_octal(block + AT_GID, 8, st->st_gid & 07777777);
	put_octal(block + AT_SIZE, 12, size);
	put_octal(block + AT_MTIME, 12, (uint64_t)st->st_mtime & 077777777777ull);
	block[AT_TYPE] = type;
	memcpy(block + AT_LINK, link, strnlen(link, 100));
	memcpy(block + AT_MAGIC, "ustar\00000", 8);
	memset(block + AT_SUM, ' ', 8);
	for (size_t i = 0; i < sizeof(block); i++)
		sum += (unsigned char)block[i];
	put_octal(block + AT_SUM, 7, sum);
	return put(t, block, sizeof(block));
}

static size_t add_record(char *to, const char *key, const char *value)
{
	size_t body = strlen(key) + strlen(value) + 3, n = body;
	char digits[24];

	/* The length counts its own digits. */
	do {
		snprintf(digits, sizeof(digits), "%zu", n);
		if (strlen(digits) + body == n)
			break;
		n = body + strlen(digits);
	} while (true);
	return (size_t)sprintf(to, "%zu %s=%s\n", n, key, value);
}

/* With an extended header before it if a field has no room for its value. */
static bool put_header(struct tar_out *t, char type, const char *name, const char *link,
	const struct stat *st, uint64_t size)
{
	static char pax[2 * TAR_PATH_MAX + 128];
	struct stat plain = {.st_mode = 0644};
	char number[24];
	size_t n = 0;

	if (strlen(name) > 100)
		n += add_record(pax + n, "path", name);
	if (strlen(link) > 100)
		n += add_record(pax + n, "linkpath", link);
	if (size >> 33) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
		n += add_record(pax + n, "size", number);
	}
	if (n && (!put_block(t, 'x', "pax", "", &plain, n) || !put(t, pax, n) || !put_padding(t, n)))
		return false;
	return put_block(t, type, name, link, st, size);
}

static bool put_file(struct tar_out *t, int fd, const char *as)
{
	static char buf[COPY_SIZE];
	struct stat st;
	uint64_t left;

	if (fstat(fd, &st))
		return out_error(t, as);
	left = (uint64_t)st.st_size;
	if (!put_header(t, TAR_FILE, as, "", &st, left))
		return false;
	while (left) {
		ssize_t n = read(fd, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf));

		if (n < 0)
			return out_error(t, as);
		if (n == 0) {
			/* It became shorter: the header's size stands. */
			n = (ssize_t)(left < sizeof(buf) ? left : sizeof(buf));
			memset(buf, 0, (size_t)n);
		}
		if (!put(t, buf, (size_t)n))
			return false;
		left -= (uint64_t)n;
	}
	return put_padding(t, (uint64_t)st.st_size);
}

static bool put_any(struct tar_out *t, int at, const char *name, const char *as, int depth);

/* A file of several names, and the first of them that was written. */
struct tar_seen {
	struct tar_seen *next;
	dev_t device;
	ino_t inode;
	char *path;
};

static struct tar_seen **seen_list(struct tar_out *t, const struct stat *st)
{
	return &t->seen[(st->st_ino ^ st->st_ino / TAR_SEEN) % TAR_SEEN];
}

/* Its first name; NULL: this is the first. */
static const char *first_name(struct tar_out *t, const struct stat *st, const char *as)
{
	struct tar_seen **list = seen_list(t, st), *s;

	for (s = *list; s; s = s->next) {
		if (s->inode == st->st_ino && s->device == st->st_dev)
			return s->path;
	}
	s = malloc(sizeof(*s));
	if (!s || !(s->path = strdup(as)))
		abort();
	s->inode = st->st_ino;
	s->device = st->st_dev;
	s->next = *list;
	*list = s;
	return NULL;
}

static bool put_directory(struct tar_out *t, int fd, const char *as, int depth)
{
	struct dirent *e;
	struct stat st;
	bool good = true;
	DIR *d;

	if (depth == DEPTH_MAX) {
		errno = ELOOP;
		return out_error(t, as);
	}
	if (fstat(fd, &st))
		return out_error(t, as);
	if (as[0]) {
		char name[TAR_PATH_MAX];

		if (snprintf(name, sizeof(name), "%s/", as) >= TAR_PATH_MAX) {
			errno = ENAMETOOLONG;
			return out_error(t, as);
		}
		if (!put_header(t, TAR_DIRECTORY, name, "", &st, 0))
			return false;
	}
	d = fdopendir(dup(fd));
	if (!d)
		return out_error(t, as);
	while (good && (e = readdir(d))) {
		char *path;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (asprintf(&path, "%s%s%s", as, as[0] ? "/" : "", e->d_name) < 0)
			abort();
		good = put_any(t, fd, e->d_name, path, depth + 1);
		free(path);
	}
	closedir(d);
	return good;
}

static bool put_any(struct tar_out *t, int at, const char *name, const char *as, int depth)
{
	char link[TAR_PATH_MAX] = "";
	struct stat st;
	bool good = true;

	if (strlen(as) >= TAR_PATH_MAX - 1) {
		errno = ENAMETOOLONG;
		return out_error(t, "a name");
	}
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW))
		return out_error(t, as);
	if (S_ISLNK(st.st_mode)) {
		if (readlinkat(at, name, link, sizeof(link) - 1) < 0)
			return out_error(t, as);
		return put_header(t, TAR_SYMLINK, as, link, &st, 0);
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return true;
	const char *first = S_ISREG(st.st_mode) && st.st_nlink > 1 ? first_name(t, &st, as) : NULL;

	if (first)
		return put_header(t, TAR_HARD_LINK, as, first, &st, 0);
	int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return out_error(t, as);
	good = S_ISDIR(st.st_mode) ? put_directory(t, fd, as, depth) : put_file(t, fd, as);
	close(fd);
	return good;
}

bool tar_put(struct tar_out *t, int at, const char *name, const char *as)
{
	return put_any(t, at, name, as, 0);
}

bool tar_end(struct tar_out *t)
{
	static const char zeros[2 * TAR_BLOCK];

	for (size_t i = 0; i < TAR_SEEN; i++) {
		while (t->seen[i]) {
			struct tar_seen *s = t->seen[i];

			t->seen[i] = s->next;
			free(s->path);
			free(s);
		}
	}
	return put(t, zeros, sizeof(zeros));
}
