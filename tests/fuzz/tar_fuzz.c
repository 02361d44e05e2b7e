/* A tar stream, of a guest or of an image: whatever it holds, its names stay within, and so do its sizes. */
#include "tests/fuzz/tar_bytes.h"

#include <stdlib.h>

#define BYTES   100000
#define ENTRIES 50

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");

		if (!n || (n == 1 && p[0] == '.') || (n == 2 && !memcmp(p, "..", 2)))
			abort();
		p += n;
		if (*p && !*++p)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tar_entry e;
	struct tar_bytes in = {.left = size};
	struct tar_in t = {
		.read = tar_bytes_read, .arg = &in, .max_bytes = BYTES, .max_entries = ENTRIES};
	uint8_t *copy = malloc(size + 1);
	uint64_t bytes = 0;
	int entries = 0, more;

	memcpy(copy, data, size);
	for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
		if (copy[at] != 0xff)
			tar_bytes_sum(copy + at);
	}
	in.at = copy;
	while ((more = tar_next(&t, &e)) > 0) {
		uint8_t buf[300];
		ssize_t n;

		check_name(e.path);
		tar_link_inside(e.path, e.link);
		while ((n = tar_data(&t, buf, sizeof(buf))) > 0)
			bytes += (uint64_t)n;
		if (n < 0)
			break;
		entries++;
	}
	if (bytes > BYTES || entries > ENTRIES || (more < 0 && !t.error[0]))
		abort();
	free(copy);
	return 0;
}
