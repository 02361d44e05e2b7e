/* SDM Vol 3, "Machine-Check Architecture"; AMD has the same registers. */
#include "hv/machine_check.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/log.h"
#include "hv/panic.h"
#include "lib/string.h"

#define BANK_MSRS 4
#define BANK_CTL(n)    (MSR_MC0_CTL + BANK_MSRS * (n))
#define BANK_STATUS(n) (BANK_CTL(n) + 1)
#define BANK_ADDR(n)   (BANK_CTL(n) + 2)
#define BANK_MISC(n)   (BANK_CTL(n) + 3)

#define LINE_MAX 160

static bool present(void)
{
	uint32_t both = CPUID_1_EDX_MCE | CPUID_1_EDX_MCA;

	return (cpuid(CPUID_FEATURES).edx & both) == both;
}

static unsigned bank_count(void)
{
	return (unsigned)(rdmsr(MSR_MCG_CAP) & MCG_CAP_COUNT);
}

static void describe(char line[LINE_MAX], unsigned bank, uint64_t status)
{
	uint64_t addr = status & MC_STATUS_ADDRV ? rdmsr(BANK_ADDR(bank)) : 0;
	uint64_t misc = status & MC_STATUS_MISCV ? rdmsr(BANK_MISC(bank)) : 0;

	fmt(line, LINE_MAX, "machine check bank %u: status %016llx%s address %llx misc %llx", bank,
		(unsigned long long)status, status & MC_STATUS_UC ? " (uncorrected)" : "",
		(unsigned long long)addr, (unsigned long long)misc);
}

void machine_check_init(void)
{
	char line[LINE_MAX];

	if (!present())
		return;
	if (rdmsr(MSR_MCG_CAP) & MCG_CAP_CTL)
		wrmsr(MSR_MCG_CTL, UINT64_MAX);
	for (unsigned i = 0; i < bank_count(); i++) {
		uint64_t status = rdmsr(BANK_STATUS(i));

		if (status & MC_STATUS_VAL) {
			describe(line, i, status);
			log_warn("core %u: left from before the boot: %s", this_core()->id, line);
		}
		wrmsr(BANK_CTL(i), UINT64_MAX);
		wrmsr(BANK_STATUS(i), 0);
	}
}

void machine_check(const struct trap_frame *frame)
{
	uint64_t global = rdmsr(MSR_MCG_STATUS);
	char line[LINE_MAX];

	/* the first core to come shows its own; machine checks are often sent to all cores at once */
	if (panic_in_progress())
		panic_stop_here(frame);
	panic_begin();
	for (unsigned i = 0; i < bank_count(); i++) {
		uint64_t status = rdmsr(BANK_STATUS(i));

		if (!(status & MC_STATUS_VAL))
			continue;
		describe(line, i, status);
		log_panic_line(line);
	}
	panic_trap(frame, "machine check, global status %llx", (unsigned long long)global);
}
