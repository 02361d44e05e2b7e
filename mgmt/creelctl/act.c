/* Commands that do one thing to each of their arguments, and those that make images and snapshots.
 */
#include "mgmt/creelctl/creelctl.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QUIESCE_MS     30000u
#define QUIESCE_TRY_MS 2000u /* an agent that does not answer by then is taken for none */

/* Prints each argument that went well, as container users expect; goes on after one that didn't. */
static int for_each(
	struct settings *s, int argc, char **argv, int (*call)(struct creel *c, const char *what))
{
	int status = EXIT_DONE;

	if (s->json)
		json_begin_array(NULL);
	for (int i = 0; i < argc; i++) {
		int code = call(s->host_connection, argv[i]);

		if (s->json) {
			json_begin_object(NULL);
			json_text("target", argv[i]);
			json_bool("ok", code == CREEL_OK);
			json_text("error",
				code == CREEL_OK ? "" : creel_error_text(s->host_connection));
			json_end_object();
		} else if (code == CREEL_OK) {
			puts(argv[i]);
		}
		if (code != CREEL_OK)
			status = failed(s, code);
	}
	if (s->json) {
		json_end_array();
		json_end();
	}
	return status;
}

static int publish(struct creel *c, const char *what)
{
	return creel_publish(c, what, true);
}

static int publish_off(struct creel *c, const char *what)
{
	return creel_publish(c, what, false);
}

int run_publish(struct settings *s, int argc, char **argv)
{
	return for_each(s, argc, argv, s->off ? publish_off : publish);
}

int run_rmi(struct settings *s, int argc, char **argv)
{
	return for_each(s, argc, argv, creel_remove_image);
}

static int set_limit(struct creel *c, const char *guest)
{
	uint64_t pages = settings.max_memory ? (settings.max_memory + 4095) / 4096
					     : settings.max_pages;

	int code = CREEL_OK;

	if (pages || settings.max_guests || settings.weight)
		code = creel_set_limit(
			c, guest, pages, settings.max_guests, (uint32_t)settings.weight);
	if (code == CREEL_OK && settings.timeout_ns)
		code = creel_set_timeout(c, guest, settings.timeout_ns, settings.timeout_running);
	return code;
}

int run_limit(struct settings *s, int argc, char **argv)
{
	if (!s->max_memory && !s->max_pages && !s->max_guests && !s->weight && !s->timeout_ns) {
		complain("limit changes nothing without --max-memory, --max-pages, --max-guests, "
			 "--weight or --timeout");
		return EXIT_USAGE;
	}
	if (s->weight > 10000) {
		complain("--weight takes 1 to 10000, not %" PRIu64, s->weight);
		return EXIT_USAGE;
	}
	return for_each(s, argc, argv, set_limit);
}

int run_rollback(struct settings *s, int argc, char **argv)
{
	int code = creel_rollback(s->host_connection, argv[0], argv[1]);

	(void)argc;
	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json) {
		json_begin_object(NULL);
		json_text("guest", argv[0]);
		json_text("snapshot", argv[1]);
		json_end_object();
		json_end();
	} else {
		puts(argv[0]);
	}
	return EXIT_DONE;
}

/* With every process at a stand-still, if the guest is one that has an agent, and it answers. */
static int take_snapshot(const struct settings *s, const char *guest, const char *name, uint64_t *id)
{
	struct creel *c = s->host_connection;
	struct creel_item item;
	int code;

	if (s->no_quiesce)
		return creel_take_snapshot(c, guest, name, s->public, id);
	code = creel_get(c, CREEL_GUEST, guest, &item);
	if (code != CREEL_OK)
		return code;
	if (item.guest.state == CREEL_PAUSED && !s->quiesce)
		return creel_take_snapshot(c, guest, name, s->public, id);
	code = creel_take_quiet_snapshot(
		c, guest, name, s->public, s->quiesce ? QUIESCE_MS : QUIESCE_TRY_MS, id);
	if (!s->quiesce && (code == CREEL_UNSUPPORTED || code == CREEL_TIMEOUT || code == CREEL_EXEC))
		return creel_take_snapshot(c, guest, name, s->public, id);
	return code;
}

int run_snapshot(struct settings *s, int argc, char **argv)
{
	uint64_t id;
	int code = take_snapshot(s, argv[0], argc > 1 ? argv[1] : s->name, &id);

	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json) {
		json_begin_object(NULL);
		json_number("id", id);
		json_end_object();
		json_end();
	} else {
		printf("%" PRIu64 "\n", id);
	}
	return EXIT_DONE;
}

/* ---- put ---- */

struct reading {
	int fd;
	bool sends; /* it is read for the host, not for its hash */
	uint64_t at;
	struct progress progress;
};

static long read_file(void *arg, uint64_t offset, void *buf, size_t size)
{
	struct reading *r = arg;
	ssize_t n = pread(r->fd, buf, size, (off_t)offset);

	if (r->sends && offset != r->at)
		progress_resume(&r->progress, offset);
	r->at = offset + (uint64_t)(n > 0 ? n : 0);
	if (r->sends)
		progress_step(&r->progress, r->at);
	return n;
}

int upload_file(struct settings *s, FILE *f, uint64_t size, const char *name,
	struct creel_image *image)
{
	struct reading r = {.fd = fileno(f)};
	uint8_t hash[CREEL_HASH_SIZE];
	int code = creel_hash(s->host_connection, size, read_file, &r, hash);

	if (code != CREEL_OK)
		return code;
	r.sends = true;
	r.at = 0;
	progress_begin(&r.progress, s, name, size, true);
	code = creel_put(s->host_connection, name, size, hash, read_file, &r, image);
	progress_hide(&r.progress);
	return code;
}

/* The file's name without folders and a ".elf" at its end. */
static const char *default_name(char *path)
{
	char *name = basename(path), *dot = strrchr(name, '.');

	if (dot && dot != name && (!strcmp(dot, ".elf") || !strcmp(dot, ".ELF")))
		*dot = 0;
	return name;
}

static int put_file(struct settings *s, FILE *f, const char *path, const char *name)
{
	struct creel_image image;
	struct stat st;
	char buf[32];
	int code;

	if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode)) {
		complain("%s is no regular file", path);
		return EXIT_REFUSED;
	}
	if (!st.st_size) {
		complain("%s is empty: an image is a static ELF file built with the guest SDK",
			path);
		return EXIT_REFUSED;
	}
	code = upload_file(s, f, (uint64_t)st.st_size, name, &image);
	if (code != CREEL_OK) {
		if (code != CREEL_INVALID)
			return failed(s, code);
		complain("%s: %s", path, creel_error_text(s->host_connection));
		return EXIT_REFUSED;
	}
	if (s->json) {
		json_begin_object(NULL);
		json_number("id", image.id);
		json_text("name", image.name);
		json_number("size", image.size);
		json_number("memory", image.memory);
		json_number("pages", image.pages);
		json_end_object();
		json_end();
	} else {
		printf("%s (image %" PRIu64 ", %s)\n", image.name, image.id,
			human_size(buf, image.size));
	}
	return EXIT_DONE;
}

int run_put(struct settings *s, int argc, char **argv)
{
	FILE *f = fopen(argv[0], "rb");
	char *path;
	int status;

	if (!f) {
		complain("can't open %s: %s", argv[0], strerror(errno));
		return EXIT_REFUSED;
	}
	path = strdup(argv[0]);
	status = put_file(s, f, argv[0], argc > 1 ? argv[1] : default_name(path));
	free(path);
	fclose(f);
	return status;
}
