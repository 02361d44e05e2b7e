/* Only the decision: what it leads to can't run outside of a hypervisor. */
#include "hv/cpu.h"
#include "hv/idt.h"
#include "hv/log.h"
#include "hv/speculation.h"
#include "tests/unit/test.h"

void log_write(enum config_log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	(void)msr;
	(void)value;
	return false;
}

static unsigned intel(uint32_t edx, uint64_t capabilities)
{
	const struct speculation_facts f = {.leaf7_edx = edx, .arch_capabilities = capabilities};

	return speculation_needed(&f);
}

#define ALL_EDX (CPUID_7_EDX_IBRS | CPUID_7_EDX_L1D_FLUSH | CPUID_7_EDX_MD_CLEAR | CPUID_7_EDX_ARCH_CAP)

TEST(speculation_takes_what_is_offered_and_needed)
{
	CHECK_EQ(intel(0, 0), 0);
	CHECK_EQ(intel(ALL_EDX, 0), SPECULATION_IBPB | SPECULATION_L1D | SPECULATION_VERW);
	CHECK_EQ(intel(ALL_EDX, ARCH_CAP_RDCL_NO), SPECULATION_IBPB | SPECULATION_VERW);
	CHECK_EQ(intel(ALL_EDX, ARCH_CAP_SKIP_L1DFL), SPECULATION_IBPB | SPECULATION_VERW);
	CHECK_EQ(intel(ALL_EDX, ARCH_CAP_RDCL_NO | ARCH_CAP_MDS_NO), SPECULATION_IBPB | SPECULATION_VERW);
	CHECK_EQ(intel(ALL_EDX, ARCH_CAP_RDCL_NO | ARCH_CAP_MDS_NO | ARCH_CAP_TAA_NO | ARCH_CAP_RFDS_NO),
		SPECULATION_IBPB);
}

TEST(speculation_on_amd_is_the_predictor_alone)
{
	struct speculation_facts f = {.amd = true, .leaf80000008_ebx = CPUID_X8_EBX_IBPB};

	CHECK_EQ(speculation_needed(&f), SPECULATION_IBPB);
	f.leaf80000008_ebx = 0;
	CHECK_EQ(speculation_needed(&f), 0);
}

static uint64_t intel_guard(uint32_t edx, uint32_t edx_2, uint64_t capabilities)
{
	const struct speculation_facts f = {
		.leaf7_edx = edx, .leaf7_2_edx = edx_2, .arch_capabilities = capabilities};
	struct speculation_guard g = speculation_guard(&f);

	CHECK_EQ(g.efer, 0);
	return g.spec_ctrl;
}

TEST(speculation_guard_on_intel_needs_ibrs_that_stays)
{
	const uint32_t both = CPUID_7_2_EDX_RRSBA_CTRL | CPUID_7_2_EDX_BHI_CTRL;

	CHECK_EQ(intel_guard(0, 0, 0), 0);
	CHECK_EQ(intel_guard(ALL_EDX, both, 0), 0);
	CHECK_EQ(intel_guard(0, both, ARCH_CAP_IBRS_ALL), 0);
	CHECK_EQ(intel_guard(ALL_EDX, 0, ARCH_CAP_IBRS_ALL), SPEC_CTRL_IBRS);
	CHECK_EQ(intel_guard(ALL_EDX, CPUID_7_2_EDX_BHI_CTRL, ARCH_CAP_IBRS_ALL),
		SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S);
	CHECK_EQ(intel_guard(ALL_EDX, both, ARCH_CAP_IBRS_ALL),
		SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S | SPEC_CTRL_RRSBA_DIS_S);
}

TEST(speculation_guard_on_amd_is_automatic_or_always)
{
	struct speculation_facts f = {.amd = true, .leaf80000008_ebx = CPUID_X8_EBX_IBRS};

	CHECK_EQ(speculation_guard(&f).spec_ctrl, 0);
	f.leaf80000008_ebx |= CPUID_X8_EBX_IBRS_ALWAYS;
	CHECK_EQ(speculation_guard(&f).spec_ctrl, SPEC_CTRL_IBRS);
	CHECK_EQ(speculation_guard(&f).efer, 0);
	f.leaf80000021_eax = CPUID_X21_EAX_AUTO_IBRS;
	CHECK_EQ(speculation_guard(&f).spec_ctrl, 0);
	CHECK_EQ(speculation_guard(&f).efer, EFER_AIBRSE);
}
