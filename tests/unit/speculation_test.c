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
