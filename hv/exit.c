#include "hv/exit.h"

#include "creel/abi.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/xstate.h"
#include "lib/string.h"

/* CR4 bits that a guest may set; the processor refuses those that it does not have. */
#define CR4_ALLOWED                                                                                \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |             \
		CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |   \
		CR4_SMEP | CR4_SMAP)
#define CR0_ALLOWED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |  \
		CR0_PG)
#define CR8_ALLOWED 0xfull

#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

enum run_next exit_stop(struct core *core, struct guest *g, enum guest_stop stop, uint64_t detail,
	uint64_t rip, const char *text)
{
	g->detail[0] = detail;
	g->detail[1] = rip;
	core->leaving.stop = stop;
	fmt(core->leaving.text, sizeof(core->leaving.text), "%s", text ? text : "");
	/* It may be the guest's, and goes to the log and to terminals. */
	for (char *p = core->leaving.text; *p; p++) {
		if (*p < ' ' || *p > '~')
			*p = '?';
	}
	return RUN_LEAVE;
}

enum run_next exit_no_memory(struct core *core, struct guest *g, int err)
{
	if (err == ERR_AGAIN)
		return RUN_YIELD;
	guest_pause_self(core, g, err == ERR_LIMIT ? STOP_MEMORY_LIMIT : STOP_HOST_RESERVE);
	return RUN_LEAVE;
}

void exit_unload(struct core *core, struct guest *g)
{
	hv.vm->store(core, &g->machine.vcpu);
	xstate_save(object_xstate(&g->object));
}

void exit_reload(struct core *core, struct guest *g)
{
	xstate_restore(object_xstate(&g->object));
	hv.vm->load(core, &g->machine.vcpu);
}

static enum run_next skip(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	hv.vm->skip(core, &g->machine.vcpu, exit);
	return RUN_AGAIN;
}

static enum run_next general_protection(struct guest *g)
{
	exit_inject(&g->machine.vcpu, VECTOR_GP, true, 0);
	return RUN_AGAIN;
}

/*
 * No device answers at any other port: reads float high, writes go nowhere. Hypercalls are allowed at
 * every CPL: the processor has checked IOPL and the TSS's permission map before the exit (SDM Vol 3,
 * "Relative Priority of Faults and VM Exits"; APM Vol 2, "Instruction Intercepts"), so that the guest's
 * own kernel decides who may call.
 */
static enum run_next handle_io(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *rax = &g->machine.vcpu.regs[REG_RAX];

	if (exit->io.port == CREEL_PORT && !exit->io.in && exit->io.size == 4) {
		meter_count(core, METER_HYPERCALL);
		return hypercall_handle(core, g, exit);
	}
	meter_count(core, METER_IO);
	if (exit->io.in)
		*rax = exit->io.size == 4 ? UINT32_MAX
					  : *rax | ((1ull << (exit->io.size * 8)) - 1);
	return skip(core, g, exit);
}

static enum run_next handle_cpuid(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_CPUID);
	cpuid_handle(core, g);
	return skip(core, g, exit);
}

static enum run_next handle_msr_read(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *regs = g->machine.vcpu.regs, value;

	meter_count(core, METER_MSR);
	if (!msr_read(core, g, (uint32_t)regs[REG_RCX], &value))
		return general_protection(g);
	regs[REG_RAX] = (uint32_t)value;
	regs[REG_RDX] = value >> 32;
	return skip(core, g, exit);
}

static enum run_next handle_msr_write(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *regs = g->machine.vcpu.regs;

	meter_count(core, METER_MSR);
	if (!msr_write(core, g, (uint32_t)regs[REG_RCX],
		    (uint32_t)regs[REG_RAX] | regs[REG_RDX] << 32))
		return general_protection(g);
	return skip(core, g, exit);
}

static enum host_meter fault_meter(const struct vm_exit *exit, const struct gmem_fault_result *r)
{
	if (exit->memory.table_walk)
		return METER_TABLE_WALK_FAULT;
	if (r->pages_copied)
		return METER_COW_FAULT;
	return r->pages_created ? METER_ZERO_FAULT : METER_RAISE_FAULT;
}

static enum run_next handle_memory(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	struct gmem_fault_result result;
	uint64_t start = rdtsc();
	int err = gmem_fault(&g->machine.mem, core->id, exit->memory.gpa, exit->memory.access, &result);

	guest_count(&g->faults, 1);
	if (err == ERR_FAULT)
		return exit_stop(core, g, STOP_BAD_ADDRESS, exit->memory.gpa, exit->rip, NULL);
	if (err)
		return exit_no_memory(core, g, err);
	meter_time(core, fault_meter(exit, &result), start);
	return RUN_AGAIN;
}

static enum run_next handle_hlt(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_HLT);
	return exit_stop(core, g, STOP_HALTED, 0, exit->rip, NULL);
}

static enum run_next handle_interrupt(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	(void)g;
	(void)exit;
	meter_count(core, METER_INTERRUPT);
	return RUN_AGAIN; /* the loop looks at core->sched.attention */
}

static enum run_next handle_slice(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	(void)g;
	(void)exit;
	meter_count(core, METER_INTERRUPT);
	return RUN_YIELD;
}

static enum run_next handle_window(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	(void)exit;
	meter_count(core, METER_OTHER_EXIT);
	g->machine.vcpu.want_window = false;
	return RUN_AGAIN;
}

/*
 * #DB and #AC were intercepted only so that a guest can't loop in their delivery without an exit.
 * A machine check is the host's, which has handled it by now: the guest goes on.
 */
static enum run_next handle_exception(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_OTHER_EXIT);
	if (exit->exception.vector == VECTOR_MC)
		return RUN_AGAIN;
	if (exit->exception.vector == VECTOR_DB) {
		exit_unload(core, g);
		g->machine.vcpu.dr6 = exit->exception.dr6;
		exit_reload(core, g);
	}
	exit_inject(&g->machine.vcpu, exit->exception.vector, exit->exception.has_error,
		exit->exception.error);
	return RUN_AGAIN;
}

/* SDM Vol 2, "XSETBV": what makes it fault. */
static bool xcr0_valid(uint64_t v)
{
	if (!(v & XCR0_X87) || (v & ~xstate_offered()))
		return false;
	if ((v & XCR0_AVX) && !(v & XCR0_SSE))
		return false;
	if ((v & XCR0_AVX512) && ((v & XCR0_AVX512) != XCR0_AVX512 || !(v & XCR0_AVX)))
		return false;
	return true;
}

static enum run_next handle_xsetbv(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	struct vcpu *v = &g->machine.vcpu;
	uint64_t value = (uint32_t)v->regs[REG_RAX] | v->regs[REG_RDX] << 32;

	meter_count(core, METER_OTHER_EXIT);
	exit_unload(core, g);
	bool privileged = (v->seg[SEG_SS].attributes >> 5 & 3) == 0;
	bool good = privileged && (uint32_t)v->regs[REG_RCX] == 0 && xcr0_valid(value);

	if (good)
		v->xcr0 = value;
	exit_reload(core, g);
	return good ? skip(core, g, exit) : general_protection(g);
}

static enum run_next handle_cr(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	static const uint64_t allowed[] = {[0] = CR0_ALLOWED, [4] = CR4_ALLOWED, [8] = CR8_ALLOWED};
	unsigned number = exit->cr.number;

	meter_count(core, METER_OTHER_EXIT);
	if (number >= ARRAY_SIZE(allowed) || (exit->cr.value & ~allowed[number]) ||
		(number == 4 && (exit->cr.value & ~hv.caps.cr4_possible)))
		return general_protection(g);
	hv.vm->set_cr(core, &g->machine.vcpu, number, exit->cr.value);
	return skip(core, g, exit);
}

static enum run_next handle_forbidden(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_OTHER_EXIT);
	switch (exit->forbidden) {
	case FORBIDDEN_STRING_IO:
		return exit_stop(core, g, STOP_FORBIDDEN, 0, exit->rip, "string I/O");
	case FORBIDDEN_CACHE:
		return skip(core, g, exit);
	case FORBIDDEN_TASK_SWITCH:
		return exit_stop(core, g, STOP_FORBIDDEN, 0, exit->rip, "a hardware task switch");
	case FORBIDDEN_VMX:
	case FORBIDDEN_SVM:
	case FORBIDDEN_HYPERCALL_INSTRUCTION:
	case FORBIDDEN_MONITOR:
	case FORBIDDEN_PMC:
	case FORBIDDEN_OTHER:
		break;
	}
	exit_inject(&g->machine.vcpu, VECTOR_UD, false, 0);
	return RUN_AGAIN;
}

static enum run_next handle_shutdown(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_OTHER_EXIT);
	return exit_stop(core, g, STOP_TRIPLE_FAULT, 0, exit->rip, NULL);
}

static enum run_next handle_invalid(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	meter_count(core, METER_OTHER_EXIT);
	return exit_stop(core, g, STOP_BAD_STATE, exit->invalid, exit->rip, NULL);
}

typedef enum run_next handler(struct core *core, struct guest *g, const struct vm_exit *exit);

static handler *const handlers[] = {
	[EXIT_IO] = handle_io,
	[EXIT_CPUID] = handle_cpuid,
	[EXIT_MSR_READ] = handle_msr_read,
	[EXIT_MSR_WRITE] = handle_msr_write,
	[EXIT_MEMORY] = handle_memory,
	[EXIT_HLT] = handle_hlt,
	[EXIT_INTERRUPT] = handle_interrupt,
	[EXIT_SLICE] = handle_slice,
	[EXIT_WINDOW] = handle_window,
	[EXIT_EXCEPTION] = handle_exception,
	[EXIT_XSETBV] = handle_xsetbv,
	[EXIT_CR] = handle_cr,
	[EXIT_FORBIDDEN] = handle_forbidden,
	[EXIT_SHUTDOWN] = handle_shutdown,
	[EXIT_INVALID] = handle_invalid,
};

_Static_assert(ARRAY_SIZE(handlers) == EXIT_KINDS, "every kind of exit has a handler");

enum run_next exit_handle(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	guest_count(&g->exits, 1);
	return handlers[exit->kind](core, g, exit);
}
