/*
 * The local APIC of a Linux guest, in x2APIC mode from the start and for ever: registers by MSR only,
 * one processor, ID 0. Its timer knows TSC-deadline mode and no other. Pure.
 * SDM Vol 3, "Advanced Programmable Interrupt Controller (APIC)".
 */
#ifndef HV_DEV_LAPIC_H
#define HV_DEV_LAPIC_H

#include "lib/base.h"

#define LAPIC_MSR_FIRST 0x800u
#define LAPIC_MSR_LAST  0x8ffu

enum lapic_lvt {
	LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT,
};

struct lapic {
	uint32_t irr[8], isr[8]; /* bit i % 32 of word i / 32 is vector i */
	uint32_t lvt[LVT_COUNT]; /* enum lapic_lvt */
	uint32_t svr, esr, timer_initial, timer_divide;
	uint32_t tpr;
	uint64_t icr;
	uint64_t deadline;       /* guest TSC at which the timer fires, 0: not armed */
	uint8_t lazy;            /* alone in irr, and can wait for an exit that comes anyway; 0: none */
};

void lapic_reset(struct lapic *l);

/* RDMSR, WRMSR of LAPIC_MSR_FIRST to LAPIC_MSR_LAST. False: #GP. */
bool lapic_read(const struct lapic *l, uint32_t msr, uint64_t *value);
bool lapic_write(struct lapic *l, uint32_t msr, uint64_t value);

/* IA32_TSC_DEADLINE: ignored and 0 unless the timer is in that mode. */
void lapic_set_deadline(struct lapic *l, uint64_t tsc);

/* The guest's TSC shows `tsc`: fire the timer if it is due. */
void lapic_tick(struct lapic *l, uint64_t tsc);

/* An interrupt message for us; vectors below 16 are lost, as they are illegal. */
void lapic_raise(struct lapic *l, uint8_t vector);

/* The same for an interrupt that no one may be waiting for: where nothing else is requested, it can wait
 * until the guest exits while it could be delivered, or has had another interrupt. */
void lapic_raise_lazily(struct lapic *l, uint8_t vector);

/* The vector that a write of `data` to `address` by a device raises; 0, which is illegal, for what is no
 * fixed interrupt for us. SDM Vol 3, "Message Signalled Interrupts". */
uint8_t lapic_message(uint64_t address, uint32_t data);

/* Some vector wants to be delivered, now or later; quicker than lapic_next(). */
static inline bool lapic_requested(const struct lapic *l)
{
	const uint32_t *r = l->irr;

	return r[0] | r[1] | r[2] | r[3] | r[4] | r[5] | r[6] | r[7];
}

/* The vector that wants to be delivered now, -1: none that priorities let through. */
int lapic_next(const struct lapic *l);

/* It was delivered: it is in service until its EOI. */
void lapic_accept(struct lapic *l, uint8_t vector);

#endif
