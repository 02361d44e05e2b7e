/*
 * struct vcpu into the VMCB and the processor, and out again.
 *
 * APM Vol 2, "VMRUN Instruction", "Segment State in the VMCB".
 */
#include "hv/svm/svm.h"

#include "hv/panic.h"

#define ATTRIBUTES    0xfffu
#define ATTRIBUTE_P   (1u << 7)
#define ATTRIBUTE_DPL (3u << 5)
#define DPL_SHIFT     5

/* The VMCB has no bit for "unusable": a segment that is not present is. */
static struct vmcb_segment segment_in(const struct vm_segment *s)
{
	return (struct vmcb_segment){
		.selector = s->selector,
		.attributes = s->attributes & SEG_UNUSABLE ? 0 : s->attributes & ATTRIBUTES,
		.limit = s->limit,
		.base = s->base,
	};
}

static struct vm_segment segment_out(const struct vmcb_segment *s)
{
	unsigned unusable = s->attributes & ATTRIBUTE_P ? 0 : SEG_UNUSABLE;

	return (struct vm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.attributes = (uint16_t)((s->attributes & ATTRIBUTES) | unusable),
	};
}

/* The DPL of SS is the privilege level, also where SS is unusable. */
static void load_segments(struct vmcb_save *s, const struct vcpu *v)
{
	s->es = segment_in(&v->seg[SEG_ES]);
	s->cs = segment_in(&v->seg[SEG_CS]);
	s->ss = segment_in(&v->seg[SEG_SS]);
	s->ds = segment_in(&v->seg[SEG_DS]);
	s->fs = segment_in(&v->seg[SEG_FS]);
	s->gs = segment_in(&v->seg[SEG_GS]);
	s->ldtr = segment_in(&v->seg[SEG_LDTR]);
	s->tr = segment_in(&v->seg[SEG_TR]);
	s->cpl = (uint8_t)((v->seg[SEG_SS].attributes & ATTRIBUTE_DPL) >> DPL_SHIFT);
	s->gdtr.base = v->gdtr.base;
	s->gdtr.limit = v->gdtr.limit;
	s->idtr.base = v->idtr.base;
	s->idtr.limit = v->idtr.limit;
}

static void store_segments(const struct vmcb_save *s, struct vcpu *v)
{
	unsigned ss;

	v->seg[SEG_ES] = segment_out(&s->es);
	v->seg[SEG_CS] = segment_out(&s->cs);
	v->seg[SEG_SS] = segment_out(&s->ss);
	v->seg[SEG_DS] = segment_out(&s->ds);
	v->seg[SEG_FS] = segment_out(&s->fs);
	v->seg[SEG_GS] = segment_out(&s->gs);
	v->seg[SEG_LDTR] = segment_out(&s->ldtr);
	v->seg[SEG_TR] = segment_out(&s->tr);
	ss = v->seg[SEG_SS].attributes & ~ATTRIBUTE_DPL;
	v->seg[SEG_SS].attributes = (uint16_t)(ss | (unsigned)s->cpl << DPL_SHIFT);
	v->gdtr = (struct vm_table){s->gdtr.base, s->gdtr.limit};
	v->idtr = (struct vm_table){s->idtr.base, s->idtr.limit};
}

/* What neither VMRUN nor VMLOAD switches. Each write is skipped where the register has the value
 * already. */
static void load_registers(struct svm_core *c, const struct vcpu *v)
{
	if (v->dr[0] != c->dr[0])
		write_dr0(v->dr[0]);
	if (v->dr[1] != c->dr[1])
		write_dr1(v->dr[1]);
	if (v->dr[2] != c->dr[2])
		write_dr2(v->dr[2]);
	if (v->dr[3] != c->dr[3])
		write_dr3(v->dr[3]);
	if (c->has_tsc_aux && v->tsc_aux != c->tsc_aux)
		wrmsr(MSR_TSC_AUX, v->tsc_aux);
	if (c->has_xsave && v->xcr0 != xgetbv(0))
		xsetbv(0, v->xcr0);
	if (c->has_xss && v->xss != c->xss)
		wrmsr(MSR_XSS, v->xss);
	c->xss = v->xss;
}

/* XCR0 too: QEMU 7.2 doesn't know the intercept of XSETBV. */
static void store_registers(struct svm_core *c, struct vcpu *v)
{
	v->dr[0] = c->dr[0] = read_dr0();
	v->dr[1] = c->dr[1] = read_dr1();
	v->dr[2] = c->dr[2] = read_dr2();
	v->dr[3] = c->dr[3] = read_dr3();
	if (c->has_tsc_aux)
		v->tsc_aux = c->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (c->has_xsave)
		v->xcr0 = xgetbv(0);
}

void svm_load(struct core *core, struct vcpu *v)
{
	struct svm_core *c = core->vm;
	struct vmcb_control *ctl = &c->vmcb->control;
	struct vmcb_save *s = &c->vmcb->save;

	load_segments(s, v);
	s->rip = v->rip;
	s->rsp = v->rsp;
	s->rflags = v->rflags;
	s->cr0 = v->cr0;
	s->cr2 = v->cr2;
	s->cr3 = v->cr3;
	s->cr4 = v->cr4 | c->cr4_forced;
	/* whole: after an entry that it refused, QEMU leaves 0 here, and a guest could keep interrupts off */
	ctl->int_ctl = INT_CTL_V_INTR_MASKING | (v->cr8 & INT_CTL_V_TPR);
	ctl->intercept_misc1 &= ~INTERCEPT1_VINTR;
	c->virq = VIRQ_NONE;
	s->efer = v->efer | EFER_SVME;
	s->dr6 = v->dr6;
	s->dr7 = v->dr7;
	s->pat = v->pat;
	s->star = v->star;
	s->lstar = v->lstar;
	s->cstar = v->cstar;
	s->sfmask = v->sfmask;
	s->kernel_gs_base = v->kernel_gs_base;
	s->sysenter_cs = v->sysenter_cs;
	s->sysenter_esp = v->sysenter_esp;
	s->sysenter_eip = v->sysenter_eip;
	ctl->tsc_offset = v->tsc_offset;
	ctl->int_shadow = v->sti_shadow ? INT_SHADOW : 0;
	ctl->clean = 0;
	load_registers(c, v);
}

void svm_store(struct core *core, struct vcpu *v)
{
	struct svm_core *c = core->vm;
	const struct vmcb_control *ctl = &c->vmcb->control;
	const struct vmcb_save *s = &c->vmcb->save;

	store_segments(s, v);
	v->rip = s->rip;
	v->rsp = s->rsp;
	v->rflags = s->rflags;
	v->cr0 = s->cr0;
	v->cr2 = s->cr2;
	v->cr3 = s->cr3;
	v->cr4 = s->cr4;
	v->cr8 = ctl->int_ctl & INT_CTL_V_TPR;
	v->efer = s->efer & ~EFER_SVME;
	v->dr6 = s->dr6;
	v->dr7 = s->dr7;
	v->pat = s->pat;
	v->star = s->star;
	v->lstar = s->lstar;
	v->cstar = s->cstar;
	v->sfmask = s->sfmask;
	v->kernel_gs_base = s->kernel_gs_base;
	v->sysenter_cs = s->sysenter_cs;
	v->sysenter_esp = s->sysenter_esp;
	v->sysenter_eip = s->sysenter_eip;
	v->sti_shadow = ctl->int_shadow & INT_SHADOW;
	store_registers(c, v);
}

/* Behind an emulated instruction no shadow is left, and a single-stepping guest gets its trap. */
void svm_skip(struct core *core, struct vcpu *v, const struct vm_exit *exit)
{
	const struct svm_core *c = core->vm;
	struct vmcb_save *s = &c->vmcb->save;

	s->rip = exit->next_rip;
	s->rflags &= ~RFLAGS_RF;
	c->vmcb->control.int_shadow = 0;
	if (UNLIKELY(s->rflags & RFLAGS_TF)) {
		s->dr6 |= DR6_BS;
		c->vmcb->control.clean &= ~CLEAN_DR;
		v->pending = (struct vm_event){.kind = EVENT_EXCEPTION, .vector = VECTOR_DB};
	}
}

uint64_t svm_get_cr(struct core *core, unsigned number)
{
	const struct svm_core *c = core->vm;
	const struct vmcb_save *s = &c->vmcb->save;

	switch (number) {
	case 0:
		return s->cr0;
	case 2:
		return s->cr2;
	case 3:
		return s->cr3;
	case 4:
		return s->cr4;
	case 8:
		return c->vmcb->control.int_ctl & INT_CTL_V_TPR;
	default:
		panic("svm: there is no CR%u", number);
	}
}

/* A write of CR0 may switch paging too, and long mode with it: APM Vol 2, "Enabling and Activating
 * Long Mode". */
static void set_cr0(struct vmcb_save *s, uint64_t value)
{
	s->cr0 = value;
	if (!(value & CR0_PG))
		s->efer &= ~EFER_LMA;
	else if (s->efer & EFER_LME)
		s->efer |= EFER_LMA;
}

void svm_set_cr(struct core *core, struct vcpu *v, unsigned number, uint64_t value)
{
	struct svm_core *c = core->vm;
	struct vmcb_control *ctl = &c->vmcb->control;
	struct vmcb_save *s = &c->vmcb->save;

	(void)v;
	switch (number) {
	case 0:
		set_cr0(s, value);
		break;
	case 2:
		s->cr2 = value;
		ctl->clean &= ~CLEAN_CR2;
		return;
	case 3:
		s->cr3 = value;
		break;
	case 4:
		s->cr4 = value | c->cr4_forced;
		break;
	case 8:
		ctl->int_ctl = (ctl->int_ctl & ~INT_CTL_V_TPR) | (value & INT_CTL_V_TPR);
		ctl->clean &= ~CLEAN_INT_CTL;
		return;
	default:
		panic("svm: there is no CR%u", number);
	}
	ctl->clean &= ~CLEAN_CR;
	/* The processor would have dropped translations; under an ASID, VMRUN does not. */
	svm_flush(c, TLB_FLUSH_GUEST);
}

bool svm_interruptible(struct core *core, struct vcpu *v)
{
	const struct svm_core *c = core->vm;

	(void)v;
	return (c->vmcb->save.rflags & RFLAGS_IF) && !(c->vmcb->control.int_shadow & INT_SHADOW);
}
