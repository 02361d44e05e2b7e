#include "hv/elf.h"
#include "lib/bytes.h"
#include "tests/unit/test.h"

#define LOW  0x10000ull
#define HIGH (512 * GIB)

struct file {
	uint8_t bytes[4096];
	uint64_t size;
};

static int read_file(void *ctx, uint64_t offset, void *buf, size_t size)
{
	struct file *f = ctx;

	CHECK(offset <= f->size && size <= f->size - offset);
	memcpy(buf, f->bytes + offset, size);
	return OK;
}

static uint8_t *program(struct file *f, unsigned i)
{
	return f->bytes + 64 + i * 56;
}

static void set_segment(struct file *f, unsigned i, uint64_t address, uint64_t memory, uint64_t size)
{
	uint8_t *p = program(f, i);

	store_le32(p, 1);
	store_le32(p + 4, 5);
	store_le64(p + 8, 0x400);
	store_le64(p + 16, address);
	store_le64(p + 32, size);
	store_le64(p + 40, memory);
}

static struct file good(void)
{
	struct file f = {.size = 4096};

	memcpy(f.bytes, "\177ELF\2\1\1", 7);
	store_le16(f.bytes + 16, 2);
	store_le16(f.bytes + 18, 62);
	store_le64(f.bytes + 24, 0x10010);
	store_le64(f.bytes + 32, 64);
	store_le16(f.bytes + 54, 56);
	store_le16(f.bytes + 56, 2);
	set_segment(&f, 0, 0x20000, 0x3000, 0x100);
	set_segment(&f, 1, 0x10000, 0x1000, 0x1000 - 0x400);
	return f;
}

static void refused(struct file *f, const char *why)
{
	struct elf_image image;
	char error[ELF_ERROR_MAX];

	CHECK_EQ(elf_parse(&image, read_file, f, f->size, LOW, HIGH, error), ERR_INVALID);
	if (!strstr(error, why)) {
		fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, why);
		exit(1);
	}
}

TEST(elf_good_image_is_sorted)
{
	struct file f = good();
	struct elf_image image;
	char error[ELF_ERROR_MAX];

	CHECK_EQ(elf_parse(&image, read_file, &f, f.size, LOW, HIGH, error), OK);
	CHECK_EQ(image.segments, 2);
	CHECK_EQ(image.segment[0].address, 0x10000);
	CHECK_EQ(image.segment[1].address, 0x20000);
	CHECK_EQ(image.entry, 0x10010);
	CHECK_EQ(image.end, 0x23000);
}

TEST(elf_refuses_what_is_no_elf)
{
	struct file f = good();

	f.bytes[0] = '#';
	refused(&f, "not an ELF file");
	f = good();
	f.size = 63;
	refused(&f, "too few");
	f = good();
	f.bytes[4] = 1;
	refused(&f, "not an x86-64");
	f = good();
	store_le16(f.bytes + 16, 3);
	refused(&f, "-no-pie");
	f = good();
	store_le32(program(&f, 1), 3);
	refused(&f, "dynamically linked");
}

TEST(elf_refuses_headers_outside_the_file)
{
	struct file f = good();

	store_le64(f.bytes + 32, 4096 - 56);
	refused(&f, "past the end");
	f = good();
	store_le64(f.bytes + 32, UINT64_MAX - 10);
	refused(&f, "past the end");
	f = good();
	store_le16(f.bytes + 56, 0);
	refused(&f, "program headers");
	f = good();
	store_le16(f.bytes + 56, 0xffff);
	refused(&f, "program headers");
	f = good();
	store_le16(f.bytes + 54, 8);
	refused(&f, "program headers");
}

TEST(elf_refuses_bad_segments)
{
	struct file f = good();

	set_segment(&f, 0, 0x10800, 0x1000, 0x10);
	refused(&f, "overlap");
	f = good();
	set_segment(&f, 0, 0x10000, 0x1000, 0x10);
	refused(&f, "overlap");
	f = good();
	set_segment(&f, 0, 0xf000, 0x1000, 0x10);
	refused(&f, "outside");
	f = good();
	set_segment(&f, 0, HIGH - 0x1000, 0x1001, 0x10);
	refused(&f, "outside");
	f = good();
	set_segment(&f, 0, UINT64_MAX - 0x10, 0x1000, 0x10);
	refused(&f, "outside");
	f = good();
	set_segment(&f, 0, 0x20000, UINT64_MAX, 0x10);
	refused(&f, "outside");
	f = good();
	set_segment(&f, 0, 0x20000, 0x10, 0x11);
	refused(&f, "in memory");
	f = good();
	f.size = 0x4ff;
	refused(&f, "truncated");
	f = good();
	store_le64(program(&f, 0) + 8, UINT64_MAX - 4);
	refused(&f, "truncated");
	f = good();
	store_le64(f.bytes + 24, 0x11000);
	refused(&f, "entry point");
}

TEST(elf_survives_random_damage)
{
	uint64_t seed = 3;

	for (int i = 0; i < 200000; i++) {
		struct file f = good();
		struct elf_image image;
		char error[ELF_ERROR_MAX];

		for (uint64_t n = test_random(&seed) % 4 + 1; n; n--)
			f.bytes[test_random(&seed) % 200] = (uint8_t)test_random(&seed);
		if (elf_parse(&image, read_file, &f, f.size, LOW, HIGH, error))
			continue;
		for (unsigned s = 0; s < image.segments; s++) {
			const struct elf_segment *seg = &image.segment[s];

			CHECK(seg->address >= LOW && seg->address + seg->memory_size <= HIGH);
			CHECK(seg->offset + seg->file_size <= f.size);
			CHECK(s == 0 || image.segment[s - 1].address +
						image.segment[s - 1].memory_size <= seg->address);
		}
	}
}
