/*
 * The AMD-V backend: one round trip into the guest and what came of it. hv/vm.h is the contract,
 * hv/vmx/vmx.c the twin.
 *
 * APM Vol 2, "VMRUN Instruction", "#VMEXIT", "SVM Intercept Exit Codes" and "Nested Paging".
 */
#include "hv/svm/svm.h"

#define CR_NONE 0xff

/* Bytes of the intercepted instructions without prefixes, for processors without next-RIP save. */
enum {
	LENGTH_HLT = 1,
	LENGTH_CPUID = 2,
	LENGTH_MSR = 2,
	LENGTH_OTHER_0F = 2, /* INVD, WBINVD, RDPMC, RSM */
	LENGTH_0F01 = 3,     /* VMRUN and its family, VMMCALL, MONITOR, MWAIT, XSETBV, RDPRU, ... */
	LENGTH_MOV_CR = 3,
};

/*
 * Translations of guests are used between VMRUN and #VMEXIT only, so it is enough that the next
 * VMRUN drops them. APM Vol 2, "TLB Control".
 */
void svm_flush(struct svm_core *c, enum tlb_action action)
{
	struct vmcb_control *ctl = &c->vmcb->control;

	if (action == TLB_KEEP || ctl->tlb_control == TLB_CONTROL_FLUSH_ALL)
		return;
	if (action == TLB_FLUSH_GUEST && c->has_flush_by_asid)
		ctl->tlb_control = TLB_CONTROL_FLUSH_ASID;
	else
		ctl->tlb_control = TLB_CONTROL_FLUSH_ALL;
}

static void flush_all(struct core *core)
{
	svm_flush(core->vm, TLB_FLUSH_ALL);
}

/* APM Vol 2, "Event Injection" */
static void inject(struct vmcb_control *ctl, struct vm_event *e)
{
	uint32_t type = e->kind == EVENT_NMI ? EVENT_TYPE_NMI : EVENT_TYPE_EXCEPTION;

	ctl->event_inj = EVENT_VALID | type | e->vector | (e->has_error ? EVENT_ERROR_VALID : 0);
	ctl->event_inj_error = e->error;
	e->kind = EVENT_NONE;
}

/* APM Vol 2, "Virtual Interrupts" */
static void set_virq(struct svm_core *c, enum svm_virq use)
{
	struct vmcb_control *ctl = &c->vmcb->control;
	const uint32_t request = INT_CTL_V_IRQ | INT_CTL_V_PRIORITY | INT_CTL_V_IGNORE_TPR;

	ctl->int_ctl = (ctl->int_ctl & ~request) | (use == VIRQ_NONE ? 0 : request);
	ctl->intercept_misc1 &= ~INTERCEPT1_VINTR;
	if (use == VIRQ_WINDOW)
		ctl->intercept_misc1 |= INTERCEPT1_VINTR;
	ctl->clean &= ~(CLEAN_INTERCEPTS | CLEAN_INT_CTL);
	c->virq = use;
}

/*
 * Interrupts go by V_IRQ, and only what else there is by EVENTINJ: QEMU delivers the vector of an
 * injected interrupt a second time if anything wants its processor before the next exit. A window
 * that is wanted beside an interrupt has to wait for the entry after, which is no loss: the interrupt
 * clears IF, and the end of its handler is an exit.
 */
static enum svm_virq write_event(struct vmcb_control *ctl, struct vcpu *v)
{
	if (v->pending.kind == EVENT_INTERRUPT) {
		ctl->int_vector = v->pending.vector;
		return VIRQ_DELIVER;
	}
	inject(ctl, &v->pending);
	return v->want_window ? VIRQ_WINDOW : VIRQ_NONE;
}

/* V_IRQ is still there if something else, such as an interrupt of the host's, came first. */
static void end_delivery(struct svm_core *c, struct vcpu *v)
{
	if (!(c->vmcb->control.int_ctl & INT_CTL_V_IRQ))
		v->pending.kind = EVENT_NONE;
	set_virq(c, VIRQ_NONE);
}

/* Bring the VMCB to what this entry asks for, where it differs from the last. */
static void prepare(
	struct svm_core *c, struct vcpu *v, hpa_t root, uint32_t tag, enum tlb_action action)
{
	struct vmcb_control *ctl = &c->vmcb->control;
	enum svm_virq virq = v->want_window ? VIRQ_WINDOW : VIRQ_NONE;

	if (root != ctl->nested_cr3) {
		ctl->nested_cr3 = root;
		ctl->clean &= ~CLEAN_NP;
	}
	if (tag != ctl->asid) {
		ctl->asid = tag;
		ctl->clean &= ~CLEAN_ASID;
	}
	if (UNLIKELY(action != TLB_KEEP))
		svm_flush(c, action);
	if (UNLIKELY(v->pending.kind != EVENT_NONE))
		virq = write_event(ctl, v);
	if (UNLIKELY(virq != c->virq))
		set_virq(c, virq);
}

/*
 * An exit in the middle of an event's delivery: put the event back, to be delivered again. Not so
 * INT n, INT3 and INTO: RIP is still at the instruction, which runs again. QEMU calls an external
 * interrupt an exception. APM Vol 2, "EXITINTINFO Pseudo-Code" and "Event Injection".
 */
static void take_back_event(const struct vmcb_control *ctl, struct vcpu *v)
{
	uint32_t e = ctl->exit_int_info;
	uint8_t vector = e & EVENT_VECTOR;
	enum vm_event_kind kind = EVENT_EXCEPTION;

	if (LIKELY(!(e & EVENT_VALID)))
		return;
	switch (e & EVENT_TYPE) {
	case EVENT_TYPE_EXTERNAL:
		kind = EVENT_INTERRUPT;
		break;
	case EVENT_TYPE_NMI:
		kind = EVENT_NMI;
		break;
	case EVENT_TYPE_EXCEPTION:
		if (vector == VECTOR_BP || vector == VECTOR_OF)
			return;
		if (vector >= VECTOR_EXCEPTIONS)
			kind = EVENT_INTERRUPT;
		break;
	default:
		return;
	}
	v->pending = (struct vm_event){
		.kind = (uint8_t)kind,
		.vector = vector,
		.has_error = e & EVENT_ERROR_VALID,
		.error = ctl->exit_int_error,
	};
}

/* #MC was intercepted before its handler could run: it is the host's. */
static void host_machine_check(void)
{
	__asm__ volatile("int $18" ::: "memory");
}

/* The interrupt is still pending, so it is taken as soon as IF is set; NOP ends the shadow. */
static void host_interrupt(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

/* For #DB, DR6 and DR7 are already as its handler would find them: APM Vol 2, "Exception
 * Intercepts". */
static void decode_exception(const struct vmcb *vmcb, struct vm_exit *exit)
{
	uint8_t vector = (uint8_t)(vmcb->control.exit_code - VMEXIT_EXCEPTION);

	exit->kind = EXIT_EXCEPTION;
	exit->exception.vector = vector;
	exit->exception.has_error = vector == VECTOR_AC;
	exit->exception.error = vector == VECTOR_AC ? (uint32_t)vmcb->control.exit_info1 : 0;
	exit->exception.dr6 = vector == VECTOR_DB ? vmcb->save.dr6 : 0;
	if (vector == VECTOR_MC)
		host_machine_check();
}

/* APM Vol 2, "IOIO Intercept Information" */
static void decode_io(const struct vmcb_control *ctl, struct vm_exit *exit)
{
	uint32_t info = (uint32_t)ctl->exit_info1;

	exit->next_rip = ctl->exit_info2;
	if (UNLIKELY(info & (IOIO_STRING | IOIO_REP))) {
		exit->kind = EXIT_FORBIDDEN;
		exit->forbidden = FORBIDDEN_STRING_IO;
		return;
	}
	exit->kind = EXIT_IO;
	exit->io.port = (uint16_t)(info >> IOIO_PORT_SHIFT);
	exit->io.size = info >> IOIO_SIZE_SHIFT & IOIO_SIZE_MASK;
	exit->io.in = info & IOIO_IN;
}

/* APM Vol 2, "Nested versus Guest Page Faults, Fault Ordering". A walk counts as a write, since it
 * may set A and D bits. */
static void decode_memory(const struct vmcb_control *ctl, struct vm_exit *exit)
{
	uint64_t info = ctl->exit_info1;

	exit->kind = EXIT_MEMORY;
	exit->memory.gpa = ctl->exit_info2;
	if (info & NPF_WRITE)
		exit->memory.access = GMEM_WRITE;
	else
		exit->memory.access = info & NPF_FETCH ? GMEM_EXEC : GMEM_READ;
	exit->memory.table_walk = info & NPF_TABLE_WALK;
}

/* APM Vol 2, "Decode Assists". Only CR4 is intercepted, and nothing but MOV writes it. */
static void decode_cr(const struct vmcb *vmcb, const struct vcpu *v, struct vm_exit *exit)
{
	uint8_t reg = vmcb->control.exit_info1 & CR_WRITE_REGISTER;
	bool rsp = reg == REG_RSP_UNUSED;

	exit->kind = EXIT_CR;
	exit->cr.number = (uint8_t)(vmcb->control.exit_code - VMEXIT_CR0_WRITE);
	exit->cr.reg = rsp ? CR_NONE : reg;
	exit->cr.value = rsp ? vmcb->save.rsp : v->regs[reg];
}

/* What APM Vol 2, "Canonicalization and Consistency Checks", demands, a bit for each that is
 * broken; the processor only says that it refused. docs/backends.md lists them. */
static uint64_t broken_rules(const struct vmcb *vmcb)
{
	const struct vmcb_save *s = &vmcb->save;
	const uint16_t both_sizes = CS_LONG | CS_DEFAULT_32;
	bool long_paging = (s->efer & EFER_LME) && (s->cr0 & CR0_PG);
	const bool broken[] = {
		!(s->efer & EFER_SVME),
		!(s->cr0 & CR0_CD) && (s->cr0 & CR0_NW),
		s->cr0 >> 32,
		long_paging && !(s->cr4 & CR4_PAE),
		long_paging && !(s->cr0 & CR0_PE),
		long_paging && (s->cs.attributes & both_sizes) == both_sizes,
		s->dr6 >> 32,
		s->dr7 >> 32,
		!vmcb->control.asid,
		vmcb->control.event_inj & EVENT_VALID,
	};
	uint64_t bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		bits |= (uint64_t)broken[i] << i;
	return bits;
}

/* An exit by an instruction: the processor tells where the next one is, or its length is known. */
static void instruction_exit(
	const struct svm_core *c, struct vm_exit *exit, enum vm_exit_kind kind, unsigned length)
{
	exit->kind = kind;
	exit->next_rip = c->has_next_rip ? c->vmcb->control.next_rip : exit->rip + length;
}

static void forbidden_exit(
	const struct svm_core *c, struct vm_exit *exit, enum vm_forbidden what, unsigned length)
{
	instruction_exit(c, exit, EXIT_FORBIDDEN, length);
	exit->forbidden = what;
}

/* What no guest may run. A task switch has no known length, FERR_FREEZE no instruction: nobody
 * continues behind them. */
static void decode_forbidden(const struct svm_core *c, uint32_t code, struct vm_exit *exit)
{
	switch (code) {
	case VMEXIT_VMMCALL:
		forbidden_exit(c, exit, FORBIDDEN_HYPERCALL_INSTRUCTION, LENGTH_0F01);
		return;
	case VMEXIT_VMRUN:
	case VMEXIT_VMLOAD:
	case VMEXIT_VMSAVE:
	case VMEXIT_STGI:
	case VMEXIT_CLGI:
	case VMEXIT_SKINIT:
	case VMEXIT_INVLPGA:
		forbidden_exit(c, exit, FORBIDDEN_SVM, LENGTH_0F01);
		return;
	case VMEXIT_MONITOR:
	case VMEXIT_MWAIT:
	case VMEXIT_MWAIT_ARMED:
		forbidden_exit(c, exit, FORBIDDEN_MONITOR, LENGTH_0F01);
		return;
	case VMEXIT_TASK_SWITCH:
		forbidden_exit(c, exit, FORBIDDEN_TASK_SWITCH, 0);
		return;
	case VMEXIT_RDPMC:
		forbidden_exit(c, exit, FORBIDDEN_PMC, LENGTH_OTHER_0F);
		return;
	case VMEXIT_RDPRU:
		forbidden_exit(c, exit, FORBIDDEN_PMC, LENGTH_0F01);
		return;
	case VMEXIT_INVD:
	case VMEXIT_WBINVD:
		forbidden_exit(c, exit, FORBIDDEN_CACHE, LENGTH_OTHER_0F);
		return;
	case VMEXIT_RSM:
		forbidden_exit(c, exit, FORBIDDEN_OTHER, LENGTH_OTHER_0F);
		return;
	case VMEXIT_FERR_FREEZE:
		forbidden_exit(c, exit, FORBIDDEN_OTHER, 0);
		return;
	default:
		forbidden_exit(c, exit, FORBIDDEN_OTHER, LENGTH_0F01);
		return;
	}
}

static void decode(const struct svm_core *c, const struct vmcb *vmcb, const struct vcpu *v,
	struct vm_exit *exit)
{
	uint32_t code = (uint32_t)vmcb->control.exit_code;

	exit->rip = vmcb->save.rip;
	if (LIKELY(code == VMEXIT_IOIO)) { /* a hypercall: most exits are */
		decode_io(&vmcb->control, exit);
		return;
	}
	switch (code) {
	case VMEXIT_CPUID:
		instruction_exit(c, exit, EXIT_CPUID, LENGTH_CPUID);
		return;
	case VMEXIT_NPF:
		decode_memory(&vmcb->control, exit);
		return;
	case VMEXIT_INTR:
		exit->kind = EXIT_INTERRUPT;
		host_interrupt();
		return;
	case VMEXIT_HLT:
		instruction_exit(c, exit, EXIT_HLT, LENGTH_HLT);
		return;
	case VMEXIT_MSR:
		instruction_exit(c, exit,
			vmcb->control.exit_info1 & MSR_IS_WRITE ? EXIT_MSR_WRITE : EXIT_MSR_READ,
			LENGTH_MSR);
		return;
	case VMEXIT_VINTR:
		exit->kind = EXIT_WINDOW;
		return;
	case VMEXIT_EXCEPTION ... VMEXIT_EXCEPTION_LAST:
		decode_exception(vmcb, exit);
		return;
	case VMEXIT_CR0_WRITE ... VMEXIT_CR15_WRITE:
		instruction_exit(c, exit, EXIT_CR, LENGTH_MOV_CR);
		decode_cr(vmcb, v, exit);
		return;
	case VMEXIT_XSETBV:
		instruction_exit(c, exit, EXIT_XSETBV, LENGTH_0F01);
		return;
	case VMEXIT_SHUTDOWN:
		exit->kind = EXIT_SHUTDOWN;
		return;
	case VMEXIT_NMI: /* it came at STGI */
	case VMEXIT_SMI:
	case VMEXIT_INIT:
		exit->kind = EXIT_INTERRUPT;
		return;
	case VMEXIT_INVALID:
		exit->kind = EXIT_INVALID;
		exit->invalid = broken_rules(vmcb);
		return;
	default:
		decode_forbidden(c, code, exit);
		return;
	}
}

/* There is no slice timer here: `slice_tsc` is the core's own to keep. */
static void run(struct core *core, struct vcpu *v, hpa_t root, uint32_t tag, enum tlb_action action,
	uint64_t slice_tsc, struct vm_exit *exit)
{
	struct svm_core *c = core->vm;
	struct vmcb *vmcb = c->vmcb;
	uint64_t entry_rip = vmcb->save.rip;

	(void)slice_tsc;
	prepare(c, v, root, tag, action);
	vmcb->save.rax = v->regs[REG_RAX];
	svm_enter(vmcb, v->regs, c->host);
	v->regs[REG_RAX] = vmcb->save.rax;
	vmcb->control.clean = c->clean;
	if (UNLIKELY(c->virq == VIRQ_DELIVER))
		end_delivery(c, v);
	take_back_event(&vmcb->control, v);
	decode(c, vmcb, v, exit);
	if (UNLIKELY(exit->kind == EXIT_INVALID)) /* nothing is saved then; QEMU saves the host's state */
		exit->rip = entry_rip;
	vmcb->control.event_inj = 0;
	vmcb->control.tlb_control = TLB_CONTROL_NONE;
}

const struct vm_ops svm_ops = {
	.name = "AMD-V",
	.format = &pt_format_npt,
	.probe = svm_probe,
	.core_start = svm_core_start,
	.load = svm_load,
	.store = svm_store,
	.run = run,
	.skip = svm_skip,
	.get_cr = svm_get_cr,
	.set_cr = svm_set_cr,
	.interruptible = svm_interruptible,
	.flush_all = flush_all,
};
