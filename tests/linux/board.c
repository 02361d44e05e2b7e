#include "tests/linux/board.h"

#define PARAMS_CMDLINE 0x228
#define LINE           0x3f8u
#define SLEEP_PORT     0x600u
#define SLEEP_OFF      0x34u
#define RESET_PORT     0x601u
#define RESET_VALUE    1u
#define HPET           0xfed00000ull /* where this machine has nothing */

#define VECTORS       256
#define STUB_SIZE     16
#define FIRST_DEVICE  15 /* what comes behind the exceptions that can happen here */
#define VECTOR_GP     13
#define MSR_EOI       0x80bu
#define GATE          0x8e00ull
#define CODE_SELECTOR 0x08ull
#define GIB_LEAF      0x83ull
#define TABLE         0x03ull

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

struct trap {
	uint64_t registers[11], vector, error, rip, cs, flags, rsp, ss;
};

void board_main(const uint8_t *params);
void trap(struct trap *t);
extern uint8_t trap_stubs[];
uint64_t board_faults, board_interrupts, board_patience;

/* Its own, so that what is written below 1 MiB matters to nobody. */
static uint64_t pml4[512] __attribute__((aligned(PAGE))), pdpt[512] __attribute__((aligned(PAGE)));
static uint64_t idt[VECTORS][2], gdt[3] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
static char cmdline[256];

void *memset(void *to, int c, size_t n)
{
	for (uint8_t *p = to; n--; p++)
		*(volatile uint8_t *)p = (uint8_t)c;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
	return to;
}

/* ---- processor -------------------------------------------------------------------------------- */

void trap(struct trap *t)
{
	if (t->vector >= FIRST_DEVICE) {
		board_interrupts++;
		for (volatile uint64_t i = 0; i < board_patience; i++)
			;
		wrmsr(MSR_EOI, 0);
		return;
	}
	if (t->vector != VECTOR_GP)
		board_end(END_TRIPLE_FAULT);
	board_faults++;
	t->rip += 2; /* the length of RDMSR and of WRMSR */
}

static void map_memory(void)
{
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = i << 30 | GIB_LEAF;
	pml4[0] = (uint64_t)pdpt | TABLE;
	__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

void board_start(void)
{
	const struct table_register g = {sizeof(gdt) - 1, (uint64_t)gdt},
				    i = {sizeof(idt) - 1, (uint64_t)idt};

	map_memory();
	for (unsigned v = 0; v < VECTORS; v++) {
		uint64_t at = (uint64_t)(trap_stubs + v * STUB_SIZE);

		idt[v][0] = (at & 0xffff) | CODE_SELECTOR << 16 | GATE << 32 |
			    (at >> 16 & 0xffff) << 48;
		idt[v][1] = at >> 32;
	}
	__asm__ volatile("lgdt %0\n"
			 "mov %2, %%ds\n mov %2, %%es\n mov %2, %%ss\n"
			 "push %3\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n"
			 "1: lidt %1"
			 :
			 : "m"(g), "m"(i), "r"(16), "r"(CODE_SELECTOR)
			 : "rax", "memory");
}

/* ---- the command line ------------------------------------------------------------------------- */

static const char *behind(const char *name)
{
	for (const char *p = cmdline; *p; p++) {
		size_t n = 0;

		while (name[n] && p[n] == name[n])
			n++;
		if (!name[n] && (p == cmdline || p[-1] == ' '))
			return p + n;
	}
	return NULL;
}

bool board_word(const char *word)
{
	const char *p = behind(word);

	return p && (!*p || *p == ' ');
}

uint64_t board_option(const char *name, uint64_t otherwise)
{
	const char *p = behind(name);
	uint64_t n = 0, base = 10;

	if (!p || *p != '=')
		return otherwise;
	p++;
	if (p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	for (; *p && *p != ' '; p++)
		n = n * base + (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
	return n;
}

/* ---- the line --------------------------------------------------------------------------------- */

void board_say(const char *text)
{
	out(LINE + 3, 1, 3); /* no divisor, no loop */
	out(LINE + 4, 1, 0);
	for (; *text; text++)
		out(LINE, 1, (uint8_t)*text);
}

void board_say_number(const char *text, uint64_t n)
{
	char digits[24], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	board_say(text);
	board_say(p);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void triple_fault(void)
{
	const struct table_register none = {0, 0};

	__asm__ volatile("lidt %0\n ud2" : : "m"(none));
}

void board_end(unsigned how)
{
	__asm__ volatile("cli");
	switch (how) {
	case END_POWER_OFF:
		out(SLEEP_PORT, 1, SLEEP_OFF);
		break;
	case END_PANIC:
		board_say("Kernel panic - not syncing: as it was \033[1masked\n");
		/* fall through */
	case END_RESTART:
		out(RESET_PORT, 1, RESET_VALUE);
		break;
	case END_TOUCH:
		(void)*(volatile uint32_t *)board_option("touch", HPET);
		break;
	case END_STRING_IO:
		__asm__ volatile("outsb" : : "d"(LINE), "S"(cmdline));
		break;
	case END_TRIPLE_FAULT:
		triple_fault();
		break;
	default:
		break;
	}
	for (;;)
		__asm__ volatile("hlt");
}

void board_main(const uint8_t *params)
{
	const char *from = (const char *)(uintptr_t) * (const uint32_t *)(params + PARAMS_CMDLINE);

	for (size_t i = 0; i < sizeof(cmdline) - 1 && from[i]; i++)
		cmdline[i] = from[i];
	board_start();
	board_run();
	board_end((unsigned)board_option("end", END_POWER_OFF));
}
