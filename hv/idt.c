#include "hv/idt.h"

#include "hv/apic.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/log.h"
#include "hv/machine_check.h"
#include "hv/panic.h"
#include "hv/sched.h"
#include "lib/spinlock.h"

/* SDM Vol 3, "64-Bit Mode IDT". */
struct idt_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};

_Static_assert(sizeof(struct idt_gate) == 16, "64-bit interrupt gate");

#define GATE_INTERRUPT 0x8e /* present, DPL 0, interrupts off inside */
#define STUB_SIZE      16

#define GDT_CODE      0x00af9b000000ffffull /* 64-bit, present, read, accessed */
#define GDT_DATA      0x00cf93000000ffffull
#define GDT_TSS       0x0000890000000000ull /* available 64-bit TSS, present */

/* Reasons for an NMI in the PC's port 0x61. */
#define PORT_NMI_REASON 0x61
#define NMI_SERR        0x80
#define NMI_IOCHK       0x40

extern const uint8_t idt_stubs[];
extern const uint8_t msr_fault_read[], msr_fault_write[], msr_fault_fixup[];

static struct idt_gate idt[256] ALIGNED(4096);

static struct spinlock irq_lock; /* covers taking and giving back of entries */
static struct {
	irq_handler *handler;
	void *arg;
} irqs[256];

static const uint8_t gate_ist[VECTOR_EXCEPTIONS] = {
	[VECTOR_DF] = IST_DOUBLE_FAULT,
	[VECTOR_NMI] = IST_NMI,
	[VECTOR_MC] = IST_MACHINE_CHECK,
};

void idt_init(void)
{
	for (unsigned v = 0; v < ARRAY_SIZE(idt); v++) {
		uint64_t stub = (uint64_t)idt_stubs + v * STUB_SIZE;

		idt[v] = (struct idt_gate){
			.offset_low = (uint16_t)stub,
			.offset_middle = (uint16_t)(stub >> 16),
			.offset_high = (uint32_t)(stub >> 32),
			.selector = SELECTOR_CODE,
			.ist = v < VECTOR_EXCEPTIONS ? gate_ist[v] : 0,
			.type = GATE_INTERRUPT,
		};
	}
}

static void load_segments(void)
{
	__asm__ volatile(
		"pushq %0\n\t"
		"leaq 1f(%%rip), %%rax\n\t"
		"pushq %%rax\n\t"
		"lretq\n"
		"1:\n\t"
		"movl %1, %%ds\n\t"
		"movl %1, %%es\n\t"
		"movl %1, %%ss\n\t"
		"movl %2, %%fs\n\t"
		"movl %2, %%gs"
		:: "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0) : "rax", "memory");
}

/* SDM Vol 3, "TSS Descriptor in 64-bit mode". */
static void make_gdt(struct core *core)
{
	uint64_t tss = (uint64_t)&core->tss;

	core->gdt[0] = 0;
	core->gdt[SELECTOR_CODE / 8] = GDT_CODE;
	core->gdt[SELECTOR_DATA / 8] = GDT_DATA;
	core->gdt[SELECTOR_TSS / 8] = GDT_TSS | (sizeof(core->tss) - 1) |
		(tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	core->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
}

void idt_load(struct core *core)
{
	struct cpu_table gdtr = { sizeof(core->gdt) - 1, (uint64_t)core->gdt };
	struct cpu_table idtr = { sizeof(idt) - 1, (uint64_t)idt };

	core->self = core;
	make_gdt(core);
	lgdt(&gdtr);
	load_segments();
	lldt(0);
	ltr(SELECTOR_TSS);
	wrmsr(MSR_GS_BASE, (uint64_t)core); /* after the selector was loaded, which clears it */
	wrmsr(MSR_FS_BASE, 0);
	lidt(&idtr);
}

/* ---- handing out vectors ---- */

int irq_alloc(irq_handler *handler, void *arg, uint8_t *vector)
{
	uint64_t flags = cpu_irq_save();
	int ret = ERR_LIMIT;

	spin_lock(&irq_lock);
	for (unsigned v = VECTOR_IRQ_FIRST; v <= VECTOR_IRQ_LAST; v++) {
		if (irqs[v].handler)
			continue;
		irqs[v].arg = arg;
		__atomic_store_n(&irqs[v].handler, handler, __ATOMIC_RELEASE);
		*vector = (uint8_t)v;
		ret = 0;
		break;
	}
	spin_unlock(&irq_lock);
	cpu_irq_restore(flags);
	return ret;
}

void irq_free(uint8_t vector)
{
	__atomic_store_n(&irqs[vector].handler, NULL, __ATOMIC_RELEASE);
}

/* ---- dispatch ---- */

/*
 * An NMI is panic's way to stop this core, or the hardware's to report a bus error. Anything else is
 * logged and counted. Nothing here waits for a lock: the code under it may hold any.
 */
static void handle_nmi(struct trap_frame *f)
{
	struct core *core = this_core();
	uint8_t reason;

	core->nmi_count++;
	if (panic_elsewhere())
		panic_stop_here(f);
	reason = in8(PORT_NMI_REASON);
	if (reason & (NMI_SERR | NMI_IOCHK))
		panic_trap(f, "the hardware reports a %s by NMI (port 61: %02x)",
			reason & NMI_SERR ? "system or memory error" : "bus error", reason);
	if (!log_from_nmi("core %u: NMI without a known reason", core->id))
		return; /* core->nmi_count still tells */
}

static bool fix_msr_fault(struct trap_frame *f)
{
	if (f->rip != (uint64_t)msr_fault_read && f->rip != (uint64_t)msr_fault_write)
		return false;
	f->rip = (uint64_t)msr_fault_fixup;
	return true;
}

static void handle_exception(struct trap_frame *f)
{
	if (f->vector == VECTOR_NMI)
		handle_nmi(f);
	else if (f->vector == VECTOR_MC)
		machine_check(f);
	else if (f->vector == VECTOR_GP && fix_msr_fault(f))
		return;
	else
		panic_trap(f, NULL);
}

static void handle_irq(uint8_t vector)
{
	irq_handler *handler = __atomic_load_n(&irqs[vector].handler, __ATOMIC_ACQUIRE);

	if (handler)
		handler(irqs[vector].arg);
	else
		this_core()->unhandled_count++;
	apic_eoi();
}

void idt_dispatch(struct trap_frame *f)
{
	switch (f->vector) {
	case 0 ... VECTOR_EXCEPTIONS - 1:
		handle_exception(f);
		break;
	case VECTOR_SPURIOUS: /* has no bit in the in-service register: no EOI */
		this_core()->spurious_count++;
		break;
	case VECTOR_KICK:
		sched_attention(this_core());
		apic_eoi();
		break;
	case VECTOR_TIMER:
		this_core()->timer_count++;
		sched_attention(this_core());
		apic_eoi();
		break;
	case VECTOR_APIC_ERROR:
		apic_error();
		apic_eoi();
		break;
	default:
		handle_irq((uint8_t)f->vector);
		sched_attention(this_core());
	}
}
