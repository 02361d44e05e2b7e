/*
 * Templates of Linux guests: a kernel and its initrd where hv/bundle.c says, and what a boot loader has
 * to leave below 1 MiB. The kernel decompresses itself when the guest runs.
 * Linux kernel documentation, "The Linux/x86 Boot Protocol", "64-bit BOOT PROTOCOL".
 */
#include "hv/bundle.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/dev/acpi.h"
#include "hv/dev/board.h"
#include "hv/dev/vblk.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/image.h"
#include "hv/xstate.h"
#include "lib/bytes.h"
#include "lib/string.h"

/* Below 1 MiB. All but the ACPI tables is the guest's to overwrite once it runs. */
#define GPA_GDT     0x500ull
#define GPA_STACK   0x8000ull
#define GPA_PML4    0x9000ull
#define GPA_PDPT    0xa000ull
#define GPA_PARAMS  0x10000ull /* struct boot_params, a page */
#define GPA_CMDLINE 0x20000ull
#define GPA_RESET   0xffff0ull /* where a processor starts, and Linux jumps to restart */
#define RAM_LOW_END 0x9fc00ull
#define RAM_HIGH    (1 * MIB)

/* struct boot_params: Linux, "The zero page". */
enum {
	PARAMS_RSDP = 0x70,
	PARAMS_E820_COUNT = 0x1e8,
	PARAMS_LOADER = 0x210,
	PARAMS_INITRD = 0x218,
	PARAMS_INITRD_SIZE = 0x21c,
	PARAMS_CMDLINE = 0x228,
	PARAMS_E820 = 0x2d0,
};

#define LOADER_UNKNOWN 0xff
#define E820_SIZE      20
#define E820_RAM       1
#define E820_RESERVED  2
#define E820_HIGH      2 /* index of the entry that ends with the memory */

#define PTE_BITS      0x23ull /* present, writable, accessed */
#define PTE_LEAF      0xe3ull /* and dirty, large */
#define MAPPED_GIB    4

#define BOOT_CODE   0x10
#define BOOT_DATA   0x18
#define DESCRIPTOR_CODE 0x00af9b000000ffffull
#define DESCRIPTOR_DATA 0x00cf93000000ffffull
#define ATTRIBUTES_CODE 0xa9b
#define ATTRIBUTES_DATA 0xc93
#define ATTRIBUTES_TSS  0x08b
#define ATTRIBUTES_LDT  (0x082 | SEG_UNUSABLE)
#define TSS_LIMIT       0x67

#define LOAD_SLICE (512 * KIB) /* of a file that is loaded at once */

static struct core *boot_core(void)
{
	return cores[0];
}

static int put(struct image *t, gpa_t gpa, const void *data, uint64_t size)
{
	return gmem_write(&t->machine.mem, boot_core()->id, gpa, data, size);
}

static void e820_entry(uint8_t *params, unsigned i, uint64_t base, uint64_t end, uint32_t type)
{
	uint8_t *e = params + PARAMS_E820 + i * E820_SIZE;

	store_le64(e, base);
	store_le64(e + 8, end - base);
	store_le32(e + 16, type);
	params[PARAMS_E820_COUNT] = (uint8_t)(i + 1);
}

static int put_params(struct image *t, const struct bundle *b)
{
	void *page;
	int err = gmem_page_for_write(&t->machine.mem, boot_core()->id, GPA_PARAMS, &page);
	uint8_t *p = page;

	if (err)
		return err;
	memcpy(p + SETUP_HEADER_START, b->setup, b->setup_size);
	p[PARAMS_LOADER] = LOADER_UNKNOWN;
	store_le32(p + PARAMS_CMDLINE, GPA_CMDLINE);
	store_le32(p + PARAMS_INITRD, (uint32_t)b->initrd_address);
	store_le32(p + PARAMS_INITRD_SIZE, (uint32_t)b->initrd.size);
	store_le64(p + PARAMS_RSDP, ACPI_GPA);
	e820_entry(p, 0, 0, RAM_LOW_END, E820_RAM);
	/* Memory too: kernels look for tables of old firmware here. */
	e820_entry(p, 1, RAM_LOW_END, RAM_HIGH, E820_RESERVED);
	e820_entry(p, E820_HIGH, RAM_HIGH, b->memory, E820_RAM);
	return OK;
}

int linux_set_memory(struct guest *g, uint64_t memory)
{
	uint64_t size = memory - RAM_HIGH;
	int err = gmem_write(&g->machine.mem, boot_core()->id,
		GPA_PARAMS + PARAMS_E820 + E820_HIGH * E820_SIZE + 8, &size, sizeof(size));

	if (!err)
		g->machine.mem.extents[0].size = memory;
	return err;
}

/* One to one, as far as a kernel, its initrd and the parameters can lie. */
static int put_tables(struct image *t)
{
	const uint64_t gdt[] = {0, 0, DESCRIPTOR_CODE, DESCRIPTOR_DATA}, top = GPA_PDPT | PTE_BITS;
	uint64_t leaf[MAPPED_GIB];

	for (uint64_t i = 0; i < MAPPED_GIB; i++)
		leaf[i] = i * GIB | PTE_LEAF;
	int err = put(t, GPA_GDT, gdt, sizeof(gdt));

	if (!err)
		err = put(t, GPA_PML4, &top, sizeof(top));
	return err ? err : put(t, GPA_PDPT, leaf, sizeof(leaf));
}

/* In real mode: mov $ACPI_RESET_PORT, %dx; mov $ACPI_RESET_VALUE, %al; out %al, (%dx); hlt */
static int put_reset_code(struct image *t)
{
	static const uint8_t code[] = {0xba, ACPI_RESET_PORT & 0xff, ACPI_RESET_PORT >> 8, 0xb0,
		ACPI_RESET_VALUE, 0xee, 0xf4};

	return put(t, GPA_RESET, code, sizeof(code));
}

static int put_acpi(struct image *t)
{
	uint8_t tables[ACPI_SIZE];

	acpi_build(tables);
	return put(t, ACPI_GPA, tables, sizeof(tables));
}

/*
 * Copy the rest of a part, of which t->loaded counts from *before on, as far as *left goes: ERR_AGAIN when that
 * was not all.
 */
static int put_part(struct image *t, const struct image *upload, const struct bundle_part *part,
	gpa_t to, uint64_t *before, uint64_t *left)
{
	uint64_t done = MIN(t->loaded - *before, part->size);

	*before += done;
	while (done < part->size) {
		if (!*left)
			return ERR_AGAIN;
		uint64_t from = part->offset + done;
		uint64_t n = MIN(part->size - done, PAGE_SIZE - from % PAGE_SIZE);

		n = MIN(n, *left);
		const uint8_t *page = gmem_page(&upload->machine.mem, from);
		int err = page ? put(t, to + done, page + from % PAGE_SIZE, n) : OK;

		if (err)
			return err;
		done += n;
		t->loaded += n;
		*before += n;
		*left -= n;
	}
	return OK;
}

/* The parts of the file, a slice of them. */
static int load(struct image *t, const struct image *upload, const struct bundle *b)
{
	uint64_t before = 0, left = LOAD_SLICE;
	int err = put_part(t, upload, &b->cmdline, GPA_CMDLINE, &before, &left);

	if (!err)
		err = put_part(t, upload, &b->payload, b->kernel_address, &before, &left);
	if (!err)
		err = put_part(t, upload, &b->initrd, b->initrd_address, &before, &left);
	if (!err)
		err = put_part(t, upload, &b->disk, VBLK_GPA, &before, &left);
	return err;
}

/* All that is not out of the file. */
static int prepare(struct image *t, const struct bundle *b)
{
	int err = put_tables(t);

	if (!err)
		err = put_params(t, b);
	if (!err)
		err = put_acpi(t);
	if (!err)
		err = put_reset_code(t);
	return err;
}

static void set_registers(struct vcpu *v, uint64_t entry)
{
	const struct vm_segment data = {
		.limit = UINT32_MAX, .selector = BOOT_DATA, .attributes = ATTRIBUTES_DATA};

	*v = (struct vcpu){
		.rip = entry,
		.rsp = GPA_STACK,
		.rflags = RFLAGS_ONE,
		.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG,
		.cr3 = GPA_PML4,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA,
		.dr6 = DR6_RESET,
		.dr7 = DR7_RESET,
		.gdtr = {.base = GPA_GDT, .limit = 4 * 8 - 1},
		.pat = PAT_RESET,
		.xcr0 = XCR0_X87,
	};
	v->regs[REG_RSI] = GPA_PARAMS;
	for (int i = 0; i < SEG_COUNT; i++)
		v->seg[i] = data;
	v->seg[SEG_CS].selector = BOOT_CODE;
	v->seg[SEG_CS].attributes = ATTRIBUTES_CODE;
	v->seg[SEG_LDTR] = (struct vm_segment){.attributes = ATTRIBUTES_LDT};
	v->seg[SEG_TR] = (struct vm_segment){.limit = TSS_LIMIT, .attributes = ATTRIBUTES_TSS};
}

/* A template with nothing in it that comes out of the file. */
static int begin(const struct image *upload, const struct bundle *b, struct image **out)
{
	const struct gmem_extent extents[] = {
		{.base = 0, .size = b->memory},
		{.base = VIRTIO_MEMORY, .size = VIRTIO_MEMORY_SIZE},
		{.base = VBLK_GPA, .size = align_up(b->disk.size, PAGE_SIZE)},
	};
	struct core *core = boot_core();
	struct image *t;
	int err = image_create(OBJECT_IMAGE, upload->object.owner, extents,
		ARRAY_SIZE(extents) - !b->disk.size, &t);

	if (err)
		return err;
	t->size = upload->size;
	t->memory = b->memory;
	t->machine.image_end = b->end;
	set_registers(&t->machine.vcpu, b->entry);
	xstate_reset(object_xstate(&t->object));
	err = board_create(core, t->machine.mem.account, b->disk.size, &t->machine.board);
	if (!err)
		err = prepare(t, b);
	if (err)
		object_release(&t->object, core->id);
	else
		*out = t;
	return err;
}

int linux_template(struct image *upload, struct image **out)
{
	struct core *core = boot_core();
	char why[BUNDLE_ERROR_MAX];
	struct bundle b;
	int err = bundle_parse(&b, image_read_upload, upload, upload->size, why);

	if (err)
		return guest_fail(core, err, "%s", why[0] ? why : err_str(err));
	if (!upload->draft)
		err = begin(upload, &b, &upload->draft);
	if (!err)
		err = load(upload->draft, upload, &b);
	if (err == ERR_AGAIN)
		return err;
	if (err)
		return guest_fail(core, err, "loading the kernel: %s", err_str(err));
	*out = upload->draft;
	upload->draft = NULL;
	return OK;
}
