/* What Creel wants of AMD-V, and the check that a processor has it. Pure. */
#ifndef HV_SVM_DEMANDS_H
#define HV_SVM_DEMANDS_H

#include "hv/svm/vmcb.h"

/* What a processor says about itself; zero where it doesn't. */
struct svm_facts {
	uint32_t extended_ecx, extended_edx; /* CPUID_EXT_FEATURES */
	uint32_t asids, svm_edx;             /* CPUID_SVM */
	uint64_t vm_cr;                      /* MSR_VM_CR */
};

/*
 * Write a sentence to `why` that names every demand that is not met, with a remedy.
 * Returns true when there are none; then why[0] is 0.
 */
bool svm_demands_met(const struct svm_facts *f, char *why, size_t why_size);

/* AMD-V is switched off until the next reset. SVMDIS without LOCK could be cleared. */
static inline bool svm_locked_out(uint64_t vm_cr)
{
	return (vm_cr & VM_CR_SVMDIS) && (vm_cr & VM_CR_LOCK);
}

#endif
