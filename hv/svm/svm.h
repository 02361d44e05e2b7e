/* What the files of the AMD-V backend share. Nothing outside hv/svm includes this. */
#ifndef HV_SVM_SVM_H
#define HV_SVM_SVM_H

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/svm/vmcb.h"
#include "hv/vm.h"

/* What V_IRQ of the VMCB is set for. */
enum svm_virq {
	VIRQ_NONE,
	VIRQ_WINDOW,  /* its delivery is intercepted, so VMEXIT_VINTR comes when the guest could take one */
	VIRQ_DELIVER, /* the pending interrupt of the vCPU */
};

/*
 * A core's own: core->vm. One VMCB, which holds the loaded vCPU. A field that has not changed since
 * the last entry is neither written again nor, with clean bits, read by the processor: who writes a
 * field clears its clean bit.
 * The second half mirrors what registers and fields hold.
 */
struct svm_core {
	struct vmcb *vmcb;
	struct vmcb *host; /* what VMLOAD restores of the host after an exit */
	uint32_t clean;    /* CLEAN_ALL, or 0 where the processor has no clean bits */
	bool has_next_rip, has_flush_by_asid;
	bool has_tsc_aux, has_xsave, has_xss;
	uint64_t cr4_forced; /* always 1 in the guest's CR4 */

	enum svm_virq virq;
	uint64_t dr[4]; /* of the last vCPU, while none is loaded */
	uint64_t tsc_aux, xss;
};

_Static_assert(sizeof(struct svm_core) <= PAGE_SIZE, "lives in one frame");

/* enter.S: load the guest's general registers, enter, and come back at the next exit with them
 * saved. RAX goes by way of the VMCB. */
void svm_enter(struct vmcb *guest, uint64_t regs[REG_COUNT], struct vmcb *host);

/* Have the next entry drop translations. */
void svm_flush(struct svm_core *c, enum tlb_action action);

int svm_probe(struct vm_caps *caps, char *why, size_t why_size);
int svm_core_start(struct core *core, struct frame_pool *pool);
void svm_load(struct core *core, struct vcpu *vcpu);
void svm_store(struct core *core, struct vcpu *vcpu);
void svm_skip(struct core *core, struct vcpu *vcpu, const struct vm_exit *exit);
uint64_t svm_get_cr(struct core *core, unsigned number);
void svm_set_cr(struct core *core, struct vcpu *vcpu, unsigned number, uint64_t value);
bool svm_interruptible(struct core *core, struct vcpu *vcpu);

#endif
