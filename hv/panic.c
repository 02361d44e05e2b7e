#include "hv/panic.h"

#include "hv/apic.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/idt.h"
#include "hv/log.h"
#include "hv/machine_check.h"
#include "hv/symbols.h"
#include "lib/string.h"

#define LINE_MAX      256
#define BACKTRACE_MAX 2000 /* frames walked */
#define BACKTRACE_SHOWN 32
#define STOP_WAIT_MS  100

/* Without a clock: about this many pauses until the others have surely taken the NMI. */
#define STOP_WAIT_SPINS 20000000u

#define NOBODY 0u

#define RECORD_MAX    900 /* bytes for the reporter */

static unsigned owner; /* 1 + the id of the core that panicked first */
static unsigned depth; /* panics within the panic, on that core */

static const char *const exception_names[VECTOR_EXCEPTIONS] = {
	[VECTOR_DE] = "divide error",
	[VECTOR_DB] = "debug exception",
	[VECTOR_NMI] = "non-maskable interrupt",
	[VECTOR_BP] = "breakpoint",
	[VECTOR_OF] = "overflow",
	[VECTOR_BR] = "bound range exceeded",
	[VECTOR_UD] = "invalid opcode",
	[VECTOR_NM] = "device not available",
	[VECTOR_DF] = "double fault",
	[VECTOR_TS] = "invalid TSS",
	[VECTOR_NP] = "segment not present",
	[VECTOR_SS] = "stack segment fault",
	[VECTOR_GP] = "general protection fault",
	[VECTOR_PF] = "page fault",
	[VECTOR_MF] = "floating-point error",
	[VECTOR_AC] = "alignment check",
	[VECTOR_MC] = "machine check",
	[VECTOR_XM] = "SIMD floating-point error",
	[VECTOR_VE] = "virtualization exception",
	[VECTOR_CP] = "control protection fault",
};

static void (*reporter)(const char *text);
static char record[RECORD_MAX];
static size_t record_size;

void panic_set_reporter(void (*report)(const char *text))
{
	reporter = report;
}

/* Adds to what the reporter gets. */
PRINTF(1, 2) static void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	record_size += vfmt(record + record_size, sizeof(record) - record_size, format, ap);
	va_end(ap);
}

PRINTF(1, 2) static void say(const char *format, ...)
{
	char line[LINE_MAX];
	va_list ap;

	va_start(ap, format);
	vfmt(line, sizeof(line), format, ap);
	va_end(ap);
	log_panic_line(line);
}

/* "name+0x12", or the bare address. */
static void name_address(char *out, size_t size, uint64_t address)
{
	uint64_t offset = 0;
	const char *name = symbol_lookup(address, &offset);

	if (name)
		fmt(out, size, "%s+0x%llx", name, (unsigned long long)offset);
	else
		fmt(out, size, "0x%llx", (unsigned long long)address);
}

bool panic_elsewhere(void)
{
	unsigned who = __atomic_load_n(&owner, __ATOMIC_ACQUIRE);

	return who != NOBODY && who != this_core()->id + 1;
}

void panic_stop_here(const struct trap_frame *frame)
{
	cpu_cli();
	machine_check_record(); /* the NMI may have been faster than the handler */
	__atomic_store_n(&this_core()->stopped_at, frame, __ATOMIC_RELEASE);
	cpu_halt();
}

static bool all_stopped(void)
{
	for (unsigned i = 0; i < core_count; i++) {
		if (cores[i] == this_core() || !__atomic_load_n(&cores[i]->online, __ATOMIC_ACQUIRE))
			continue;
		if (!__atomic_load_n(&cores[i]->stopped_at, __ATOMIC_ACQUIRE))
			return false;
	}
	return true;
}

static void stop_others(void)
{
	uint64_t end = rdtsc() + clock_us_to_tsc(STOP_WAIT_MS * 1000);

	if (core_count < 2)
		return;
	apic_nmi_others();
	for (unsigned i = 0; i < STOP_WAIT_SPINS && !all_stopped(); i++) {
		if (clock_tsc_khz() && rdtsc() > end)
			break;
		cpu_relax();
	}
}

void panic_begin(void)
{
	unsigned me = this_core()->id + 1, nobody = NOBODY;

	cpu_cli();
	if (__atomic_compare_exchange_n(
		    &owner, &nobody, me, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		stop_others();
		return;
	}
	if (nobody != me)
		cpu_halt();
}

static void show_registers(const struct trap_frame *f)
{
	char at[LINE_MAX];

#define U(x) ((unsigned long long)(x))
	name_address(at, sizeof(at), f->rip);
	say("rip %016llx  %s", U(f->rip), at);
	say("rsp %016llx  rflags %08llx  cs %02llx  ss %02llx", U(f->rsp), U(f->rflags), U(f->cs),
		U(f->ss));
	say("rax %016llx  rbx %016llx  rcx %016llx", U(f->rax), U(f->rbx), U(f->rcx));
	say("rdx %016llx  rsi %016llx  rdi %016llx", U(f->rdx), U(f->rsi), U(f->rdi));
	say("rbp %016llx  r8  %016llx  r9  %016llx", U(f->rbp), U(f->r8), U(f->r9));
	say("r10 %016llx  r11 %016llx  r12 %016llx", U(f->r10), U(f->r11), U(f->r12));
	say("r13 %016llx  r14 %016llx  r15 %016llx", U(f->r13), U(f->r14), U(f->r15));
	say("cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %08llx", U(read_cr0()), U(read_cr2()),
		U(read_cr3()), U(read_cr4()));
	say("vector %llu  error code %llx", U(f->vector), U(f->error));
#undef U
}

/* Frame pointers: [rbp] is the caller's rbp, [rbp + 8] the return address; 0 ends the chain. The same
 * place over and over is shown once, so that a recursion's beginning is seen. */
static void show_backtrace(uint64_t rip, uint64_t rbp)
{
	unsigned shown = 0, repeats = 0;
	uint64_t last = 0;
	char at[LINE_MAX];

	for (unsigned i = 0; i < BACKTRACE_MAX && shown < BACKTRACE_SHOWN; i++) {
		const uint64_t *frame = (const uint64_t *)rbp;

		if (rip == last) {
			repeats++;
		} else {
			if (repeats)
				say("      and %u times more", repeats);
			name_address(at, sizeof(at), rip);
			say("  #%-2u %s", i, at);
			note("%s%s", shown ? " < " : "; ", at);
			shown++;
			repeats = 0;
			last = rip;
		}
		if (rbp % sizeof(uint64_t) || !hostmap_readable(rbp) || !hostmap_readable(rbp + 8))
			return;
		/* a chain that stands still would never end; one that is broken is bounded above */
		if (!frame[1] || frame[0] == rbp)
			return;
		rip = frame[1];
		rbp = frame[0];
	}
}

static void show_other_cores(void)
{
	char at[LINE_MAX];

	for (unsigned i = 0; i < core_count; i++) {
		const struct trap_frame *f = cores[i]->stopped_at;

		if (cores[i] == this_core())
			continue;
		if (!f) {
			say("core %u did not stop", i);
			continue;
		}
		name_address(at, sizeof(at), f->rip);
		say("core %u was at %s, rsp %llx%s", i, at, (unsigned long long)f->rsp,
			cores[i]->current ? ", with a guest loaded" : "");
	}
}

static void describe_exception(char *out, size_t size, const struct trap_frame *f)
{
	const char *name = f->vector < VECTOR_EXCEPTIONS ? exception_names[f->vector] : NULL;
	uint64_t cr2 = read_cr2();
	const char *guard = core_guard_name(this_core(), cr2);

	if ((f->vector == VECTOR_DF || f->vector == VECTOR_PF) && guard)
		fmt(out, size, "the %s stack has overflowed", guard);
	else if (f->vector == VECTOR_PF)
		fmt(out, size, "page fault: %s of %s address %llx",
			f->error & PF_FETCH ? "execution" : f->error & PF_WRITE ? "write" : "read",
			f->error & PF_PRESENT ? "protected" : "unmapped", (unsigned long long)cr2);
	else
		fmt(out, size, "%s", name ? name : "unknown exception");
}

NORETURN static void finish(const struct trap_frame *f, const char *why, uint64_t rip, uint64_t rbp)
{
	panic_begin();
	if (depth++) {
		if (depth == 2)
			say("and while that was shown: %s, at %llx", why, (unsigned long long)rip);
		console_flush();
		cpu_halt();
	}
	log_panic_line("");
	say("PANIC on core %u: %s", this_core()->id, why);
	note("PANIC on core %u: %s", this_core()->id, why);
	machine_check_show();
	if (f)
		show_registers(f);
	say("backtrace:");
	show_backtrace(rip, rbp);
	show_other_cores();
	say("The host has stopped. Nothing that ran in it has been kept; switch it off and on again.");
	console_flush();
	if (reporter)
		reporter(record);
	cpu_halt();
}

void panic(const char *format, ...)
{
	char why[LINE_MAX];
	va_list ap;

	va_start(ap, format);
	vfmt(why, sizeof(why), format, ap);
	va_end(ap);
	finish(NULL, why, (uint64_t)__builtin_return_address(0),
		*(const uint64_t *)__builtin_frame_address(0));
}

void refuse(const char *format, ...)
{
	char why[LINE_MAX];
	va_list ap;

	va_start(ap, format);
	vfmt(why, sizeof(why), format, ap);
	va_end(ap);
	panic_begin();
	say("creel: cannot start: %s", why);
	console_flush();
	cpu_halt();
}

void panic_trap(const struct trap_frame *frame, const char *format, ...)
{
	char why[LINE_MAX];
	va_list ap;

	if (format) {
		va_start(ap, format);
		vfmt(why, sizeof(why), format, ap);
		va_end(ap);
	} else {
		describe_exception(why, sizeof(why), frame);
	}
	finish(frame, why, frame->rip, frame->rbp);
}
