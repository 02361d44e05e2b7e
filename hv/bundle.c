#include "hv/bundle.h"

#include "lib/bytes.h"
#include "lib/string.h"

/* Offsets in a bzImage; "The Linux/x86 Boot Protocol", "The Real-Mode Kernel Header". */
enum {
	SETUP_SECTS = 0x1f1,
	BOOT_FLAG = 0x1fe,
	JUMP_LENGTH = 0x201, /* the header ends so many bytes behind 0x202 */
	HEADER_MAGIC = 0x202,
	PROTOCOL = 0x206,
	LOAD_FLAGS = 0x211,
	INITRD_MAX = 0x22c,
	ALIGNMENT = 0x230,
	LOAD_FLAGS_64 = 0x236,
	CMDLINE_SIZE = 0x238,
	PREFERRED = 0x258,
	INIT_SIZE = 0x260,
	HEADER_NEEDED = 0x264,
};

#define BOOT_FLAG_VALUE  0xaa55
#define HEADER_MAGIC_HDRS 0x53726448 /* "HdrS" */
#define PROTOCOL_OLDEST  0x20c
#define LOADED_HIGH      1
#define HAS_64BIT_ENTRY  1
#define ENTRY_64         0x200 /* behind the start of the payload */
#define SECTOR           512 /* of kernels and disks */
#define SETUP_SECTS_OLD  4     /* what 0 means */
#define LOAD_LOWEST      (1 * MIB)
#define LOAD_HIGHEST     (1 * GIB)
#define INITRD_ALIGN     (2 * MIB)

bool bundle_magic(const uint8_t first[8])
{
	return memcmp(first, BUNDLE_MAGIC, 8) == 0;
}

static bool in_file(const struct bundle_part *p, uint64_t file_size)
{
	return p->offset <= file_size && p->size <= file_size - p->offset;
}

static int check_header(const struct bundle_header *h, uint64_t file_size, char *error)
{
	static const char *const name[] = {"kernel", "initrd", "command line", "disk"};
	const struct bundle_part part[] = {h->kernel, h->initrd, h->cmdline, h->disk};

	if (!bundle_magic((const uint8_t *)h->magic) || h->version != BUNDLE_VERSION ||
		h->header_size != sizeof(*h)) {
		fmt(error, BUNDLE_ERROR_MAX, "a bundle of version %u with a header of %u bytes: "
			"this host reads version %d", h->version, h->header_size, BUNDLE_VERSION);
		return ERR_INVALID;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
		if (in_file(&part[i], file_size))
			continue;
		fmt(error, BUNDLE_ERROR_MAX, "%s: bytes %#lx+%#lx are not in the file (%lu bytes)",
			name[i], part[i].offset, part[i].size, file_size);
		return ERR_INVALID;
	}
	if (h->memory % PAGE_SIZE || h->memory > BUNDLE_MEMORY_MAX) {
		fmt(error, BUNDLE_ERROR_MAX, "%lu bytes of memory: whole pages, up to %llu GiB",
			h->memory, BUNDLE_MEMORY_MAX / GIB);
		return ERR_INVALID;
	}
	if (h->disk.size % SECTOR || h->disk.size > BUNDLE_DISK_MAX) {
		fmt(error, BUNDLE_ERROR_MAX, "a disk of %lu bytes: whole sectors of %d, up to %llu GiB",
			h->disk.size, SECTOR, BUNDLE_DISK_MAX / GIB);
		return ERR_INVALID;
	}
	return OK;
}

static int check_setup(const uint8_t *k, char *error)
{
	if (load_le16(k + BOOT_FLAG) != BOOT_FLAG_VALUE ||
		load_le32(k + HEADER_MAGIC) != HEADER_MAGIC_HDRS) {
		fmt(error, BUNDLE_ERROR_MAX, "the kernel is no bzImage");
		return ERR_INVALID;
	}
	unsigned version = load_le16(k + PROTOCOL);

	if (version < PROTOCOL_OLDEST || !(k[LOAD_FLAGS] & LOADED_HIGH) ||
		!(load_le16(k + LOAD_FLAGS_64) & HAS_64BIT_ENTRY)) {
		fmt(error, BUNDLE_ERROR_MAX, "the kernel's boot protocol is %u.%u, %s 64-bit entry: "
			"2.12 or later, with one, is needed", version >> 8, version & 0xff,
			load_le16(k + LOAD_FLAGS_64) & HAS_64BIT_ENTRY ? "with a" : "without a");
		return ERR_INVALID;
	}
	return OK;
}

/* Kernel where it likes to be, initrd behind what it needs until it knows its memory. */
static int place_kernel(struct bundle *b, const uint8_t *k, const struct bundle_part *kernel,
	char *error)
{
	uint64_t sectors = k[SETUP_SECTS] ? k[SETUP_SECTS] : SETUP_SECTS_OLD;
	uint64_t skip = (sectors + 1) * SECTOR, init_size = load_le32(k + INIT_SIZE);
	uint64_t align = load_le32(k + ALIGNMENT);

	if (kernel->size < skip || kernel->size - skip <= ENTRY_64 ||
		kernel->size - skip > init_size) {
		fmt(error, BUNDLE_ERROR_MAX, "the kernel has %lu bytes, %lu of set-up, and says it "
			"needs %lu: truncated?", kernel->size, skip, init_size);
		return ERR_INVALID;
	}
	b->payload = (struct bundle_part){kernel->offset + skip, kernel->size - skip};
	b->kernel_address = load_le64(k + PREFERRED);
	if (b->kernel_address < LOAD_LOWEST || b->kernel_address > LOAD_HIGHEST || align == 0 ||
		(align & (align - 1)) || b->kernel_address % align) {
		fmt(error, BUNDLE_ERROR_MAX, "the kernel wants to be at %#lx, aligned to %#lx",
			b->kernel_address, align);
		return ERR_INVALID;
	}
	b->entry = b->kernel_address + ENTRY_64;
	b->end = align_up(b->kernel_address + init_size, INITRD_ALIGN);
	return OK;
}

static int place_initrd(struct bundle *b, const uint8_t *k, char *error)
{
	uint64_t highest = load_le32(k + INITRD_MAX);

	if (!b->initrd.size)
		return OK;
	b->initrd_address = b->end;
	if (b->initrd.size > BUNDLE_MEMORY_MAX || b->end + b->initrd.size - 1 > highest) {
		fmt(error, BUNDLE_ERROR_MAX, "the initrd of %lu bytes would reach past %#lx, where "
			"the kernel finds it", b->initrd.size, highest);
		return ERR_INVALID;
	}
	b->end = align_up(b->end + b->initrd.size, PAGE_SIZE);
	return OK;
}

static int check_cmdline(const struct bundle *b, const uint8_t *k, elf_read_fn *read, void *ctx,
	char *error)
{
	uint64_t most = MIN((uint64_t)load_le32(k + CMDLINE_SIZE), (uint64_t)CMDLINE_MAX);
	char text[CMDLINE_MAX];

	if (b->cmdline.size > most) {
		fmt(error, BUNDLE_ERROR_MAX, "a command line of %lu bytes: the kernel takes %lu",
			b->cmdline.size, most);
		return ERR_INVALID;
	}
	int err = read(ctx, b->cmdline.offset, text, b->cmdline.size);

	for (uint64_t i = 0; !err && i < b->cmdline.size; i++) {
		if (text[i] == '\0') {
			fmt(error, BUNDLE_ERROR_MAX, "the command line has a zero byte in it");
			return ERR_INVALID;
		}
	}
	return err;
}

int bundle_parse(struct bundle *b, elf_read_fn *read, void *ctx, uint64_t file_size,
	char error[BUNDLE_ERROR_MAX])
{
	uint8_t k[SETUP_HEADER_END];
	struct bundle_header h;

	*b = (struct bundle){0};
	error[0] = '\0';
	if (file_size < sizeof(h)) {
		fmt(error, BUNDLE_ERROR_MAX, "%lu bytes are too few for a bundle", file_size);
		return ERR_INVALID;
	}
	int err = read(ctx, 0, &h, sizeof(h));

	if (!err)
		err = check_header(&h, file_size, error);
	if (err)
		return err;
	if (h.kernel.size < sizeof(k)) {
		fmt(error, BUNDLE_ERROR_MAX, "%lu bytes are too few for a kernel", h.kernel.size);
		return ERR_INVALID;
	}
	err = read(ctx, h.kernel.offset, k, sizeof(k));
	if (err)
		return err;
	b->memory = h.memory;
	b->initrd = h.initrd;
	b->cmdline = h.cmdline;
	b->disk = h.disk;
	err = check_setup(k, error);
	if (!err)
		err = place_kernel(b, k, &h.kernel, error);
	if (!err)
		err = place_initrd(b, k, error);
	if (!err)
		err = check_cmdline(b, k, read, ctx, error);
	if (err)
		return err;
	if (b->end > b->memory) {
		fmt(error, BUNDLE_ERROR_MAX, "%llu MiB of memory: kernel and initrd need %llu MiB",
			b->memory / MIB, (b->end + MIB - 1) / MIB);
		return ERR_INVALID;
	}
	b->setup_size = MIN(MAX((uint32_t)HEADER_NEEDED, 0x202u + k[JUMP_LENGTH]),
		(uint32_t)SETUP_HEADER_END) - SETUP_HEADER_START;
	memcpy(b->setup, k + SETUP_HEADER_START, b->setup_size);
	return OK;
}
