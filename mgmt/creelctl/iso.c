/*
 * creelctl iso: an ISO for one host, with a key for it in its creel.conf. It is a copy of a Creel ISO;
 * mtools' mcopy changes the file in it, as iso/edit-conf does.
 */
#include "mgmt/creelctl/creelctl.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONF_MAX  65536 /* what the host reads of it: boot/config.h */
#define LINES_MAX 512   /* what we add */
#define CONF_PATH "::/creel/creel.conf"

/* UEFI Specification, "GUID Partition Table (GPT) Disk Layout". */
#define BLOCK           512
#define GPT_ENTRIES_LBA 72 /* in the header, at block 1 */
#define GPT_COUNT       80
#define GPT_ENTRY_SIZE  84
#define ENTRY_FIRST_LBA 32
#define ENTRIES_MAX     256

static const char *conf_path; /* --conf */

static bool read_at(int fd, uint64_t at, void *buf, size_t size)
{
	return pread(fd, buf, size, (off_t)at) == (ssize_t)size;
}

/* Where the EFI system partition begins, in bytes; 0: there is none. */
static uint64_t system_partition(int fd)
{
	static const uint8_t kind[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b,
		0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
	uint8_t header[BLOCK], entry[128];
	uint64_t first;
	uint32_t count, size;

	if (!read_at(fd, BLOCK, header, sizeof(header)) || memcmp(header, "EFI PART", 8))
		return 0;
	first = load_le64(header + GPT_ENTRIES_LBA);
	count = load_le32(header + GPT_COUNT);
	size = load_le32(header + GPT_ENTRY_SIZE);
	if (first > UINT32_MAX || size < sizeof(entry) || size > 4096)
		return 0;
	for (uint32_t i = 0; i < count && i < ENTRIES_MAX; i++) {
		if (!read_at(fd, first * BLOCK + (uint64_t)i * size, entry, sizeof(entry)))
			return 0;
		if (!memcmp(entry, kind, sizeof(kind)))
			return load_le64(entry + ENTRY_FIRST_LBA) * BLOCK;
	}
	return 0;
}

/*
 * Runs mcopy on the file system at `offset` of `iso`: creel.conf to its output, which the pipe *end
 * reads, or from its input, to which *end writes. Returns its process, or -1.
 */
static pid_t start_mcopy(const char *iso, uint64_t offset, bool out, int *end)
{
	char volume[CREEL_PATH_SIZE + 32];
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	snprintf(volume, sizeof(volume), "%s@@%llu", iso, (unsigned long long)offset);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		setenv("MTOOLS_SKIP_CHECK", "1", 1);
		dup2(ends[out], out ? STDOUT_FILENO : STDIN_FILENO);
		if (out)
			execlp("mcopy", "mcopy", "-i", volume, CONF_PATH, "-", (char *)NULL);
		else
			execlp("mcopy", "mcopy", "-o", "-i", volume, "-", CONF_PATH, (char *)NULL);
		complain("can't run mcopy, of Debian's mtools: %s", strerror(errno));
		_exit(1);
	}
	close(ends[out]);
	*end = ends[!out];
	if (pid < 0)
		close(*end);
	return pid;
}

static bool ended_well(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return false;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* All that comes, or -1: an error, or more than CONF_MAX. */
static ssize_t read_all(int fd, char *text)
{
	size_t size = 0;
	ssize_t n;

	do {
		n = read(fd, text + size, CONF_MAX + 1 - size);
		size += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 || size > CONF_MAX ? -1 : (ssize_t)size;
}

static bool read_conf(const char *iso, uint64_t offset, char *text, size_t *size)
{
	int fd;
	pid_t pid = conf_path ? 0 : start_mcopy(iso, offset, true, &fd);
	ssize_t n;

	if (conf_path)
		fd = open(conf_path, O_RDONLY | O_CLOEXEC);
	if (pid < 0 || fd < 0) {
		complain("can't read %s: %s", conf_path ? conf_path : iso, strerror(errno));
		return false;
	}
	n = read_all(fd, text);
	close(fd);
	if (n < 0 || (pid && !ended_well(pid))) {
		complain("can't read creel.conf of %s, or it has more than %d bytes",
			conf_path ? conf_path : iso, CONF_MAX);
		return false;
	}
	*size = (size_t)n;
	text[n] = 0;
	return true;
}

/* A line `key = ...` that is no comment. */
static bool sets(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += line[0] == '\n';
		const char *p = line + strspn(line, " \t");

		if (!strncmp(p, key, n) && p[n + strspn(p + n, " \t")] == '=')
			return true;
	}
	return false;
}

/* Adds the host's key to the text, and us if it lets nobody in: *alone. */
static bool add_keys(struct settings *s, char *text, size_t *size, uint8_t public[CREEL_KEY_SIZE],
	bool *alone)
{
	struct creel *c = s->host_connection;
	char ours[CREEL_KEY_TEXT_SIZE], theirs[CREEL_KEY_TEXT_SIZE];
	uint8_t private[CREEL_KEY_SIZE], user[CREEL_KEY_SIZE];
	const char *end = *size && text[*size - 1] != '\n' ? "\n" : "";
	int code = CREEL_OK;

	*alone = !sets(text, "authorized");
	if (sets(text, "host-key")) {
		complain("this creel.conf has a host-key already; each host needs its own");
		return false;
	}
	if (*alone) {
		code = creel_load_key(c, NULL, private);
		creel_public_key(user, private);
		creel_key_text(ours, user);
	}
	if (code == CREEL_OK)
		code = creel_make_key(c, private);
	if (code != CREEL_OK) {
		failed(s, code);
		return false;
	}
	creel_public_key(public, private);
	creel_key_text(theirs, private);
	*size += (size_t)snprintf(
		text + *size, LINES_MAX, "%s\n# creelctl iso\nhost-key = %s\n", end, theirs);
	if (*alone)
		*size += (size_t)snprintf(text + *size, LINES_MAX / 2,
			"authorized = %s admin %s\n", ours, user_name());
	wipe(private, sizeof(private));
	wipe(theirs, sizeof(theirs));
	return true;
}

/* A new file that nobody else can read. */
static bool copy_iso(int from, const char *path)
{
	char buf[65536];
	ssize_t n = -1;
	bool good = true;
	int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (to < 0) {
		complain("can't make %s: %s", path, strerror(errno));
		return false;
	}
	lseek(from, 0, SEEK_SET);
	while (good && (n = read(from, buf, sizeof(buf))) > 0)
		good = write(to, buf, (size_t)n) == n;
	good = good && n == 0 && fsync(to) == 0;
	good = close(to) == 0 && good;
	if (!good) {
		complain("can't write %s: %s", path, strerror(errno));
		unlink(path);
	}
	return good;
}

static bool write_conf(const char *iso, uint64_t offset, const char *text, size_t size)
{
	int fd;
	pid_t pid = start_mcopy(iso, offset, false, &fd);
	bool good = pid >= 0 && write(fd, text, size) == (ssize_t)size;

	if (pid >= 0) {
		close(fd);
		good = ended_well(pid) && good;
	}
	if (!good) {
		complain("can't write creel.conf into %s", iso);
		unlink(iso);
	}
	return good;
}

static void tell(const struct settings *s, const char *iso, const uint8_t public[CREEL_KEY_SIZE],
	bool alone)
{
	char key[CREEL_KEY_TEXT_SIZE];

	creel_key_text(key, public);
	if (s->json) {
		json_begin_object(NULL);
		json_text("path", iso);
		json_text("key", key);
		json_end_object();
		json_end();
	} else {
		printf("%s is for one host", iso);
		if (alone)
			printf(", which lets you in as admin %s", user_name());
		printf(". When it has an address:\n\n"
		       "creelctl host add NAME ADDRESS %s\n",
			key);
	}
	complain("%s has the private key of that host. Whoever reads it, or a disc or stick made of "
		 "it, can pretend to be the host to all of its clients: guard it like the host "
		 "itself, and make another ISO when one is lost",
		iso);
}

static int run_iso(struct settings *s, int argc, char **argv)
{
	static char text[CONF_MAX + LINES_MAX + 1];
	uint8_t public[CREEL_KEY_SIZE];
	size_t size;
	uint64_t offset;
	bool good, alone;
	int fd = open(argv[0], O_RDONLY | O_CLOEXEC);

	(void)argc;
	if (fd < 0) {
		complain("can't open %s: %s", argv[0], strerror(errno));
		return EXIT_REFUSED;
	}
	offset = system_partition(fd);
	if (!offset)
		complain("%s is no Creel ISO", argv[0]);
	good = offset && read_conf(argv[0], offset, text, &size) && add_keys(s, text, &size, public, &alone) &&
	       copy_iso(fd, argv[1]) && write_conf(argv[1], offset, text, size);
	close(fd);
	wipe(text, sizeof(text));
	if (good)
		tell(s, argv[1], public, alone);
	return good ? EXIT_DONE : EXIT_REFUSED;
}

static const struct option iso_options[] = {
	FILENAME(0, "conf", &conf_path, "a creel.conf in the place of the one that the ISO has"),
	END_OPTIONS,
};

const struct command iso_commands[] = {
	{
		.name = "iso",
		.synopsis = "[--conf FILE] ISO OUTPUT",
		.summary = "make an ISO for one host, with its key on it",
		.text = "ISO is a Creel ISO, which stays as it is. Needs mcopy, of mtools. Where the\n"
			"creel.conf authorises nobody, your own key is added as an admin's. A host without\n"
			"such an ISO makes its key at its first boot and keeps it in its firmware.",
		.options = iso_options,
		.least = 2,
		.most = 2,
		.arguments = NAMES_FILE,
		.offline = true,
		.run = run_iso,
	},
	END_COMMANDS,
};
