/*
 * Images: files of static ELF programs, and the templates made of them. A template is a guest that has
 * not begun: memory loaded, page tables built, registers set. To run an image is to clone its template.
 */
#include "hv/image.h"

#include "creel/abi.h"
#include "hv/bundle.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/elf.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "hv/xstate.h"
#include "lib/string.h"

#define MEMORY_MAX     (512 * GIB) /* what one page directory pointer table maps */
#define MEMORY_DEFAULT (16 * MIB)
#define MEMORY_SPARE   (8 * MIB) /* behind a larger image */
#define MEMORY_ALIGN   (1 * MIB)
#define FILE_MAX       (16 * GIB)

/* Guest page tables: SDM Vol 3, "4-Level Paging". */
#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITE    (1ull << 1)
#define PTE_ACCESSED (1ull << 5)
#define PTE_DIRTY    (1ull << 6)
#define PTE_LARGE    (1ull << 7)
#define PTES         512

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

/* Descriptors, and their attributes as struct vm_segment has them. */
#define DESCRIPTOR_CODE 0x00af9b000000ffffull
#define DESCRIPTOR_DATA 0x00cf93000000ffffull
#define ATTRIBUTES_CODE 0xa9b
#define ATTRIBUTES_DATA 0xc93
#define ATTRIBUTES_TSS  0x08b
#define ATTRIBUTES_LDT  (0x082 | SEG_UNUSABLE)
#define GDT_SIZE        (5 * 8)
#define TSS_LIMIT       0x67

static struct core *boot_core(void)
{
	return cores[0];
}

/* ---- the struct ------------------------------------------------------------------------------- */

int image_create(enum object_kind kind, uint16_t owner, const struct gmem_extent *extents,
	unsigned count, struct image **out)
{
	struct core *core = boot_core();
	struct account *account;
	hpa_t frame;
	int err = account_create(&hv.pool, core->id, owner_budget(owner), &account);

	if (err)
		return err;
	err = frame_alloc(&hv.pool, core->id, core->node, FRAME_STATE, account, FRAME_ZEROED, &frame);
	if (err)
		goto fail_frame;
	struct image *i = frame_ptr(&hv.pool, frame);

	i->object.kind = (uint8_t)kind;
	i->object.owner = owner;
	i->object.created_ns = platform_wall_ns();
	err = gmem_create(&i->machine.mem, &hv.pool, core->id, hv.vm->format, account, extents,
		count);
	if (err)
		goto fail_memory;
	i->machine.mem.page_kind = FRAME_IMAGE;
	*out = i;
	return OK;
fail_memory:
	if (frame_put(&hv.pool, frame))
		frame_free(&hv.pool, core->id, frame);
fail_frame:
	account_release(&hv.pool, account);
	return err;
}

/* ---- templates -------------------------------------------------------------------------------- */

int image_read_upload(void *ctx, uint64_t offset, void *buf, size_t size)
{
	struct image *upload = ctx;

	return gmem_read(&upload->machine.mem, offset, buf, size);
}

static int load_segment(struct image *template, struct image *upload, const struct elf_segment *s)
{
	uint8_t chunk[512];

	for (uint64_t done = 0; done < s->file_size;) {
		uint64_t n = MIN(s->file_size - done, sizeof(chunk));
		int err = gmem_read(&upload->machine.mem, s->offset + done, chunk, n);

		if (!err)
			err = gmem_write(&template->machine.mem, boot_core()->id, s->address + done,
				chunk, n);
		if (err)
			return err;
		done += n;
	}
	return OK;
}

/* One to one in 1 GiB leaves, and accessed and dirty from the start, so that hardware never writes. */
static int build_tables(struct gmem *m)
{
	const uint64_t bits = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
	const uint64_t gdt[] = {0, DESCRIPTOR_CODE, DESCRIPTOR_DATA};
	unsigned core = boot_core()->id;
	uint64_t entry = CREEL_GPA_PDPT | bits;
	int err = gmem_write(m, core, CREEL_GPA_PML4, &entry, sizeof(entry));

	for (uint64_t i = 0; i < PTES && !err; i++) {
		entry = i * GIB | bits | PTE_DIRTY | PTE_LARGE;
		err = gmem_write(m, core, CREEL_GPA_PDPT + i * sizeof(entry), &entry, sizeof(entry));
	}
	if (!err)
		err = gmem_write(m, core, CREEL_GPA_GDT, gdt, sizeof(gdt));
	return err;
}

static void set_registers(struct vcpu *v, uint64_t entry)
{
	const struct vm_segment data = {
		.limit = UINT32_MAX, .selector = SELECTOR_DATA, .attributes = ATTRIBUTES_DATA};

	*v = (struct vcpu){
		.rip = entry,
		.rsp = CREEL_STACK_TOP,
		.rflags = RFLAGS_ONE,
		.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
		.cr3 = CREEL_GPA_PML4,
		.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE,
		.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
		.dr6 = DR6_RESET,
		.dr7 = DR7_RESET,
		.gdtr = {.base = CREEL_GPA_GDT, .limit = GDT_SIZE - 1},
		.pat = PAT_RESET,
		.xcr0 = xstate_offered(),
	};
	v->regs[REG_RDI] = CREEL_ABI_VERSION;
	for (int i = 0; i < SEG_COUNT; i++)
		v->seg[i] = data;
	v->seg[SEG_CS].selector = SELECTOR_CODE;
	v->seg[SEG_CS].attributes = ATTRIBUTES_CODE;
	v->seg[SEG_LDTR] = (struct vm_segment){.attributes = ATTRIBUTES_LDT};
	v->seg[SEG_TR] = (struct vm_segment){
		.limit = TSS_LIMIT, .selector = SELECTOR_TSS, .attributes = ATTRIBUTES_TSS};
}

static uint64_t default_memory(uint64_t image_end)
{
	if (image_end + MEMORY_SPARE <= MEMORY_DEFAULT)
		return MEMORY_DEFAULT;
	return MIN(align_up(image_end + MEMORY_SPARE, MEMORY_ALIGN), MEMORY_MAX);
}

static int sdk_template(struct image *upload, struct image **out)
{
	struct core *core = boot_core();
	char why[ELF_ERROR_MAX];
	struct elf_image elf;
	struct image *t;
	int err = elf_parse(&elf, image_read_upload, upload, upload->size, CREEL_GPA_IMAGE, MEMORY_MAX, why);

	if (err)
		return guest_fail(core, err, "%s", why[0] ? why : err_str(err));
	const struct gmem_extent extent = {
		.base = PAGE_SIZE, .size = default_memory(elf.end) - PAGE_SIZE};

	err = image_create(OBJECT_IMAGE, upload->object.owner, &extent, 1, &t);
	if (err)
		return guest_fail(core, err, "%s", err_str(err));
	t->size = upload->size;
	t->memory = default_memory(elf.end);
	t->machine.image_end = elf.end;
	set_registers(&t->machine.vcpu, elf.entry);
	xstate_reset(object_xstate(&t->object));
	err = build_tables(&t->machine.mem);
	for (unsigned i = 0; i < elf.segments && !err; i++)
		err = load_segment(t, upload, &elf.segment[i]);
	if (err) {
		object_release(&t->object, core->id);
		return guest_fail(core, err, "loading the image: %s", err_str(err));
	}
	*out = t;
	return OK;
}

static int make_template(struct image *upload, struct image **out)
{
	uint8_t first[8] = {0};
	int err = image_read_upload(upload, 0, first, MIN(upload->size, sizeof(first)));

	if (err)
		return guest_fail(boot_core(), err, "%s", err_str(err));
	return bundle_magic(first) ? linux_template(upload, out) : sdk_template(upload, out);
}

/* ---- what management calls -------------------------------------------------------------------- */

static struct image *find_upload(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_UPLOAD);

	if (!o)
		guest_fail(boot_core(), ERR_NOENT, "no upload %lu", id);
	return o ? image_of(o) : NULL;
}

static void unpin(struct image *i)
{
	object_unpin(&hv.registry, &i->object, boot_core()->id);
}

/* Out of the registry and, once nobody has it pinned, out of memory. */
static void discard(struct image *i)
{
	if (registry_remove(&hv.registry, &i->object))
		unpin(i);
}

int image_begin(uint64_t size, uint16_t owner, uint64_t *upload)
{
	struct image *i;

	if (size == 0 || size > FILE_MAX)
		return guest_fail(boot_core(), ERR_TOOBIG,
			"an image of %lu bytes: 1 byte to %llu GiB can be put", size, FILE_MAX / GIB);
	const struct gmem_extent extent = {.base = 0, .size = align_up(size, PAGE_SIZE)};
	int err = image_create(OBJECT_UPLOAD, owner, &extent, 1, &i);

	if (err)
		return guest_fail(boot_core(), err, "%s", err_str(err));
	i->size = size;
	/* Uploads have no name, so nothing can be taken. */
	(void)registry_add(&hv.registry, &i->object);
	*upload = i->object.id;
	unpin(i);
	return OK;
}

int image_append(uint64_t upload, const uint8_t *data, size_t size)
{
	struct image *i = find_upload(upload);
	int err;

	if (!i)
		return ERR_NOENT;
	if (size > i->size - i->filled) {
		err = guest_fail(boot_core(), ERR_TOOBIG,
			"%zu bytes more than the %lu that the upload was begun with",
			size - (size_t)(i->size - i->filled), i->size);
	} else {
		err = gmem_write(&i->machine.mem, boot_core()->id, i->filled, data, size);
		if (err)
			guest_fail(boot_core(), err, "%s", err_str(err));
		else
			i->filled += size;
	}
	unpin(i);
	return err;
}

int image_commit(uint64_t upload, const char *name, uint64_t *id)
{
	struct image *i = find_upload(upload), *t;
	struct object *old;
	int err;

	if (!i)
		return ERR_NOENT;
	if (!name[0] || !object_name_valid(name)) {
		err = guest_fail(boot_core(), ERR_INVALID,
			"image name \"%s\": 1 to %d of A-Z a-z 0-9 _ . -, not only digits", name,
			GUEST_NAME_MAX - 1);
	} else if (i->filled != i->size) {
		err = guest_fail(boot_core(), ERR_INVALID, "the upload has %lu of %lu bytes", i->filled,
			i->size);
	} else {
		err = make_template(i, &t);
	}
	unpin(i);
	if (err)
		return err;
	discard(i);
	old = registry_find_name(&hv.registry, name, OBJECT_IMAGE, t->object.owner);
	if (old) {
		discard(image_of(old));
		unpin(image_of(old));
	}
	fmt(t->object.name, sizeof(t->object.name), "%s", name);
	(void)registry_add(&hv.registry, &t->object); /* the name was just made free */
	*id = t->object.id;
	unpin(t);
	return OK;
}

void image_abort(uint64_t upload)
{
	struct object *o = registry_find(&hv.registry, upload, OBJECT_UPLOAD);

	if (!o)
		return;
	discard(image_of(o));
	unpin(image_of(o));
}

int image_remove(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_IMAGE);

	if (!o)
		return guest_fail(boot_core(), ERR_NOENT, "no image %lu", id);
	discard(image_of(o));
	unpin(image_of(o));
	return OK;
}

int image_next(uint64_t after, struct image_info *info)
{
	struct object *o = registry_next(&hv.registry, after, OBJECT_IMAGE);

	if (!o)
		return ERR_NOENT;
	struct image *i = image_of(o);

	*info = (struct image_info){
		.id = o->id,
		.owner = o->owner,
		.public = o->public,
		.size = i->size,
		.memory = i->memory,
		.pages = account_pages(i->machine.mem.account),
		.created_ns = o->created_ns,
	};
	memcpy(info->name, o->name, sizeof(info->name));
	unpin(i);
	return OK;
}

int guest_run(uint64_t image, const struct guest_options *options, uint64_t *id)
{
	struct core *core = boot_core();
	uint64_t start = rdtsc();
	struct object *o = registry_find(&hv.registry, image, OBJECT_IMAGE);
	struct guest_options own = *options;
	struct guest *g;

	if (!o)
		return guest_fail(core, ERR_NOENT, "no image %lu", image);
	struct image *i = image_of(o);
	uint64_t most = i->machine.board ? BUNDLE_MEMORY_MAX : MEMORY_MAX;
	uint64_t memory = own.memory ? align_up(own.memory, PAGE_SIZE) : i->memory;
	int err = guest_check_options(&own);

	if (err)
		goto out;
	if (own.memory > most || memory < i->machine.image_end) {
		err = guest_fail(core, ERR_RANGE,
			"%lu bytes of memory: this image takes %lu bytes, and a guest %llu GiB at most",
			own.memory, i->machine.image_end, most / GIB);
		goto out;
	}
	struct guest_request request = {.options = &own,
		.under = owner_budget(own.owner),
		.memory = memory,
		.keep = !own.remove_when_stopped};

	err = guest_clone(core, o, &i->machine, &request, &g);
	if (err)
		goto out;
	if (g->machine.board && memory != i->memory)
		err = linux_set_memory(g, memory);
	if (err) {
		g->keep = false;
		guest_stop(core, g, STOP_KILLED, NULL, 0);
		guest_fail(core, err, "%s", err_str(err));
	}
	*id = g->object.id;
	sched_admit(g);
	object_unpin(&hv.registry, &g->object, core->id);
	meter_time(core, METER_RUN, start);
out:
	unpin(i);
	return err;
}
