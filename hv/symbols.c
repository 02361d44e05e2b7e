#include "hv/symbols.h"

#include "lib/base.h"

struct symbol {
	uint32_t offset; /* from image_text; ascending */
	uint32_t name;   /* into symbol_names */
};

/* The generated table, and the linker script's bounds. */
extern const struct symbol symbol_table[];
extern const uint32_t symbol_count;
extern const char symbol_names[];
extern const uint8_t image_text[], image_text_end[];

const char *symbol_lookup(uint64_t addr, uint64_t *offset)
{
	uint64_t text = (uint64_t)(uintptr_t)image_text;
	uint32_t low = 0, high = symbol_count;

	if (addr < text || addr >= (uint64_t)(uintptr_t)image_text_end)
		return NULL;
	/* the last symbol at or below addr is the one before `low` */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (text + symbol_table[middle].offset <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	*offset = addr - text - symbol_table[low - 1].offset;
	return symbol_names + symbol_table[low - 1].name;
}
