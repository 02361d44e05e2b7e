#include "hv/elf.h"

#include "lib/bytes.h"
#include "lib/string.h"

/* ELF-64 Object File Format, "File Header" and "Program Header Table". */
struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, program_offset, section_offset;
	uint32_t flags;
	uint16_t header_size, program_size, program_count;
	uint16_t section_size, section_count, section_names;
};

struct elf_program {
	uint32_t type, flags;
	uint64_t offset, address, physical;
	uint64_t file_size, memory_size, align;
};

_Static_assert(sizeof(struct elf_header) == 64, "ELF-64 file header");
_Static_assert(sizeof(struct elf_program) == 56, "ELF-64 program header");

enum {
	IDENT_CLASS = 4, CLASS_64 = 2,
	IDENT_DATA = 5, DATA_LITTLE = 1,
	TYPE_EXECUTABLE = 2, TYPE_SHARED = 3,
	MACHINE_X86_64 = 62,
	PROGRAM_LOAD = 1, PROGRAM_DYNAMIC = 2, PROGRAM_INTERPRETER = 3,
	FLAG_EXECUTE = 1,
	MAX_PROGRAM_HEADERS = 128,
};

static int check_header(const struct elf_header *h, uint64_t file_size, char *error)
{
	if (memcmp(h->ident, "\177ELF", 4) != 0) {
		fmt(error, ELF_ERROR_MAX, "not an ELF file: it begins with %02x %02x %02x %02x",
			h->ident[0], h->ident[1], h->ident[2], h->ident[3]);
		return ERR_INVALID;
	}
	if (h->ident[IDENT_CLASS] != CLASS_64 || h->ident[IDENT_DATA] != DATA_LITTLE ||
		h->machine != MACHINE_X86_64) {
		fmt(error, ELF_ERROR_MAX, "not an x86-64 program: class %u, data %u, machine %u",
			h->ident[IDENT_CLASS], h->ident[IDENT_DATA], h->machine);
		return ERR_INVALID;
	}
	if (h->type != TYPE_EXECUTABLE) {
		fmt(error, ELF_ERROR_MAX, "ELF type %u is no static executable (2)%s", h->type,
			h->type == TYPE_SHARED ? ": link with -static -no-pie" : "");
		return ERR_INVALID;
	}
	if (h->program_size != sizeof(struct elf_program) || h->program_count == 0 ||
		h->program_count > MAX_PROGRAM_HEADERS) {
		fmt(error, ELF_ERROR_MAX, "%u program headers of %u bytes: 1 to %d of %zu are allowed",
			h->program_count, h->program_size, MAX_PROGRAM_HEADERS,
			sizeof(struct elf_program));
		return ERR_INVALID;
	}
	uint64_t size = (uint64_t)h->program_count * sizeof(struct elf_program);
	if (h->program_offset > file_size || size > file_size - h->program_offset) {
		fmt(error, ELF_ERROR_MAX,
			"program headers at %#lx reach past the end of the file (%lu bytes)",
			h->program_offset, file_size);
		return ERR_INVALID;
	}
	return OK;
}

static int check_segment(const struct elf_program *p, uint64_t file_size, uint64_t low, uint64_t high,
	char *error)
{
	if (p->file_size > p->memory_size) {
		fmt(error, ELF_ERROR_MAX, "segment at %#lx has %lu bytes in the file but %lu in memory",
			p->address, p->file_size, p->memory_size);
		return ERR_INVALID;
	}
	if (p->offset > file_size || p->file_size > file_size - p->offset) {
		fmt(error, ELF_ERROR_MAX,
			"segment at %#lx: file bytes %#lx+%#lx are not in the file (%lu bytes): truncated?",
			p->address, p->offset, p->file_size, file_size);
		return ERR_INVALID;
	}
	if (p->address < low || p->address > high || p->memory_size > high - p->address) {
		fmt(error, ELF_ERROR_MAX, "segment %#lx+%#lx is outside %#lx to %#lx", p->address,
			p->memory_size, low, high);
		return ERR_INVALID;
	}
	return OK;
}

/* Keeps the list ascending; an overlap with a neighbour is an error. */
static int add_segment(struct elf_image *image, const struct elf_program *p, char *error)
{
	unsigned at = image->segments;

	if (at == ELF_MAX_SEGMENTS) {
		fmt(error, ELF_ERROR_MAX, "more than %d loadable segments", ELF_MAX_SEGMENTS);
		return ERR_INVALID;
	}
	while (at > 0 && image->segment[at - 1].address > p->address) {
		image->segment[at] = image->segment[at - 1];
		at--;
	}
	image->segment[at] = (struct elf_segment){.address = p->address,
		.memory_size = p->memory_size,
		.offset = p->offset,
		.file_size = p->file_size};
	image->segments++;
	for (unsigned i = MAX(at, 1u); i < image->segments && i <= at + 1; i++) {
		const struct elf_segment *a = &image->segment[i - 1], *b = &image->segment[i];

		if (a->address + a->memory_size > b->address) {
			fmt(error, ELF_ERROR_MAX, "segments %#lx+%#lx and %#lx+%#lx overlap",
				a->address, a->memory_size, b->address, b->memory_size);
			return ERR_INVALID;
		}
	}
	return OK;
}

int elf_parse(struct elf_image *image, elf_read_fn *read, void *ctx, uint64_t file_size, uint64_t low,
	uint64_t high, char error[ELF_ERROR_MAX])
{
	struct elf_header h;
	bool entry_is_code = false;
	int err;

	*image = (struct elf_image){0};
	error[0] = '\0';
	if (file_size < sizeof(h)) {
		fmt(error, ELF_ERROR_MAX, "%lu bytes are too few for an ELF file", file_size);
		return ERR_INVALID;
	}
	err = read(ctx, 0, &h, sizeof(h));
	if (err)
		return err;
	err = check_header(&h, file_size, error);
	if (err)
		return err;
	for (unsigned i = 0; i < h.program_count; i++) {
		struct elf_program p;

		err = read(ctx, h.program_offset + i * sizeof(p), &p, sizeof(p));
		if (err)
			return err;
		if (p.type == PROGRAM_INTERPRETER || p.type == PROGRAM_DYNAMIC) {
			fmt(error, ELF_ERROR_MAX, "dynamically linked: link with -static -no-pie");
			return ERR_INVALID;
		}
		if (p.type != PROGRAM_LOAD || p.memory_size == 0)
			continue;
		err = check_segment(&p, file_size, low, high, error);
		if (!err)
			err = add_segment(image, &p, error);
		if (err)
			return err;
		image->end = MAX(image->end, p.address + p.memory_size);
		if ((p.flags & FLAG_EXECUTE) && h.entry >= p.address &&
			h.entry - p.address < p.memory_size)
			entry_is_code = true;
	}
	if (!entry_is_code) {
		fmt(error, ELF_ERROR_MAX, "entry point %#lx is in no executable segment", h.entry);
		return ERR_INVALID;
	}
	image->entry = h.entry;
	return OK;
}
