/*
 * The demands on VT-x, as a table. Without one of them the backend would need a second way of doing
 * the same thing, which nobody would ever run.
 *
 * SDM Vol 3, "VMX Capability Reporting Facility".
 */
#include "hv/vmx/demands.h"

#include "hv/cpu.h"
#include "lib/string.h"

/* A control that may be 1. */
#define MAY(bits) ((uint64_t)(bits) << 32)

struct demand {
	const char *name;
	size_t fact; /* offset in struct vmx_facts */
	uint64_t set, clear;
};

#define FACT(f) offsetof(struct vmx_facts, f)

static const struct demand demands[] = {
	/* Without them, exits that nobody needs can't be switched off. */
	{ "true controls", FACT(basic), BASIC_TRUE_CONTROLS, 0 },
	{ "free CR3 and INVLPG", FACT(proc), 0,
		PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING | PROC_INVLPG_EXITING },
	/* Frames are taken wherever memory is, and used through our write-back mapping. */
	{ "VMCSs above 4 GiB", FACT(basic), 0, BASIC_32BIT_ADDRESSES },
	{ "write-back VMCSs", FACT(basic), MEMORY_TYPE_WB << BASIC_TYPE_SHIFT,
		(BASIC_TYPE_MASK ^ MEMORY_TYPE_WB) << BASIC_TYPE_SHIFT },
	/* Interrupts, NMIs and windows. */
	{ "interrupt exiting", FACT(pin), MAY(PIN_INTERRUPT_EXITING), 0 },
	{ "NMI exiting", FACT(pin), MAY(PIN_NMI_EXITING), 0 },
	{ "virtual NMIs", FACT(pin), MAY(PIN_VIRTUAL_NMIS), 0 },
	{ "interrupt windows", FACT(proc), MAY(PROC_INTERRUPT_WINDOW), 0 },
	{ "TPR shadow", FACT(proc), MAY(PROC_TPR_SHADOW), 0 },
	{ "CR8-load exiting", FACT(proc), MAY(PROC_CR8_LOAD_EXITING), 0 },
	/* Instructions that no guest may run by itself. */
	{ "I/O exiting", FACT(proc), MAY(PROC_IO_EXITING), 0 },
	{ "MSR bitmaps", FACT(proc), MAY(PROC_MSR_BITMAPS), 0 },
	{ "HLT exiting", FACT(proc), MAY(PROC_HLT_EXITING), 0 },
	{ "MWAIT exiting", FACT(proc), MAY(PROC_MWAIT_EXITING), 0 },
	{ "MONITOR exiting", FACT(proc), MAY(PROC_MONITOR_EXITING), 0 },
	{ "RDPMC exiting", FACT(proc), MAY(PROC_RDPMC_EXITING), 0 },
	{ "TSC offsetting", FACT(proc), MAY(PROC_TSC_OFFSETTING), 0 },
	{ "secondary controls", FACT(proc), MAY(PROC_SECONDARY), 0 },
	{ "WBINVD exiting", FACT(proc2), MAY(PROC2_WBINVD_EXITING), 0 },
	/* Guest memory. */
	{ "EPT", FACT(proc2), MAY(PROC2_EPT), 0 },
	{ "EPT with 4 levels", FACT(ept_vpid), EPT_CAP_WALK_4, 0 },
	{ "write-back EPT", FACT(ept_vpid), EPT_CAP_WB, 0 },
	{ "single-context INVEPT", FACT(ept_vpid), EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE, 0 },
	{ "all-context INVEPT", FACT(ept_vpid), EPT_CAP_INVEPT | EPT_CAP_INVEPT_ALL, 0 },
	{ "unrestricted guest", FACT(proc2), MAY(PROC2_UNRESTRICTED), 0 },
	{ "VPID", FACT(proc2), MAY(PROC2_VPID), 0 },
	{ "all-context INVVPID", FACT(ept_vpid), EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL, 0 },
	/* A guest that changes its mode tells us so at the exit. */
	{ "EFER.LMA saved at exits", FACT(misc), MISC_EXIT_SAVES_LMA, 0 },
	{ "64-bit host", FACT(exit), MAY(EXIT_CTL_HOST_64), 0 },
	{ "64-bit guests", FACT(entry), MAY(ENTRY_CTL_IA32E), 0 },
	/* State that is switched by entry and exit. */
	{ "saved debug controls", FACT(exit), MAY(EXIT_CTL_SAVE_DEBUG), 0 },
	{ "loaded debug controls", FACT(entry), MAY(ENTRY_CTL_LOAD_DEBUG), 0 },
	{ "PAT switched at exits", FACT(exit), MAY(EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT), 0 },
	{ "PAT switched at entries", FACT(entry), MAY(ENTRY_CTL_LOAD_PAT), 0 },
	{ "EFER switched at exits", FACT(exit), MAY(EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER), 0 },
	{ "EFER switched at entries", FACT(entry), MAY(ENTRY_CTL_LOAD_EFER), 0 },
};

/* Instructions that CPUID offers would be #UD in a guest without their control. */
static const struct {
	const char *name;
	size_t has; /* offset of the bool in struct vmx_facts */
	uint64_t set;
} guest_instructions[] = {
	{ "RDTSCP in guests", FACT(has_rdtscp), MAY(PROC2_RDTSCP) },
	{ "INVPCID in guests", FACT(has_invpcid), MAY(PROC2_INVPCID) },
	{ "XSAVES in guests", FACT(has_xsaves), MAY(PROC2_XSAVES) },
};

struct sentence {
	char *text;
	size_t size, length;
	unsigned names;
};

static void add_text(struct sentence *s, const char *text)
{
	s->length += fmt(s->text + s->length, s->size - s->length, "%s", text);
}

static void add_name(struct sentence *s, const char *name)
{
	add_text(s, s->names++ ? ", " : "VT-x lacks ");
	add_text(s, name);
}

static void add_missing(struct sentence *s, const struct vmx_facts *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(demands); i++) {
		const struct demand *d = &demands[i];
		uint64_t fact;

		if (d->fact == FACT(ept_vpid) && !(f->proc2 & MAY(PROC2_EPT | PROC2_VPID)))
			continue; /* there is no such MSR; EPT and VPID are named themselves */
		memcpy(&fact, (const uint8_t *)f + d->fact, sizeof(fact));
		if ((fact & d->set) != d->set || (fact & d->clear) != 0)
			add_name(s, d->name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(guest_instructions); i++) {
		if (*((const bool *)f + guest_instructions[i].has) &&
				!(f->proc2 & guest_instructions[i].set))
			add_name(s, guest_instructions[i].name);
	}
}

bool vmx_demands_met(const struct vmx_facts *f, char *why, size_t why_size)
{
	struct sentence s = { .text = why, .size = why_size };

	add_text(&s, "");
	if (!(f->cpuid_ecx & CPUID_1_ECX_VMX)) {
		add_text(&s, "The processor has no VT-x: use one that has, or let the hypervisor below "
				"offer it (nested virtualisation).");
		return false;
	}
	add_missing(&s, f);
	if (s.names)
		add_text(&s, ": use an Intel processor of 2010 (Westmere) or later, or let the hypervisor "
				"below offer them.");
	if ((f->feature_control & FEATURE_LOCKED) &&
			!(f->feature_control & FEATURE_VMX_OUTSIDE_SMX)) {
		add_text(&s, s.names ? " And " : "");
		add_text(&s, "VT-x is disabled in the firmware set-up: enable it there (\"Intel "
				"Virtualization Technology\", \"VMX\"), then power the machine off and on.");
		return false;
	}
	return s.names == 0;
}
