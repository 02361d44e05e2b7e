/*
 * Touches the processor wherever a guest should not, and says PASS if it was answered as documented:
 *
 *	machine ports STEP    reads and writes every STEPth port, in all sizes
 *	machine msrs          reads and writes MSRs of all known ranges
 *	machine control       flips each bit of CR8 and EFER
 *	machine cr0, cr4, dr7, xcr0 [strict]   flips each bit of these; a reserved one must fault
 *	machine instructions  runs those that no guest may
 *	machine cpuid         asks for everything
 */
#include "attempt.h"

#define PORTS        0x10000u
#define MSR_EFER     0xc0000080u
#define EFER_SCE_NXE ((1ull << 0) | (1ull << 11))

struct range {
	uint32_t first, count;
};

/* ---- ports ---- */

static uint32_t in(uint16_t port, unsigned size)
{
	uint32_t v = 0;

	if (size == 1)
		__asm__ volatile("inb %w1, %b0" : "+a"(v) : "Nd"(port));
	else if (size == 2)
		__asm__ volatile("inw %w1, %w0" : "+a"(v) : "Nd"(port));
	else
		__asm__ volatile("inl %w1, %0" : "+a"(v) : "Nd"(port));
	return v;
}

static void out(uint16_t port, unsigned size, uint32_t v)
{
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(v), "Nd"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(v), "Nd"(port));
	else
		__asm__ volatile("outl %0, %w1" : : "a"(v), "Nd"(port));
}

static void ports(unsigned step)
{
	for (unsigned port = 0; port < PORTS; port += step) {
		for (unsigned size = 1; size <= 4; size *= 2) {
			uint32_t got = in((uint16_t)port, size);
			uint32_t ones = size == 4 ? ~0u : (1u << size * 8) - 1;

			if (got != ones)
				fail("port %#x read %#x with %u bytes", port, got, size);
			if (port != CREEL_PORT || size != 4)
				out((uint16_t)port, size, ones);
		}
	}
}

/* ---- MSRs ---- */

static uint64_t msr_value;

static void read_msr(uint64_t msr, uint64_t unused)
{
	uint32_t lo, hi;

	(void)unused;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"((uint32_t)msr));
	msr_value = (uint64_t)hi << 32 | lo;
}

static void write_msr(uint64_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"((uint32_t)msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

/* A guest's own: what it writes there harms nobody else. */
static bool own_msr(uint32_t msr)
{
	static const uint32_t own[] = {
		0x174, 0x175, 0x176,                            /* SYSENTER */
		0x277,                                          /* PAT */
		MSR_EFER, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* SYSCALL */
		0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, /* FS, GS, KERNEL_GS base, TSC_AUX */
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (own[i] == msr)
			return true;
	}
	return false;
}

static bool readable_msr(uint32_t msr)
{
	return own_msr(msr) || msr == 0x10 || msr == 0x8b; /* TSC, microcode revision */
}

static void expect(int vector, int want, const char *what, uint32_t msr)
{
	if (vector != want)
		fail("%s of MSR %#x: vector %d instead of %d", what, msr, vector, want);
	if (vector == VECTOR_GP && attempt_error)
		fail("%s of MSR %#x: error code %#lx", what, msr, attempt_error);
}

static void try_msr(uint32_t msr)
{
	int vector = attempt(read_msr, msr, 0);

	expect(vector, readable_msr(msr) ? NO_EXCEPTION : VECTOR_GP, "read", msr);
	if (own_msr(msr)) {
		expect(attempt(write_msr, msr, msr_value), NO_EXCEPTION, "same write", msr);
		return;
	}
	expect(attempt(write_msr, msr, 0), VECTOR_GP, "zero write", msr);
	expect(attempt(write_msr, msr, ~0ull), VECTOR_GP, "ones write", msr);
}

static void msrs(void)
{
	static const struct range ranges[] = {
		{0, 0x2000}, {0xc0000000, 0x2000}, {0xc0010000, 0x2000}, {0x40000000, 0x200},
		{0x4b564d00, 0x10}, {0x80000000, 0x10}, {0xfffffff0, 0x10},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (uint32_t n = 0; n < ranges[i].count; n++)
			try_msr(ranges[i].first + n);
	}
}

/* ---- control registers ---- */

#define CONTROL(name, reg)                                                                         \
	static uint64_t get_##name(void)                                                           \
	{                                                                                          \
		uint64_t v;                                                                        \
		__asm__ volatile("mov %%" reg ", %0" : "=r"(v));                                   \
		return v;                                                                          \
	}                                                                                          \
	static void set_##name(uint64_t v, uint64_t unused)                                        \
	{                                                                                          \
		(void)unused;                                                                      \
		__asm__ volatile("mov %0, %%" reg : : "r"(v) : "memory");                          \
	}

CONTROL(cr0, "cr0")
CONTROL(cr4, "cr4")
CONTROL(cr8, "cr8")
CONTROL(dr7, "dr7")

static uint64_t get_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static void set_xcr(uint64_t v, uint64_t which)
{
	__asm__ volatile("xsetbv" : : "c"((uint32_t)which), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

/* Each bit changed alone. What is refused is #GP; what is taken is taken back. */
static void flip(const char *what, uint64_t (*get)(void), void (*set)(uint64_t, uint64_t),
	uint64_t keep, uint64_t must_fault)
{
	uint64_t was = get();

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t one = 1ull << bit;

		if (keep & one)
			continue;
		int vector = attempt(set, was ^ one, 0);

		if (vector != NO_EXCEPTION && vector != VECTOR_GP)
			fail("%s bit %u: vector %d", what, bit, vector);
		if (vector == NO_EXCEPTION && (must_fault & one))
			fail("%s bit %u was taken", what, bit);
		creel_generation(); /* an exit: the state must be one that can be entered again */
		set(was, 0);
	}
	printf("%s\n", what);
}

#define CR0_PG_PE (1ull << 31 | 1)
#define CR4_PAE   (1ull << 5)
#define CR4_VMXE  (1ull << 13)
#define CR4_SMXE  (1ull << 14)
#define CR4_PKE_CET (3ull << 22)

static void control(void)
{
	flip("CR8", get_cr8, set_cr8, 0, 0);
	attempt(read_msr, MSR_EFER, 0);
	uint64_t efer = msr_value;

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t one = 1ull << bit;
		int vector = attempt(write_msr, MSR_EFER, efer ^ one);

		if (vector != (EFER_SCE_NXE & one ? NO_EXCEPTION : VECTOR_GP))
			fail("EFER bit %u: vector %d", bit, vector);
		write_msr(MSR_EFER, efer);
	}
}

static void xcr0_bits(void)
{
	uint64_t xcr0 = get_xcr0();

	for (unsigned bit = 0; bit < 64; bit++) {
		int vector = attempt(set_xcr, xcr0 ^ 1ull << bit, 0);

		if (vector == NO_EXCEPTION && bit > 7)
			fail("XCR0 bit %u was taken", bit);
		set_xcr(xcr0, 0);
	}
	if (attempt(set_xcr, xcr0, 1) != VECTOR_GP || attempt(set_xcr, 0, 0) != VECTOR_GP)
		fail("XSETBV took what is not there");
}

#define HIGH   0xffffffff00000000ull
#define DR7_GD (1ull << 13)

/* Bits 63:32 are reserved in these. Where an emulator does not fault as a processor does, the guest ends
 * at the next entry. */
static uint64_t reserved(bool strict)
{
	return strict ? HIGH : 0;
}

static void debug_bits(bool strict)
{
	flip("DR7", get_dr7, set_dr7, DR7_GD, reserved(strict));
}

static void cr4_bits(bool strict)
{
	flip("CR4", get_cr4, set_cr4, CR4_PAE, CR4_VMXE | CR4_SMXE | CR4_PKE_CET | reserved(strict));
}

static void cr0_bits(bool strict)
{
	flip("CR0", get_cr0, set_cr0, CR0_PG_PE, reserved(strict));
}

/* ---- instructions ---- */

#define INSTRUCTION(name, text)                                                                    \
	static void name(uint64_t a, uint64_t b)                                                   \
	{                                                                                          \
		__asm__ volatile(text : : "a"(a), "c"(b), "d"(0) : "memory");                      \
	}

INSTRUCTION(vmcall, "vmcall")
INSTRUCTION(vmmcall, "vmmcall")
INSTRUCTION(vmrun, "vmrun")
INSTRUCTION(vmload, "vmload")
INSTRUCTION(vmsave, "vmsave")
INSTRUCTION(stgi, "stgi")
INSTRUCTION(clgi, "clgi")
INSTRUCTION(skinit, "skinit")
INSTRUCTION(invlpga, "invlpga")
INSTRUCTION(vmlaunch, "vmlaunch")
INSTRUCTION(vmxoff, "vmxoff")
INSTRUCTION(monitor, "monitor")
INSTRUCTION(mwait, "mwait")
INSTRUCTION(rsm, "rsm")
INSTRUCTION(rdpmc, "rdpmc")
INSTRUCTION(invd, "invd")
INSTRUCTION(wbinvd, "wbinvd")
INSTRUCTION(undefined, "ud2")

static void instructions(void)
{
	static const struct {
		const char *name;
		void (*f)(uint64_t, uint64_t);
		int vector;
	} all[] = {
		{"VMCALL", vmcall, VECTOR_UD}, {"VMMCALL", vmmcall, VECTOR_UD},
		{"VMRUN", vmrun, VECTOR_UD}, {"VMLOAD", vmload, VECTOR_UD},
		{"VMSAVE", vmsave, VECTOR_UD}, {"STGI", stgi, VECTOR_UD},
		{"CLGI", clgi, VECTOR_UD}, {"SKINIT", skinit, VECTOR_UD},
		{"INVLPGA", invlpga, VECTOR_UD}, {"VMLAUNCH", vmlaunch, VECTOR_UD},
		{"VMXOFF", vmxoff, VECTOR_UD}, {"MONITOR", monitor, VECTOR_UD},
		{"MWAIT", mwait, VECTOR_UD}, {"RSM", rsm, VECTOR_UD},
		{"RDPMC", rdpmc, VECTOR_UD}, {"UD2", undefined, VECTOR_UD},
		{"INVD", invd, NO_EXCEPTION}, {"WBINVD", wbinvd, NO_EXCEPTION},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int vector = attempt(all[i].f, CREEL_GPA_IMAGE, 0);

		if (vector != all[i].vector)
			fail("%s: vector %d instead of %d", all[i].name, vector, all[i].vector);
	}
}

/* ---- CPUID ---- */

struct leaf {
	uint32_t a, b, c, d;
};

static struct leaf cpuid(uint32_t leaf, uint32_t sub)
{
	struct leaf l;

	__asm__ volatile("cpuid" : "=a"(l.a), "=b"(l.b), "=c"(l.c), "=d"(l.d) : "a"(leaf), "c"(sub));
	return l;
}

static void all_leaves(void)
{
	static const struct range ranges[] = {{0, 0x40}, {0x40000000, 0x20}, {0x80000000, 0x40}};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (uint32_t n = 0; n < ranges[i].count; n++) {
			for (uint32_t sub = 0; sub < 70; sub += sub < 4 ? 1 : 33)
				cpuid(ranges[i].first + n, sub);
		}
	}
	if (!(cpuid(1, 0).c >> 31))
		fail("the hypervisor bit is not set");
	if (cpuid(1, 0).c & (1u << 5 | 1u << 3 | 1u << 21))
		fail("VMX, MONITOR or x2APIC is offered");
	if (cpuid(0x80000001, 0).c & 1u << 2)
		fail("SVM is offered");
	if (cpuid(0x8000000a, 0).a | cpuid(0x8000000a, 0).d)
		fail("SVM's leaf says something");
	if (!(cpuid(0xd, 1).a & 2) != !cpuid(0xd, 1).b)
		fail("XSAVEC has %s size", cpuid(0xd, 1).b ? "only a" : "no");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool strict = argc > 2 && !strcmp(argv[2], "strict");

	attempt_start();
	if (!strcmp(what, "ports"))
		ports(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
	else if (!strcmp(what, "msrs"))
		msrs();
	else if (!strcmp(what, "control"))
		control();
	else if (!strcmp(what, "cr0"))
		cr0_bits(strict);
	else if (!strcmp(what, "xcr0"))
		xcr0_bits();
	else if (!strcmp(what, "cr4"))
		cr4_bits(strict);
	else if (!strcmp(what, "dr7"))
		debug_bits(strict);
	else if (!strcmp(what, "instructions"))
		instructions();
	else if (!strcmp(what, "cpuid"))
		all_leaves();
	else
		fail("\"%s\" is nothing it can do", what);
	puts("PASS");
	return 0;
}
