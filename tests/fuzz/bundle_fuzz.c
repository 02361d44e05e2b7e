/* The reader of Linux images: whatever the file, it stays inside, and what it accepts fits. */
#include "hv/bundle.h"

#include <stdlib.h>
#include <string.h>

struct file {
	const uint8_t *data;
	size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_file(void *ctx, uint64_t offset, void *buf, size_t size)
{
	const struct file *f = ctx;

	if (offset > f->size || size > f->size - offset)
		abort();
	memcpy(buf, f->data + offset, size);
	return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file f = {data, size};
	char error[BUNDLE_ERROR_MAX];
	struct bundle b;

	if (bundle_parse(&b, read_file, &f, size, error) != OK)
		return 0;
	if (b.end > b.memory || b.memory > BUNDLE_MEMORY_MAX ||
		b.payload.offset + b.payload.size > size ||
		b.kernel_address + b.payload.size > b.end ||
		b.initrd_address + b.initrd.size > b.end || b.setup_size > sizeof(b.setup))
		abort();
	return 0;
}
