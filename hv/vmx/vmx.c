/*
 * The VT-x backend: one round trip into the guest and what came of it. hv/vm.h is the contract,
 * hv/svm/svm.c the twin.
 *
 * SDM Vol 3, "VM Entries", "VM Exits" and "VMX Support for Address Translation".
 */
#include "hv/vmx/vmx.h"

#include "hv/panic.h"
#include "hv/speculation.h"

#define CR_NONE 0xff

static void flush_all(struct core *core)
{
	(void)core;
	invept(INVEPT_ALL, 0);
	invvpid_all();
}

/*
 * All that is cached under EPT came through a root, so dropping a root's translations, combined ones
 * of every VPID included, drops all that the guest can hit: SDM Vol 3, "Operations that Invalidate
 * Cached Mappings".
 */
static void flush(struct core *core, enum tlb_action action, uint64_t eptp)
{
	if (action == TLB_FLUSH_GUEST)
		invept(INVEPT_SINGLE, eptp);
	else if (action == TLB_FLUSH_ALL)
		flush_all(core);
}

/* The timer counts down as bit `rate` of the TSC changes; at 0 the entry exits at once. */
static uint64_t timer_ticks(const struct vmx_core *c, uint64_t slice_tsc)
{
	uint64_t now = rdtsc();
	uint64_t left = slice_tsc > now ? slice_tsc - now : 0;
	uint64_t ticks = (left >> c->timer_rate) + ((left & ((1ull << c->timer_rate) - 1)) != 0);

	return MIN(ticks, (uint64_t)UINT32_MAX);
}

static void write_event(struct vm_event *e)
{
	static const uint32_t types[] = {
		[EVENT_INTERRUPT] = EVENT_TYPE_INTERRUPT,
		[EVENT_NMI] = EVENT_TYPE_NMI,
		[EVENT_EXCEPTION] = EVENT_TYPE_EXCEPTION,
	};
	uint32_t word = EVENT_VALID | types[e->kind] << EVENT_TYPE_SHIFT | e->vector;

	if (e->has_error) {
		word |= EVENT_HAS_ERROR;
		vmwrite(ENTRY_EVENT_ERROR, e->error);
	}
	vmwrite(ENTRY_EVENT, word);
	e->kind = EVENT_NONE;
}

/* Bring the VMCS to what this entry asks for, where it differs from the last. */
static void prepare(struct core *core, struct vmx_core *c, struct vcpu *v, uint64_t eptp,
	uint32_t tag, enum tlb_action action, uint64_t slice_tsc)
{
	uint32_t proc = c->proc & ~PROC_INTERRUPT_WINDOW;
	uint32_t pin = c->pin & ~PIN_PREEMPTION_TIMER;

	if (eptp != c->eptp) {
		vmwrite(EPT_POINTER, eptp);
		c->eptp = eptp;
	}
	if (tag != c->vpid) {
		vmwrite(VMCS_VPID, tag);
		c->vpid = tag;
	}
	if (UNLIKELY(action != TLB_KEEP))
		flush(core, action, eptp);
	if (v->want_window)
		proc |= PROC_INTERRUPT_WINDOW;
	if (UNLIKELY(proc != c->proc)) {
		vmwrite(PROC_CONTROLS, proc);
		c->proc = proc;
	}
	if (v->pending.kind != EVENT_NONE)
		write_event(&v->pending);
	if (slice_tsc && c->has_timer)
		pin |= PIN_PREEMPTION_TIMER;
	if (UNLIKELY(pin != c->pin)) {
		vmwrite(PIN_CONTROLS, pin);
		c->pin = pin;
	}
	if (pin & PIN_PREEMPTION_TIMER)
		vmwrite(PREEMPTION_TIMER, timer_ticks(c, slice_tsc));
}

/*
 * An exit in the middle of an event's delivery: put the event back, to be delivered again. Not so
 * INT n, INT3, INTO and INT1: RIP is still at the instruction, which runs again.
 * `nmi_unblocked`: an IRET that faulted had already ended the blocking of NMIs, which it shall not
 * have. SDM Vol 3, "Resuming Guest Software after Handling an Exception" in the chapter on handling
 * exceptions, and "Information for VM Exits During Event Delivery".
 */
static void take_back_event(struct vcpu *v, bool nmi_unblocked)
{
	uint32_t e = (uint32_t)vmread(VECTORING_EVENT);
	enum vm_event_kind kind;

	if (LIKELY(!(e & EVENT_VALID))) {
		if (UNLIKELY(nmi_unblocked))
			vmwrite(GUEST_INTERRUPTIBILITY,
				vmread(GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
		return;
	}
	switch (EVENT_TYPE(e)) {
	case EVENT_TYPE_INTERRUPT:
		kind = EVENT_INTERRUPT;
		break;
	case EVENT_TYPE_NMI:
		kind = EVENT_NMI;
		vmwrite(GUEST_INTERRUPTIBILITY,
			vmread(GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKED_BY_NMI);
		break;
	case EVENT_TYPE_EXCEPTION:
		kind = EVENT_EXCEPTION;
		break;
	default:
		return;
	}
	v->pending = (struct vm_event){
		.kind = (uint8_t)kind,
		.vector = (uint8_t)(e & EVENT_VECTOR_MASK),
		.has_error = e & EVENT_HAS_ERROR,
	};
	if (v->pending.has_error)
		v->pending.error = (uint32_t)vmread(VECTORING_EVENT_ERROR);
}

/*
 * #DB does what its delivery would have done: DR6 shows the cause, and DR7.GD goes off. The guest has
 * its own DR6 in the processor while it is loaded. INT1 traps: RIP stands at it, and moves on.
 */
static void take_debug_exception(struct vm_exit *exit, uint32_t event)
{
	uint64_t cause = vmread(EXIT_QUALIFICATION);
	uint64_t dr6 = (read_dr6() & ~(uint64_t)DEBUG_HIT_MASK) | DEBUG_RTM;

	if (EVENT_TYPE(event) == EVENT_TYPE_PRIVILEGED_EXCEPTION) {
		vmwrite(GUEST_RIP, exit->rip + vmread(EXIT_INSTRUCTION_LENGTH));
		exit->exception.dr6 = read_dr6();
		return;
	}
	dr6 = (dr6 | (cause & DEBUG_HIT_MASK)) & ~(cause & DEBUG_RTM);
	exit->exception.dr6 = dr6;
	write_dr6(dr6);
	vmwrite(GUEST_DR7, vmread(GUEST_DR7) & ~DR7_GD);
}

static void decode_exception(struct vcpu *v, struct vm_exit *exit)
{
	uint32_t event = (uint32_t)vmread(EXIT_EVENT);
	uint8_t vector = (uint8_t)(event & EVENT_VECTOR_MASK);

	if (EVENT_TYPE(event) == EVENT_TYPE_NMI) {
		host_take_nmi();
		exit->kind = EXIT_INTERRUPT;
		return;
	}
	exit->kind = EXIT_EXCEPTION;
	exit->exception.vector = vector;
	exit->exception.has_error = event & EVENT_HAS_ERROR;
	exit->exception.error = exit->exception.has_error ? (uint32_t)vmread(EXIT_EVENT_ERROR) : 0;
	exit->exception.dr6 = 0;
	take_back_event(v, event & EVENT_NMI_UNBLOCKED);
	if (vector == VECTOR_DB)
		take_debug_exception(exit, event);
	else if (vector == VECTOR_MC)
		host_take_machine_check();
}

static void decode_io(struct vm_exit *exit)
{
	uint64_t q = vmread(EXIT_QUALIFICATION);

	if (UNLIKELY(q & IO_STRING)) {
		exit->kind = EXIT_FORBIDDEN;
		exit->forbidden = FORBIDDEN_STRING_IO;
		return;
	}
	exit->kind = EXIT_IO;
	exit->io.port = IO_PORT(q);
	exit->io.size = IO_SIZE(q);
	exit->io.in = q & IO_IN;
}

static void decode_memory(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(EXIT_QUALIFICATION);

	exit->kind = EXIT_MEMORY;
	exit->memory.gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	exit->memory.access = q & EPT_WRITE ? GMEM_WRITE : q & EPT_FETCH ? GMEM_EXEC : GMEM_READ;
	exit->memory.table_walk = (q & EPT_LINEAR_VALID) && !(q & EPT_LINEAR_FINAL);
	take_back_event(v, q & EPT_NMI_UNBLOCKED);
}

/* Only MOV to CR0, CR4 and CR8 can exit: no bit that CLTS and LMSW write is ours. */
static void decode_cr(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(EXIT_QUALIFICATION);
	uint8_t reg = CR_REGISTER(q);

	if (CR_ACCESS(q) != CR_ACCESS_WRITE) {
		exit->kind = EXIT_FORBIDDEN;
		exit->forbidden = FORBIDDEN_OTHER;
		return;
	}
	exit->kind = EXIT_CR;
	exit->cr.number = CR_NUMBER(q);
	exit->cr.reg = reg == CR_REGISTER_RSP ? CR_NONE : reg;
	exit->cr.value = reg == CR_REGISTER_RSP ? vmread(GUEST_RSP) : v->regs[reg];
	if (!(vmread(GUEST_EFER) & EFER_LMA) || !(vmread(GUEST_CS_ACCESS) & ACCESS_LONG))
		exit->cr.value = (uint32_t)exit->cr.value;
}

static enum vm_forbidden forbidden_kind(uint32_t reason)
{
	switch (reason) {
	case REASON_VMCALL:
		return FORBIDDEN_HYPERCALL_INSTRUCTION;
	case REASON_VMCLEAR ... REASON_VMXON:
	case REASON_INVEPT:
	case REASON_INVVPID:
		return FORBIDDEN_VMX;
	case REASON_MWAIT:
	case REASON_MONITOR:
		return FORBIDDEN_MONITOR;
	case REASON_TASK_SWITCH:
		return FORBIDDEN_TASK_SWITCH;
	case REASON_RDPMC:
		return FORBIDDEN_PMC;
	case REASON_INVD:
	case REASON_WBINVD:
		return FORBIDDEN_CACHE;
	default:
		return FORBIDDEN_OTHER;
	}
}

/* An exit by an instruction: where the next one is. A guest outside 64-bit code that runs over the end
 * of its 4 GiB is refused at the next entry. */
static void instruction_exit(struct vm_exit *exit, enum vm_exit_kind kind)
{
	exit->kind = kind;
	exit->next_rip = exit->rip + vmread(EXIT_INSTRUCTION_LENGTH);
}

static void decode(struct vcpu *v, uint32_t reason, struct vm_exit *exit)
{
	exit->rip = vmread(GUEST_RIP);
	switch (reason) {
	case REASON_IO:
		instruction_exit(exit, EXIT_IO);
		decode_io(exit);
		return;
	case REASON_CPUID:
		instruction_exit(exit, EXIT_CPUID);
		return;
	case REASON_EPT_VIOLATION:
		decode_memory(v, exit);
		return;
	case REASON_INTERRUPT:
		exit->kind = EXIT_INTERRUPT;
		host_take_interrupt();
		return;
	case REASON_PREEMPTION_TIMER:
		exit->kind = EXIT_SLICE;
		return;
	case REASON_HLT:
		instruction_exit(exit, EXIT_HLT);
		return;
	case REASON_RDMSR:
		instruction_exit(exit, EXIT_MSR_READ);
		return;
	case REASON_WRMSR:
		instruction_exit(exit, EXIT_MSR_WRITE);
		return;
	case REASON_WINDOW:
		exit->kind = EXIT_WINDOW;
		return;
	case REASON_EXCEPTION_OR_NMI:
		decode_exception(v, exit);
		return;
	case REASON_CR_ACCESS:
		instruction_exit(exit, EXIT_CR);
		decode_cr(v, exit);
		return;
	case REASON_XSETBV:
		instruction_exit(exit, EXIT_XSETBV);
		return;
	case REASON_TRIPLE_FAULT:
		exit->kind = EXIT_SHUTDOWN;
		return;
	case REASON_INIT:
		exit->kind = EXIT_INTERRUPT;
		return;
	case REASON_EPT_MISCONFIGURATION:
		panic("vmx: misconfigured EPT entry for %llx under root %llx",
			(unsigned long long)vmread(GUEST_PHYSICAL_ADDRESS),
			(unsigned long long)vmread(EPT_POINTER));
	default:
		instruction_exit(exit, EXIT_FORBIDDEN);
		exit->forbidden = forbidden_kind(reason);
		return;
	}
}

/*
 * The entry did not happen. `.invalid` holds the instruction error (SDM Vol 3, "VM Instruction Error
 * Numbers"), or the exit reason with bit 31 set, and above it the exit qualification.
 */
static void decode_failure(bool instruction_failed, uint32_t reason, struct vm_exit *exit)
{
	exit->kind = EXIT_INVALID;
	exit->rip = vmread(GUEST_RIP);
	exit->invalid = instruction_failed ? vmread(VM_INSTRUCTION_ERROR) :
		reason | vmread(EXIT_QUALIFICATION) << 32;
	if (!instruction_failed && (reason & REASON_BASIC_MASK) == REASON_ENTRY_MACHINE_CHECK)
		host_take_machine_check();
}

static void run(struct core *core, struct vcpu *v, hpa_t root, uint32_t tag,
	enum tlb_action action, uint64_t slice_tsc, struct vm_exit *exit)
{
	struct vmx_core *c = core->vm;
	uint32_t reason;

	prepare(core, c, v, root | EPTP_FLAGS, tag, action, slice_tsc);
	if (UNLIKELY(speculation_at_entry))
		speculation_before_entry();
	if (UNLIKELY(vmx_enter(v->regs, c, c->launched))) {
		decode_failure(true, 0, exit);
		return;
	}
	reason = (uint32_t)vmread(EXIT_REASON);
	if (UNLIKELY(reason & REASON_ENTRY_FAILED)) {
		decode_failure(false, reason, exit);
		return;
	}
	c->launched = true;
	decode(v, reason & REASON_BASIC_MASK, exit);
}

const struct vm_ops vmx_ops = {
	.name = "VT-x",
	.format = &pt_format_ept,
	.probe = vmx_probe,
	.core_start = vmx_core_start,
	.load = vmx_load,
	.store = vmx_store,
	.run = run,
	.skip = vmx_skip,
	.get_cr = vmx_get_cr,
	.set_cr = vmx_set_cr,
	.interruptible = vmx_interruptible,
	.flush_all = flush_all,
};
