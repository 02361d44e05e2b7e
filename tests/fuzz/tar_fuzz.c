/* A tar stream, of a guest or of an image: whatever it holds, its names stay within, and so do its sizes. */
#include "guest-sdk/linux/tar.h"
#include "lib/base.h"

#include <stdlib.h>
#include <string.h>

#define BYTES   100000
#define ENTRIES 50

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t *at;
	size_t left;
};

static ssize_t read_input(void *arg, void *buf, size_t size)
{
	struct input *in = arg;
	size_t n = MIN(size, in->left);

	memcpy(buf, in->at, n);
	in->at += n;
	in->left -= n;
	return (ssize_t)n;
}

/* A header's checksum is no riddle that is worth solving. */
static void mend(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	for (int i = 5; i >= 0; i--, sum >>= 3)
		block[148 + i] = (uint8_t)('0' + (sum & 7));
	block[154] = '\0';
}

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
	struct input in = {.left = size};
	struct tar_in t = {
		.read = read_input, .arg = &in, .max_bytes = BYTES, .max_entries = ENTRIES};
	uint8_t *copy = malloc(size + 1);
	uint64_t bytes = 0;
	int entries = 0, more;

	memcpy(copy, data, size);
	for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
		if (copy[at] != 0xff)
			mend(copy + at);
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
