/*
 * The AMD-V backend against a processor made of paper: svm_enter() here writes into the VMCB what
 * an exit would. So what QEMU's processor lacks (next-RIP save, decode assists, flush by ASID,
 * clean bits) is run all the same.
 */
#include "hv/svm/svm.h"

#include "hv/panic.h"
#include "tests/unit/test.h"

#define ROOT 0x1234000
#define TAG  7

const struct pt_format pt_format_npt;

static struct vmcb vmcb, host, entered; /* `entered` is what the processor saw */
static struct svm_core own;
static struct core core;
static struct vcpu vcpu;
static struct vm_exit ex;

/* The next exit. */
static struct {
	uint64_t code, info1, info2, next_rip;
	uint32_t int_info, int_error;
	bool before_virq; /* the exit comes before a virtual interrupt is taken */
} will;

void svm_enter(struct vmcb *guest, uint64_t regs[REG_COUNT], struct vmcb *h)
{
	CHECK(guest == &vmcb && regs == vcpu.regs && h == &host);
	entered = *guest;
	guest->control.exit_code = will.code;
	guest->control.exit_info1 = will.info1;
	guest->control.exit_info2 = will.info2;
	guest->control.next_rip = will.next_rip;
	guest->control.exit_int_info = will.int_info;
	guest->control.exit_int_error = will.int_error;
	if (!will.before_virq && !(guest->control.intercept_misc1 & INTERCEPT1_VINTR))
		guest->control.int_ctl &= ~INT_CTL_V_IRQ;
	memset(&will, 0, sizeof(will));
}

/* start.c and the privileged half of state.c are for the machine. */
int svm_probe(struct vm_caps *caps, char *why, size_t why_size)
{
	(void)caps, (void)why, (void)why_size;
	return -1;
}

int svm_core_start(struct core *c, struct frame_pool *pool)
{
	(void)c, (void)pool;
	return -1;
}

NORETURN void panic(const char *format, ...)
{
	fprintf(stderr, "panic: %s\n", format);
	exit(1);
}

static void reset(void)
{
	memset(&vmcb, 0, sizeof(vmcb));
	memset(&own, 0, sizeof(own));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&ex, 0xee, sizeof(ex));
	own.vmcb = &vmcb;
	own.host = &host;
	own.clean = CLEAN_ALL;
	core.vm = &own;
	vmcb.save.rip = 0x8000;
	vmcb.save.rflags = RFLAGS_ONE | RFLAGS_IF;
	vmcb.save.efer = EFER_SVME;
}

static void run_flushing(enum tlb_action action)
{
	svm_ops.run(&core, &vcpu, ROOT, TAG, action, 0, &ex);
}

static void run(uint64_t code)
{
	will.code = code;
	run_flushing(TLB_KEEP);
}

TEST(svm_exits_by_io_describe_themselves)
{
	reset();
	will.info1 = 0x3f8u << 16 | 1 << 4 | 1;
	will.info2 = 0x8003;
	vcpu.regs[REG_RAX] = 0x1122;
	run(VMEXIT_IOIO);
	CHECK_EQ(entered.save.rax, 0x1122);
	CHECK_EQ(ex.kind, EXIT_IO);
	CHECK_EQ(ex.io.port, 0x3f8);
	CHECK_EQ(ex.io.size, 1);
	CHECK(ex.io.in);
	CHECK_EQ(ex.rip, 0x8000);
	CHECK_EQ(ex.next_rip, 0x8003);
	will.info1 = 0xffffu << 16 | 4 << 4;
	run(VMEXIT_IOIO);
	CHECK_EQ(ex.io.port, 0xffff);
	CHECK_EQ(ex.io.size, 4);
	CHECK(!ex.io.in);
}

TEST(svm_string_io_is_forbidden)
{
	for (uint64_t bit = 4; bit <= 8; bit <<= 1) {
		reset();
		will.info1 = 0x42u << 16 | 1 << 4 | bit;
		run(VMEXIT_IOIO);
		CHECK_EQ(ex.kind, EXIT_FORBIDDEN);
		CHECK_EQ(ex.forbidden, FORBIDDEN_STRING_IO);
	}
}

TEST(svm_next_rip_is_the_processors_or_a_known_length)
{
	static const struct {
		uint64_t code;
		enum vm_exit_kind kind;
		unsigned length;
	} exits[] = {
		{VMEXIT_CPUID, EXIT_CPUID, 2},
		{VMEXIT_HLT, EXIT_HLT, 1},
		{VMEXIT_MSR, EXIT_MSR_READ, 2},
		{VMEXIT_XSETBV, EXIT_XSETBV, 3},
		{VMEXIT_VMMCALL, EXIT_FORBIDDEN, 3},
		{VMEXIT_WBINVD, EXIT_FORBIDDEN, 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(exits); i++) {
		reset();
		run(exits[i].code);
		CHECK_EQ(ex.kind, exits[i].kind);
		CHECK_EQ(ex.next_rip, 0x8000 + exits[i].length);
		own.has_next_rip = true;
		will.next_rip = 0x8009;
		run(exits[i].code);
		CHECK_EQ(ex.next_rip, 0x8009);
	}
}

TEST(svm_msr_exits_tell_the_direction)
{
	reset();
	run(VMEXIT_MSR);
	CHECK_EQ(ex.kind, EXIT_MSR_READ);
	will.info1 = MSR_IS_WRITE;
	run(VMEXIT_MSR);
	CHECK_EQ(ex.kind, EXIT_MSR_WRITE);
}

TEST(svm_memory_exits_tell_access_and_walk)
{
	static const struct {
		uint64_t info1;
		enum gmem_access access;
		bool walk;
	} faults[] = {
		{1ull << 32 | 4, GMEM_READ, false},
		{1ull << 32 | 4 | 1 | 2, GMEM_WRITE, false},
		{1ull << 32 | 4 | 16, GMEM_EXEC, false},
		{1ull << 33 | 4 | 2, GMEM_WRITE, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		reset();
		will.info1 = faults[i].info1;
		will.info2 = 0xabcdef123;
		run(VMEXIT_NPF);
		CHECK_EQ(ex.kind, EXIT_MEMORY);
		CHECK_EQ(ex.memory.gpa, 0xabcdef123);
		CHECK_EQ(ex.memory.access, faults[i].access);
		CHECK_EQ(ex.memory.table_walk, faults[i].walk);
	}
}

TEST(svm_control_register_writes_name_their_register)
{
	reset();
	vcpu.regs[REG_R9] = 0x606;
	vmcb.save.rsp = 0x7000;
	will.info1 = CR_WRITE_IS_MOV | REG_R9;
	run(VMEXIT_CR0_WRITE + 4);
	CHECK_EQ(ex.kind, EXIT_CR);
	CHECK_EQ(ex.cr.number, 4);
	CHECK_EQ(ex.cr.reg, REG_R9);
	CHECK_EQ(ex.cr.value, 0x606);
	will.info1 = CR_WRITE_IS_MOV | 4;
	run(VMEXIT_CR0_WRITE + 4);
	CHECK_EQ(ex.cr.reg, 0xff);
	CHECK_EQ(ex.cr.value, 0x7000);
}

TEST(svm_exceptions_and_dead_ends)
{
	reset();
	vmcb.save.dr6 = 0xffff4ff0;
	run(VMEXIT_EXCEPTION + VECTOR_DB);
	CHECK_EQ(ex.kind, EXIT_EXCEPTION);
	CHECK_EQ(ex.exception.vector, VECTOR_DB);
	CHECK_EQ(ex.exception.dr6, 0xffff4ff0);
	CHECK(!ex.exception.has_error);
	run(VMEXIT_EXCEPTION + VECTOR_AC);
	CHECK_EQ(ex.exception.vector, VECTOR_AC);
	CHECK(ex.exception.has_error);
	run(VMEXIT_SHUTDOWN);
	CHECK_EQ(ex.kind, EXIT_SHUTDOWN);
	run(VMEXIT_NMI);
	CHECK_EQ(ex.kind, EXIT_INTERRUPT);
	run(VMEXIT_VINTR);
	CHECK_EQ(ex.kind, EXIT_WINDOW);
}

TEST(svm_refused_states_are_told_in_either_width)
{
	reset();
	vmcb.save.cr0 = CR0_NW;
	run(UINT64_MAX);
	CHECK_EQ(ex.kind, EXIT_INVALID);
	CHECK_EQ(ex.invalid, 1u << 1);
	vmcb.save.cr0 = CR0_PG | CR0_PE;
	vmcb.save.efer |= EFER_LME;
	run(UINT32_MAX);
	CHECK_EQ(ex.kind, EXIT_INVALID);
	CHECK_EQ(ex.invalid, 1u << 3);
}

TEST(svm_no_code_leads_nowhere)
{
	for (uint64_t code = 0; code <= 0x500; code++) {
		if (code == VMEXIT_INTR || code == VMEXIT_EXCEPTION + VECTOR_MC)
			continue; /* they run privileged instructions */
		reset();
		run(code);
		CHECK((unsigned)ex.kind < EXIT_KINDS);
		CHECK(ex.kind != EXIT_FORBIDDEN || ex.forbidden <= FORBIDDEN_OTHER);
		CHECK_EQ(ex.rip, 0x8000);
	}
}

static uint8_t flushed(enum tlb_action action)
{
	will.code = VMEXIT_CPUID;
	run_flushing(action);
	return entered.control.tlb_control;
}

TEST(svm_flushes_what_is_asked_and_once)
{
	reset();
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_NONE);
	CHECK_EQ(flushed(TLB_FLUSH_GUEST), TLB_CONTROL_FLUSH_ALL);
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_NONE);
	own.has_flush_by_asid = true;
	CHECK_EQ(flushed(TLB_FLUSH_GUEST), TLB_CONTROL_FLUSH_ASID);
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_NONE);
	CHECK_EQ(flushed(TLB_FLUSH_ALL), TLB_CONTROL_FLUSH_ALL);
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_NONE);
}

TEST(svm_flush_all_outlives_a_smaller_flush)
{
	reset();
	own.has_flush_by_asid = true;
	svm_ops.flush_all(&core);
	CHECK_EQ(flushed(TLB_FLUSH_GUEST), TLB_CONTROL_FLUSH_ALL);
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_NONE);
	svm_flush(&own, TLB_FLUSH_GUEST);
	CHECK_EQ(flushed(TLB_FLUSH_ALL), TLB_CONTROL_FLUSH_ALL);
	svm_ops.flush_all(&core);
	CHECK_EQ(flushed(TLB_KEEP), TLB_CONTROL_FLUSH_ALL);
}

TEST(svm_paging_registers_set_by_us_flush_the_guest)
{
	for (unsigned number = 0; number <= 4; number++) {
		if (number == 1)
			continue;
		reset();
		own.has_flush_by_asid = true;
		svm_set_cr(&core, &vcpu, number, 0x11);
		CHECK_EQ(svm_get_cr(&core, number), 0x11);
		CHECK_EQ(
			flushed(TLB_KEEP), number == 2 ? TLB_CONTROL_NONE : TLB_CONTROL_FLUSH_ASID);
	}
}

TEST(svm_long_mode_follows_paging)
{
	reset();
	vmcb.save.efer |= EFER_LME;
	svm_set_cr(&core, &vcpu, 0, CR0_PG | CR0_PE);
	CHECK(vmcb.save.efer & EFER_LMA);
	svm_set_cr(&core, &vcpu, 0, CR0_PE);
	CHECK(!(vmcb.save.efer & EFER_LMA));
	vmcb.save.efer &= ~EFER_LME;
	svm_set_cr(&core, &vcpu, 0, CR0_PG | CR0_PE);
	CHECK(!(vmcb.save.efer & EFER_LMA));
}

TEST(svm_what_is_written_is_not_clean)
{
	reset();
	run(VMEXIT_CPUID);
	CHECK_EQ(entered.control.nested_cr3, ROOT);
	CHECK_EQ(entered.control.asid, TAG);
	run(VMEXIT_CPUID);
	CHECK_EQ(entered.control.clean, CLEAN_ALL);

	svm_ops.run(&core, &vcpu, ROOT + PAGE_SIZE, TAG, TLB_KEEP, 0, &ex);
	CHECK_EQ(entered.control.nested_cr3, ROOT + PAGE_SIZE);
	CHECK_EQ(entered.control.clean, CLEAN_ALL & ~CLEAN_NP);
	svm_ops.run(&core, &vcpu, ROOT + PAGE_SIZE, TAG + 1, TLB_KEEP, 0, &ex);
	CHECK_EQ(entered.control.asid, TAG + 1);
	CHECK_EQ(entered.control.clean, CLEAN_ALL & ~CLEAN_ASID);
	svm_set_cr(&core, &vcpu, 2, 1);
	svm_set_cr(&core, &vcpu, 8, 1);
	svm_set_cr(&core, &vcpu, 4, 1);
	svm_ops.run(&core, &vcpu, ROOT + PAGE_SIZE, TAG + 1, TLB_KEEP, 0, &ex);
	CHECK_EQ(entered.control.clean, CLEAN_ALL & ~(CLEAN_CR2 | CLEAN_INT_CTL | CLEAN_CR));
	CHECK_EQ(entered.control.int_ctl & INT_CTL_V_TPR, 1);
	own.clean = 0;
	run(VMEXIT_CPUID);
	run(VMEXIT_CPUID);
	CHECK_EQ(entered.control.clean, 0);
}

TEST(svm_window_is_opened_and_closed)
{
	reset();
	vcpu.want_window = true;
	run(VMEXIT_VINTR);
	CHECK(entered.control.int_ctl & INT_CTL_V_IRQ);
	CHECK(entered.control.int_ctl & INT_CTL_V_IGNORE_TPR);
	CHECK(entered.control.intercept_misc1 & INTERCEPT1_VINTR);
	vcpu.want_window = false;
	run(VMEXIT_CPUID);
	CHECK(!(entered.control.int_ctl & INT_CTL_V_IRQ));
	CHECK(!(entered.control.intercept_misc1 & INTERCEPT1_VINTR));
	CHECK(!(entered.control.clean & (CLEAN_INTERCEPTS | CLEAN_INT_CTL)));
	run(VMEXIT_CPUID);
	CHECK_EQ(entered.control.clean, CLEAN_ALL);
}

/* The control block is another guest's then. */
TEST(svm_window_of_the_last_guest_is_none_of_the_next)
{
	reset();
	vcpu.want_window = true;
	run(VMEXIT_NMI);
	svm_load(&core, &vcpu);
	run(VMEXIT_VINTR);
	CHECK(entered.control.int_ctl & INT_CTL_V_IRQ);
	CHECK(entered.control.intercept_misc1 & INTERCEPT1_VINTR);
	vcpu.want_window = false;
	svm_load(&core, &vcpu);
	run(VMEXIT_CPUID);
	CHECK(!(entered.control.int_ctl & INT_CTL_V_IRQ));
	CHECK(!(entered.control.intercept_misc1 & INTERCEPT1_VINTR));
}

static void pend_interrupt(uint8_t vector)
{
	vcpu.pending = (struct vm_event){.kind = EVENT_INTERRUPT, .vector = vector};
}

TEST(svm_interrupts_are_virtual_ones)
{
	reset();
	pend_interrupt(0x50);
	run(VMEXIT_CPUID);
	CHECK(entered.control.int_ctl & INT_CTL_V_IRQ);
	CHECK(entered.control.int_ctl & INT_CTL_V_IGNORE_TPR);
	CHECK_EQ(entered.control.int_vector, 0x50);
	CHECK(!(entered.control.intercept_misc1 & INTERCEPT1_VINTR));
	CHECK(!(entered.control.clean & CLEAN_INT_CTL));
	CHECK_EQ(entered.control.event_inj, 0);
	CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
	run(VMEXIT_CPUID);
	CHECK(!(entered.control.int_ctl & INT_CTL_V_IRQ));
	CHECK(!(entered.control.clean & CLEAN_INT_CTL));
}

TEST(svm_interrupt_that_was_not_taken_stays)
{
	reset();
	pend_interrupt(0x50);
	will.before_virq = true;
	run(VMEXIT_NMI);
	CHECK_EQ(vcpu.pending.kind, EVENT_INTERRUPT);
	CHECK_EQ(vcpu.pending.vector, 0x50);
	run(VMEXIT_CPUID);
	CHECK(entered.control.int_ctl & INT_CTL_V_IRQ);
	CHECK_EQ(entered.control.int_vector, 0x50);
	CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
}

TEST(svm_window_waits_for_an_interrupt_but_not_for_an_exception)
{
	reset();
	pend_interrupt(0x50);
	vcpu.want_window = true;
	run(VMEXIT_MSR);
	CHECK(!(entered.control.intercept_misc1 & INTERCEPT1_VINTR));
	run(VMEXIT_VINTR);
	CHECK(entered.control.int_ctl & INT_CTL_V_IRQ);
	CHECK(entered.control.intercept_misc1 & INTERCEPT1_VINTR);
	vcpu.pending = (struct vm_event){.kind = EVENT_EXCEPTION, .vector = VECTOR_DB};
	run(VMEXIT_VINTR);
	CHECK(entered.control.event_inj & EVENT_VALID);
	CHECK(entered.control.intercept_misc1 & INTERCEPT1_VINTR);
}

TEST(svm_interruptible_needs_if_and_no_shadow)
{
	reset();
	CHECK(svm_interruptible(&core, &vcpu));
	vmcb.control.int_shadow = INT_SHADOW;
	CHECK(!svm_interruptible(&core, &vcpu));
	ex.next_rip = 0x8005;
	svm_skip(&core, &vcpu, &ex);
	CHECK_EQ(vmcb.save.rip, 0x8005);
	CHECK(svm_interruptible(&core, &vcpu));
	vmcb.save.rflags &= ~RFLAGS_IF;
	CHECK(!svm_interruptible(&core, &vcpu));
}

TEST(svm_skip_gives_a_single_stepping_guest_its_trap)
{
	reset();
	vmcb.save.rflags |= RFLAGS_RF;
	svm_skip(&core, &vcpu, &ex);
	CHECK(!(vmcb.save.rflags & RFLAGS_RF));
	CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
	vmcb.save.rflags |= RFLAGS_TF;
	svm_skip(&core, &vcpu, &ex);
	CHECK_EQ(vcpu.pending.kind, EVENT_EXCEPTION);
	CHECK_EQ(vcpu.pending.vector, VECTOR_DB);
	CHECK(vmcb.save.dr6 & DR6_BS);
}

TEST(svm_events_are_injected_once)
{
	static const struct {
		struct vm_event event;
		uint32_t word;
	} events[] = {
		{{EVENT_NMI, 2, false, 0}, 0x80000202},
		{{EVENT_EXCEPTION, 6, false, 0}, 0x80000306},
		{{EVENT_EXCEPTION, 14, true, 6}, 0x80000b0e},
	};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		reset();
		vcpu.pending = events[i].event;
		run(VMEXIT_CPUID);
		CHECK_EQ(entered.control.event_inj, events[i].word);
		CHECK_EQ(entered.control.event_inj_error, events[i].event.error);
		CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
		run(VMEXIT_CPUID);
		CHECK_EQ(entered.control.event_inj, 0);
	}
}

TEST(svm_events_cut_short_come_back)
{
	static const struct {
		uint32_t info;
		uint8_t kind, vector;
		bool has_error;
	} cases[] = {
		{0x80000050, EVENT_INTERRUPT, 0x50, false},
		{0x80000202, EVENT_NMI, 2, false},
		{0x80000b0e, EVENT_EXCEPTION, 14, true},
		{0x80000301, EVENT_EXCEPTION, 1, false},
		{0x80000350, EVENT_INTERRUPT, 0x50, false}, /* QEMU, of a virtual interrupt */
		{0x80000450, EVENT_NONE, 0, false},         /* INT 50h */
		{0x80000303, EVENT_NONE, 0, false},         /* INT3 */
		{0x80000304, EVENT_NONE, 0, false},         /* INTO */
		{0x00000b0e, EVENT_NONE, 0, false},         /* not valid */
		{0x80000004, EVENT_INTERRUPT, 4, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		reset();
		will.int_info = cases[i].info;
		will.int_error = 0x77;
		run(VMEXIT_NPF);
		CHECK_EQ(vcpu.pending.kind, cases[i].kind);
		if (cases[i].kind == EVENT_NONE)
			continue;
		CHECK_EQ(vcpu.pending.vector, cases[i].vector);
		CHECK_EQ(vcpu.pending.has_error, cases[i].has_error);
		if (cases[i].has_error)
			CHECK_EQ(vcpu.pending.error, 0x77);
	}
}
