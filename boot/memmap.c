#include "boot/memmap.h"

#include "lib/base.h"

static uint64_t entry_end(const struct memmap_entry *e)
{
	uint64_t limit = align_down(UINT64_MAX, PAGE_SIZE) - e->base;

	return e->base + (e->pages > limit / PAGE_SIZE ? limit : e->pages * PAGE_SIZE);
}

/* Insertion sort: firmware maps are short and nearly sorted. */
static void sort_entries(struct memmap_entry *entries, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct memmap_entry e = entries[i];
		size_t j = i;

		for (; j > 0 && entries[j - 1].base > e.base; j--)
			entries[j] = entries[j - 1];
		entries[j] = e;
	}
}

static void drop_smallest(struct boot_info *info)
{
	unsigned smallest = 0;

	for (unsigned i = 1; i < info->range_count; i++) {
		if (info->ranges[i].size < info->ranges[smallest].size)
			smallest = i;
	}
	for (unsigned i = smallest; i + 1 < info->range_count; i++)
		info->ranges[i] = info->ranges[i + 1];
	info->range_count--;
}

/* [base, end) follows all that was added before. */
static void add_range(struct boot_info *info, uint64_t base, uint64_t end)
{
	base = MAX(base, MEMMAP_LOW_END);
	if (base >= end)
		return;
	if (info->range_count > 0) {
		struct boot_range *last = &info->ranges[info->range_count - 1];

		if (last->base + last->size == base) {
			last->size += end - base;
			return;
		}
	}
	if (info->range_count == BOOT_MAX_RANGES)
		drop_smallest(info);
	info->ranges[info->range_count++] = (struct boot_range){.base = base, .size = end - base};
}

/* Adds what of [base, end) no unusable entry covers. */
static void add_free_parts(struct boot_info *info, const struct memmap_entry *entries, size_t count,
	uint64_t base, uint64_t end)
{
	for (size_t i = 0; i < count && entries[i].base < end; i++) {
		const struct memmap_entry *e = &entries[i];

		if (e->usable || entry_end(e) <= base)
			continue;
		if (e->base > base)
			add_range(info, base, e->base);
		base = entry_end(e);
		if (base >= end)
			return;
	}
	add_range(info, base, end);
}

uint64_t memmap_build(struct boot_info *info, struct memmap_entry *entries, size_t count)
{
	uint64_t done = 0, total = 0;

	for (size_t i = 0; i < count; i++)
		entries[i].base = align_down(entries[i].base, PAGE_SIZE);
	sort_entries(entries, count);
	info->range_count = 0;
	info->ram_top = 0;
	for (size_t i = 0; i < count; i++) {
		const struct memmap_entry *e = &entries[i];
		uint64_t end = entry_end(e);

		if (e->ram)
			info->ram_top = MAX(info->ram_top, end);
		if (!e->usable || end <= done)
			continue;
		add_free_parts(info, entries, count, MAX(e->base, done), end);
		done = end;
	}
	for (unsigned i = 0; i < info->range_count; i++)
		total += info->ranges[i].size;
	return total;
}
