#include "test.h"

#include "hv/symbols.h"

/* What the linker script and boot/symtab.awk provide in the image. */
__asm__(".text\n"
	".globl image_text, image_text_end\n"
	"image_text: .skip 256\n"
	"image_text_end:\n");

extern const uint8_t image_text[];
extern const uint32_t symbol_table[], symbol_count;
extern const char symbol_names[];

const uint32_t symbol_table[] = {16, 0, 32, 6, 200, 10};
const uint32_t symbol_count = 3;
const char symbol_names[] = "first\0mid\0last";

static uint64_t offset;

static const char *at(int64_t distance)
{
	offset = 999;
	return symbol_lookup((uint64_t)(uintptr_t)image_text + (uint64_t)distance, &offset);
}

TEST(symbols_name_and_offset)
{
	CHECK_STR(at(16), "first");
	CHECK_EQ(offset, 0);
	CHECK_STR(at(31), "first");
	CHECK_EQ(offset, 15);
	CHECK_STR(at(32), "mid");
	CHECK_STR(at(199), "mid");
	CHECK_EQ(offset, 167);
	CHECK_STR(at(255), "last");
	CHECK_EQ(offset, 55);
}

TEST(symbols_outside_have_no_name)
{
	CHECK(!at(-1));
	CHECK(!at(0));
	CHECK(!at(15));
	CHECK(!at(256));
	CHECK(!symbol_lookup(0, &offset));
	CHECK(!symbol_lookup(UINT64_MAX, &offset));
}
