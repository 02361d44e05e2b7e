/* Keys of libcreel: made anew, and the file that holds the client's private key. */
#include "mgmt/client/internal.h"

#include "lib/wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_NAME "key"

void creel_public_key(uint8_t public[CREEL_KEY_SIZE], const uint8_t private[CREEL_KEY_SIZE])
{
	x25519_public(public, private);
}

int client_random(struct creel *c, void *buf, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = getrandom((uint8_t *)buf + done, size - done, 0);

		if (n < 0 && errno != EINTR)
			return client_fail(c, CREEL_LOCAL, "this system gives no random numbers: %s",
				strerror(errno));
		if (n > 0)
			done += (size_t)n;
	}
	return CREEL_OK;
}

int creel_make_key(struct creel *c, uint8_t private[CREEL_KEY_SIZE])
{
	return client_random(c, private, CREEL_KEY_SIZE);
}

int creel_key_path(struct creel *c, char path[CREEL_PATH_SIZE])
{
	const char *told = getenv("CREEL_KEY");

	if (!told || !told[0])
		return client_path(c, KEY_NAME, path);
	if ((size_t)snprintf(path, CREEL_PATH_SIZE, "%s", told) >= CREEL_PATH_SIZE)
		return client_fail(c, CREEL_LOCAL, "the path in CREEL_KEY is too long");
	return CREEL_OK;
}

/* ---- the file ---- */

/* Who can read it is this user or root; what lies there is a file. */
static int check_key_file(struct creel *c, int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return client_fail(c, CREEL_LOCAL, "%s is no regular file", path);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return client_fail(c, CREEL_DENIED,
			"others can read the private key %s: make a new one, or chmod 600 it",
			path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return client_fail(c, CREEL_DENIED,
			"the private key %s belongs to somebody else", path);
	return CREEL_OK;
}

static int parse_key_file(struct creel *c, char *text, const char *path, uint8_t *private)
{
	if (strlen(text) == 2 * CREEL_KEY_SIZE + 1 && text[2 * CREEL_KEY_SIZE] == '\n')
		text[2 * CREEL_KEY_SIZE] = 0;
	if (creel_key_parse(private, text))
		return CREEL_OK;
	return client_fail(c, CREEL_LOCAL,
		"%s, line 1: that is no private key, which is one line of 64 hexadecimal digits",
		path);
}

int creel_load_key(struct creel *c, const char *path, uint8_t private[CREEL_KEY_SIZE])
{
	char usual[CREEL_PATH_SIZE], text[2 * CREEL_KEY_SIZE + 3] = {0};
	ssize_t n;
	int fd, err = CREEL_OK;

	if (!path) {
		err = creel_key_path(c, usual);
		path = usual;
	}
	if (err != CREEL_OK)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return client_fail(c, CREEL_NOENT,
			"there is no private key %s: make one with \"creelctl keygen\"", path);
	if (fd < 0)
		return client_fail(c, CREEL_LOCAL, "can't open the private key %s: %s", path,
			strerror(errno));
	err = check_key_file(c, fd, path);
	n = err == CREEL_OK ? read(fd, text, sizeof(text) - 1) : 0;
	close(fd);
	if (n < 0)
		err = client_fail(
			c, CREEL_LOCAL, "can't read the private key %s: %s", path, strerror(errno));
	if (err == CREEL_OK)
		err = parse_key_file(c, text, path, private);
	wipe(text, sizeof(text));
	return err;
}

static int write_key_file(struct creel *c, const char *path, const uint8_t *private)
{
	char text[CREEL_KEY_TEXT_SIZE];
	bool good;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), error;

	if (fd < 0 && errno == EEXIST)
		return client_fail(c, CREEL_EXIST,
			"%s exists, and keys are not overwritten: move it away first", path);
	if (fd < 0)
		return client_fail(c, CREEL_LOCAL, "can't make %s: %s", path, strerror(errno));
	creel_key_text(text, private);
	text[2 * CREEL_KEY_SIZE] = '\n';
	good = write(fd, text, sizeof(text)) == (ssize_t)sizeof(text) && fsync(fd) == 0;
	error = errno;
	wipe(text, sizeof(text));
	good = close(fd) == 0 && good;
	if (good)
		return CREEL_OK;
	unlink(path);
	return client_fail(c, CREEL_LOCAL, "can't write %s: %s", path, strerror(error));
}

int creel_keygen(struct creel *c, const char *path, uint8_t public[CREEL_KEY_SIZE])
{
	char usual[CREEL_PATH_SIZE];
	uint8_t private[CREEL_KEY_SIZE];
	int err = CREEL_OK;

	if (!path) {
		err = creel_key_path(c, usual);
		if (err == CREEL_OK && !(getenv("CREEL_KEY") && getenv("CREEL_KEY")[0]))
			err = client_make_folder(c);
		path = usual;
	}
	if (err == CREEL_OK)
		err = creel_make_key(c, private);
	if (err != CREEL_OK)
		return err;
	err = write_key_file(c, path, private);
	if (err == CREEL_OK)
		creel_public_key(public, private);
	wipe(private, sizeof(private));
	return err;
}
