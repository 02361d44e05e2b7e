#include "hv/core.h"

#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/idt.h"
#include "hv/log.h"

struct core *cores[CORE_MAX];
unsigned core_count, core_planned;

static uint64_t ist_bottom(const struct core *core, unsigned ist)
{
	return core->stacks + PAGE_SIZE + CORE_STACK_SIZE + PAGE_SIZE +
	       (ist - 1) * (CORE_IST_SIZE + PAGE_SIZE);
}

void core_set_stacks(struct core *core, uint64_t area)
{
	core->stacks = area;
	core->loop_guard = area;
	core->stack_top = (void *)(area + PAGE_SIZE + CORE_STACK_SIZE);
	for (unsigned ist = 1; ist < IST_END; ist++)
		core->tss.ist[ist - 1] = ist_bottom(core, ist) + CORE_IST_SIZE;
	core->tss.io_map = sizeof(core->tss);
}

void core_guard_stacks(const struct core *core)
{
	hostmap_unmap_page(core->stacks);
	hostmap_unmap_page(core->loop_guard);
	for (unsigned ist = 1; ist < IST_END; ist++)
		hostmap_unmap_page(ist_bottom(core, ist) - PAGE_SIZE);
}

const char *core_guard_name(const struct core *core, uint64_t address)
{
	static const char *const names[IST_END] = {
		[IST_DOUBLE_FAULT] = "double-fault",
		[IST_NMI] = "NMI",
		[IST_MACHINE_CHECK] = "machine-check",
	};
	uint64_t page = align_down(address, PAGE_SIZE);

	if (page == core->loop_guard)
		return "core's";
	for (unsigned ist = 1; ist < IST_END; ist++)
		if (page == ist_bottom(core, ist) - PAGE_SIZE)
			return names[ist];
	return NULL;
}

/* APM Vol 2, "LFENCE": serialising only with this bit. LFENCE orders our TSC readings, and keeps
 * speculation from running ahead of checks. Elsewhere the register does not exist. */
static void serialise_lfence(void)
{
	uint64_t value;

	if (!(cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM) || !rdmsr_safe(MSR_DE_CFG, &value))
		return;
	if (!wrmsr_safe(MSR_DE_CFG, value | DE_CFG_LFENCE_SERIALISE))
		log_debug("core %u: LFENCE cannot be made serialising", this_core()->id);
}

void core_setup_registers(void)
{
	struct cpuid_regs features = cpuid(CPUID_FEATURES), extended = cpuid(CPUID_EXTENDED);
	uint64_t cr4 = read_cr4();

	/* no FPU emulation, native errors, writes by us honour read-only pages */
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS | CR0_CD | CR0_NW | CR0_AM)) | CR0_MP | CR0_NE |
		  CR0_WP);
	cr4 &= ~(CR4_PGE | CR4_PCIDE | CR4_TSD | CR4_PCE | CR4_SMAP | CR4_PKE | CR4_CET | CR4_PKS);
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_DE;
	if (features.edx & CPUID_1_EDX_MCE)
		cr4 |= CR4_MCE;
	if (features.ecx & CPUID_1_ECX_XSAVE)
		cr4 |= CR4_OSXSAVE;
	if (extended.ebx & CPUID_7_EBX_SMEP)
		cr4 |= CR4_SMEP;
	write_cr4(cr4);
	if (features.ecx & CPUID_1_ECX_XSAVE)
		xsetbv(0, XCR0_X87 | XCR0_SSE);
	serialise_lfence();
	hostmap_setup_core();
}

struct core *core_boot(uint64_t stack_guard)
{
	static struct core boot_core;
	static uint8_t stacks[CORE_STACKS_SIZE] ALIGNED(4096);

	if (!boot_core.stacks)
		core_set_stacks(&boot_core, (uint64_t)stacks);
	boot_core.loop_guard = stack_guard;
	return &boot_core;
}
