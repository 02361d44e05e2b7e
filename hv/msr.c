/*
 * MSRs by allow-list. Those that are switched with the guest (segment bases, SYSCALL and SYSENTER) do
 * not exit at all; the few here do, and everything else is #GP.
 */
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/exit.h"
#include "hv/hypervisor.h"

#define EFER_CHANGEABLE (EFER_SCE | EFER_NXE)
#define PAT_TYPES       8

/* SDM Vol 3, "IA32_PAT MSR": types 2 and 3 are reserved, and so is all above 7. */
static bool pat_valid(uint64_t v)
{
	for (unsigned i = 0; i < PAT_TYPES; i++, v >>= 8) {
		uint8_t type = (uint8_t)v;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* APM Vol 2, "Long-Mode Activation": long mode is chosen while paging is off. */
static bool efer_valid(const struct vcpu *v, uint64_t value)
{
	uint64_t changeable = EFER_CHANGEABLE | (v->cr0 & CR0_PG ? 0 : EFER_LME);

	return ((value ^ v->efer) & ~changeable) == 0;
}

bool msr_read(struct core *core, struct guest *g, uint32_t msr, uint64_t *value)
{
	struct vcpu *v = &g->machine.vcpu;

	switch (msr) {
	case MSR_TSC:
		*value = rdtsc() + v->tsc_offset;
		return true;
	case MSR_UCODE_REV:
		*value = 0;
		return true;
	case MSR_EFER:
	case MSR_PAT:
	case MSR_TSC_AUX:
		exit_unload(core, g);
		*value = msr == MSR_EFER ? v->efer : msr == MSR_PAT ? v->pat : v->tsc_aux;
		exit_reload(core, g);
		return true;
	default:
		return false;
	}
}

bool msr_write(struct core *core, struct guest *g, uint32_t msr, uint64_t value)
{
	struct vcpu *v = &g->machine.vcpu;
	bool good = true;

	exit_unload(core, g);
	switch (msr) {
	case MSR_EFER:
		good = efer_valid(v, value);
		if (good)
			v->efer = value;
		break;
	case MSR_PAT:
		good = pat_valid(value);
		if (good)
			v->pat = value;
		break;
	case MSR_TSC_AUX:
		good = value <= UINT32_MAX;
		if (good)
			v->tsc_aux = value;
		break;
	default:
		good = false;
		break;
	}
	exit_reload(core, g);
	return good;
}
