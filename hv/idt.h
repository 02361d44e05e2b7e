/*
 * Interrupts and exceptions of the host: one IDT for all cores, a GDT and TSS for each, and vectors
 * that are handed out at run time. Handlers run with interrupts off and must be short.
 */
#ifndef HV_IDT_H
#define HV_IDT_H

#include "lib/base.h"
#include "lib/err.h"

struct core;

/* What the stubs of hv/entry.S push, lowest address first. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector;
	uint64_t error; /* 0 where the processor gives none */
	uint64_t rip, cs, rflags, rsp, ss;
};

_Static_assert(sizeof(struct trap_frame) == 22 * 8, "hv/entry.S");

#define VECTOR_IRQ_FIRST 0x30 /* below: exceptions, and where the masked 8259s would deliver */
#define VECTOR_IRQ_LAST  0xef
#define VECTOR_KICK      0xf0 /* makes a core leave its guest, or wake up; has no handler */
#define VECTOR_TIMER     0xf1
#define VECTOR_APIC_ERROR 0xfe
#define VECTOR_SPURIOUS  0xff

typedef void irq_handler(void *arg);

/* Fill the IDT, once. */
void idt_init(void);

/* Load GDT, TSS, IDT and GS base of `core` on the hardware thread that this runs on. */
void idt_load(struct core *core);

/* Reserve a vector and call `handler(arg)` when it arrives, on any core. ERR_LIMIT when all are taken. */
int irq_alloc(irq_handler *handler, void *arg, uint8_t *vector) MUST_CHECK;
void irq_free(uint8_t vector);

/*
 * Call the NMI handler as if one had arrived now, and leave NMIs unblocked. For VT-x, where an NMI
 * exit has taken the NMI and blocks further ones until the next IRET.
 */
static inline void idt_raise_nmi(void)
{
	__asm__ volatile("int $2" ::: "memory");
}

/* RDMSR and WRMSR that return false instead of panicking when the processor raises #GP. */
bool rdmsr_safe(uint32_t msr, uint64_t *value) MUST_CHECK;
bool wrmsr_safe(uint32_t msr, uint64_t value) MUST_CHECK;

/* The C half of every stub. */
void idt_dispatch(struct trap_frame *frame);

#endif
