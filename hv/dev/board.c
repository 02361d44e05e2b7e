#include "hv/dev/board.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/dev/acpi.h"
#include "hv/dev/console.h"
#include "hv/dev/kvmclock.h"
#include "hv/dev/slots.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/meter.h"
#include "hv/platform.h"
#include "hv/sched.h"
#include "lib/string.h"

#define APIC_BASE      (0xfee00000ull | APIC_BASE_ENABLE | APIC_BASE_X2APIC | APIC_BASE_BSP)
#define MISC_ENABLE    1ull /* Intel: fast strings, and nothing disabled */
#define LAST_PORT(first, count) ((first) + (count) - 1)

/* CPUID of the KVM interface: Documentation/virt/kvm/x86/cpuid.rst. The name alone lets Linux stay in
 * x2APIC mode without interrupt remapping. */
#define KVM_LEAF          0x40000000u
#define KVM_LEAF_FEATURES 0x40000001u
#define KVM_FEATURE_CLOCK (1u << 3)
#define KVM_FEATURE_STABLE (1u << 24)

/* MSRs that AMD's kernels read or write without asking CPUID; they are 0 and stay so. */
enum {
	MSR_AMD_PERF_FIRST = 0xc0010000,
	MSR_AMD_PERF_LAST = 0xc0010007,
	MSR_AMD_SYSCFG = 0xc0010010,
	MSR_AMD_HWCR = 0xc0010015,
	MSR_AMD_NB_CFG = 0xc001001f,
	MSR_AMD_INT_PENDING = 0xc0010055,
};

/* ---- life ------------------------------------------------------------------------------------- */

int board_create(struct core *core, struct account *account, uint64_t disk, struct board **out)
{
	hpa_t frame;
	int err = frame_alloc(&hv.pool, core->id, core->node, FRAME_STATE, account, FRAME_ZEROED,
		&frame);

	if (err)
		return err;
	*out = frame_ptr(&hv.pool, frame);
	lapic_reset(&(*out)->lapic);
	slots_create(*out, disk);
	return OK;
}

int board_clone(struct core *core, struct account *account, const struct board *from,
	struct board **out)
{
	hpa_t frame;

	*out = NULL;
	if (!from)
		return OK;
	int err = frame_alloc(&hv.pool, core->id, core->node, FRAME_STATE, account, FRAME_ZEROED,
		&frame);

	if (err)
		return err;
	*out = frame_ptr(&hv.pool, frame);
	**out = *from;
	return OK;
}

void board_free(struct core *core, struct board *b)
{
	if (!b)
		return;
	hpa_t frame = frame_hpa(&hv.pool, b);

	if (frame_put(&hv.pool, frame))
		frame_free(&hv.pool, core->id, frame);
}

static void count(struct core *core, struct guest *g, enum host_meter kind)
{
	meter_count(core, kind);
	guest_count(&g->exits, 1);
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

/* It ended, in a way that is a panic if the kernel said so before. */
static enum run_next end(struct core *core, struct guest *g, const struct vm_exit *exit,
	enum guest_stop stop)
{
	const char *panic = g->machine.board->panic;

	if (panic[0])
		return exit_stop(core, g, STOP_PANIC, 0, exit->rip, panic);
	return exit_stop(core, g, stop, 0, exit->rip, NULL);
}

/* ---- interrupts and time ---------------------------------------------------------------------- */

/* The upper half of the task priority is CR8, which the guest may have changed without an exit. */
static void fetch_priority(struct core *core, struct lapic *l)
{
	l->tpr = (uint32_t)(hv.vm->get_cr(core, 8) & 0xf) << 4 | (l->tpr & 0xf);
}

static bool deliver(struct core *core, struct guest *g)
{
	struct vcpu *v = &g->machine.vcpu;
	struct lapic *l = &g->machine.board->lapic;

	if (!lapic_requested(l))
		return false;
	fetch_priority(core, l);
	int vector = lapic_next(l);

	if (vector < 0)
		return false;
	if (v->pending.kind != EVENT_NONE || !hv.vm->interruptible(core, v)) {
		if (!l->lazy)
			v->want_window = true;
		return true;
	}
	lapic_accept(l, (uint8_t)vector);
	v->pending = (struct vm_event){.kind = EVENT_INTERRUPT, .vector = (uint8_t)vector};
	return true;
}

/* When the host's TSC shows what the guest's shows at its deadline. */
static uint64_t host_deadline(const struct guest *g, uint64_t now)
{
	uint64_t guest = now + g->machine.vcpu.tsc_offset, at = g->machine.board->lapic.deadline, when;

	if (!at || __builtin_add_overflow(now, at - guest, &when))
		return UINT64_MAX;
	return when;
}

enum run_next board_enter(struct core *core, struct guest *g, uint64_t *until)
{
	struct board *b = g->machine.board;
	enum run_next next = slots_due(g) ? slots_enter(core, g) : RUN_AGAIN;
	uint64_t now = rdtsc();

	if (next != RUN_AGAIN)
		return next;
	lapic_tick(&b->lapic, now + g->machine.vcpu.tsc_offset);
	if (deliver(core, g))
		b->halted = false;
	uint64_t deadline = host_deadline(g, now);

	if (!b->halted) {
		*until = MIN(*until, deadline);
		return RUN_AGAIN;
	}
	spin_lock(&g->lock);
	sched_wait(g, WAIT_INPUT, deadline);
	spin_unlock(&g->lock);
	/* What came since slots_enter() looked has woken nobody. */
	if (slots_waiting(core, g))
		sched_wake(g, WAIT_INPUT);
	return RUN_LEAVE;
}

static enum run_next handle_hlt(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	struct board *b = g->machine.board;

	count(core, g, METER_HLT);
	(void)skip(core, g, exit);
	if (!hv.vm->interruptible(core, &g->machine.vcpu))
		return end(core, g, exit, STOP_HALTED);
	b->halted = true;
	b->panic[0] = '\0'; /* a kernel that idles has not panicked, whatever was printed */
	return RUN_AGAIN;
}

/* ---- the UART --------------------------------------------------------------------------------- */

/* The write is made again when the stream has room. */
static enum run_next send(struct core *core, struct guest *g, const struct vm_exit *exit, uint8_t byte)
{
	int64_t n = console_put(core, g, &byte, 1);

	if (n < 0)
		return exit_no_memory(core, g, (int)n);
	if (!n)
		return RUN_LEAVE;
	g->machine.board->hvc_spoke = false;
	uart_write(&g->machine.board->uart, 0, byte);
	return skip(core, g, exit);
}

static uint8_t uart_answer(struct core *core, struct guest *g, unsigned reg)
{
	struct uart *u = &g->machine.board->uart;
	uint8_t byte;

	if (slots_take_input(g->machine.board))
		return uart_read(u, reg, -1);
	if (!uart_takes(u, reg))
		return uart_read(u, reg, console_peek(g));
	return uart_read(u, reg, console_take(core, g, &byte, 1) ? byte : -1);
}

/* ---- ports ------------------------------------------------------------------------------------ */

/* A register of another size than the access: the UART's are bytes, everywhere else floats. */
static uint32_t read_port(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint16_t port = exit->io.port;

	switch (port) {
	case UART_PORT ... LAST_PORT(UART_PORT, UART_PORTS):
		if (exit->io.size != 1)
			return UINT32_MAX;
		return uart_answer(core, g, port - UART_PORT);
	case BUS_PORT ... LAST_PORT(BUS_PORT, BUS_PORTS):
		return slots_config_read(g, port - BUS_PORT, exit->io.size);
	case ACPI_STATUS_PORT:
		return 0;
	default:
		return slots_read(g, port, exit->io.size);
	}
}

static enum run_next write_port(struct core *core, struct guest *g, const struct vm_exit *exit,
	uint32_t value)
{
	struct board *b = g->machine.board;
	uint16_t port = exit->io.port;

	switch (port) {
	case UART_PORT ... LAST_PORT(UART_PORT, UART_PORTS):
		if (exit->io.size != 1)
			break;
		if (uart_sends(&b->uart, port - UART_PORT))
			return send(core, g, exit, (uint8_t)value);
		uart_write(&b->uart, port - UART_PORT, (uint8_t)value);
		break;
	case BUS_PORT ... LAST_PORT(BUS_PORT, BUS_PORTS):
		return slots_config_write(core, g, exit, value);
	case ACPI_SLEEP_PORT:
		if (value == ACPI_SLEEP_OFF)
			return end(core, g, exit, STOP_POWER_OFF);
		break;
	case ACPI_RESET_PORT:
		if (value == ACPI_RESET_VALUE)
			return end(core, g, exit, STOP_REBOOT);
		break;
	default:
		return slots_write(core, g, exit, value);
	}
	return skip(core, g, exit);
}

static enum run_next handle_io(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *rax = &g->machine.vcpu.regs[REG_RAX];
	uint64_t mask = (1ull << exit->io.size * 8) - 1;

	count(core, g, METER_IO);
	if (!exit->io.in)
		return write_port(core, g, exit, (uint32_t)(*rax & mask));
	uint64_t value = read_port(core, g, exit) & mask;

	*rax = exit->io.size == 4 ? value : (*rax & ~mask) | value;
	return skip(core, g, exit);
}

/* ---- CPUID and MSRs --------------------------------------------------------------------------- */

static enum run_next handle_cpuid(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *r = g->machine.vcpu.regs;
	uint32_t leaf = (uint32_t)r[REG_RAX], subleaf = (uint32_t)r[REG_RCX];

	count(core, g, METER_CPUID);
	cpuid_handle(core, g);
	switch (leaf) {
	case CPUID_FEATURES:
		r[REG_RCX] |= CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE;
		r[REG_RDX] |= CPUID_1_EDX_APIC;
		break;
	case CPUID_EXTENDED:
		if (!subleaf)
			r[REG_RBX] |= CPUID_7_EBX_TSC_ADJUST;
		break;
	case CPUID_POWER:
		r[REG_RAX] = CPUID_6_EAX_ARAT;
		break;
	case KVM_LEAF:
		r[REG_RAX] = KVM_LEAF_FEATURES;
		memcpy(&r[REG_RBX], "KVMK\0\0\0", 8);
		memcpy(&r[REG_RCX], "VMKV\0\0\0", 8);
		memcpy(&r[REG_RDX], "M\0\0\0\0\0\0", 8);
		break;
	case KVM_LEAF_FEATURES:
		r[REG_RAX] = KVM_FEATURE_CLOCK | KVM_FEATURE_STABLE;
		break;
	default:
		break;
	}
	return skip(core, g, exit);
}

/* False: not one of ours. */
static bool read_msr(struct core *core, struct board *b, uint32_t msr, uint64_t *value)
{
	*value = 0;
	switch (msr) {
	case LAPIC_MSR_FIRST ... LAPIC_MSR_LAST:
		fetch_priority(core, &b->lapic);
		return lapic_read(&b->lapic, msr, value);
	case MSR_TSC_DEADLINE:
		*value = b->lapic.deadline;
		return true;
	case MSR_APIC_BASE:
		*value = APIC_BASE;
		return true;
	case KVMCLOCK_MSR_WALL:
		*value = b->wall_msr;
		return true;
	case KVMCLOCK_MSR_CLOCK:
		*value = b->clock_msr;
		return true;
	case MSR_MISC_ENABLE:
		*value = MISC_ENABLE;
		return true;
	case MSR_DE_CFG:
		*value = DE_CFG_LFENCE_SERIALISE;
		return true;
	case MSR_AMD_PERF_FIRST ... MSR_AMD_PERF_LAST:
	case MSR_AMD_SYSCFG:
	case MSR_AMD_HWCR:
	case MSR_AMD_NB_CFG:
	case MSR_AMD_INT_PENDING:
	case MSR_TSC_ADJUST:
		return true;
	default:
		return false;
	}
}

static enum run_next handle_msr_read(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	uint64_t *r = g->machine.vcpu.regs, value;

	if (!read_msr(core, g->machine.board, (uint32_t)r[REG_RCX], &value))
		return exit_handle(core, g, exit);
	count(core, g, METER_MSR);
	r[REG_RAX] = (uint32_t)value;
	r[REG_RDX] = value >> 32;
	return skip(core, g, exit);
}

/* Fill the page that kvmclock reads, as of now. The guest's TSC runs at the host's rate for ever. */
static int fill_clock(struct core *core, struct guest *g, uint32_t msr, uint64_t value)
{
	uint64_t tsc = rdtsc() + g->machine.vcpu.tsc_offset, khz = platform_tsc_khz();
	uint8_t page[KVMCLOCK_SIZE];
	unsigned size;

	if (msr == KVMCLOCK_MSR_WALL)
		size = kvmclock_wall(page, platform_wall_ns() - kvmclock_ns(tsc, khz));
	else if (value & KVMCLOCK_ENABLED)
		size = kvmclock_time(page, tsc, khz);
	else
		return OK;
	return gmem_write(&g->machine.mem, core->id, value & ~(uint64_t)KVMCLOCK_ENABLED, page, size);
}

static enum run_next write_clock(struct core *core, struct guest *g, const struct vm_exit *exit,
	uint32_t msr, uint64_t value)
{
	struct board *b = g->machine.board;
	int err = fill_clock(core, g, msr, value);

	if (err == ERR_FAULT)
		return general_protection(g);
	if (err)
		return exit_no_memory(core, g, err);
	*(msr == KVMCLOCK_MSR_WALL ? &b->wall_msr : &b->clock_msr) = value;
	return skip(core, g, exit);
}

static enum run_next write_lapic(struct core *core, struct guest *g, const struct vm_exit *exit,
	uint32_t msr, uint64_t value)
{
	struct lapic *l = &g->machine.board->lapic;
	uint32_t before;

	fetch_priority(core, l);
	before = l->tpr;
	if (!lapic_write(l, msr, value))
		return general_protection(g);
	if (l->tpr != before)
		hv.vm->set_cr(core, &g->machine.vcpu, 8, l->tpr >> 4);
	return skip(core, g, exit);
}

static enum run_next handle_msr_write(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	const uint64_t *r = g->machine.vcpu.regs;
	uint64_t value = (uint32_t)r[REG_RAX] | r[REG_RDX] << 32;
	uint32_t msr = (uint32_t)r[REG_RCX];

	switch (msr) {
	case LAPIC_MSR_FIRST ... LAPIC_MSR_LAST:
		count(core, g, METER_MSR);
		return write_lapic(core, g, exit, msr, value);
	case MSR_TSC_DEADLINE:
		count(core, g, METER_MSR);
		lapic_set_deadline(&g->machine.board->lapic, value);
		return skip(core, g, exit);
	case KVMCLOCK_MSR_WALL:
	case KVMCLOCK_MSR_CLOCK:
		count(core, g, METER_MSR);
		return write_clock(core, g, exit, msr, value);
	case MSR_APIC_BASE:
		if (value != APIC_BASE)
			return exit_handle(core, g, exit);
		count(core, g, METER_MSR);
		return skip(core, g, exit);
	/* Linux takes a TSC with this register, unchanged, for one that it need not watch. */
	case MSR_TSC_ADJUST:
		if (value)
			return exit_handle(core, g, exit);
		count(core, g, METER_MSR);
		return skip(core, g, exit);
	case MSR_MISC_ENABLE:
		if (value != MISC_ENABLE)
			return exit_handle(core, g, exit);
		count(core, g, METER_MSR);
		return skip(core, g, exit);
	case MSR_UCODE_REV: /* Intel: written before it is read */
	case MSR_DE_CFG:
	case MSR_AMD_PERF_FIRST ... MSR_AMD_PERF_LAST:
	case MSR_AMD_NB_CFG:
		count(core, g, METER_MSR);
		return skip(core, g, exit);
	default:
		return exit_handle(core, g, exit);
	}
}

enum run_next board_exit(struct core *core, struct guest *g, const struct vm_exit *exit)
{
	switch (exit->kind) {
	case EXIT_IO:
		return handle_io(core, g, exit);
	case EXIT_CPUID:
		return handle_cpuid(core, g, exit);
	case EXIT_MSR_READ:
		return handle_msr_read(core, g, exit);
	case EXIT_MSR_WRITE:
		return handle_msr_write(core, g, exit);
	case EXIT_HLT:
		return handle_hlt(core, g, exit);
	case EXIT_SHUTDOWN: /* one of the ways in which Linux restarts */
		count(core, g, METER_OTHER_EXIT);
		return end(core, g, exit, STOP_TRIPLE_FAULT);
	default:
		return exit_handle(core, g, exit);
	}
}
