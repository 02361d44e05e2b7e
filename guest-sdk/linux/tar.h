/*
 * Tar streams (POSIX pax and ustar, GNU's long names), in and out, for the agent and for clients.
 * What is read is taken for hostile: names that are absolute or have "..", devices, links that lead
 * out, sizes without end are refused, and nothing that a stream made is ever followed.
 */
#ifndef CREEL_TAR_H
#define CREEL_TAR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TAR_PATH_MAX  4096 /* with its terminator */
#define TAR_BLOCK     512
#define TAR_ERROR_MAX 512

enum tar_type {
	TAR_FILE = '0',
	TAR_HARD_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK_DEVICE = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
};

struct tar_entry {
	char type; /* enum tar_type, or another that nobody knows */
	uint32_t mode, uid, gid;
	uint64_t size, mtime;
	char path[TAR_PATH_MAX]; /* relative, clean; "" is the top */
	char link[TAR_PATH_MAX]; /* as it stands there */
};

struct tar_in {
	/* Up to `size` bytes, 0 at the end, -1: an error. */
	ssize_t (*read)(void *arg, void *buf, size_t size);
	void *arg;
	uint64_t max_bytes;   /* of files; 0: as many as come */
	uint64_t max_entries; /* 0: as many as come */
	char error[TAR_ERROR_MAX];
	/* Its own. */
	uint64_t bytes, entries, left;
	uint32_t padding;
	bool begun;
};

/* 1: an entry. 0: the end. -1: `error` says what is wrong. Skips what is left of the one before. */
int tar_next(struct tar_in *t, struct tar_entry *e);
/* Of the entry's contents; 0 at their end, -1: the stream is cut. */
ssize_t tar_data(struct tar_in *t, void *buf, size_t size);

/* Makes `path` relative and clean. False: it is absolute, or has "..". */
bool tar_clean(char *path);
/* A link at `path` to `target` leads to something within the top. */
bool tar_link_inside(const char *path, const char *target);

enum tar_flags {
	TAR_LINKS_INSIDE = 1, /* refuses links that lead out of the folder */
	TAR_OWNERS = 2,       /* gives files to whom the stream says */
};

/* Unpacks everything into the folder `top`. False: `error`. */
bool tar_extract(struct tar_in *t, int top, unsigned flags);

/* Writes at a file's end, which is where it stands; zeros become holes. tar_write_end() makes its size right. */
bool tar_write(int fd, const char *buf, size_t size);
bool tar_write_end(int fd);

#define TAR_SEEN 1024

struct tar_seen;

struct tar_out {
	bool (*write)(void *arg, const void *buf, size_t size);
	void *arg;
	char error[TAR_ERROR_MAX];
	struct tar_seen *seen[TAR_SEEN]; /* its own: files of several names */
};

/* Writes `name` of the folder `at` and what lies in it, as `as` ("": what lies in it only), then no
 * end. A file's further names are links. Sockets, FIFOs and devices are left out. */
bool tar_put(struct tar_out *t, int at, const char *name, const char *as);
/* The end; it forgets what was written. */
bool tar_end(struct tar_out *t);

#endif
