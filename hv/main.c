/* The hypervisor's story. It begins where boot/ ends. */
#include "boot/handover.h"
#include "hv/symbols.h"
#include "lib/string.h"

#define COM1             0x3f8
#define COM1_LINE_STATUS (COM1 + 5)
#define THR_EMPTY        0x20

static void put(const char *s)
{
	for (; *s; s++) {
		uint8_t status;

		do
			__asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((uint16_t)COM1_LINE_STATUS));
		while (!(status & THR_EMPTY));
		__asm__ volatile("outb %0, %1" : : "a"(*s), "Nd"((uint16_t)COM1));
	}
}

void hv_main(struct boot_info *info)
{
	char line[160];
	uint64_t usable = 0, offset = 0;
	const char *name = symbol_lookup((uint64_t)(uintptr_t)hv_main, &offset);

	for (unsigned i = 0; i < info->range_count; i++)
		usable += info->ranges[i].size;
	fmt(line, sizeof(line), "creel: %s+%lu: %llu MiB usable in %u ranges, %u processors\r\n",
			name ? name : "?", offset, usable / MIB, info->range_count, info->cpu_count);
	put(line);
	for (;;)
		__asm__ volatile("hlt");
}
