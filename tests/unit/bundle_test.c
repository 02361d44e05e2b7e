#include "hv/bundle.h"
#include "lib/bytes.h"
#include "tests/unit/test.h"

#define KERNEL   0x1000
#define SKIP     (3 * 512)
#define PAYLOAD  0x800
#define INITRD   0x2000
#define CMDLINE  0x2800
#define INITSIZE 0x500000

struct file {
	uint8_t bytes[0x3000];
	uint64_t size;
};

static int read_file(void *ctx, uint64_t offset, void *buf, size_t size)
{
	struct file *f = ctx;

	CHECK(offset <= f->size && size <= f->size - offset);
	memcpy(buf, f->bytes + offset, size);
	return OK;
}

static struct bundle_header *header(struct file *f)
{
	return (struct bundle_header *)(void *)f->bytes;
}

static struct file good(void)
{
	static struct file f;
	uint8_t *k = f.bytes + KERNEL;

	memset(&f, 0, sizeof(f));
	f.size = sizeof(f.bytes);
	*header(&f) = (struct bundle_header){
		.version = BUNDLE_VERSION,
		.header_size = sizeof(struct bundle_header),
		.memory = 64 * MIB,
		.kernel = {KERNEL, SKIP + PAYLOAD},
		.initrd = {INITRD, 0x123},
		.cmdline = {CMDLINE, 7},
	};
	memcpy(header(&f)->magic, BUNDLE_MAGIC, 8);
	memcpy(f.bytes + CMDLINE, "quiet=1", 7);
	k[0x1f1] = 2;
	store_le16(k + 0x1fe, 0xaa55);
	k[0x201] = 0x6a;
	store_le32(k + 0x202, 0x53726448);
	store_le16(k + 0x206, 0x20f);
	k[0x211] = 1;
	store_le32(k + 0x22c, 0x7fffffff);
	store_le32(k + 0x230, 0x200000);
	store_le16(k + 0x236, 0x7f);
	store_le32(k + 0x238, 2047);
	store_le64(k + 0x258, 16 * MIB);
	store_le32(k + 0x260, INITSIZE);
	return f;
}

static void refused(struct file *f, const char *why)
{
	struct bundle b;
	char error[BUNDLE_ERROR_MAX];

	CHECK_EQ(bundle_parse(&b, read_file, f, f->size, error), ERR_INVALID);
	if (!strstr(error, why)) {
		fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, why);
		exit(1);
	}
}

TEST(bundle_good_one_has_its_places)
{
	struct file f = good();
	struct bundle b;
	char error[BUNDLE_ERROR_MAX];

	CHECK_EQ(bundle_parse(&b, read_file, &f, f.size, error), OK);
	CHECK_EQ(b.kernel_address, 16 * MIB);
	CHECK_EQ(b.entry, 16 * MIB + 0x200);
	CHECK_EQ(b.payload.offset, KERNEL + SKIP);
	CHECK_EQ(b.payload.size, PAYLOAD);
	CHECK_EQ(b.initrd_address, 22 * MIB);
	CHECK_EQ(b.end, 22 * MIB + PAGE_SIZE);
	CHECK_EQ(b.setup_size, 0x26c - SETUP_HEADER_START);
	CHECK_EQ(load_le32(b.setup + (0x202 - SETUP_HEADER_START)), 0x53726448);
}

TEST(bundle_without_initrd)
{
	struct file f = good();
	struct bundle b;
	char error[BUNDLE_ERROR_MAX];

	header(&f)->initrd.size = 0;
	CHECK_EQ(bundle_parse(&b, read_file, &f, f.size, error), OK);
	CHECK_EQ(b.initrd_address, 0);
	CHECK_EQ(b.end, 22 * MIB);
}

TEST(bundle_refuses_bad_headers)
{
	struct file f = good();

	f.size = 71;
	refused(&f, "too few");
	f = good();
	header(&f)->version = 1;
	refused(&f, "version 1");
	f = good();
	header(&f)->disk = (struct bundle_part){0, 511};
	refused(&f, "whole sectors");
	f = good();
	header(&f)->disk = (struct bundle_part){512, sizeof(f.bytes)};
	refused(&f, "disk");
	f = good();
	header(&f)->header_size = 64;
	refused(&f, "header of 64");
	f = good();
	header(&f)->kernel.size = UINT64_MAX;
	refused(&f, "kernel: bytes");
	f = good();
	header(&f)->initrd.offset = f.size + 1;
	refused(&f, "initrd: bytes");
	f = good();
	header(&f)->cmdline.offset = UINT64_MAX - 3;
	refused(&f, "command line: bytes");
	f = good();
	header(&f)->memory = 64 * MIB + 1;
	refused(&f, "whole pages");
	f = good();
	header(&f)->memory = BUNDLE_MEMORY_MAX + PAGE_SIZE;
	refused(&f, "whole pages");
}

TEST(bundle_refuses_what_is_no_kernel_for_us)
{
	struct file f = good();
	uint8_t *k = f.bytes + KERNEL;

	k[0x1fe] = 0;
	refused(&f, "no bzImage");
	f = good();
	k[0x202] = 'x';
	refused(&f, "no bzImage");
	f = good();
	store_le16(k + 0x206, 0x20b);
	refused(&f, "2.11");
	f = good();
	k[0x236] = 0;
	refused(&f, "without a 64-bit entry");
	f = good();
	header(&f)->kernel.size = 0x200;
	refused(&f, "too few for a kernel");
	f = good();
	header(&f)->kernel.size = SKIP + 0x200;
	refused(&f, "truncated");
	f = good();
	k[0x1f1] = 255;
	refused(&f, "truncated");
	f = good();
	store_le32(k + 0x260, PAYLOAD - 1);
	refused(&f, "truncated");
	f = good();
	store_le64(k + 0x258, 0x100);
	refused(&f, "wants to be at");
	f = good();
	store_le64(k + 0x258, UINT64_MAX - 0x1fffff);
	refused(&f, "wants to be at");
	f = good();
	store_le32(k + 0x230, 3);
	refused(&f, "aligned to");
	f = good();
	store_le32(k + 0x230, 0);
	refused(&f, "aligned to");
}

TEST(bundle_refuses_what_does_not_fit)
{
	struct file f = good();
	uint8_t *k = f.bytes + KERNEL;

	header(&f)->memory = 22 * MIB;
	refused(&f, "kernel and initrd need 23 MiB");
	f = good();
	store_le32(k + 0x260, UINT32_MAX);
	store_le32(k + 0x22c, UINT32_MAX);
	refused(&f, "would reach past");
	f = good();
	store_le32(k + 0x22c, 22 * MIB + 0x121);
	refused(&f, "would reach past");
	f = good();
	store_le32(k + 0x238, 6);
	refused(&f, "the kernel takes 6");
	f = good();
	header(&f)->cmdline = (struct bundle_part){0, CMDLINE_MAX + 1};
	store_le32(k + 0x238, UINT32_MAX);
	refused(&f, "the kernel takes 2047");
	f = good();
	f.bytes[CMDLINE + 2] = 0;
	refused(&f, "zero byte");
}

TEST(bundle_survives_random_damage)
{
	uint64_t seed = 5;

	for (int i = 0; i < 100000; i++) {
		struct file f = good();
		struct bundle b;
		char error[BUNDLE_ERROR_MAX];

		for (int n = 0; n < 3; n++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			unsigned at = (unsigned)(seed >> 33) % 0x130;

			at = at < 72 ? at : KERNEL + 0x1f1 + at - 72;
			f.bytes[at] = (uint8_t)(seed >> 56);
		}
		if (bundle_parse(&b, read_file, &f, f.size, error) != OK)
			continue;
		CHECK(b.end <= b.memory && b.memory <= BUNDLE_MEMORY_MAX);
		CHECK(b.kernel_address + b.payload.size <= b.end);
		CHECK(b.payload.offset + b.payload.size <= f.size);
		CHECK(b.initrd_address + b.initrd.size <= b.end);
	}
}
