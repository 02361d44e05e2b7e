/*
 * libcreel without waiting, against a host with the images "hello" (prints "hello", exits with 3),
 * "cat" and "wait": async-client HOST_PID. The host is killed at the end. Exits with 0 if all went
 * as creel.h says; else says what did not.
 */
#include "mgmt/client/creel.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define UNDER_WAY 64
#define PATIENCE  20000 /* ms */

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: not %s; %s\n", __LINE__, #condition,             \
				creel_error_text(c));                                              \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static struct creel *c;

struct result {
	int code; /* -1: not over */
	char text[128];
	struct creel_item item;
	struct creel_status status;
	char output[64];
	size_t size;
};

static void done(void *arg, int code)
{
	struct result *r = arg;

	CHECK(r->code == -1);
	r->code = code;
	snprintf(r->text, sizeof(r->text), "%s", creel_error_text(c));
}

static void start(struct result *r)
{
	*r = (struct result){.code = -1};
	creel_async(c, done, r);
}

/* Until so many are under way. */
static void go_on(unsigned pending)
{
	while (creel_pending(c) > pending) {
		struct pollfd p = {.fd = creel_fd(c), .events = POLLIN};

		CHECK(poll(&p, 1, PATIENCE) == 1);
		CHECK(creel_process(c) == CREEL_OK);
	}
}

static void many_at_once(void)
{
	struct result r[UNDER_WAY];

	for (int i = 0; i < UNDER_WAY; i++) {
		start(&r[i]);
		CHECK(creel_get(c, CREEL_ANY, i % 2 ? "hello" : "nothing", &r[i].item) == CREEL_OK);
	}
	CHECK(creel_pending(c) == UNDER_WAY);
	creel_async(c, done, NULL);
	CHECK(creel_kill(c, "1") == CREEL_LIMIT);
	go_on(0);
	for (int i = 0; i < UNDER_WAY; i++) {
		CHECK(r[i].code == (i % 2 ? CREEL_OK : CREEL_NOENT));
		CHECK(i % 2 ? r[i].item.kind == CREEL_IMAGE : strstr(r[i].text, "nothing") != NULL);
	}
}

static unsigned chain_left;

static void next_of_chain(void *arg, int code)
{
	CHECK(code == CREEL_OK);
	if (!chain_left--)
		return;
	/* a callback can start calls, but not wait or connect */
	CHECK(creel_open(c, NULL, 5000) == CREEL_INVALID);
	CHECK(creel_kill(c, "1") == CREEL_INVALID);
	CHECK(creel_process(c) == CREEL_INVALID);
	creel_async(c, next_of_chain, arg);
	CHECK(creel_get_info(c, arg) == CREEL_OK);
}

static void one_after_the_other(void)
{
	struct creel_info info = {.cores = 0};

	chain_left = 500;
	creel_async(c, next_of_chain, &info);
	CHECK(creel_get_info(c, &info) == CREEL_OK);
	go_on(0);
	CHECK(info.cores == 2 && chain_left == (unsigned)-1);
}

static int keep(
	void *arg, enum creel_stream_id stream, uint64_t position, const void *data, size_t size)
{
	struct result *r = arg;

	CHECK(stream == CREEL_OUT && position == r->size && size < sizeof(r->output) - r->size);
	memcpy(r->output + r->size, data, size);
	r->size += size;
	return 0;
}

static void streams_side_by_side(void)
{
	struct result r[10], from_pipe, from_file;
	struct creel_streams streams = {.input_fd = -1, .output = keep};
	FILE *file = tmpfile();
	int ends[2];

	CHECK(pipe(ends) == 0 && file && fputs("a file", file) >= 0 &&
		fseek(file, 0, SEEK_SET) == 0);
	for (int i = 0; i < 10; i++) {
		start(&r[i]);
		streams.arg = &r[i];
		CHECK(creel_run_attached(c, "hello", false, NULL, &streams, &r[i].status) ==
			CREEL_OK);
	}
	start(&from_pipe);
	streams.arg = &from_pipe;
	streams.input_fd = ends[0];
	CHECK(creel_run_attached(c, "cat", false, NULL, &streams, &from_pipe.status) == CREEL_OK);
	start(&from_file);
	streams.arg = &from_file;
	streams.input_fd = fileno(file);
	CHECK(creel_run_attached(c, "cat", false, NULL, &streams, &from_file.status) == CREEL_OK);
	go_on(1);
	CHECK(from_file.code == CREEL_OK && !strcmp(from_file.output, "a file"));
	CHECK(from_pipe.code == -1 && write(ends[1], "through a pipe", 14) == 14);
	close(ends[1]);
	go_on(0);
	CHECK(from_pipe.code == CREEL_OK && !strcmp(from_pipe.output, "through a pipe"));
	for (int i = 0; i < 10; i++)
		CHECK(r[i].code == CREEL_OK && r[i].status.exit_status == 3 &&
			!strcmp(r[i].output, "hello\n"));
	close(ends[0]);
	fclose(file);
}

static int enough(void *arg, const struct creel_image *i)
{
	(void)i;
	++*(int *)arg;
	return 1;
}

static void ended_early(uint64_t guest)
{
	struct result waiting, listing;
	struct creel_info info;
	char name[24];
	int images = 0;

	snprintf(name, sizeof(name), "%llu", (unsigned long long)guest);
	start(&waiting);
	CHECK(creel_wait(c, name, NULL, &waiting.status) == CREEL_OK);
	start(&listing);
	CHECK(creel_images(c, enough, &images) == CREEL_OK);
	go_on(1);
	CHECK(listing.code == CREEL_CANCELLED && images == 1 && waiting.code == -1);
	creel_cancel(c, &waiting);
	go_on(0);
	CHECK(waiting.code == CREEL_CANCELLED);

	/* one that waits lets the others go on */
	start(&waiting);
	CHECK(creel_get(c, CREEL_IMAGE, "cat", &waiting.item) == CREEL_OK);
	for (int i = 0; i < 3; i++)
		CHECK(creel_get_info(c, &info) == CREEL_OK);
	CHECK(waiting.code == CREEL_OK && waiting.item.image.id);
}

/* What a call that waits receives for others isn't lost on them. */
static void beside_one_that_waits(void)
{
	struct creel_streams streams = {.output = keep};
	struct creel_info info;
	struct result r, failing;
	int ends[2];

	CHECK(pipe(ends) == 0 && write(ends[1], "waited for", 10) == 10);
	close(ends[1]);
	start(&r);
	streams.arg = &r;
	streams.input_fd = ends[0];
	CHECK(creel_run_attached(c, "cat", false, NULL, &streams, &r.status) == CREEL_OK);
	for (int i = 0; i < 2; i++)
		CHECK(creel_get_info(c, &info) == CREEL_OK);
	go_on(0);
	CHECK(r.code == CREEL_OK && !strcmp(r.output, "waited for"));
	close(ends[0]);

	/* each has its own error */
	start(&failing);
	CHECK(creel_kill(c, "first-name") == CREEL_OK);
	CHECK(creel_kill(c, "second-name") == CREEL_NOENT);
	CHECK(strstr(creel_error_text(c), "second-name"));
	go_on(0);
	CHECK(failing.code == CREEL_NOENT && strstr(failing.text, "first-name"));
}

static long read_nothing(void *arg, uint64_t offset, void *buf, size_t size)
{
	(void)arg, (void)offset, (void)buf, (void)size;
	return 0;
}

/* The image's bytes; it counts how many were asked for. */
static long read_script(void *arg, uint64_t offset, void *buf, size_t size)
{
	for (size_t i = 0; i < size; i++, offset++)
		((char *)buf)[i] = offset < 7 ? "exit 9\n"[offset] : '#';
	*(size_t *)arg += size;
	return (long)size;
}

static void uploads(void)
{
	uint8_t hash[CREEL_HASH_SIZE] = {1};
	size_t script = 0, other = 0;
	struct creel_streams streams = {.input_fd = -1, .output = keep};
	struct result r, r2, broken;
	struct creel_image unused;

	start(&r);
	CHECK(creel_put(c, "large", 3000000, NULL, read_script, &script, &r.item.image) == CREEL_OK);
	start(&r2);
	CHECK(creel_hash(c, 7, read_script, &other, hash) == CREEL_OK);
	CHECK(creel_put(c, "small", 7, hash, read_script, &other, &r2.item.image) == CREEL_OK);
	start(&broken);
	CHECK(creel_put(c, "broken", 10, hash, read_nothing, NULL, &unused) == CREEL_OK);
	go_on(0);
	CHECK(r.code == CREEL_OK && r.item.image.size == 3000000 && script == 6000000);
	CHECK(r2.code == CREEL_OK && r2.item.image.size == 7 && other == 14);
	CHECK(broken.code == CREEL_LOCAL && strstr(broken.text, "to its end"));
	CHECK(creel_put(c, "broken", 10, NULL, read_nothing, NULL, &unused) == CREEL_LOCAL);
	hash[0] ^= 1;
	CHECK(creel_put(c, "wrong", 7, hash, read_script, &other, &unused) == CREEL_INVALID);
	CHECK(strstr(creel_error_text(c), "wrong: the hash of what came is "));
	CHECK(creel_run_attached(c, "large", false, NULL, &streams, &r.status) == CREEL_OK);
	CHECK(r.status.exit_status == 9);
}

static void not_started(void)
{
	struct creel_info info;
	struct result r;

	start(&r);
	CHECK(creel_kill(c, "no name") == CREEL_INVALID);
	/* what could not be started leaves nothing to the next call */
	CHECK(creel_get_info(c, &info) == CREEL_OK && info.cores == 2);
	CHECK(r.code == -1 && !creel_pending(c));
}

static void the_connection_ends(uint64_t guest, pid_t host)
{
	struct pollfd p = {.fd = creel_fd(c), .events = POLLIN};
	struct result r[3];
	char name[24];

	snprintf(name, sizeof(name), "%llu", (unsigned long long)guest);
	start(&r[0]);
	CHECK(creel_wait(c, name, NULL, &r[0].status) == CREEL_OK);
	/* to another connection: what was under way on this one is over */
	CHECK(creel_open(c, NULL, 5000) == CREEL_OK && r[0].code == CREEL_CANCELLED);
	for (int i = 0; i < 3; i++) {
		start(&r[i]);
		CHECK(creel_wait(c, name, NULL, &r[i].status) == CREEL_OK);
	}
	CHECK(kill(host, SIGKILL) == 0);
	while (creel_pending(c)) {
		CHECK(poll(&p, 1, PATIENCE) == 1);
		if (creel_process(c) == CREEL_CONNECTION)
			CHECK(!creel_pending(c));
	}
	for (int i = 0; i < 3; i++)
		CHECK(r[i].code == CREEL_CONNECTION);
	start(&r[0]);
	CHECK(creel_kill(c, name) == CREEL_CONNECTION && r[0].code == -1);
}

int main(int argc, char **argv)
{
	struct result waiting;
	uint64_t guest;
	char name[24];

	c = creel_new();
	if (!c || argc != 2)
		return 2;
	CHECK(creel_fd(c) >= 0);
	CHECK(creel_open(c, NULL, 5000) == CREEL_OK);
	many_at_once();
	one_after_the_other();
	streams_side_by_side();
	beside_one_that_waits();
	uploads();
	not_started();
	CHECK(creel_run(c, "wait", NULL, &guest) == CREEL_OK);
	ended_early(guest);
	the_connection_ends(guest, (pid_t)atol(argv[1]));
	creel_free(c);

	/* without a host, and with creel_fd() never asked for */
	c = creel_new();
	snprintf(name, sizeof(name), "%llu", (unsigned long long)guest);
	start(&waiting);
	CHECK(creel_wait(c, name, NULL, &waiting.status) == CREEL_CONNECTION);
	CHECK(creel_process(c) == CREEL_CONNECTION && waiting.code == -1);
	creel_free(c);
	return 0;
}
