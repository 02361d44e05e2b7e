#include "hv/speculation.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/idt.h"
#include "hv/log.h"

#define AT_ENTRY (SPECULATION_L1D | SPECULATION_VERW)

unsigned speculation_at_entry;
static bool barrier; /* IBPB between lineages */
static struct speculation_guard guard;

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

static uint64_t intel_spec_ctrl(const struct speculation_facts *f)
{
	uint64_t bits = SPEC_CTRL_IBRS;

	if (!(f->leaf7_edx & CPUID_7_EDX_IBRS) || !(f->arch_capabilities & ARCH_CAP_IBRS_ALL))
		return 0;
	if (f->leaf7_2_edx & CPUID_7_2_EDX_RRSBA_CTRL)
		bits |= SPEC_CTRL_RRSBA_DIS_S;
	if (f->leaf7_2_edx & CPUID_7_2_EDX_BHI_CTRL)
		bits |= SPEC_CTRL_BHI_DIS_S;
	return bits;
}

struct speculation_guard speculation_guard(const struct speculation_facts *f)
{
	const uint32_t always = CPUID_X8_EBX_IBRS | CPUID_X8_EBX_IBRS_ALWAYS;
	struct speculation_guard g = {0, 0};

	if (!f->amd)
		g.spec_ctrl = intel_spec_ctrl(f);
	else if (f->leaf80000021_eax & CPUID_X21_EAX_AUTO_IBRS)
		g.efer = EFER_AIBRSE;
	else if ((f->leaf80000008_ebx & always) == always)
		g.spec_ctrl = SPEC_CTRL_IBRS;
	return g;
}

void speculation_init(void)
{
	struct speculation_facts f = {
		.amd = cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM,
		.leaf7_edx = cpuid(CPUID_EXTENDED).edx,
		.leaf80000008_ebx = cpuid(CPUID_ADDRESS_SIZES).ebx,
		.leaf80000021_eax = cpuid(CPUID_EXT_FEATURES_2).eax,
	};

	if ((f.leaf7_edx & CPUID_7_EDX_ARCH_CAP) &&
		!rdmsr_safe(MSR_ARCH_CAPABILITIES, &f.arch_capabilities))
		f.arch_capabilities = 0;
	if (cpuid(CPUID_EXTENDED).eax >= 2)
		f.leaf7_2_edx = cpuid_sub(CPUID_EXTENDED, 2).edx;
	barrier = speculation_needed(&f) & SPECULATION_IBPB;
	speculation_at_entry = speculation_needed(&f) & AT_ENTRY;
	guard = speculation_guard(&f);
	log_info("between lineages: %s; at each entry:%s%s%s", barrier ? "IBPB" : "no IBPB here",
		speculation_at_entry & SPECULATION_L1D ? " L1D flush" : "",
		speculation_at_entry & SPECULATION_VERW ? " VERW" : "",
		speculation_at_entry ? "" : " nothing that this processor offers and needs");
	log_info("the host's branches: %s", guard.efer ? "automatic IBRS" :
		guard.spec_ctrl ? "enhanced IBRS" : "not guarded, this processor has no IBRS that stays on");
}

void speculation_core_start(void)
{
	if (guard.spec_ctrl)
		wrmsr(MSR_SPEC_CTRL, guard.spec_ctrl);
	if (guard.efer)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | guard.efer);
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
	if (barrier)
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}

void speculation_before_entry(void)
{
	if (speculation_at_entry & SPECULATION_L1D)
		wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	if (speculation_at_entry & SPECULATION_VERW)
		overwrite_buffers();
}
