/* What Creel wants of VT-x, and the check that a processor has it. Pure. */
#ifndef HV_VMX_DEMANDS_H
#define HV_VMX_DEMANDS_H

#include "hv/vmx/vmcs.h"

/* The control bits that are always on; each is a demand. */
#define PIN_WANTED  (PIN_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS)
#define PROC_WANTED                                                                                \
	(PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_MWAIT_EXITING | PROC_RDPMC_EXITING |        \
		PROC_CR8_LOAD_EXITING | PROC_TPR_SHADOW | PROC_IO_EXITING | PROC_MSR_BITMAPS |     \
		PROC_MONITOR_EXITING | PROC_SECONDARY)
#define PROC2_WANTED (PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED | PROC2_WBINVD_EXITING)
#define EXIT_WANTED                                                                                \
	(EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_64 | EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT |          \
		EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER)
#define ENTRY_WANTED (ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER)

/* Needed in one state of the guest, or for one exit. */
#define PROC_AT_TIMES  PROC_INTERRUPT_WINDOW
#define ENTRY_AT_TIMES ENTRY_CTL_IA32E

/* On where the processor has the instruction, which is then a demand (RDTSCP, INVPCID, XSAVES), or
 * where it can be forbidden (ENCLS). */
#define PROC2_OPTIONAL (PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_ENCLS_EXITING)

/* What a processor says about itself; all zero but cpuid_ecx where it has no VMX. */
struct vmx_facts {
	uint64_t cpuid_ecx; /* of leaf 1 */
	uint64_t feature_control;
	uint64_t basic, misc;
	uint64_t pin, proc, proc2, exit, entry; /* must-be-1 below, may-be-1 above */
	uint64_t ept_vpid;
	bool has_rdtscp, has_invpcid, has_xsaves;
};

/*
 * Write a sentence to `why` that names every demand that is not met, with a remedy.
 * Returns true when there are none; then why[0] is 0.
 */
bool vmx_demands_met(const struct vmx_facts *f, char *why, size_t why_size);

/* A control word: what is wanted and must be, as far as it may be. */
static inline uint32_t vmx_control_word(uint64_t capability, uint32_t wanted)
{
	return (wanted | (uint32_t)capability) & (uint32_t)(capability >> 32);
}

#endif
