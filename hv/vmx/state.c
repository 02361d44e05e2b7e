/*
 * struct vcpu into the VMCS and the processor, and out again.
 *
 * SDM Vol 3, "Guest-State Area" and "Checking and Loading Guest State".
 */
#include "hv/vmx/vmx.h"

#include "hv/panic.h"

static uint32_t access_from_attributes(uint16_t attributes)
{
	uint32_t a = attributes;

	return (a & ACCESS_LOW_MASK) | (a & ACCESS_HIGH_MASK) << ACCESS_HIGH_SHIFT |
		(a & SEG_UNUSABLE ? ACCESS_UNUSABLE : 0);
}

static uint16_t attributes_from_access(uint32_t access)
{
	return (uint16_t)((access & ACCESS_LOW_MASK) |
		(access >> ACCESS_HIGH_SHIFT & ACCESS_HIGH_MASK) |
		(access & ACCESS_UNUSABLE ? SEG_UNUSABLE : 0));
}

static void load_segments(const struct vcpu *v)
{
	for (uint32_t i = 0; i < SEG_COUNT; i++) {
		uint32_t at = i * VMCS_SEGMENT_STRIDE;

		vmwrite(GUEST_ES_SELECTOR + at, v->seg[i].selector);
		vmwrite(GUEST_ES_BASE + at, v->seg[i].base);
		vmwrite(GUEST_ES_LIMIT + at, v->seg[i].limit);
		vmwrite(GUEST_ES_ACCESS + at, access_from_attributes(v->seg[i].attributes));
	}
	vmwrite(GUEST_GDTR_BASE, v->gdtr.base);
	vmwrite(GUEST_GDTR_LIMIT, v->gdtr.limit);
	vmwrite(GUEST_IDTR_BASE, v->idtr.base);
	vmwrite(GUEST_IDTR_LIMIT, v->idtr.limit);
}

static void store_segments(struct vcpu *v)
{
	for (uint32_t i = 0; i < SEG_COUNT; i++) {
		uint32_t at = i * VMCS_SEGMENT_STRIDE;

		v->seg[i].selector = (uint16_t)vmread(GUEST_ES_SELECTOR + at);
		v->seg[i].base = vmread(GUEST_ES_BASE + at);
		v->seg[i].limit = (uint32_t)vmread(GUEST_ES_LIMIT + at);
		v->seg[i].attributes = attributes_from_access((uint32_t)vmread(GUEST_ES_ACCESS + at));
	}
	v->gdtr.base = vmread(GUEST_GDTR_BASE);
	v->gdtr.limit = (uint32_t)vmread(GUEST_GDTR_LIMIT);
	v->idtr.base = vmread(GUEST_IDTR_BASE);
	v->idtr.limit = (uint32_t)vmread(GUEST_IDTR_LIMIT);
}

/* Caches stay on and write-back whatever the guest sets: CD would slow the core's siblings too. */
static void write_guest_cr0(const struct vmx_core *c, uint64_t value)
{
	vmwrite(CR0_SHADOW, value);
	vmwrite(GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | c->cr0_forced);
}

/* MCE is the host's own bit, not the guest's. */
static void write_guest_cr4(const struct vmx_core *c, uint64_t value)
{
	vmwrite(CR4_SHADOW, value);
	vmwrite(GUEST_CR4, (value & ~CR4_MCE) | c->cr4_forced);
}

/* EFER.LMA and the entry control that has to follow it. */
static void write_guest_efer(uint64_t efer)
{
	uint64_t entry = vmread(ENTRY_CONTROLS) & ~(uint64_t)ENTRY_CTL_IA32E;

	vmwrite(GUEST_EFER, efer);
	vmwrite(ENTRY_CONTROLS, efer & EFER_LMA ? entry | ENTRY_CTL_IA32E : entry);
}

static bool uses_pdptes(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static void write_pdptes(const struct vcpu *v)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(v->pdpte); i++)
		vmwrite(GUEST_PDPTE0 + i * VMCS_PDPTE_STRIDE, v->pdpte[i]);
}

/*
 * STI only blocks where IF is set, MOV SS anywhere. A guest that single-steps through such a shadow
 * must have its trap pending, or entry fails: SDM Vol 3, "Checks on Guest Non-Register State".
 */
static void load_interruptibility(const struct vcpu *v)
{
	uint32_t blocked = v->nmi_blocked ? BLOCKED_BY_NMI : 0;
	uint32_t pending = v->pending_debug;

	if (v->sti_shadow) {
		blocked |= v->rflags & RFLAGS_IF ? BLOCKED_BY_STI : BLOCKED_BY_MOV_SS;
		pending &= ~PENDING_DEBUG_BS;
		if (v->rflags & RFLAGS_TF)
			pending |= PENDING_DEBUG_BS;
	}
	vmwrite(GUEST_INTERRUPTIBILITY, blocked);
	vmwrite(GUEST_PENDING_DEBUG, pending);
	vmwrite(GUEST_ACTIVITY, ACTIVITY_ACTIVE);
}

/* What the VMCS does not hold. Each write is skipped where the register has the value already. */
static void load_registers(struct vmx_core *c, const struct vcpu *v)
{
	for (size_t i = 0; i < VMX_SWITCHED_MSRS; i++) {
		const struct vmx_switched_msr *m = &vmx_switched_msrs[i];
		uint64_t value = *(const uint64_t *)((const uint8_t *)v + m->field);

		if (value == c->switched[i] || (m->msr == MSR_TSC_AUX && !c->has_tsc_aux))
			continue;
		wrmsr(m->msr, value);
		c->switched[i] = value;
	}
	write_cr2(v->cr2);
	if (v->dr[0] != c->dr[0])
		write_dr0(v->dr[0]);
	if (v->dr[1] != c->dr[1])
		write_dr1(v->dr[1]);
	if (v->dr[2] != c->dr[2])
		write_dr2(v->dr[2]);
	if (v->dr[3] != c->dr[3])
		write_dr3(v->dr[3]);
	if (v->dr6 != c->dr6)
		write_dr6(v->dr6);
	if (c->has_xsave && v->xcr0 != xgetbv(0))
		xsetbv(0, v->xcr0);
	if (c->has_xss && v->xss != c->xss)
		wrmsr(MSR_XSS, v->xss);
	c->xss = v->xss;
}

static void store_registers(struct vmx_core *c, struct vcpu *v)
{
	for (size_t i = 0; i < VMX_SWITCHED_MSRS; i++) {
		const struct vmx_switched_msr *m = &vmx_switched_msrs[i];

		if (m->msr == MSR_TSC_AUX && !c->has_tsc_aux)
			continue;
		c->switched[i] = rdmsr(m->msr);
		*(uint64_t *)((uint8_t *)v + m->field) = c->switched[i];
	}
	v->cr2 = read_cr2();
	v->dr[0] = c->dr[0] = read_dr0();
	v->dr[1] = c->dr[1] = read_dr1();
	v->dr[2] = c->dr[2] = read_dr2();
	v->dr[3] = c->dr[3] = read_dr3();
	v->dr6 = c->dr6 = read_dr6();
}

void vmx_load(struct core *core, struct vcpu *v)
{
	struct vmx_core *c = core->vm;

	load_segments(v);
	vmwrite(GUEST_RIP, v->rip);
	vmwrite(GUEST_RSP, v->rsp);
	vmwrite(GUEST_RFLAGS, v->rflags | RFLAGS_ONE);
	write_guest_cr0(c, v->cr0);
	write_guest_cr4(c, v->cr4);
	vmwrite(GUEST_CR3, v->cr3);
	c->virtual_apic[VIRTUAL_TPR] = (uint8_t)(v->cr8 << VIRTUAL_TPR_SHIFT);
	write_guest_efer(v->efer);
	if (uses_pdptes(v->cr0, v->cr4, v->efer))
		write_pdptes(v);
	vmwrite(GUEST_DR7, v->dr7);
	vmwrite(GUEST_PAT, v->pat);
	vmwrite(GUEST_SYSENTER_CS, v->sysenter_cs);
	vmwrite(GUEST_SYSENTER_ESP, v->sysenter_esp);
	vmwrite(GUEST_SYSENTER_EIP, v->sysenter_eip);
	vmwrite(TSC_OFFSET, v->tsc_offset);
	load_interruptibility(v);
	vmwrite(ENTRY_EVENT, 0); /* a failed entry leaves the last guest's in place */
	load_registers(c, v);
}

void vmx_store(struct core *core, struct vcpu *v)
{
	struct vmx_core *c = core->vm;
	uint64_t blocked = vmread(GUEST_INTERRUPTIBILITY);

	store_segments(v);
	v->rip = vmread(GUEST_RIP);
	v->rsp = vmread(GUEST_RSP);
	v->rflags = vmread(GUEST_RFLAGS);
	v->cr0 = vmx_get_cr(core, 0);
	v->cr3 = vmread(GUEST_CR3);
	v->cr4 = vmx_get_cr(core, 4);
	v->cr8 = vmx_get_cr(core, 8);
	v->efer = vmread(GUEST_EFER);
	if (uses_pdptes(v->cr0, v->cr4, v->efer)) {
		for (uint32_t i = 0; i < ARRAY_SIZE(v->pdpte); i++)
			v->pdpte[i] = vmread(GUEST_PDPTE0 + i * VMCS_PDPTE_STRIDE);
	}
	v->dr7 = vmread(GUEST_DR7);
	v->pat = vmread(GUEST_PAT);
	v->sysenter_cs = vmread(GUEST_SYSENTER_CS);
	v->sysenter_esp = vmread(GUEST_SYSENTER_ESP);
	v->sysenter_eip = vmread(GUEST_SYSENTER_EIP);
	v->sti_shadow = blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
	v->nmi_blocked = blocked & BLOCKED_BY_NMI;
	v->pending_debug = (uint32_t)vmread(GUEST_PENDING_DEBUG);
	store_registers(c, v);
}

/* Behind an emulated instruction no shadow is left, and a single-stepping guest has its trap due. */
void vmx_skip(struct core *core, struct vcpu *v, const struct vm_exit *exit)
{
	uint64_t blocked = vmread(GUEST_INTERRUPTIBILITY);

	(void)core;
	(void)v;
	vmwrite(GUEST_RIP, exit->next_rip);
	if (UNLIKELY(blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		vmwrite(GUEST_INTERRUPTIBILITY, blocked & BLOCKED_BY_NMI);
	if (UNLIKELY(vmread(GUEST_RFLAGS) & RFLAGS_TF))
		vmwrite(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
}

uint64_t vmx_get_cr(struct core *core, unsigned number)
{
	const struct vmx_core *c = core->vm;

	switch (number) {
	case 0:
		return (vmread(CR0_SHADOW) & c->cr0_owned) | (vmread(GUEST_CR0) & ~c->cr0_owned);
	case 2:
		return read_cr2();
	case 3:
		return vmread(GUEST_CR3);
	case 4:
		return (vmread(CR4_SHADOW) & c->cr4_owned) | (vmread(GUEST_CR4) & ~c->cr4_owned);
	case 8:
		return c->virtual_apic[VIRTUAL_TPR] >> VIRTUAL_TPR_SHIFT;
	default:
		panic("vmx: there is no CR%u", number);
	}
}

/* A write of CR0 that exited may switch paging too, and long mode with it: SDM Vol 3, "Initializing
 * IA-32e Mode". */
static void set_cr0(struct vmx_core *c, const struct vcpu *v, uint64_t value)
{
	uint64_t efer = vmread(GUEST_EFER);

	write_guest_cr0(c, value);
	if (!(value & CR0_PG))
		efer &= ~EFER_LMA;
	else if (efer & EFER_LME)
		efer |= EFER_LMA;
	write_guest_efer(efer);
	if (uses_pdptes(value, vmread(GUEST_CR4), efer))
		write_pdptes(v);
}

void vmx_set_cr(struct core *core, struct vcpu *v, unsigned number, uint64_t value)
{
	struct vmx_core *c = core->vm;

	switch (number) {
	case 0:
		set_cr0(c, v, value);
		break;
	case 2:
		write_cr2(value);
		return;
	case 3:
		vmwrite(GUEST_CR3, value);
		break;
	case 4:
		write_guest_cr4(c, value);
		break;
	case 8:
		c->virtual_apic[VIRTUAL_TPR] = (uint8_t)(value << VIRTUAL_TPR_SHIFT);
		return;
	default:
		panic("vmx: there is no CR%u", number);
	}
	/* The processor would have dropped translations; under a VPID an entry does not. */
	invvpid_all();
}

bool vmx_interruptible(struct core *core, struct vcpu *v)
{
	(void)core;
	(void)v;
	return (vmread(GUEST_RFLAGS) & RFLAGS_IF) &&
		!(vmread(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}
