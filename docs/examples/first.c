/*
 * Runs an image once for each argument, all from one prepared guest, and prints what they say.
 *
 *     cc first.c -o first $(pkg-config --cflags --libs libcreel)
 *     ./first wordcount "one two" "three"
 */
#include <creel.h>

#include <stdio.h>

static int print(
	void *arg, enum creel_stream_id stream, uint64_t position, const void *data, size_t size)
{
	(void)arg, (void)position;
	return fwrite(data, 1, size, stream == CREEL_ERR ? stderr : stdout) != size;
}

static int run(struct creel *c, const char *image, const char *argument)
{
	const char *const args[] = {image, argument, NULL};
	const struct creel_options options = {.args = args, .remove_when_stopped = true};
	const struct creel_streams streams = {.input_fd = -1, .output = print};
	struct creel_status status;
	int code = creel_run_attached(c, image, false, &options, &streams, &status);

	if (code != CREEL_OK)
		fprintf(stderr, "%s: %s\n", argument, creel_error_text(c));
	return code == CREEL_OK ? status.exit_status : 125;
}

int main(int argc, char **argv)
{
	struct creel *c = creel_new();
	int status = 0;

	if (argc < 3 || !c)
		return 127;
	if (creel_open(c, NULL, 5000) != CREEL_OK) {
		fprintf(stderr, "%s\n", creel_error_text(c));
		return 126;
	}
	for (int i = 2; i < argc && !status; i++)
		status = run(c, argv[1], argv[i]);
	creel_free(c);
	return status;
}
