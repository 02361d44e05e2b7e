/*
 * The processor, as both backends and the platform code use it: privileged instructions as inline
 * functions, and the names of CPUID bits, MSRs and control register bits. What belongs to one
 * backend only (VMCS, VMCB, VMX capability MSRs) stands in its own folder.
 *
 * SDM Vol 2 and Vol 3 "Control Registers", Vol 4 "Model-Specific Registers";
 * APM Vol 2 "MSR Cross-Reference", Vol 3 "Obtaining Processor Information Via the CPUID Instruction".
 */
#ifndef HV_CPU_H
#define HV_CPU_H

#include "lib/base.h"

/* ---- control registers ------------------------------------------------------------------------ */

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_VME        (1ull << 0)
#define CR4_PVI        (1ull << 1)
#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PSE        (1ull << 4)
#define CR4_PAE        (1ull << 5)
#define CR4_MCE        (1ull << 6)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_VMXE       (1ull << 13)
#define CR4_SMXE       (1ull << 14)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)
#define CR4_PKE        (1ull << 22)
#define CR4_CET        (1ull << 23)
#define CR4_PKS        (1ull << 24)

#define XCR0_X87       (1ull << 0)
#define XCR0_SSE       (1ull << 1)
#define XCR0_AVX       (1ull << 2)
#define XCR0_BNDREGS   (1ull << 3)
#define XCR0_BNDCSR    (1ull << 4)
#define XCR0_OPMASK    (1ull << 5)
#define XCR0_ZMM_HI256 (1ull << 6)
#define XCR0_HI16_ZMM  (1ull << 7)
#define XCR0_PKRU      (1ull << 9)
#define XCR0_TILECFG   (1ull << 17)
#define XCR0_TILEDATA  (1ull << 18)

#define RFLAGS_CF  (1ull << 0)
#define RFLAGS_ONE (1ull << 1) /* always set */
#define RFLAGS_ZF  (1ull << 6)
#define RFLAGS_TF  (1ull << 8)
#define RFLAGS_IF  (1ull << 9)
#define RFLAGS_DF  (1ull << 10)
#define RFLAGS_RF  (1ull << 16)
#define RFLAGS_VM  (1ull << 17)
#define RFLAGS_AC  (1ull << 18)
#define RFLAGS_ID  (1ull << 21)

/* DR6 and DR7 as they are after reset. */
#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull
#define DR6_BD    (1ull << 13)
#define DR6_BS    (1ull << 14)
#define DR7_GD    (1ull << 13)

/* ---- exceptions ------------------------------------------------------------------------------- */

enum {
	VECTOR_DE = 0, VECTOR_DB = 1, VECTOR_NMI = 2, VECTOR_BP = 3, VECTOR_OF = 4, VECTOR_BR = 5,
	VECTOR_UD = 6, VECTOR_NM = 7, VECTOR_DF = 8, VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12,
	VECTOR_GP = 13, VECTOR_PF = 14, VECTOR_MF = 16, VECTOR_AC = 17, VECTOR_MC = 18,
	VECTOR_XM = 19, VECTOR_VE = 20, VECTOR_CP = 21,
	VECTOR_EXCEPTIONS = 32,
};

#define PF_PRESENT  (1u << 0)
#define PF_WRITE    (1u << 1)
#define PF_USER     (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH    (1u << 4)

/* ---- MSRs that both vendors have -------------------------------------------------------------- */

#define MSR_TSC                 0x10
#define MSR_PLATFORM_ID         0x17
#define MSR_APIC_BASE           0x1b
#define   APIC_BASE_BSP         (1ull << 8)
#define   APIC_BASE_X2APIC      (1ull << 10)
#define   APIC_BASE_ENABLE      (1ull << 11)
#define MSR_TSC_ADJUST          0x3b
#define MSR_SPEC_CTRL           0x48
#define   SPEC_CTRL_IBRS        (1ull << 0)
#define   SPEC_CTRL_STIBP       (1ull << 1)
#define   SPEC_CTRL_SSBD        (1ull << 2)
#define   SPEC_CTRL_RRSBA_DIS_S (1ull << 6)  /* RET takes no target from elsewhere than its stack */
#define   SPEC_CTRL_BHI_DIS_S   (1ull << 10) /* nor do indirect branches by the history of lower rings */
#define MSR_PRED_CMD            0x49
#define   PRED_CMD_IBPB         (1ull << 0)
#define MSR_UCODE_WRITE         0x79 /* Intel: BIOS_UPDT_TRIG */
#define MSR_UCODE_REV           0x8b
#define MSR_MPERF               0xe7
#define MSR_APERF               0xe8
#define MSR_MTRR_CAP            0xfe
#define MSR_ARCH_CAPABILITIES   0x10a
#define   ARCH_CAP_RDCL_NO      (1ull << 0)
#define   ARCH_CAP_IBRS_ALL     (1ull << 1)
#define   ARCH_CAP_SKIP_L1DFL   (1ull << 3)
#define   ARCH_CAP_SSB_NO       (1ull << 4)
#define   ARCH_CAP_MDS_NO       (1ull << 5)
#define   ARCH_CAP_PSCHANGE_NO  (1ull << 6) /* no machine check on a page size change (iTLB multihit) */
#define   ARCH_CAP_TAA_NO       (1ull << 8)
#define   ARCH_CAP_FB_CLEAR     (1ull << 17)
#define   ARCH_CAP_RFDS_NO      (1ull << 27)
#define MSR_FLUSH_CMD           0x10b
#define   FLUSH_CMD_L1D         (1ull << 0)
#define MSR_SYSENTER_CS         0x174
#define MSR_SYSENTER_ESP        0x175
#define MSR_SYSENTER_EIP        0x176
#define MSR_MCG_CAP             0x179
#define   MCG_CAP_COUNT         0xffull
#define   MCG_CAP_CTL           (1ull << 8)
#define MSR_MCG_STATUS          0x17a
#define   MCG_STATUS_RIPV       (1ull << 0)
#define   MCG_STATUS_EIPV       (1ull << 1)
#define   MCG_STATUS_MCIP       (1ull << 2)
#define MSR_MCG_CTL             0x17b
#define MSR_MISC_ENABLE         0x1a0
#define MSR_DEBUGCTL            0x1d9
#define MSR_MTRR_PHYS_BASE0     0x200
#define MSR_PAT                 0x277
#define   PAT_RESET             0x0007040600070406ull
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MSR_MC0_CTL             0x400 /* four MSRs a bank: CTL, STATUS, ADDR, MISC */
#define   MC_STATUS_ADDRV       (1ull << 58)
#define   MC_STATUS_MISCV       (1ull << 59)
#define   MC_STATUS_UC          (1ull << 61)
#define   MC_STATUS_VAL         (1ull << 63)
#define MSR_U_CET               0x6a0
#define MSR_S_CET               0x6a2
#define MSR_PL0_SSP             0x6a4 /* PL0 to PL3 follow each other */
#define MSR_INT_SSP_TABLE       0x6a8
#define MSR_TSC_DEADLINE        0x6e0
#define MSR_X2APIC_BASE         0x800 /* register at MMIO offset N is MSR 0x800 + N / 16 */
#define MSR_XSS                 0xda0
#define MSR_EFER                0xc0000080
#define   EFER_SCE              (1ull << 0)
#define   EFER_LME              (1ull << 8)
#define   EFER_LMA              (1ull << 10)
#define   EFER_NXE              (1ull << 11)
#define   EFER_SVME             (1ull << 12)
#define   EFER_LMSLE            (1ull << 13)
#define   EFER_FFXSR            (1ull << 14)
#define   EFER_TCE              (1ull << 15)
#define   EFER_AIBRSE           (1ull << 21) /* AMD: automatic IBRS */
#define MSR_STAR                0xc0000081
#define MSR_LSTAR               0xc0000082
#define MSR_CSTAR               0xc0000083
#define MSR_SFMASK              0xc0000084
#define MSR_FS_BASE             0xc0000100
#define MSR_GS_BASE             0xc0000101
#define MSR_KERNEL_GS_BASE      0xc0000102
#define MSR_TSC_AUX             0xc0000103
#define MSR_DE_CFG              0xc0011029 /* AMD */
#define   DE_CFG_LFENCE_SERIALISE (1ull << 1)

/* ---- CPUID ------------------------------------------------------------------------------------ */

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

#define CPUID_MAX_BASIC       0x0u
#define CPUID_FEATURES        0x1u
#define   CPUID_1_ECX_SSE3    (1u << 0)
#define   CPUID_1_ECX_MONITOR (1u << 3)
#define   CPUID_1_ECX_VMX     (1u << 5)
#define   CPUID_1_ECX_PCID    (1u << 17)
#define   CPUID_1_ECX_X2APIC  (1u << 21)
#define   CPUID_1_ECX_TSC_DEADLINE (1u << 24)
#define   CPUID_1_ECX_AES     (1u << 25)
#define   CPUID_1_ECX_XSAVE   (1u << 26)
#define   CPUID_1_ECX_OSXSAVE (1u << 27)
#define   CPUID_1_ECX_AVX     (1u << 28)
#define   CPUID_1_ECX_RDRAND  (1u << 30)
#define   CPUID_1_ECX_HYPERVISOR (1u << 31)
#define   CPUID_1_EDX_MCE     (1u << 7)
#define   CPUID_1_EDX_APIC    (1u << 9)
#define   CPUID_1_EDX_PGE     (1u << 13)
#define   CPUID_1_EDX_MCA     (1u << 14)
#define   CPUID_1_EDX_PAT     (1u << 16)
#define   CPUID_1_EDX_HTT     (1u << 28)
#define CPUID_POWER           0x6u
#define   CPUID_6_EAX_ARAT    (1u << 2) /* the local APIC timer runs in deep sleep states */
#define CPUID_EXTENDED        0x7u
#define   CPUID_7_EBX_FSGSBASE   (1u << 0)
#define   CPUID_7_EBX_TSC_ADJUST (1u << 1)
#define   CPUID_7_EBX_SMEP    (1u << 7)
#define   CPUID_7_EBX_ERMS    (1u << 9)
#define   CPUID_7_EBX_INVPCID (1u << 10)
#define   CPUID_7_EBX_RDSEED  (1u << 18)
#define   CPUID_7_EBX_SMAP    (1u << 20)
#define   CPUID_7_ECX_UMIP    (1u << 2)
#define   CPUID_7_ECX_PKU     (1u << 3)
#define   CPUID_7_ECX_CET_SS  (1u << 7)
#define   CPUID_7_ECX_LA57    (1u << 16)
#define   CPUID_7_ECX_RDPID   (1u << 22)
#define   CPUID_7_ECX_PKS     (1u << 31)
#define   CPUID_7_EDX_FSRM    (1u << 4)
#define   CPUID_7_EDX_MD_CLEAR (1u << 10)
#define   CPUID_7_EDX_HYBRID  (1u << 15)
#define   CPUID_7_EDX_CET_IBT (1u << 20)
#define   CPUID_7_EDX_IBRS    (1u << 26) /* IBRS and IBPB */
#define   CPUID_7_EDX_STIBP   (1u << 27)
#define   CPUID_7_EDX_L1D_FLUSH (1u << 28)
#define   CPUID_7_EDX_ARCH_CAP (1u << 29)
#define   CPUID_7_EDX_SSBD    (1u << 31)
#define   CPUID_7_2_EDX_RRSBA_CTRL (1u << 2)
#define   CPUID_7_2_EDX_BHI_CTRL (1u << 4)
#define CPUID_TOPOLOGY        0xbu
#define CPUID_XSAVE           0xdu
#define   CPUID_D1_EAX_XSAVEOPT (1u << 0)
#define   CPUID_D1_EAX_XSAVEC (1u << 1)
#define   CPUID_D1_EAX_XGETBV1 (1u << 2)
#define   CPUID_D1_EAX_XSAVES (1u << 3)
#define CPUID_TSC             0x15u
#define CPUID_FREQUENCY       0x16u
#define CPUID_TOPOLOGY_V2     0x1fu
#define CPUID_MAX_EXTENDED    0x80000000u
#define CPUID_EXT_FEATURES    0x80000001u
#define   CPUID_X1_ECX_SVM    (1u << 2)
#define   CPUID_X1_ECX_TOPOEXT (1u << 22)
#define   CPUID_X1_EDX_SYSCALL (1u << 11)
#define   CPUID_X1_EDX_NX     (1u << 20)
#define   CPUID_X1_EDX_1GIB   (1u << 26)
#define   CPUID_X1_EDX_RDTSCP (1u << 27)
#define   CPUID_X1_EDX_LM     (1u << 29)
#define CPUID_BRAND           0x80000002u /* to 0x80000004 */
#define CPUID_INVARIANT       0x80000007u
#define   CPUID_X7_EDX_INVARIANT_TSC (1u << 8)
#define CPUID_ADDRESS_SIZES   0x80000008u /* EAX 7:0 physical, 15:8 linear bits */
#define   CPUID_X8_EBX_XSAVE_ERR_PTR (1u << 2)
#define   CPUID_X8_EBX_IBPB   (1u << 12)
#define   CPUID_X8_EBX_IBRS   (1u << 14)
#define   CPUID_X8_EBX_IBRS_ALWAYS (1u << 16) /* set once, it protects for ever */
#define CPUID_SVM             0x8000000au
#define CPUID_AMD_TOPOLOGY    0x8000001eu
#define CPUID_EXT_FEATURES_2  0x80000021u
#define   CPUID_X21_EAX_AUTO_IBRS (1u << 8)

static inline struct cpuid_regs cpuid_sub(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
		: "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(sub));
	return r;
}

/* The leaf, or zeros where the processor does not have it (it would answer with another leaf). */
static inline struct cpuid_regs cpuid(uint32_t leaf)
{
	uint32_t range = leaf & 0x80000000u;

	if (leaf > cpuid_sub(range, 0).eax)
		return (struct cpuid_regs){ 0 };
	return cpuid_sub(leaf, 0);
}

static inline struct cpuid_regs cpuid_sub_checked(uint32_t leaf, uint32_t sub)
{
	if (leaf > cpuid_sub(leaf & 0x80000000u, 0).eax)
		return (struct cpuid_regs){ 0 };
	return cpuid_sub(leaf, sub);
}

/* ---- MSRs ------------------------------------------------------------------------------------- */

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr"
		:: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* ---- port I/O --------------------------------------------------------------------------------- */

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" :: "a"(v), "Nd"(port) : "memory");
}

/* ---- memory-mapped registers ------------------------------------------------------------------ */

static inline uint32_t mmio_read32(uint64_t address)
{
	return *(volatile uint32_t *)address;
}

static inline void mmio_write32(uint64_t address, uint32_t v)
{
	*(volatile uint32_t *)address = v;
}

static inline uint64_t mmio_read64(uint64_t address)
{
	return *(volatile uint64_t *)address;
}

static inline void mmio_write64(uint64_t address, uint64_t v)
{
	*(volatile uint64_t *)address = v;
}

/* ---- time and entropy ------------------------------------------------------------------------- */

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

/* Not before earlier instructions are done (SDM Vol 2, "RDTSC"). On AMD LFENCE serialises because
 * core_setup_registers() has set DE_CFG so. */
static inline uint64_t rdtsc_ordered(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

/* False when the hardware had no number ready; only where CPUID offers the instruction. */
static inline bool rdrand64(uint64_t *out)
{
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}

static inline bool rdseed64(uint64_t *out)
{
	bool ok;

	__asm__ volatile("rdseed %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}

/* ---- control and debug registers -------------------------------------------------------------- */

#define CPU_REGISTER(name)                                                                         \
	static inline uint64_t read_##name(void)                                                   \
	{                                                                                          \
		uint64_t v;                                                                        \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(v) :: "memory");                     \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_##name(uint64_t v)                                                \
	{                                                                                          \
		__asm__ volatile("mov %0, %%" #name :: "r"(v) : "memory");                         \
	}

CPU_REGISTER(cr0)
CPU_REGISTER(cr2)
CPU_REGISTER(cr3)
CPU_REGISTER(cr4)
CPU_REGISTER(cr8)
CPU_REGISTER(dr0)
CPU_REGISTER(dr1)
CPU_REGISTER(dr2)
CPU_REGISTER(dr3)
CPU_REGISTER(dr6)
CPU_REGISTER(dr7)

#undef CPU_REGISTER

static inline uint64_t read_rflags(void)
{
	uint64_t v;

	__asm__ volatile("pushfq; pop %0" : "=r"(v) :: "memory");
	return v;
}

static inline void invlpg(uint64_t address)
{
	__asm__ volatile("invlpg (%0)" :: "r"(address) : "memory");
}

/* ---- vector state: CR4.OSXSAVE must be set ---------------------------------------------------- */

static inline uint64_t xgetbv(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t index, uint64_t value)
{
	__asm__ volatile("xsetbv"
		:: "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* `area` is 64-byte aligned; `mask` picks the components. */
static inline void xsave(void *area, uint64_t mask)
{
	__asm__ volatile("xsave64 (%0)"
		:: "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xsavec(void *area, uint64_t mask)
{
	__asm__ volatile("xsavec64 (%0)"
		:: "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

/* #GP on a malformed image: only images that we wrote or checked come here. */
static inline void xrstor(const void *area, uint64_t mask)
{
	__asm__ volatile("xrstor64 (%0)"
		:: "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void fninit(void)
{
	__asm__ volatile("fninit");
}

static inline uint32_t rdpkru(void)
{
	uint32_t v;

	__asm__ volatile("rdpkru" : "=a"(v) : "c"(0) : "edx");
	return v;
}

static inline void wrpkru(uint32_t v)
{
	__asm__ volatile("wrpkru" :: "a"(v), "c"(0), "d"(0) : "memory");
}

/* ---- segments and tables ---------------------------------------------------------------------- */

/* The operand of LGDT, LIDT, SGDT and SIDT. */
struct PACKED cpu_table {
	uint16_t limit;
	uint64_t base;
};

_Static_assert(sizeof(struct cpu_table) == 10, "operand of LGDT");

static inline void lgdt(const struct cpu_table *t)
{
	__asm__ volatile("lgdt %0" :: "m"(*t) : "memory");
}

static inline void lidt(const struct cpu_table *t)
{
	__asm__ volatile("lidt %0" :: "m"(*t) : "memory");
}

static inline void sgdt(struct cpu_table *t)
{
	__asm__ volatile("sgdt %0" : "=m"(*t) :: "memory");
}

static inline void sidt(struct cpu_table *t)
{
	__asm__ volatile("sidt %0" : "=m"(*t) :: "memory");
}

static inline void ltr(uint16_t selector)
{
	__asm__ volatile("ltr %0" :: "r"(selector) : "memory");
}

static inline void lldt(uint16_t selector)
{
	__asm__ volatile("lldt %0" :: "r"(selector) : "memory");
}

/* ---- interrupts and order --------------------------------------------------------------------- */

static inline void cpu_cli(void)
{
	__asm__ volatile("cli" ::: "memory");
}

static inline void cpu_sti(void)
{
	__asm__ volatile("sti" ::: "memory");
}

/* Interrupts off, until cpu_irq_restore() with what this returned; nests. */
static inline uint64_t cpu_irq_save(void)
{
	uint64_t flags = read_rflags();

	cpu_cli();
	return flags;
}

static inline void cpu_irq_restore(uint64_t flags)
{
	if (flags & RFLAGS_IF)
		cpu_sti();
}

/* Let the handlers of what is pending run; interrupts are off before and after. */
static inline void cpu_take_interrupts(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

/* Enable interrupts and sleep until one comes; none can slip in between (the shadow of STI). They
 * are off again on return. */
static inline void cpu_sleep(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void cpu_wbinvd(void)
{
	__asm__ volatile("wbinvd" ::: "memory");
}

/* Stop this core for ever; NMI and machine checks still arrive, and it stops again. */
NORETURN static inline void cpu_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" ::: "memory");
}

#endif
