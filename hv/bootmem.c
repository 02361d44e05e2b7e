#include "hv/bootmem.h"

#include "hv/panic.h"
#include "lib/string.h"

uint64_t bootmem_take(struct boot_info *info, uint64_t size)
{
	size = align_up(size, PAGE_SIZE);
	/* from the highest range down: low memory is scarce */
	for (unsigned i = info->range_count; i-- > 0;) {
		struct boot_range *r = &info->ranges[i];
		uint64_t base;

		if (r->size < size)
			continue;
		r->size -= size;
		base = r->base + r->size;
		if (!r->size)
			memmove(r, r + 1, (--info->range_count - i) * sizeof(*r));
		memset((void *)base, 0, size);
		return base;
	}
	refuse("too little memory: %llu KiB more are needed, in one piece",
		(unsigned long long)(size / KIB));
}

uint64_t bootmem_left(const struct boot_info *info)
{
	uint64_t left = 0;

	for (unsigned i = 0; i < info->range_count; i++)
		left += info->ranges[i].size;
	return left;
}

void bootmem_limit(struct boot_info *info, uint64_t size)
{
	uint64_t left = align_down(size, PAGE_SIZE);

	for (unsigned i = 0; i < info->range_count; i++) {
		struct boot_range *r = &info->ranges[i];

		r->size = MIN(r->size, left);
		left -= r->size;
		if (!r->size)
			info->range_count = i;
	}
}
