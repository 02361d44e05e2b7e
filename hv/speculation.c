#include "hv/speculation.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/idt.h"
#include "hv/log.h"

static unsigned needed;

unsigned speculation_needed(const struct speculation_facts *f)
{
	unsigned set = 0;

	if ((f->leaf7_edx & CPUID_7_EDX_IBRS) || (f->leaf80000008_ebx & CPUID_X8_EBX_IBPB))
		set |= SPECULATION_IBPB;
	if (f->amd)
		return set;
	if ((f->leaf7_edx & CPUID_7_EDX_L1D_FLUSH) &&
		!(f->arch_capabilities & (ARCH_CAP_RDCL_NO | ARCH_CAP_SKIP_L1DFL)))
		set |= SPECULATION_L1D;
	/* A processor without MDS may still have its later kin (TAA, RFDS), for which VERW serves too. */
	if ((f->leaf7_edx & CPUID_7_EDX_MD_CLEAR) &&
		(!(f->arch_capabilities & ARCH_CAP_MDS_NO) ||
			!(f->arch_capabilities & ARCH_CAP_TAA_NO) ||
			!(f->arch_capabilities & ARCH_CAP_RFDS_NO)))
		set |= SPECULATION_VERW;
	return set;
}

void speculation_init(void)
{
	struct speculation_facts f = {
		.amd = cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM,
		.leaf7_edx = cpuid(CPUID_EXTENDED).edx,
		.leaf80000008_ebx = cpuid(CPUID_ADDRESS_SIZES).ebx,
	};

	if ((f.leaf7_edx & CPUID_7_EDX_ARCH_CAP) &&
		!rdmsr_safe(MSR_ARCH_CAPABILITIES, &f.arch_capabilities))
		f.arch_capabilities = 0;
	needed = speculation_needed(&f);
	log_info("between lineages:%s%s%s%s", needed & SPECULATION_IBPB ? " IBPB" : "",
		needed & SPECULATION_L1D ? " L1D flush" : "",
		needed & SPECULATION_VERW ? " VERW" : "",
		needed ? "" : " no barrier that this processor offers and needs");
}

/* SDM Vol 2, "VERR/VERW": with MD_CLEAR it overwrites the buffers; the operand must be in memory. */
static void overwrite_buffers(void)
{
	static const uint16_t selector = SELECTOR_DATA;

	__asm__ volatile("verw %0" : : "m"(selector) : "cc");
}

void speculation_enter(struct core *core, uint64_t lineage)
{
	if (core->lineage == lineage)
		return;
	core->lineage = lineage;
	if (!needed)
		return;
	if (needed & SPECULATION_IBPB)
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
	if (needed & SPECULATION_L1D)
		wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	if (needed & SPECULATION_VERW)
		overwrite_buffers();
}
