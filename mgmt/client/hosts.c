/* The hosts that this user knows: the file of mgmt/client/config.h, read and changed. */
#include "mgmt/client/config.h"
#include "mgmt/client/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_NAME "config"

/* The file's text and what it says. */
struct book {
	struct client_config config;
	char path[CREEL_PATH_SIZE];
	size_t size;
	char text[CONFIG_TEXT_MAX + 1]; /* a byte more, to see that it is too long */
};

/* ---- the folder ---- */

static int folder(struct creel *c, char path[CREEL_PATH_SIZE])
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	/* XDG Base Directory Specification: a relative path there is to be ignored */
	if (base && base[0] == '/')
		n = snprintf(path, CREEL_PATH_SIZE, "%s/creel", base);
	else if (home && home[0])
		n = snprintf(path, CREEL_PATH_SIZE, "%s/.config/creel", home);
	else
		return client_fail(c, CREEL_LOCAL,
			"no place for the configuration: neither HOME nor XDG_CONFIG_HOME is set");
	return n < CREEL_PATH_SIZE ? CREEL_OK
				   : client_fail(c, CREEL_LOCAL, "the path in HOME is too long");
}

int client_path(struct creel *c, const char *name, char path[CREEL_PATH_SIZE])
{
	char in[CREEL_PATH_SIZE];
	int err = folder(c, in);

	if (err == CREEL_OK && snprintf(path, CREEL_PATH_SIZE, "%s/%s", in, name) >= CREEL_PATH_SIZE)
		err = client_fail(c, CREEL_LOCAL, "the path in HOME is too long");
	return err;
}

int client_make_folder(struct creel *c)
{
	char path[CREEL_PATH_SIZE];
	int err = folder(c, path);

	if (err != CREEL_OK)
		return err;
	for (char *p = path + 1;; p++) {
		bool last = !*p;

		if (!last && *p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return client_fail(
				c, CREEL_LOCAL, "can't make %s: %s", path, strerror(errno));
		if (last)
			return CREEL_OK;
		*p = '/';
	}
}

/* ---- reading ---- */

static int read_text(struct creel *c, struct book *b, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return client_fail(c, CREEL_LOCAL, "%s is no regular file", b->path);
	if (st.st_mode & S_IWOTH)
		return client_fail(c, CREEL_DENIED,
			"everybody can write to %s, which holds the keys of hosts: chmod 600 it",
			b->path);
	while (b->size < sizeof(b->text)) {
		ssize_t n = read(fd, b->text + b->size, sizeof(b->text) - b->size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return client_fail(
				c, CREEL_LOCAL, "can't read %s: %s", b->path, strerror(errno));
		if (n == 0)
			break;
		b->size += (size_t)n;
	}
	return CREEL_OK;
}

/* A file that isn't there is an empty one. The caller frees *book. */
static int open_book(struct creel *c, struct book **book)
{
	char error[CONFIG_ERROR_MAX];
	struct book *b = calloc(1, sizeof(*b));
	int err, fd;

	*book = b;
	if (!b)
		return client_fail(c, CREEL_LOCAL, "no memory");
	err = client_path(c, CONFIG_NAME, b->path);
	if (err != CREEL_OK)
		return err;
	fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		return client_fail(c, CREEL_LOCAL, "can't open %s: %s", b->path, strerror(errno));
	if (fd >= 0) {
		err = read_text(c, b, fd);
		close(fd);
	}
	if (err == CREEL_OK && !client_config_parse(&b->config, b->text, b->size, error))
		err = client_fail(c, CREEL_LOCAL, "%s, %s", b->path, error);
	return err;
}

int creel_hosts(
	struct creel *c, int (*each)(void *arg, const struct creel_host *h), void *arg)
{
	struct book *b;
	int err = open_book(c, &b);

	for (size_t i = 0; err == CREEL_OK && i < b->config.count; i++) {
		if (each(arg, &b->config.hosts[i].host))
			err = client_fail(c, CREEL_CANCELLED, "cancelled");
	}
	free(b);
	return err;
}

/* By the address that it has in the file, with or without the usual port. */
static const struct config_host *by_address(const struct client_config *config, const char *address)
{
	char suffix[16];

	snprintf(suffix, sizeof(suffix), ":%u", CREEL_DEFAULT_PORT);
	for (size_t i = 0; i < config->count; i++) {
		const char *known = config->hosts[i].host.address;
		size_t n = MIN(strlen(known), strlen(address));

		if (!strncmp(known, address, n) && (!known[n] || !strcmp(known + n, suffix)) &&
			(!address[n] || !strcmp(address + n, suffix)))
			return &config->hosts[i];
	}
	return NULL;
}

/* The address that `host` is, with the key in CREEL_HOST_KEY. */
static int from_environment(
	struct creel *c, const char *host, const char *key, struct creel_host *out)
{
	*out = (struct creel_host){.is_default = false};
	if (!client_host_address(host))
		return client_fail(c, CREEL_INVALID,
			"\"%s\" is no address: give HOST or HOST:PORT, as in 192.0.2.7:7117", host);
	strcpy(out->address, host);
	if (!creel_key_parse(out->key, key))
		return client_fail(c, CREEL_INVALID,
			"CREEL_HOST_KEY is no key, which has 64 hexadecimal digits");
	return CREEL_OK;
}

static int find_in(struct creel *c, const struct book *b, const char *host, struct creel_host *out)
{
	const char *key = getenv("CREEL_HOST_KEY");
	const struct config_host *found =
		host ? client_config_find(&b->config, host) : b->config.standard;

	if (!found && host && key && key[0])
		return from_environment(c, host, key, out);
	if (!found && host)
		found = by_address(&b->config, host);
	if (!found && host)
		return client_fail(c, CREEL_NOENT,
			"no host %s is known: creelctl host add NAME ADDRESS KEY, with the KEY "
			"that its console shows",
			host);
	if (!found)
		return client_fail(c, CREEL_NOENT,
			b->config.count ? "no host is named, and no default is set: creelctl -H "
					  "NAME, or creelctl host default NAME"
					: "no host is known: creelctl host add NAME ADDRESS KEY, "
					  "with the KEY that its console shows");
	*out = found->host;
	return CREEL_OK;
}

int creel_find_host(struct creel *c, const char *host, struct creel_host *out)
{
	struct book *b;
	int err = open_book(c, &b);

	if (!host || !host[0])
		host = getenv("CREEL_HOST");
	if (err == CREEL_OK)
		err = find_in(c, b, host && host[0] ? host : NULL, out);
	free(b);
	return err;
}

/* ---- changing ---- */

/* The text without the lines `drop` (0: none), and then `more`, in the place of the file. */
static int write_book(struct creel *c, const struct book *b, const unsigned drop[2], const char *more)
{
	char path[CREEL_PATH_SIZE + 8];
	int fd, error = 0;
	bool ends = true;
	unsigned line = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s.XXXXXX", b->path);
	fd = mkostemp(path, O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		return client_fail(c, CREEL_LOCAL, "can't make %s: %s", path, strerror(errno));
	for (size_t at = 0; at < b->size;) {
		const char *end = memchr(b->text + at, '\n', b->size - at);
		size_t n = end ? (size_t)(end + 1 - (b->text + at)) : b->size - at;

		line++;
		if (line != drop[0] && line != drop[1]) {
			fwrite(b->text + at, 1, n, f);
			ends = end != NULL;
		}
		at += n;
	}
	fprintf(f, "%s%s", ends ? "" : "\n", more);
	if (fflush(f) || fsync(fd) < 0)
		error = errno;
	if (fclose(f) && !error)
		error = errno;
	if (!error && rename(path, b->path) < 0)
		error = errno;
	if (!error)
		return CREEL_OK;
	unlink(path);
	return client_fail(c, CREEL_LOCAL, "can't write %s: %s", b->path, strerror(error));
}

/* Nobody else changes the file until the descriptor is closed. */
static int lock_folder(struct creel *c, int *fd)
{
	char path[CREEL_PATH_SIZE];
	int err = client_make_folder(c);

	*fd = -1;
	if (err == CREEL_OK)
		err = folder(c, path);
	if (err != CREEL_OK)
		return err;
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0 || flock(*fd, LOCK_EX) < 0)
		return client_fail(c, CREEL_LOCAL, "can't lock %s: %s", path, strerror(errno));
	return CREEL_OK;
}

static int add(struct creel *c, const struct book *b, const char *name, const char *address,
	const uint8_t key[CREEL_KEY_SIZE])
{
	char text[CREEL_KEY_TEXT_SIZE], line[CONFIG_LINE_MAX];
	const struct config_host *there = client_config_find(&b->config, name);

	if (!client_host_name(name))
		return client_fail(c, CREEL_INVALID,
			"\"%s\" can't be a name: use letters, digits, dots and dashes", name);
	if (!client_host_address(address))
		return client_fail(c, CREEL_INVALID,
			"\"%s\" is no address: give HOST or HOST:PORT, as in 192.0.2.7:7117",
			address);
	if (there)
		return client_fail(c, CREEL_EXIST, "host %s is known already, at %s; remove it first",
			name, there->host.address);
	creel_key_text(text, key);
	snprintf(line, sizeof(line), "host = %s %s %s\n", name, address, text);
	if (b->config.count == CONFIG_HOSTS_MAX || b->size + strlen(line) > CONFIG_TEXT_MAX)
		return client_fail(c, CREEL_LIMIT, "%s is full", b->path);
	return write_book(c, b, (unsigned[2]){0, 0}, line);
}

int creel_add_host(struct creel *c, const char *name, const char *address,
	const uint8_t key[CREEL_KEY_SIZE])
{
	struct book *b = NULL;
	int lock, err = lock_folder(c, &lock);

	if (err == CREEL_OK)
		err = open_book(c, &b);
	if (err == CREEL_OK)
		err = add(c, b, name, address, key);
	free(b);
	if (lock >= 0)
		close(lock);
	return err;
}

static int no_such(struct creel *c, const char *name)
{
	return client_fail(c, CREEL_NOENT, "no host %s is known", name);
}

int creel_remove_host(struct creel *c, const char *name)
{
	const struct config_host *found;
	struct book *b = NULL;
	int lock, err = lock_folder(c, &lock);

	if (err == CREEL_OK)
		err = open_book(c, &b);
	if (err == CREEL_OK) {
		found = client_config_find(&b->config, name);
		err = found ? write_book(c, b,
				      (unsigned[2]){found->line, found == b->config.standard
							      ? b->config.default_line
							      : 0},
				      "")
			    : no_such(c, name);
	}
	free(b);
	if (lock >= 0)
		close(lock);
	return err;
}

int creel_default_host(struct creel *c, const char *name)
{
	char line[CREEL_NAME_SIZE + 16];
	struct book *b = NULL;
	int lock, err = lock_folder(c, &lock);

	if (err == CREEL_OK)
		err = open_book(c, &b);
	if (err == CREEL_OK && !client_config_find(&b->config, name))
		err = no_such(c, name);
	if (err == CREEL_OK) {
		snprintf(line, sizeof(line), "default = %s\n", name);
		err = write_book(c, b, (unsigned[2]){b->config.default_line, 0}, line);
	}
	free(b);
	if (lock >= 0)
		close(lock);
	return err;
}
