/*
 * The VT-x backend against a processor made of paper: vmx_enter() here writes into the VMCS what an
 * exit would. So what Bochs does not do is run all the same: machine checks, slow preemption timers,
 * interrupts in a guest with IF clear; and the writes that an entry saves are counted.
 */
#include "hv/panic.h"
#include "hv/speculation.h"
#include "hv/vmx/vmx.h"

#include "tests/unit/test.h"

#include <stdarg.h>

#define ROOT 0x1234000ull
#define TAG  7
#define RIP  0x8000
#define LENGTH 3

struct paper paper;

const struct pt_format pt_format_ept;
const struct vmx_switched_msr vmx_switched_msrs[VMX_SWITCHED_MSRS] = {
	{ MSR_STAR, offsetof(struct vcpu, star) },
	{ MSR_LSTAR, offsetof(struct vcpu, lstar) },
	{ MSR_CSTAR, offsetof(struct vcpu, cstar) },
	{ MSR_SFMASK, offsetof(struct vcpu, sfmask) },
	{ MSR_KERNEL_GS_BASE, offsetof(struct vcpu, kernel_gs_base) },
	{ MSR_TSC_AUX, offsetof(struct vcpu, tsc_aux) },
};

static uint8_t apic[PAGE_SIZE];
static struct vmx_core own;
static struct core core;
static struct vcpu vcpu;
static struct vm_exit ex;

unsigned speculation_at_entry;
static unsigned flushed; /* so often */

void speculation_before_entry(void)
{
	flushed++;
}

/* The next exit, and what the processor saw at the entry before it. */
static struct {
	uint32_t reason, event, event_error, vectoring, vectoring_error;
	uint64_t qualification, gpa;
	bool fail;
} will;
static struct {
	unsigned entries;
	bool launched;
	uint64_t event, error, timer, pin, proc, eptp, vpid;
} saw;

int vmx_enter(uint64_t regs[REG_COUNT], struct vmx_core *c, bool launched)
{
	CHECK(regs == vcpu.regs && c == &own);
	saw.entries++;
	saw.launched = launched;
	saw.event = paper.field[ENTRY_EVENT];
	saw.error = paper.field[ENTRY_EVENT_ERROR];
	saw.timer = paper.field[PREEMPTION_TIMER];
	saw.pin = paper.field[PIN_CONTROLS];
	saw.proc = paper.field[PROC_CONTROLS];
	saw.eptp = paper.field[EPT_POINTER];
	saw.vpid = paper.field[VMCS_VPID];
	if (will.fail) {
		paper.field[VM_INSTRUCTION_ERROR] = 7;
		return 1;
	}
	paper.field[ENTRY_EVENT] &= ~(uint64_t)EVENT_VALID;
	paper.field[EXIT_REASON] = will.reason;
	paper.field[EXIT_EVENT] = will.event;
	paper.field[EXIT_EVENT_ERROR] = will.event_error;
	paper.field[VECTORING_EVENT] = will.vectoring;
	paper.field[VECTORING_EVENT_ERROR] = will.vectoring_error;
	paper.field[EXIT_QUALIFICATION] = will.qualification;
	paper.field[GUEST_PHYSICAL_ADDRESS] = will.gpa;
	paper.field[EXIT_INSTRUCTION_LENGTH] = LENGTH;
	return 0;
}

void panic(const char *format, ...)
{
	(void)format;
	abort();
}

/* start.c is for the machine. */
int vmx_probe(struct vm_caps *caps, char *why, size_t why_size)
{
	(void)caps, (void)why, (void)why_size;
	return -1;
}

int vmx_core_start(struct core *c, struct frame_pool *pool)
{
	(void)c, (void)pool;
	return -1;
}

static void reset(void)
{
	memset(&paper, 0, sizeof(paper));
	memset(&own, 0, sizeof(own));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&ex, 0xee, sizeof(ex));
	memset(&will, 0, sizeof(will));
	own.has_tsc_aux = own.has_xsave = own.has_xss = own.has_timer = true;
	own.cr0_forced = CR0_NE;
	own.cr4_forced = CR4_VMXE | CR4_MCE;
	own.cr0_owned = ~(CR0_PE | CR0_PG | CR0_WP | CR0_TS);
	own.cr4_owned = ~(CR4_PAE | CR4_PGE);
	own.virtual_apic = apic;
	core.vm = &own;
	paper.field[GUEST_RIP] = RIP;
	paper.field[GUEST_RFLAGS] = RFLAGS_ONE | RFLAGS_IF;
	paper.field[GUEST_EFER] = EFER_LME | EFER_LMA;
	paper.field[GUEST_CS_ACCESS] = ACCESS_LONG;
	paper.tsc = 1000;
}

static void run_with(enum tlb_action action, uint64_t slice)
{
	vmx_ops.run(&core, &vcpu, ROOT, TAG, action, slice, &ex);
}

static void run(uint32_t reason)
{
	will.reason = reason;
	run_with(TLB_KEEP, 0);
}

static bool was_instruction(void)
{
	return ex.rip == RIP && ex.next_rip == RIP + LENGTH;
}

TEST(vmx_exits_have_their_kinds)
{
	static const struct {
		uint32_t reason;
		enum vm_exit_kind kind;
		bool instruction;
	} rows[] = {
		{ REASON_INTERRUPT, EXIT_INTERRUPT, false },
		{ REASON_TRIPLE_FAULT, EXIT_SHUTDOWN, false },
		{ REASON_INIT, EXIT_INTERRUPT, false },
		{ REASON_WINDOW, EXIT_WINDOW, false },
		{ REASON_CPUID, EXIT_CPUID, true },
		{ REASON_HLT, EXIT_HLT, true },
		{ REASON_RDMSR, EXIT_MSR_READ, true },
		{ REASON_WRMSR, EXIT_MSR_WRITE, true },
		{ REASON_PREEMPTION_TIMER, EXIT_SLICE, false },
		{ REASON_XSETBV, EXIT_XSETBV, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reset();
		run(rows[i].reason);
		CHECK_EQ(ex.kind, rows[i].kind);
		CHECK_EQ(ex.rip, RIP);
		CHECK(!rows[i].instruction || was_instruction());
		CHECK_EQ(paper.interrupts, rows[i].reason == REASON_INTERRUPT);
	}
}

TEST(vmx_forbidden_instructions_are_told_apart)
{
	static const struct {
		uint32_t reason;
		enum vm_forbidden what;
	} rows[] = {
		{ REASON_TASK_SWITCH, FORBIDDEN_TASK_SWITCH }, { 11, FORBIDDEN_OTHER },
		{ REASON_INVD, FORBIDDEN_CACHE }, { REASON_WBINVD, FORBIDDEN_CACHE },
		{ REASON_RDPMC, FORBIDDEN_PMC }, { REASON_VMCALL, FORBIDDEN_HYPERCALL_INSTRUCTION },
		{ 19, FORBIDDEN_VMX }, { 20, FORBIDDEN_VMX }, { 21, FORBIDDEN_VMX },
		{ 22, FORBIDDEN_VMX }, { 23, FORBIDDEN_VMX }, { 24, FORBIDDEN_VMX },
		{ 25, FORBIDDEN_VMX }, { 26, FORBIDDEN_VMX }, { 27, FORBIDDEN_VMX },
		{ REASON_INVEPT, FORBIDDEN_VMX }, { REASON_INVVPID, FORBIDDEN_VMX },
		{ REASON_MWAIT, FORBIDDEN_MONITOR }, { REASON_MONITOR, FORBIDDEN_MONITOR },
		{ 60, FORBIDDEN_OTHER }, /* ENCLS */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reset();
		run(rows[i].reason);
		CHECK_EQ(ex.kind, EXIT_FORBIDDEN);
		CHECK_EQ(ex.forbidden, rows[i].what);
		CHECK(was_instruction());
	}
}

TEST(vmx_io_is_described)
{
	for (unsigned size = 1; size <= 4; size *= 2) {
		reset();
		will.qualification = 0xc0deull << 16 | IO_IN | (size - 1);
		run(REASON_IO);
		CHECK(ex.kind == EXIT_IO && ex.io.port == 0xc0de && ex.io.in && ex.io.size == size);
		CHECK(was_instruction());
	}
	reset();
	will.qualification = 0x30ull << 16 | 3;
	run(REASON_IO);
	CHECK(ex.kind == EXIT_IO && ex.io.port == 0x30 && !ex.io.in);
	will.qualification |= IO_STRING;
	run(REASON_IO);
	CHECK(ex.kind == EXIT_FORBIDDEN && ex.forbidden == FORBIDDEN_STRING_IO);
	CHECK(was_instruction());
}

TEST(vmx_memory_exits_name_address_and_access)
{
	reset();
	will.gpa = 0x123456;
	will.qualification = EPT_WRITE | 1 | EPT_LINEAR_VALID | EPT_LINEAR_FINAL;
	run(REASON_EPT_VIOLATION);
	CHECK(ex.kind == EXIT_MEMORY && ex.memory.gpa == 0x123456);
	CHECK(ex.memory.access == GMEM_WRITE && !ex.memory.table_walk);
	will.qualification = EPT_FETCH | EPT_LINEAR_VALID | EPT_LINEAR_FINAL;
	run(REASON_EPT_VIOLATION);
	CHECK(ex.memory.access == GMEM_EXEC && !ex.memory.table_walk);
	will.qualification = 1 | EPT_LINEAR_VALID;
	run(REASON_EPT_VIOLATION);
	CHECK(ex.memory.access == GMEM_READ && ex.memory.table_walk);
	will.qualification = 1;
	run(REASON_EPT_VIOLATION);
	CHECK(ex.memory.access == GMEM_READ && !ex.memory.table_walk);
	CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
}

static uint32_t word(enum event_type type, uint8_t vector, bool error)
{
	return EVENT_VALID | (uint32_t)type << EVENT_TYPE_SHIFT | vector |
		(error ? EVENT_HAS_ERROR : 0);
}

TEST(vmx_events_go_in_and_come_back_when_cut_short)
{
	static const struct {
		struct vm_event event;
		enum event_type type;
	} rows[] = {
		{ { EVENT_INTERRUPT, 0x41, false, 0 }, EVENT_TYPE_INTERRUPT },
		{ { EVENT_NMI, 2, false, 0 }, EVENT_TYPE_NMI },
		{ { EVENT_EXCEPTION, VECTOR_UD, false, 0 }, EVENT_TYPE_EXCEPTION },
		{ { EVENT_EXCEPTION, VECTOR_PF, true, 0xdead }, EVENT_TYPE_EXCEPTION },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct vm_event *e = &rows[i].event;

		reset();
		vcpu.pending = *e;
		run(REASON_CPUID);
		CHECK_EQ(saw.event, word(rows[i].type, e->vector, e->has_error));
		CHECK_EQ(saw.error, e->error);
		CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
		run(REASON_CPUID);
		CHECK(!(saw.event & EVENT_VALID));

		will.vectoring = word(rows[i].type, e->vector, e->has_error);
		will.vectoring_error = e->error;
		paper.field[GUEST_INTERRUPTIBILITY] = BLOCKED_BY_NMI;
		run(REASON_EPT_VIOLATION);
		CHECK_EQ(vcpu.pending.kind, e->kind);
		CHECK_EQ(vcpu.pending.vector, e->vector);
		CHECK_EQ(vcpu.pending.has_error, e->has_error);
		CHECK_EQ(vcpu.pending.error, e->error);
		/* only the NMI's own blocking is taken back */
		CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY],
			e->kind == EVENT_NMI ? 0 : BLOCKED_BY_NMI);
	}
}

TEST(vmx_software_events_run_again_instead)
{
	static const enum event_type types[] = { EVENT_TYPE_SOFTWARE_INTERRUPT,
		EVENT_TYPE_PRIVILEGED_EXCEPTION, EVENT_TYPE_SOFTWARE_EXCEPTION };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		reset();
		will.vectoring = word(types[i], 3, false);
		run(REASON_EPT_VIOLATION);
		CHECK_EQ(vcpu.pending.kind, EVENT_NONE);
		CHECK_EQ(paper.writes[GUEST_RIP], 0);
	}
}

TEST(vmx_iret_that_faults_leaves_nmis_blocked)
{
	reset();
	will.qualification = 1 | EPT_NMI_UNBLOCKED;
	run(REASON_EPT_VIOLATION);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], BLOCKED_BY_NMI);
	reset();
	will.event = word(EVENT_TYPE_EXCEPTION, VECTOR_AC, true) | EVENT_NMI_UNBLOCKED;
	run(REASON_EXCEPTION_OR_NMI);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], BLOCKED_BY_NMI);
	/* with an event under way, the bit says nothing */
	reset();
	will.qualification = 1 | EPT_NMI_UNBLOCKED;
	will.vectoring = word(EVENT_TYPE_EXCEPTION, VECTOR_PF, true);
	run(REASON_EPT_VIOLATION);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], 0);
}

TEST(vmx_nmis_and_machine_checks_are_the_hosts)
{
	reset();
	will.event = word(EVENT_TYPE_NMI, VECTOR_NMI, false);
	run(REASON_EXCEPTION_OR_NMI);
	CHECK(ex.kind == EXIT_INTERRUPT && paper.nmis == 1 && paper.machine_checks == 0);
	reset();
	will.event = word(EVENT_TYPE_EXCEPTION, VECTOR_MC, false);
	run(REASON_EXCEPTION_OR_NMI);
	CHECK(ex.kind == EXIT_EXCEPTION && ex.exception.vector == VECTOR_MC);
	CHECK(paper.machine_checks == 1 && paper.nmis == 0);
	reset();
	run(REASON_ENTRY_FAILED | REASON_ENTRY_MACHINE_CHECK);
	CHECK(ex.kind == EXIT_INVALID && paper.machine_checks == 1);
}

TEST(vmx_alignment_check_has_its_error)
{
	reset();
	will.event = word(EVENT_TYPE_EXCEPTION, VECTOR_AC, true);
	will.event_error = 0x11;
	run(REASON_EXCEPTION_OR_NMI);
	CHECK(ex.kind == EXIT_EXCEPTION && ex.exception.vector == VECTOR_AC);
	CHECK(ex.exception.has_error && ex.exception.error == 0x11);
}

TEST(vmx_debug_exception_shows_in_the_debug_registers)
{
	reset();
	paper.dr6 = DR6_RESET | 8;
	paper.field[GUEST_DR7] = DR7_RESET | DR7_GD | 1;
	will.event = word(EVENT_TYPE_EXCEPTION, VECTOR_DB, false);
	will.qualification = DR6_BS | 1;
	run(REASON_EXCEPTION_OR_NMI);
	CHECK(ex.kind == EXIT_EXCEPTION && ex.exception.vector == VECTOR_DB);
	CHECK_EQ(ex.exception.dr6, DR6_RESET | DR6_BS | 1);
	CHECK_EQ(paper.dr6, ex.exception.dr6);
	CHECK_EQ(paper.field[GUEST_DR7], DR7_RESET | 1);
	/* in a transaction: the bit is inverted in DR6 */
	will.qualification = DEBUG_RTM;
	run(REASON_EXCEPTION_OR_NMI);
	CHECK_EQ(paper.dr6, DR6_RESET & ~(uint64_t)DEBUG_RTM);
	/* INT1 tells nothing in DR6, and is behind us */
	reset();
	paper.dr6 = DR6_RESET;
	will.event = word(EVENT_TYPE_PRIVILEGED_EXCEPTION, VECTOR_DB, false);
	run(REASON_EXCEPTION_OR_NMI);
	CHECK(ex.kind == EXIT_EXCEPTION && ex.exception.dr6 == DR6_RESET);
	CHECK_EQ(paper.field[GUEST_RIP], RIP + LENGTH);
}

TEST(vmx_control_register_writes_carry_the_value)
{
	reset();
	vcpu.regs[REG_R9] = 0x1234567800000005;
	will.qualification = 8 | 9 << 8;
	run(REASON_CR_ACCESS);
	CHECK(ex.kind == EXIT_CR && ex.cr.number == 8 && ex.cr.reg == REG_R9);
	CHECK_EQ(ex.cr.value, 0x1234567800000005);
	CHECK(was_instruction());
	paper.field[GUEST_CS_ACCESS] = 0; /* compatibility mode */
	run(REASON_CR_ACCESS);
	CHECK_EQ(ex.cr.value, 5);
	paper.field[GUEST_RSP] = 0x77;
	will.qualification = 4 | 4 << 8;
	run(REASON_CR_ACCESS);
	CHECK(ex.cr.number == 4 && ex.cr.reg == 0xff && ex.cr.value == 0x77);
	will.qualification = 0 | 1 << 4; /* a read */
	run(REASON_CR_ACCESS);
	CHECK(ex.kind == EXIT_FORBIDDEN && ex.forbidden == FORBIDDEN_OTHER);
}

TEST(vmx_failed_entries_say_why)
{
	reset();
	will.qualification = 4;
	run(REASON_ENTRY_FAILED | 33);
	CHECK(ex.kind == EXIT_INVALID && ex.invalid == (4ull << 32 | REASON_ENTRY_FAILED | 33));
	CHECK(!own.launched);
	will.fail = true;
	run(0);
	CHECK(ex.kind == EXIT_INVALID && ex.invalid == 7);
	CHECK(!own.launched);
	will.fail = false;
	run(REASON_CPUID);
	CHECK(!saw.launched && own.launched);
	run(REASON_CPUID);
	CHECK(saw.launched);
	/* a later failure does not make the VMCS clear again */
	run(REASON_ENTRY_FAILED | 33);
	CHECK(own.launched);
}

TEST(vmx_entry_writes_only_what_changed)
{
	unsigned before;

	reset();
	run(REASON_CPUID);
	CHECK_EQ(saw.eptp, ROOT | EPTP_FLAGS);
	CHECK_EQ(saw.vpid, TAG);
	before = paper.writes[EPT_POINTER] + paper.writes[VMCS_VPID] + paper.writes[PROC_CONTROLS] +
		paper.writes[PIN_CONTROLS] + paper.writes[ENTRY_EVENT] + paper.writes[PREEMPTION_TIMER];
	run(REASON_CPUID);
	CHECK_EQ(paper.writes[EPT_POINTER] + paper.writes[VMCS_VPID] + paper.writes[PROC_CONTROLS] +
		paper.writes[PIN_CONTROLS] + paper.writes[ENTRY_EVENT] +
		paper.writes[PREEMPTION_TIMER], before);
	vmx_ops.run(&core, &vcpu, ROOT + PAGE_SIZE, TAG + 1, TLB_KEEP, 0, &ex);
	CHECK_EQ(saw.eptp, (ROOT + PAGE_SIZE) | EPTP_FLAGS);
	CHECK_EQ(saw.vpid, TAG + 1);
}

TEST(vmx_flushes_are_carried_out)
{
	reset();
	run_with(TLB_KEEP, 0);
	CHECK(!paper.invept_single && !paper.invept_all && !paper.invvpid_all);
	run_with(TLB_FLUSH_GUEST, 0);
	CHECK(paper.invept_single == 1 && paper.invept_root == (ROOT | EPTP_FLAGS));
	CHECK(!paper.invept_all);
	run_with(TLB_FLUSH_ALL, 0);
	CHECK(paper.invept_all == 1 && paper.invvpid_all == 1);
	vmx_ops.flush_all(&core);
	CHECK(paper.invept_all == 2 && paper.invvpid_all == 2);
}

TEST(vmx_window_is_opened_and_closed)
{
	reset();
	run(REASON_CPUID);
	CHECK(!(saw.proc & PROC_INTERRUPT_WINDOW));
	vcpu.want_window = true;
	run(REASON_WINDOW);
	CHECK(ex.kind == EXIT_WINDOW && (saw.proc & PROC_INTERRUPT_WINDOW));
	vcpu.want_window = false;
	run(REASON_CPUID);
	CHECK(!(saw.proc & PROC_INTERRUPT_WINDOW));
}

TEST(vmx_slices_are_rounded_up_and_bounded)
{
	reset();
	run_with(TLB_KEEP, 0);
	CHECK(!(saw.pin & PIN_PREEMPTION_TIMER));
	run_with(TLB_KEEP, paper.tsc + 100);
	CHECK((saw.pin & PIN_PREEMPTION_TIMER) && saw.timer == 100);
	own.timer_rate = 5;
	run_with(TLB_KEEP, paper.tsc + 64);
	CHECK_EQ(saw.timer, 2);
	run_with(TLB_KEEP, paper.tsc + 65);
	CHECK_EQ(saw.timer, 3);
	run_with(TLB_KEEP, paper.tsc);
	CHECK_EQ(saw.timer, 0);
	run_with(TLB_KEEP, 1);
	CHECK_EQ(saw.timer, 0);
	run_with(TLB_KEEP, UINT64_MAX);
	CHECK_EQ(saw.timer, UINT32_MAX);
	run_with(TLB_KEEP, 0);
	CHECK(!(saw.pin & PIN_PREEMPTION_TIMER));
	own.has_timer = false;
	run_with(TLB_KEEP, 5000);
	CHECK(!(saw.pin & PIN_PREEMPTION_TIMER));
}

TEST(vmx_skip_ends_the_shadow_and_keeps_a_trap_due)
{
	reset();
	run(REASON_HLT);
	vmx_ops.skip(&core, &vcpu, &ex);
	CHECK_EQ(paper.field[GUEST_RIP], RIP + LENGTH);
	CHECK_EQ(paper.writes[GUEST_PENDING_DEBUG] + paper.writes[GUEST_INTERRUPTIBILITY], 0);
	paper.field[GUEST_INTERRUPTIBILITY] = BLOCKED_BY_STI | BLOCKED_BY_NMI;
	paper.field[GUEST_RFLAGS] |= RFLAGS_TF;
	CHECK(!vmx_ops.interruptible(&core, &vcpu));
	vmx_ops.skip(&core, &vcpu, &ex);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], BLOCKED_BY_NMI);
	CHECK_EQ(paper.field[GUEST_PENDING_DEBUG], PENDING_DEBUG_BS);
	CHECK(vmx_ops.interruptible(&core, &vcpu));
	paper.field[GUEST_RFLAGS] &= ~RFLAGS_IF;
	CHECK(!vmx_ops.interruptible(&core, &vcpu));
}

/* Something of its own in each field that survives. */
static void fill(struct vcpu *v, uint64_t seed)
{
	memset(v, 0, sizeof(*v));
	v->rip = test_random(&seed);
	v->rsp = test_random(&seed);
	v->rflags = RFLAGS_ONE | RFLAGS_IF | (test_random(&seed) & RFLAGS_CF);
	v->cr0 = CR0_PE | CR0_PG | (test_random(&seed) & (CR0_CD | CR0_NE | CR0_WP | CR0_TS));
	v->cr2 = test_random(&seed);
	v->cr3 = test_random(&seed);
	v->cr4 = CR4_PAE | (test_random(&seed) & (CR4_MCE | CR4_PGE | CR4_OSXSAVE));
	v->cr8 = test_random(&seed) & 15;
	v->efer = test_random(&seed) & 1 ? EFER_LME | EFER_LMA | EFER_NXE : EFER_NXE;
	for (int i = 0; i < 4; i++) {
		v->dr[i] = test_random(&seed);
		v->pdpte[i] = v->efer & EFER_LMA ? 0 : test_random(&seed);
	}
	v->dr6 = DR6_RESET | (test_random(&seed) & 15);
	v->dr7 = DR7_RESET | (test_random(&seed) & 0xff);
	for (int i = 0; i < SEG_COUNT; i++)
		v->seg[i] = (struct vm_segment){ test_random(&seed), (uint32_t)test_random(&seed),
			(uint16_t)test_random(&seed), test_random(&seed) & (SEG_UNUSABLE | 0xfff) };
	/* field by field: the padding stays 0, and the whole can be compared */
	v->gdtr.base = test_random(&seed);
	v->gdtr.limit = (uint16_t)test_random(&seed);
	v->idtr.base = test_random(&seed);
	v->idtr.limit = (uint16_t)test_random(&seed);
	v->star = test_random(&seed);
	v->lstar = test_random(&seed);
	v->cstar = test_random(&seed);
	v->sfmask = test_random(&seed);
	v->kernel_gs_base = test_random(&seed);
	v->sysenter_cs = test_random(&seed);
	v->sysenter_esp = test_random(&seed);
	v->sysenter_eip = test_random(&seed);
	v->pat = test_random(&seed);
	v->tsc_aux = test_random(&seed);
	v->xcr0 = 7;
	v->tsc_offset = test_random(&seed);
	v->sti_shadow = test_random(&seed) & 1;
	v->nmi_blocked = test_random(&seed) & 1;
}

TEST(vmx_load_and_store_keep_everything)
{
	static struct vcpu want;

	reset();
	for (uint64_t seed = 1; seed < 200; seed++) {
		fill(&want, seed);
		vcpu = want;
		vmx_ops.load(&core, &vcpu);
		CHECK_EQ(paper.field[TSC_OFFSET], want.tsc_offset);
		CHECK_EQ(paper.xcr0, want.xcr0);
		CHECK_EQ(paper.field[GUEST_CR0] & (CR0_CD | CR0_NW | CR0_NE), CR0_NE);
		CHECK_EQ(paper.field[GUEST_CR4] & (CR4_VMXE | CR4_MCE), CR4_VMXE | CR4_MCE);
		CHECK_EQ(!!(paper.field[ENTRY_CONTROLS] & ENTRY_CTL_IA32E), !!(want.efer & EFER_LMA));
		fill(&vcpu, ~seed);
		/* what no guest changes without an exit, and the general registers, stay as they are */
		memcpy(vcpu.regs, want.regs, sizeof(vcpu.regs));
		memcpy(vcpu.pdpte, want.pdpte, sizeof(vcpu.pdpte));
		vcpu.xcr0 = want.xcr0;
		vcpu.xss = want.xss;
		vcpu.tsc_offset = want.tsc_offset;
		vcpu.pending = want.pending;
		want.pending_debug = want.sti_shadow && (want.rflags & RFLAGS_TF) ? PENDING_DEBUG_BS : 0;
		vcpu.want_window = want.want_window;
		vmx_ops.store(&core, &vcpu);
		for (size_t i = 0; i < sizeof(vcpu) / 8; i++)
			CHECK_EQ(((uint64_t *)&vcpu)[i], ((uint64_t *)&want)[i]);
	}
}

TEST(vmx_load_writes_registers_only_where_they_differ)
{
	reset();
	fill(&vcpu, 1);
	vmx_ops.load(&core, &vcpu);
	CHECK(paper.msr_writes >= VMX_SWITCHED_MSRS && paper.dr_writes >= 4);
	vmx_ops.store(&core, &vcpu);
	paper.msr_writes = paper.dr_writes = 0;
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.msr_writes, 0);
	CHECK_EQ(paper.dr_writes, 0);
	/* the guest wrote one by itself */
	*paper_msr(MSR_LSTAR) = 0x4242;
	paper.dr[2] = 0x43;
	vmx_ops.store(&core, &vcpu);
	CHECK(vcpu.lstar == 0x4242 && vcpu.dr[2] == 0x43);
	fill(&vcpu, 1);
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(*paper_msr(MSR_LSTAR), vcpu.lstar);
	CHECK_EQ(paper.dr[2], vcpu.dr[2]);
}

TEST(vmx_single_step_through_a_shadow_can_enter)
{
	reset();
	fill(&vcpu, 3);
	vcpu.sti_shadow = true;
	vcpu.nmi_blocked = false;
	vcpu.rflags |= RFLAGS_TF;
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], BLOCKED_BY_STI);
	CHECK_EQ(paper.field[GUEST_PENDING_DEBUG], PENDING_DEBUG_BS);
	vcpu.rflags &= ~(RFLAGS_TF | RFLAGS_IF);
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.field[GUEST_INTERRUPTIBILITY], BLOCKED_BY_MOV_SS);
	CHECK_EQ(paper.field[GUEST_PENDING_DEBUG], 0);
}

TEST(vmx_trap_behind_an_emulated_instruction_survives_a_switch)
{
	reset();
	fill(&vcpu, 4);
	vcpu.sti_shadow = false;
	vcpu.rflags |= RFLAGS_TF;
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.field[GUEST_PENDING_DEBUG], 0);
	vmx_ops.skip(&core, &vcpu, &(struct vm_exit){ .kind = EXIT_CPUID, .next_rip = 0x42 });
	vmx_ops.store(&core, &vcpu);
	paper.field[GUEST_PENDING_DEBUG] = 0;
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.field[GUEST_RIP], 0x42);
	CHECK_EQ(paper.field[GUEST_PENDING_DEBUG], PENDING_DEBUG_BS);
}

TEST(vmx_set_cr_completes_what_exited)
{
	reset();
	fill(&vcpu, 5);
	vcpu.cr0 = CR0_PE;
	vcpu.cr4 = CR4_PAE;
	vcpu.efer = EFER_LME;
	vmx_ops.load(&core, &vcpu);
	CHECK(!(paper.field[ENTRY_CONTROLS] & ENTRY_CTL_IA32E));
	vmx_ops.set_cr(&core, &vcpu, 0, CR0_PE | CR0_PG | CR0_CD);
	CHECK_EQ(paper.field[GUEST_EFER], EFER_LME | EFER_LMA);
	CHECK(paper.field[ENTRY_CONTROLS] & ENTRY_CTL_IA32E);
	CHECK_EQ(vmx_ops.get_cr(&core, 0), CR0_PE | CR0_PG | CR0_CD);
	CHECK_EQ(paper.field[GUEST_CR0], CR0_PE | CR0_PG | CR0_NE);
	CHECK_EQ(paper.invvpid_all, 1);
	vmx_ops.set_cr(&core, &vcpu, 0, CR0_PE);
	CHECK_EQ(paper.field[GUEST_EFER], EFER_LME);
	CHECK(!(paper.field[ENTRY_CONTROLS] & ENTRY_CTL_IA32E));
	vmx_ops.set_cr(&core, &vcpu, 4, CR4_PAE | CR4_OSXSAVE);
	CHECK_EQ(vmx_ops.get_cr(&core, 4), CR4_PAE | CR4_OSXSAVE);
	CHECK_EQ(paper.field[GUEST_CR4], CR4_PAE | CR4_OSXSAVE | CR4_VMXE | CR4_MCE);
	CHECK_EQ(paper.invvpid_all, 3);
	vmx_ops.set_cr(&core, &vcpu, 8, 9);
	CHECK_EQ(vmx_ops.get_cr(&core, 8), 9);
	CHECK_EQ(apic[VIRTUAL_TPR], 9 << VIRTUAL_TPR_SHIFT);
	vmx_ops.set_cr(&core, &vcpu, 3, 0x5000);
	CHECK_EQ(vmx_ops.get_cr(&core, 3), 0x5000);
	vmx_ops.set_cr(&core, &vcpu, 2, 0x99);
	CHECK_EQ(vmx_ops.get_cr(&core, 2), 0x99);
}

TEST(vmx_load_forgets_the_last_guests_event)
{
	reset();
	vcpu.pending = (struct vm_event){ .kind = EVENT_INTERRUPT, .vector = 0x50 };
	will.fail = true;
	run(0);
	CHECK(paper.field[ENTRY_EVENT] & EVENT_VALID);
	fill(&vcpu, 9);
	vmx_ops.load(&core, &vcpu);
	CHECK_EQ(paper.field[ENTRY_EVENT], 0);
}

TEST(vmx_measures_against_speculation_come_before_each_entry)
{
	reset();
	flushed = 0;
	run(REASON_CPUID);
	CHECK_EQ(flushed, 0);
	speculation_at_entry = SPECULATION_VERW;
	for (unsigned i = 1; i <= 3; i++) {
		run(REASON_CPUID);
		CHECK_EQ(flushed, i);
	}
	speculation_at_entry = 0;
}
