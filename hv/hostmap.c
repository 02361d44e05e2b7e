#include "hv/hostmap.h"

#include "hv/cpu.h"
#include "hv/panic.h"
#include "lib/string.h"

/* SDM Vol 3, "4-Level Paging and 5-Level Paging". */
#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITE    (1ull << 1)
#define PTE_PWT      (1ull << 3)
#define PTE_PCD      (1ull << 4)
#define PTE_ACCESSED (1ull << 5)
#define PTE_DIRTY    (1ull << 6)
#define PTE_LARGE    (1ull << 7) /* a leaf, in a table of level 2 or 3 */
#define PTE_NX       (1ull << 63)
#define PTE_ADDRESS  0x000ffffffffff000ull

#define ENTRIES     512
#define ENTRY_SHIFT 9

/* Levels count from the leaves: 1 maps 4 KiB an entry, 2 2 MiB, 3 1 GiB. */
#define LEVEL_4K 1
#define LEVEL_2M 2
#define LEVEL_1G 3

/* Our PAT: entry 1 (PWT) is write-combining, the others as after reset. */
#define PAT_ENTRY_SHIFT     8
#define PAT_WRITE_COMBINING 1ull
#define HOST_PAT ((PAT_RESET & ~(0xffull << PAT_ENTRY_SHIFT)) | PAT_WRITE_COMBINING << PAT_ENTRY_SHIFT)

static uint64_t *root;
static unsigned levels; /* 4, or 5 where the firmware chose so */
static unsigned largest_level;
static unsigned physical_bits;
static const struct boot_info *boot;
static uint64_t scratch_next, scratch_end;
static uint64_t (*more_pages)(void);

static uint64_t level_size(unsigned level)
{
	return PAGE_SIZE << (ENTRY_SHIFT * (level - 1));
}

static unsigned level_index(uint64_t address, unsigned level)
{
	return (unsigned)(address >> (PAGE_SHIFT + ENTRY_SHIFT * (level - 1))) & (ENTRIES - 1);
}

static uint64_t *new_table(void)
{
	uint64_t page = 0;

	if (scratch_next < scratch_end) {
		page = scratch_next;
		scratch_next += PAGE_SIZE;
	} else if (more_pages) {
		page = more_pages();
	}
	if (!page)
		panic("no memory for the host's page tables");
	return (uint64_t *)page;
}

/* Replace a large leaf, or nothing, by a table that means the same. */
static void split(uint64_t *entry, unsigned level)
{
	uint64_t *table = new_table(), old = *entry;

	if (old & PTE_PRESENT) {
		uint64_t bits = level - 1 == LEVEL_4K ? old & ~PTE_LARGE : old;

		for (unsigned i = 0; i < ENTRIES; i++)
			table[i] = bits + i * level_size(level - 1);
	}
	*entry = (uint64_t)table | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
}

static bool is_table(uint64_t entry, unsigned level)
{
	return (entry & PTE_PRESENT) && level > LEVEL_4K && !(entry & PTE_LARGE);
}

/* The entry of `level` for `address`, with all tables above it. */
static uint64_t *entry_at(uint64_t address, unsigned level)
{
	uint64_t *table = root;

	for (unsigned l = levels;; l--) {
		uint64_t *entry = &table[level_index(address, l)];

		if (l == level)
			return entry;
		if (!is_table(*entry, l))
			split(entry, l);
		table = (uint64_t *)(*entry & PTE_ADDRESS);
	}
}

static uint64_t leaf_bits(enum hostmap_rights rights, enum hostmap_cache cache)
{
	uint64_t bits = PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY;

	if (rights == HOSTMAP_NONE)
		return 0;
	if (rights == HOSTMAP_WRITE)
		bits |= PTE_WRITE;
	if (rights != HOSTMAP_EXEC)
		bits |= PTE_NX;
	if (cache == HOSTMAP_UNCACHED)
		bits |= PTE_PCD | PTE_PWT;
	if (cache == HOSTMAP_WRITE_COMBINING)
		bits |= PTE_PWT;
	return bits;
}

/* The largest page that fits at `address`, does not reach beyond `size`, and replaces no table. */
static unsigned pick_level(uint64_t address, uint64_t size)
{
	for (unsigned level = largest_level; level > LEVEL_4K; level--) {
		if (address & (level_size(level) - 1) || size < level_size(level))
			continue;
		if (!is_table(*entry_at(address, level), level))
			return level;
	}
	return LEVEL_4K;
}

void hostmap_set(uint64_t physical, uint64_t size, enum hostmap_rights rights,
	enum hostmap_cache cache)
{
	uint64_t at = align_down(physical, PAGE_SIZE);
	uint64_t end = align_up(physical + size, PAGE_SIZE);
	uint64_t bits = leaf_bits(rights, cache);

	while (at < end) {
		unsigned level = pick_level(at, end - at);
		uint64_t *entry = entry_at(at, level);

		if (!bits)
			*entry = 0;
		else
			*entry = at | bits | (level > LEVEL_4K ? PTE_LARGE : 0);
		invlpg(at);
		at += level_size(level);
	}
}

/* [physical, physical + size) without wrap-around and below the top of physical addresses. */
static bool addressable(uint64_t physical, uint64_t size)
{
	uint64_t top = 1ull << physical_bits;

	return size && physical < top && size <= top - physical;
}

static bool touches(const struct boot_section *s, uint64_t base, uint64_t end)
{
	return base < s->base + s->size && s->base < end;
}

static bool touches_ram(uint64_t physical, uint64_t size)
{
	uint64_t end = physical + size;

	for (unsigned i = 0; i < boot->range_count; i++) {
		const struct boot_range *r = &boot->ranges[i];

		if (physical < r->base + r->size && r->base < end)
			return true;
	}
	return touches(&boot->text, physical, end) || touches(&boot->rodata, physical, end) ||
		touches(&boot->data, physical, end) || touches(&boot->scratch, physical, end);
}

void *hostmap_mmio(uint64_t physical, uint64_t size)
{
	uint64_t base = align_down(physical, PAGE_SIZE);

	if (!addressable(physical, size) || !base)
		return NULL;
	if (touches_ram(base, align_up(physical + size, PAGE_SIZE) - base))
		return NULL;
	hostmap_set(physical, size, HOSTMAP_WRITE, HOSTMAP_UNCACHED);
	return (void *)physical;
}

const void *hostmap_firmware(uint64_t physical, uint64_t size)
{
	if (!addressable(physical, size) || physical < PAGE_SIZE)
		return NULL;
	for (uint64_t at = align_down(physical, PAGE_SIZE); at < physical + size; at += PAGE_SIZE)
		if (!hostmap_readable(at))
			hostmap_set(at, PAGE_SIZE, HOSTMAP_READ, HOSTMAP_WRITE_BACK);
	return (const void *)physical;
}

void hostmap_unmap_page(uint64_t address)
{
	hostmap_set(address, PAGE_SIZE, HOSTMAP_NONE, HOSTMAP_WRITE_BACK);
}

bool hostmap_readable(uint64_t address)
{
	unsigned top = read_cr4() & CR4_LA57 ? 5 : 4;
	uint64_t sign = address >> (PAGE_SHIFT + ENTRY_SHIFT * top - 1);
	const uint64_t *table = (const uint64_t *)(read_cr3() & PTE_ADDRESS);

	if (sign) /* the upper half, or not canonical: we have nothing there */
		return false;
	for (unsigned level = top;; level--) {
		uint64_t entry = table[level_index(address, level)];

		if (!(entry & PTE_PRESENT))
			return false;
		if (!is_table(entry, level))
			return true;
		table = (const uint64_t *)(entry & PTE_ADDRESS);
	}
}

uint64_t hostmap_root(void)
{
	return (uint64_t)root;
}

void hostmap_set_allocator(uint64_t (*alloc_page)(void))
{
	more_pages = alloc_page;
}

void hostmap_setup_core(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	wrmsr(MSR_PAT, HOST_PAT);
	write_cr3((uint64_t)root);
}

static void set_section(const struct boot_section *s, enum hostmap_rights rights)
{
	if (s->size)
		hostmap_set(s->base, s->size, rights, HOSTMAP_WRITE_BACK);
}

void hostmap_init(const struct boot_info *info)
{
	const struct boot_framebuffer *fb = &info->framebuffer;

	boot = info;
	scratch_next = info->scratch.base;
	scratch_end = info->scratch.base + info->scratch.size;
	levels = read_cr4() & CR4_LA57 ? 5 : 4;
	largest_level = cpuid(CPUID_EXT_FEATURES).edx & CPUID_X1_EDX_1GIB ? LEVEL_1G : LEVEL_2M;
	physical_bits = cpuid(CPUID_ADDRESS_SIZES).eax & 0xff;
	root = new_table();
	if ((uint64_t)root >> 32)
		panic("the host's page tables lie above 4 GiB, where starting cores cannot reach them");

	for (unsigned i = 0; i < info->range_count; i++)
		hostmap_set(info->ranges[i].base, info->ranges[i].size, HOSTMAP_WRITE,
			HOSTMAP_WRITE_BACK);
	set_section(&info->scratch, HOSTMAP_WRITE);
	set_section(&info->text, HOSTMAP_EXEC);
	set_section(&info->rodata, HOSTMAP_READ);
	set_section(&info->data, HOSTMAP_WRITE);
	for (unsigned i = 0; i < info->image_count; i++)
		hostmap_set((uint64_t)info->images[i].data, info->images[i].size, HOSTMAP_READ,
			HOSTMAP_WRITE_BACK);
	if (info->trampoline)
		hostmap_set(info->trampoline, PAGE_SIZE, HOSTMAP_WRITE, HOSTMAP_WRITE_BACK);
	if (fb->base)
		hostmap_set(fb->base, (uint64_t)fb->stride * fb->height * sizeof(uint32_t),
			HOSTMAP_WRITE, HOSTMAP_WRITE_COMBINING);
	hostmap_unmap_page(0);
}
