/* What the files of the VT-x backend share. Nothing outside hv/vmx includes this. */
#ifndef HV_VMX_VMX_H
#define HV_VMX_VMX_H

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/vm.h"
#include "hv/vmx/instructions.h"
#include "hv/vmx/vmcs.h"

/* MSRs that neither VMCS nor entry and exit switch, that guests use without exits, and that host
 * code never uses: load() writes them, store() reads them. */
struct vmx_switched_msr {
	uint32_t msr;
	size_t field; /* offset of its uint64_t in struct vcpu */
};

#define VMX_SWITCHED_MSRS 6
extern const struct vmx_switched_msr vmx_switched_msrs[VMX_SWITCHED_MSRS];

/*
 * A core's own: core->vm. One VMCS, made current when the core starts and never again moved, so it
 * needs no VMCLEAR: load() overwrites every guest field, and the launch state is this core's.
 * The second half mirrors what registers and fields hold, to save writing the same again.
 */
struct vmx_core {
	uint64_t host_rsp; /* what HOST_RSP holds; must be first (enter.S) */
	bool launched;
	bool has_tsc_aux;
	bool has_xsave, has_xss;
	bool has_timer;
	uint8_t timer_rate;       /* the preemption timer ticks once in 2^rate of the TSC */
	uint64_t cr0_forced;      /* always 1 in the real CR0, whatever the guest sees */
	uint64_t cr4_forced;
	uint64_t cr0_owned;       /* host-owned: reads come from the shadow, changes exit */
	uint64_t cr4_owned;
	uint8_t *virtual_apic;    /* the page whose VIRTUAL_TPR is the guest's CR8 */

	uint32_t pin, proc;
	uint64_t eptp;
	uint32_t vpid;
	uint64_t switched[VMX_SWITCHED_MSRS];
	uint64_t dr[4], dr6;
	uint64_t xss;
};

_Static_assert(offsetof(struct vmx_core, host_rsp) == 0, "enter.S compares it");
_Static_assert(sizeof(struct vmx_core) <= PAGE_SIZE, "lives in one frame");

/*
 * enter.S: load the guest's general registers, enter, and come back at the next exit with them saved.
 * Returns 0 after an exit, a failed entry's included; 1 when the instruction itself failed.
 */
int vmx_enter(uint64_t regs[REG_COUNT], struct vmx_core *c, bool launched);
void vmx_exit_point(void);

int vmx_probe(struct vm_caps *caps, char *why, size_t why_size);
int vmx_core_start(struct core *core, struct frame_pool *pool);
void vmx_load(struct core *core, struct vcpu *vcpu);
void vmx_store(struct core *core, struct vcpu *vcpu);
void vmx_skip(struct core *core, struct vcpu *vcpu, const struct vm_exit *exit);
uint64_t vmx_get_cr(struct core *core, unsigned number);
void vmx_set_cr(struct core *core, struct vcpu *vcpu, unsigned number, uint64_t value);
bool vmx_interruptible(struct core *core, struct vcpu *vcpu);

#endif
