/*
 * CPUID by allow-list: guests see the features named here and no others, as far as the processor has
 * them. The answers are made once at boot; only what depends on the guest's state is filled in later.
 * SDM Vol 2 "CPUID"; APM Vol 3 "Obtaining Processor Information Via the CPUID Instruction".
 */
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/exit.h"
#include "hv/hypervisor.h"
#include "hv/xstate.h"
#include "lib/string.h"

#define BASIC_MAX      CPUID_XSAVE
#define HYPERVISOR     0x40000000u
#define EXTENDED_MAX   CPUID_ADDRESS_SIZES
#define XSAVE_SUBS     8

/* SSE3, PCLMUL, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, OSXSAVE, AVX,
 * F16C, RDRAND; and the hypervisor bit. No MONITOR, VMX, x2APIC, TSC-deadline. */
#define FEATURES_ECX                                                                               \
	(1u << 0 | 1u << 1 | 1u << 9 | 1u << 12 | 1u << 13 | CPUID_1_ECX_PCID | 1u << 19 |          \
		1u << 20 | 1u << 22 | 1u << 23 | CPUID_1_ECX_AES | CPUID_1_ECX_XSAVE |              \
		CPUID_1_ECX_AVX | 1u << 29 | CPUID_1_ECX_RDRAND)
/* FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT, PSE-36, CLFLUSH, MMX, FXSR, SSE, SSE2.
 * No MCE, MCA, APIC, MTRR. */
#define FEATURES_EDX                                                                               \
	(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 11 |           \
		CPUID_1_EDX_PGE | 1u << 15 | CPUID_1_EDX_PAT | 1u << 17 | 1u << 19 | 1u << 23 |     \
		1u << 24 | 1u << 25 | 1u << 26)
/* FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, SHA. */
#define EXTENDED_EBX                                                                               \
	(CPUID_7_EBX_FSGSBASE | 1u << 3 | 1u << 5 | CPUID_7_EBX_SMEP | 1u << 8 | CPUID_7_EBX_ERMS | \
		CPUID_7_EBX_RDSEED | 1u << 19 | CPUID_7_EBX_SMAP | 1u << 23 | 1u << 29)
/* AVX512F, DQ, IFMA, CD, BW, VL: with their state only. */
#define EXTENDED_EBX_AVX512 (1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31)
/* UMIP; GFNI, VAES, VPCLMULQDQ. */
#define EXTENDED_ECX        (CPUID_7_ECX_UMIP | 1u << 8 | 1u << 9 | 1u << 10)
/* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ. */
#define EXTENDED_ECX_AVX512 (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define EXTENDED_EDX        CPUID_7_EDX_FSRM
/* LAHF, LZCNT, SSE4A, 3DNOWPREFETCH; no SVM. */
#define X1_ECX (1u << 0 | 1u << 5 | 1u << 6 | 1u << 8)
/* As leaf 1, and SYSCALL, NX, 1 GiB pages, RDTSCP, long mode. */
#define X1_EDX                                                                                     \
	(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | CPUID_X1_EDX_SYSCALL |\
		1u << 13 | 1u << 15 | 1u << 16 | 1u << 17 | CPUID_X1_EDX_NX | 1u << 23 | 1u << 24 | \
		CPUID_X1_EDX_1GIB | CPUID_X1_EDX_RDTSCP | CPUID_X1_EDX_LM)

#define AVX_BITS_ECX  (CPUID_1_ECX_AVX | 1u << 12 | 1u << 29) /* AVX, FMA, F16C */
#define AVX_BITS_EBX  (1u << 5)                               /* AVX2 */
#define VEX_BITS_ECX7 (1u << 9 | 1u << 10)                    /* VAES, VPCLMULQDQ */
#define ONE_PROCESSOR (1u << 16)                              /* leaf 1 EBX: logical processors */
#define CLFLUSH_SIZE  0xff00u

static struct cpuid_regs basic[BASIC_MAX + 1], extended[EXTENDED_MAX - CPUID_MAX_EXTENDED + 1];
static struct cpuid_regs hypervisor, components[XSAVE_SUBS];

static void init_features(void)
{
	struct cpuid_regs *one = &basic[CPUID_FEATURES], *seven = &basic[CPUID_EXTENDED];
	uint64_t state = xstate_offered();

	*one = cpuid(CPUID_FEATURES);
	one->ebx = (one->ebx & CLFLUSH_SIZE) | ONE_PROCESSOR;
	one->ecx = (one->ecx & FEATURES_ECX) | CPUID_1_ECX_HYPERVISOR;
	one->edx &= FEATURES_EDX;
	*seven = cpuid_sub_checked(CPUID_EXTENDED, 0);
	seven->eax = 0;
	seven->ebx &= EXTENDED_EBX | (state & XCR0_HI16_ZMM ? EXTENDED_EBX_AVX512 : 0);
	seven->ecx &= EXTENDED_ECX | (state & XCR0_HI16_ZMM ? EXTENDED_ECX_AVX512 : 0);
	seven->edx &= EXTENDED_EDX;
	if (!(state & XCR0_AVX)) {
		one->ecx &= ~AVX_BITS_ECX;
		seven->ebx &= ~AVX_BITS_EBX;
		seven->ecx &= ~VEX_BITS_ECX7;
	}
}

static void init_xsave(void)
{
	uint64_t state = xstate_offered();

	components[0] = (struct cpuid_regs){
		.eax = (uint32_t)state, .ecx = xstate_standard_size(state), .edx = (uint32_t)(state >> 32)};
	components[1].eax = cpuid_sub_checked(CPUID_XSAVE, 1).eax &
		(CPUID_D1_EAX_XSAVEOPT | CPUID_D1_EAX_XGETBV1 |
			(xstate_compacted_size(state) ? CPUID_D1_EAX_XSAVEC : 0));
	for (unsigned i = 2; i < XSAVE_SUBS; i++) {
		if (state & 1ull << i)
			components[i] = cpuid_sub_checked(CPUID_XSAVE, i);
	}
}

static void init_extended(void)
{
	struct cpuid_regs *e = extended;

	e[0] = cpuid(CPUID_MAX_EXTENDED);
	e[0].eax = EXTENDED_MAX;
	e[1] = cpuid(CPUID_EXT_FEATURES);
	e[1].ebx = 0;
	e[1].ecx &= X1_ECX;
	e[1].edx &= X1_EDX;
	for (uint32_t i = 2; i <= 6; i++) /* the brand, and caches as AMD tells them */
		e[i] = cpuid(CPUID_MAX_EXTENDED + i);
	e[7].edx = CPUID_X7_EDX_INVARIANT_TSC;
	e[8].eax = cpuid(CPUID_ADDRESS_SIZES).eax & 0xffff;
}

void cpuid_init(void)
{
	basic[0] = cpuid(CPUID_MAX_BASIC);
	basic[0].eax = BASIC_MAX;
	init_features();
	init_xsave();
	init_extended();
	hypervisor.eax = HYPERVISOR;
	memcpy(&hypervisor.ebx, "Cree", 4);
	memcpy(&hypervisor.ecx, "lCre", 4);
	memcpy(&hypervisor.edx, "elCr", 4);
}

static struct cpuid_regs answer(struct core *core, uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r = {0};

	if (leaf == CPUID_XSAVE) {
		if (sub < XSAVE_SUBS)
			r = components[sub];
		if (sub == 0) /* host code runs with the guest's XCR0 */
			r.ebx = xstate_standard_size(xgetbv(0));
		if (sub == 1) /* Linux uses no XSAVE at all if it finds another size */
			r.ebx = xstate_compacted_size(xgetbv(0));
	} else if (leaf <= BASIC_MAX) {
		if (leaf != CPUID_EXTENDED || sub == 0)
			r = basic[leaf];
		if (leaf == CPUID_FEATURES && (hv.vm->get_cr(core, 4) & CR4_OSXSAVE))
			r.ecx |= CPUID_1_ECX_OSXSAVE;
	} else if (leaf >= CPUID_MAX_EXTENDED && leaf <= EXTENDED_MAX) {
		r = extended[leaf - CPUID_MAX_EXTENDED];
	} else if (leaf == HYPERVISOR) {
		r = hypervisor;
	}
	return r;
}

void cpuid_handle(struct core *core, struct guest *g)
{
	uint64_t *regs = g->machine.vcpu.regs;
	struct cpuid_regs r = answer(core, (uint32_t)regs[REG_RAX], (uint32_t)regs[REG_RCX]);

	regs[REG_RAX] = r.eax;
	regs[REG_RBX] = r.ebx;
	regs[REG_RCX] = r.ecx;
	regs[REG_RDX] = r.edx;
}
