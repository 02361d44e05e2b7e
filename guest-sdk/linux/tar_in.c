#include "guest-sdk/linux/tar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAX_MAX    (64 * 1024)
#define GNU_SPARSE 'S'

/* POSIX.1-2017, pax, "ustar Interchange Format". */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type;
	char link[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155];
	char padding[12];
};

_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

static int bad(struct tar_in *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int bad(struct tar_in *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(t->error, sizeof(t->error), format, ap);
	va_end(ap);
	return -1;
}

/* All of `size` bytes, or fewer at the end of the stream. */
static ssize_t read_all(struct tar_in *t, void *buf, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = t->read(t->arg, (char *)buf + got, size - got);

		if (n < 0)
			return bad(t, "the tar stream can't be read");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* Octal, or GNU's base 256. False: neither. */
static bool number(const char *text, size_t size, uint64_t *value)
{
	*value = 0;
	if ((unsigned char)text[0] == 0x80) {
		for (size_t i = 1; i < size; i++) {
			if (*value >> 55)
				return false;
			*value = *value << 8 | (unsigned char)text[i];
		}
		return true;
	}
	size_t i = 0;

	while (i < size && text[i] == ' ')
		i++;
	for (; i < size && text[i] && text[i] != ' '; i++) {
		if (text[i] < '0' || text[i] > '7' || *value >> 58)
			return false;
		*value = *value << 3 | (uint64_t)(text[i] - '0');
	}
	return true;
}

static bool checksum_good(const struct header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	uint64_t sum = 0, stated;

	for (size_t i = 0; i < sizeof(*h); i++)
		sum += i >= 148 && i < 156 ? ' ' : p[i];
	return number(h->checksum, sizeof(h->checksum), &stated) && stated == sum;
}

/* What is left of the entry before, and what fills its last block. */
static int skip_rest(struct tar_in *t)
{
	char buf[8192];

	while (t->left) {
		ssize_t n = tar_data(t, buf, sizeof(buf));

		if (n <= 0)
			return -1;
	}
	if (t->padding && read_all(t, buf, t->padding) != (ssize_t)t->padding)
		return bad(t, "the tar stream is cut off");
	t->padding = 0;
	return 0;
}

ssize_t tar_data(struct tar_in *t, void *buf, size_t size)
{
	if (size > t->left)
		size = (size_t)t->left;
	if (!size)
		return 0;
	ssize_t n = t->read(t->arg, buf, size);

	if (n <= 0)
		return bad(t, "the tar stream is cut off");
	t->left -= (uint64_t)n;
	return n;
}

static int set_size(struct tar_in *t, uint64_t size)
{
	if (size >> 62)
		return bad(t, "a size in the tar stream makes no sense");
	t->left = size;
	t->padding = (uint32_t)(-size % TAR_BLOCK);
	return 0;
}

/* The contents of an entry that only says more about the next one. */
static char *read_more(struct tar_in *t, uint64_t size)
{
	char *text;

	if (size > PAX_MAX) {
		bad(t, "a header of %llu bytes in the tar stream", (unsigned long long)size);
		return NULL;
	}
	text = calloc(1, (size_t)size + 1);
	if (!text) {
		bad(t, "no memory");
		return NULL;
	}
	if (set_size(t, size) || read_all(t, text, (size_t)size) != (ssize_t)size) {
		bad(t, "the tar stream is cut off");
		free(text);
		return NULL;
	}
	t->left = 0;
	if (skip_rest(t)) {
		free(text);
		return NULL;
	}
	return text;
}

/* What extended headers say about the next entry. */
struct more {
	char *path, *link;
	bool has_size, has_uid, has_gid, sparse;
	uint64_t size, uid, gid;
};

static void more_free(struct more *m)
{
	free(m->path);
	free(m->link);
	*m = (struct more){0};
}

static void more_text(char **to, const char *text)
{
	free(*to);
	*to = strdup(text);
}

/* Records of "LENGTH KEY=VALUE\n". */
static int read_pax(struct tar_in *t, char *text, size_t size, struct more *m)
{
	for (size_t at = 0; at < size;) {
		char *end, *key, *value;
		unsigned long n = strtoul(text + at, &end, 10);

		key = end + 1;
		if (*end != ' ' || n > size - at || n < (size_t)(key - (text + at)) + 2 ||
			text[at + n - 1] != '\n')
			return bad(t, "an extended header of the tar stream is malformed");
		text[at + n - 1] = '\0';
		value = strchr(key, '=');
		if (!value)
			return bad(t, "an extended header of the tar stream is malformed");
		*value++ = '\0';
		if (!strcmp(key, "path"))
			more_text(&m->path, value);
		else if (!strcmp(key, "linkpath"))
			more_text(&m->link, value);
		else if (!strcmp(key, "size"))
			m->has_size = (m->size = strtoull(value, NULL, 10), true);
		else if (!strcmp(key, "uid"))
			m->has_uid = (m->uid = strtoull(value, NULL, 10), true);
		else if (!strcmp(key, "gid"))
			m->has_gid = (m->gid = strtoull(value, NULL, 10), true);
		else if (!strncmp(key, "GNU.sparse.", 11))
			m->sparse = true;
		at += n;
	}
	return 0;
}

bool tar_clean(char *path)
{
	char *from = path, *to = path;

	if (*from == '/')
		return false;
	while (*from) {
		size_t n = strcspn(from, "/");

		if (n == 2 && from[0] == '.' && from[1] == '.')
			return false;
		if (n && !(n == 1 && from[0] == '.')) {
			if (to != path)
				*to++ = '/';
			memmove(to, from, n);
			to += n;
		}
		from += n;
		while (*from == '/')
			from++;
	}
	*to = '\0';
	return true;
}

bool tar_link_inside(const char *path, const char *target)
{
	long depth = 0;

	if (target[0] == '/')
		return false;
	for (const char *p = path; (p = strchr(p, '/')); p++)
		depth++;
	for (const char *p = target; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			depth--;
		else if (n && !(n == 1 && p[0] == '.'))
			depth++;
		if (depth < 0)
			return false;
		p += n;
		while (*p == '/')
			p++;
	}
	return true;
}

static int fill(struct tar_in *t, const struct header *h, const struct more *m, struct tar_entry *e)
{
	uint64_t mode, uid, gid;
	int n, l;

	if (!number(h->mode, sizeof(h->mode), &mode) || !number(h->uid, sizeof(h->uid), &uid) ||
		!number(h->gid, sizeof(h->gid), &gid) ||
		!number(h->size, sizeof(h->size), &e->size) ||
		!number(h->mtime, sizeof(h->mtime), &e->mtime))
		return bad(t, "a number in the tar stream is malformed");
	e->mode = (uint32_t)mode & 07777;
	e->uid = (uint32_t)(m->has_uid ? m->uid : uid);
	e->gid = (uint32_t)(m->has_gid ? m->gid : gid);
	if (m->has_size)
		e->size = m->size;
	e->type = h->type && h->type != '7' ? h->type : TAR_FILE;
	if (m->path)
		n = snprintf(e->path, sizeof(e->path), "%s", m->path);
	else if (!memcmp(h->magic, "ustar\0", 6) && h->prefix[0])
		n = snprintf(e->path, sizeof(e->path), "%.155s/%.100s", h->prefix, h->name);
	else
		n = snprintf(e->path, sizeof(e->path), "%.100s", h->name);
	l = m->link ? snprintf(e->link, sizeof(e->link), "%s", m->link)
		    : snprintf(e->link, sizeof(e->link), "%.100s", h->link);
	if (n >= TAR_PATH_MAX || l >= TAR_PATH_MAX)
		return bad(t, "a name in the tar stream is longer than %d", TAR_PATH_MAX - 1);
	/* Old archives mark a directory so. */
	if (e->type == TAR_FILE && n && e->path[n - 1] == '/')
		e->type = TAR_DIRECTORY;
	if (!tar_clean(e->path))
		return bad(t, "%.200s: a name that leads out of the folder", e->path);
	/* What it holds is not what the file is to hold. */
	if (m->sparse || e->type == GNU_SPARSE)
		return bad(t, "%.200s: a sparse file, which is not unpacked", e->path);
	if (e->type != TAR_FILE)
		e->size = 0;
	if (t->max_entries && ++t->entries > t->max_entries)
		return bad(t, "more than %llu entries", (unsigned long long)t->max_entries);
	if (t->max_bytes && (e->size > t->max_bytes || t->bytes > t->max_bytes - e->size))
		return bad(t, "more than %llu bytes of files", (unsigned long long)t->max_bytes);
	t->bytes += e->size;
	return set_size(t, e->size) ? -1 : 1;
}

/* One header. 2: it says more about the one to come. */
static int next_header(struct tar_in *t, struct tar_entry *e, struct more *m)
{
	struct header h;
	uint64_t size;
	ssize_t n;
	char *text;
	int err = 0;

	if (skip_rest(t))
		return -1;
	n = read_all(t, &h, sizeof(h));
	if (n == 0 && !t->begun)
		return bad(t, "the tar stream is empty");
	t->begun = true;
	if (n <= 0)
		return (int)n;
	if (n != sizeof(h))
		return bad(t, "the tar stream is cut off");
	if (!h.name[0] && !h.checksum[0])
		return 0;
	if (!checksum_good(&h) || !number(h.size, sizeof(h.size), &size))
		return bad(t, "this is no tar stream, or it is damaged");
	if (!strchr("xgLK", h.type) || !h.type)
		return fill(t, &h, m, e);
	text = read_more(t, size);
	if (!text)
		return -1;
	if (h.type == 'x')
		err = read_pax(t, text, (size_t)size, m);
	else if (h.type != 'g')
		more_text(h.type == 'L' ? &m->path : &m->link, text);
	free(text);
	return err ? err : 2;
}

int tar_next(struct tar_in *t, struct tar_entry *e)
{
	struct more m = {0};
	int result = 2;

	/* So many headers about one entry have no use. */
	for (int i = 0; i < 8 && result == 2; i++)
		result = next_header(t, e, &m);
	more_free(&m);
	return result == 2 ? bad(t, "headers without an entry in the tar stream") : result;
}
