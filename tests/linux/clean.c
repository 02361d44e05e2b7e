/*
 * Says "clean" if all vector and x87 state is as after a reset when this kernel is entered: nothing
 * of another guest, or of the host, is in it. Nothing here uses such a register before that.
 */
#include "tests/linux/board.h"

#define CR4_OSFXSR  (1u << 9)
#define CR4_OSXSAVE (1u << 18)
#define LEAF_XSAVE  0xd
#define FCW_RESET   0x37f
#define MXCSR_RESET 0x1f80
#define HEADER      512

static uint64_t area[1024] __attribute__((aligned(64)));

/* All that the processor offers, into `area`; the set of it. */
static uint64_t save_all(void)
{
	uint32_t a = LEAF_XSAVE, b, c = 0, d;
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR | CR4_OSXSAVE));
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	__asm__ volatile("xsetbv" : : "a"(a), "d"(d), "c"(0));
	__asm__ volatile("xsave %0" : "+m"(area) : "a"(a), "d"(d));
	return (uint64_t)d << 32 | a;
}

void board_run(void)
{
	uint64_t which = save_all();
	uint8_t *bytes = (uint8_t *)area;
	bool good = (area[0] & 0xffff) == FCW_RESET && (uint32_t)area[3] == MXCSR_RESET;

	area[0] &= ~0xffffull;
	area[3] = 0;          /* MXCSR, and the mask of its bits */
	area[HEADER / 8] = 0; /* the components in use */
	for (unsigned i = 0; i < sizeof(area); i++) {
		if (bytes[i]) {
			board_say_number("not clean, byte ", i);
			board_say("\n");
			return;
		}
	}
	board_say_number(good ? "clean " : "wrong control word ", which);
	board_say("\n");
}
