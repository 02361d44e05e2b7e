#include "attempt.h"

#define TRAPS         32
#define STUB_SIZE     16
#define CODE_SELECTOR 0x08ull
#define GATE          0x8e00ull

struct gate {
	uint64_t low, high;
};

struct __attribute__((packed)) descriptor_table {
	uint16_t limit;
	uint64_t base;
};

extern uint8_t attempt_stubs[];
static struct gate idt[TRAPS];

void attempt_start(void)
{
	const struct descriptor_table t = {sizeof(idt) - 1, (uint64_t)idt};

	for (int i = 0; i < TRAPS; i++) {
		uint64_t at = (uint64_t)(attempt_stubs + i * STUB_SIZE);

		idt[i].low = (at & 0xffff) | CODE_SELECTOR << 16 | GATE << 32 | (at >> 16 & 0xffff) << 48;
		idt[i].high = at >> 32;
	}
	__asm__ volatile("lidt %0" : : "m"(t));
}

void fail(const char *format, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	creel_crash(text);
}
