/*
 * A Linux guest on the machine of paper (tests/fake_vm.h): its kernel is a row of FAKE_HOST
 * operations, so that a test says what it does next by fake_host_op.
 */
#ifndef TESTS_FAKE_LINUX_H
#define TESTS_FAKE_LINUX_H

#include "lib/bundle.h"
#include "lib/bytes.h"
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FAKE_LINUX_OPS    64u
#define FAKE_LINUX_MEMORY (4 * MIB)
#define FAKE_LINUX_DISK   (8 * PAGE_SIZE)
#define FAKE_LINUX_ENTRY  (1 * MIB + 0x200)

/* Which of its operations a guest is at. */
static inline unsigned fake_linux_at(uint64_t rip)
{
	return (unsigned)((rip - FAKE_LINUX_ENTRY) / sizeof(struct fake_op));
}

/* "The Linux/x86 Boot Protocol": a header that says no more than it must. */
static inline void fake_linux_header(uint8_t k[1024])
{
	k[0x1f1] = 1;
	store_le16(k + 0x1fe, 0xaa55);
	k[0x201] = 0x6a;
	store_le32(k + 0x202, 0x53726448);
	store_le16(k + 0x206, 0x20f);
	k[0x211] = 1;
	store_le32(k + 0x22c, 0x7fffffff);
	store_le32(k + 0x230, 0x1000);
	store_le16(k + 0x236, 1);
	store_le32(k + 0x238, 255);
	store_le64(k + 0x258, 1 * MIB);
	store_le32(k + 0x260, 64 * KIB);
}

static inline uint64_t fake_linux_image(const char *name)
{
	static struct {
		struct bundle_header header;
		uint8_t setup[1024], entry_32[0x200];
		struct fake_op code[FAKE_LINUX_OPS];
		uint8_t disk[FAKE_LINUX_DISK];
	} f;
	uint64_t upload, id;
	int err;

	memset(&f, 0, sizeof(f));
	f.header = (struct bundle_header){
		.version = BUNDLE_VERSION,
		.header_size = sizeof(f.header),
		.memory = FAKE_LINUX_MEMORY,
		.kernel = {sizeof(f.header), sizeof(f.setup) + sizeof(f.entry_32) + sizeof(f.code)},
		.disk = {sizeof(f) - sizeof(f.disk), sizeof(f.disk)},
	};
	memcpy(f.header.magic, BUNDLE_MAGIC, sizeof(f.header.magic));
	fake_linux_header(f.setup);
	for (unsigned i = 0; i < FAKE_LINUX_OPS; i++)
		f.code[i].op = FAKE_HOST;
	CHECK_EQ(image_begin(sizeof(f), OWNER_HOST, &upload), 0);
	CHECK_EQ(image_append(upload, (const uint8_t *)&f, sizeof(f)), 0);
	while ((err = image_commit(upload, name, &id)) == ERR_AGAIN)
		;
	if (err)
		fprintf(stderr, "%s\n", guest_last_error());
	CHECK_EQ(err, 0);
	return id;
}

#endif
