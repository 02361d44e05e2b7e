/*
 * Ends itself in the way that it is told:
 *
 *	wild write | read | execute   where there is no memory: at 32 MiB, behind a guest of 16
 *	wild null | stack             a null call; a stack that grows into page 0
 *	wild far BIT                  through a page table entry of its own with that address bit set
 *	wild table                    with CR3 where there is no memory
 *	wild triple                   an exception without an interrupt table
 *	wild outs | ins               string I/O
 *	wild halt | sti-halt
 *	wild legacy | ac | real       leaves 64-bit mode: exits with 7, loops in the delivery of #AC, or
 *	                              goes on to real mode and halts there
 *	wild db                       loops in the delivery of #DB
 *	wild step                     single-steps through exits; status 0
 */
#include "attempt.h"

#define NOWHERE 0x2000000ull
#define PRESENT_WRITE 3ull
#define LARGE   0x80ull
#define SELECTOR_TSS 0x18
#define IRETQ   0xcf48u

/*
 * Where no guest has code: VMRUN of QEMU's emulation sets DR7 but leaves the breakpoints of the guest
 * before, so that any other guest which came by this address would have a #DB too.
 */
#define HANDLER 0xc00000ull
#define IST1    1ull

struct __attribute__((packed)) descriptor_table {
	uint16_t limit;
	uint64_t base;
};

void wild_leave(uint64_t what); /* wild_legacy.S */

static uint64_t *entry_of(uint64_t gib)
{
	return (uint64_t *)CREEL_GPA_PDPT + gib;
}

static void far(unsigned bit)
{
	*entry_of(1) = 1ull << bit | LARGE | PRESENT_WRITE;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
	*(volatile uint64_t *)(1ull << 30) = 1;
}

/*
 * An instruction breakpoint on the handler of #DB, which has a stack of its own: the handler's first
 * instruction never runs, and each delivery begins where the last one did.
 */
static void debug_loop(void)
{
	static uint64_t idt[64];
	static uint32_t tss[26];
	static uint8_t ist[4096];
	const struct descriptor_table t = {sizeof(idt) - 1, (uint64_t)idt};
	uint64_t at = HANDLER, *gdt = (uint64_t *)CREEL_GPA_GDT;
	uint64_t task = (uint64_t)tss, top = (uint64_t)(ist + sizeof(ist));

	*(volatile uint16_t *)at = IRETQ;
	tss[9] = (uint32_t)top;
	tss[10] = (uint32_t)(top >> 32);
	gdt[3] = (sizeof(tss) - 1) | (task & 0xffffff) << 16 | 0x89ull << 40 | (task >> 24 & 0xff) << 56;
	gdt[4] = task >> 32;
	__asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
	idt[2 * VECTOR_DB] = (at & 0xffff) | 8ull << 16 | IST1 << 32 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
	idt[2 * VECTOR_DB + 1] = at >> 32;
	__asm__ volatile("lidt %0" : : "m"(t));
	__asm__ volatile("mov %0, %%dr0" : : "r"(at));
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x402ull));
	__asm__ volatile("jmp *%0" : : "r"(at));
}

/* TF over instructions that exit: one trap behind each, and none lost. */
static void step(void)
{
	uint64_t traps = 0;

	for (int i = 0; i < 3; i++) {
		attempt_rip = 0;
		extern void wild_step_cpuid(uint64_t, uint64_t), wild_step_in(uint64_t, uint64_t);
		extern uint8_t wild_after_cpuid[], wild_after_in[];

		if (attempt(wild_step_cpuid, 0, 0) == VECTOR_DB && attempt_rip == (uint64_t)wild_after_cpuid)
			traps++;
		if (attempt(wild_step_in, 0, 0) == VECTOR_DB && attempt_rip == (uint64_t)wild_after_in)
			traps++;
	}
	if (traps != 6)
		fail("%lu single-step traps of 6 came, the last at %#lx", traps, attempt_rip);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t nowhere = NOWHERE;

	if (!strcmp(what, "write"))
		*(volatile uint64_t *)nowhere = 1;
	if (!strcmp(what, "read"))
		return *(volatile int *)nowhere;
	if (!strcmp(what, "execute"))
		__asm__ volatile("jmp *%0" : : "r"(nowhere));
	if (!strcmp(what, "null"))
		__asm__ volatile("xor %%eax, %%eax; call *%%rax" : : : "rax", "memory");
	if (!strcmp(what, "stack"))
		__asm__ volatile("1: push %%rax; jmp 1b" : : : "memory");
	if (!strcmp(what, "far"))
		far(argc > 2 ? (unsigned)atoi(argv[2]) : 38);
	if (!strcmp(what, "table"))
		__asm__ volatile("mov %0, %%cr3" : : "r"(nowhere) : "memory");
	if (!strcmp(what, "triple")) {
		const struct descriptor_table none = {0, 0};

		__asm__ volatile("lidt %0; ud2" : : "m"(none));
	}
	if (!strcmp(what, "outs"))
		__asm__ volatile("rep outsb" : : "S"(main), "c"(16), "d"(0x3f8));
	if (!strcmp(what, "ins"))
		__asm__ volatile("insl" : : "D"(CREEL_GPA_STACK), "d"(0x3f8) : "memory");
	if (!strcmp(what, "halt"))
		__asm__ volatile("hlt");
	if (!strcmp(what, "sti-halt"))
		__asm__ volatile("sti; hlt");
	if (!strcmp(what, "legacy"))
		wild_leave(0);
	if (!strcmp(what, "ac"))
		wild_leave(1);
	if (!strcmp(what, "real"))
		wild_leave(2);
	if (!strcmp(what, "db"))
		debug_loop();
	attempt_start();
	if (strcmp(what, "step"))
		fail("still alive after \"%s\"", what);
	step();
	return 0;
}
