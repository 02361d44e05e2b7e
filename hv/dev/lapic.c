#include "hv/dev/lapic.h"

/* SDM Vol 3, "Local APIC Register Address Map Supported by x2APIC": MSR 0x800 + offset / 16. */
enum {
	REG_ID = 0x802,
	REG_VERSION = 0x803,
	REG_TPR = 0x808,
	REG_PPR = 0x80a,
	REG_EOI = 0x80b,
	REG_LDR = 0x80d,
	REG_SVR = 0x80f,
	REG_ISR = 0x810,
	REG_TMR = 0x818,
	REG_IRR = 0x820,
	REG_ESR = 0x828,
	REG_ICR = 0x830,
	REG_LVT_TIMER = 0x832,
	REG_LVT_ERROR = 0x837,
	REG_TIMER_INITIAL = 0x838,
	REG_TIMER_CURRENT = 0x839,
	REG_TIMER_DIVIDE = 0x83e,
	REG_SELF_IPI = 0x83f,
};

#define VERSION          (0x14u | (LVT_COUNT - 1) << 16)
#define LOGICAL_ID       1u /* cluster 0, first of it */
#define SVR_RESET        0xffu
#define SVR_ENABLED      (1u << 8)
#define SVR_WRITABLE     0x3ffu
#define LVT_MASKED       (1u << 16)
#define LVT_WRITABLE     0x1f7ffu /* vector, delivery mode, polarity, trigger, mask */
#define LVT_TIMER_WRITABLE 0x700ffu
#define TIMER_MODE       (3u << 17)
#define TIMER_DEADLINE   (2u << 17)
#define ICR_WRITABLE     0xffffffff000ccfffull
#define ICR_MODE         (7u << 8)
#define ICR_LOGICAL      (1u << 11)
#define ICR_SHORTHAND    (3u << 18)
#define ICR_SELF         (1u << 18)
#define ICR_ALL          (2u << 18)
#define BROADCAST        UINT32_MAX
#define MESSAGE_BASE     0xfee00000ull
#define MESSAGE_LOGICAL  4u /* of the address */
#define MESSAGE_BROADCAST 0xffu
#define MESSAGE_MODE     (6u << 8) /* of the data: neither fixed (0) nor lowest priority (1) */
#define VECTOR_LOWEST    16 /* below are illegal */
#define CLASS(v)         ((v) & 0xf0u)

void lapic_reset(struct lapic *l)
{
	*l = (struct lapic){.svr = SVR_RESET};
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
}

static int highest(const uint32_t set[8])
{
	for (int word = 7; word >= 0; word--) {
		if (set[word])
			return word * 32 + 31 - __builtin_clz(set[word]);
	}
	return -1;
}

/* SDM Vol 3, "Processor Priority Register (PPR)". */
static uint32_t priority(const struct lapic *l)
{
	int in_service = highest(l->isr);
	uint32_t service = in_service < 0 ? 0 : CLASS((uint32_t)in_service);

	return CLASS(l->tpr) >= service ? l->tpr : service;
}

void lapic_raise(struct lapic *l, uint8_t vector)
{
	if (vector < VECTOR_LOWEST)
		return;
	l->irr[vector / 32] |= 1u << vector % 32;
	l->lazy = 0;
}

void lapic_raise_lazily(struct lapic *l, uint8_t vector)
{
	bool alone = !lapic_requested(l);

	if (vector < VECTOR_LOWEST || vector == l->lazy)
		return;
	lapic_raise(l, vector);
	l->lazy = alone ? vector : 0;
}

uint8_t lapic_message(uint64_t address, uint32_t data)
{
	uint32_t to = (uint32_t)address >> 12 & 0xff;
	bool logical = address & MESSAGE_LOGICAL;

	if (address >> 20 != MESSAGE_BASE >> 20 || (data & MESSAGE_MODE))
		return 0;
	return to == MESSAGE_BROADCAST || (logical ? to & LOGICAL_ID : to == 0) ? (uint8_t)data : 0;
}

int lapic_next(const struct lapic *l)
{
	int vector = highest(l->irr);

	if (vector < 0 || !(l->svr & SVR_ENABLED) || CLASS((uint32_t)vector) <= CLASS(priority(l)))
		return -1;
	return vector;
}

void lapic_accept(struct lapic *l, uint8_t vector)
{
	l->irr[vector / 32] &= ~(1u << vector % 32);
	l->lazy = 0;
	l->isr[vector / 32] |= 1u << vector % 32;
}

static void end_of_interrupt(struct lapic *l)
{
	int vector = highest(l->isr);

	if (vector >= 0)
		l->isr[vector / 32] &= ~(1u << vector % 32);
}

/* Only fixed interrupts to ourselves have an effect: there is nobody else, and no NMI is sent. */
static void send(struct lapic *l, uint64_t icr)
{
	uint32_t low = (uint32_t)icr, to = (uint32_t)(icr >> 32), shorthand = low & ICR_SHORTHAND;
	bool ours = to == BROADCAST || (low & ICR_LOGICAL ? to == LOGICAL_ID : to == 0);

	l->icr = icr;
	if (shorthand ? shorthand == ICR_SELF || shorthand == ICR_ALL : ours) {
		if (!(low & ICR_MODE))
			lapic_raise(l, (uint8_t)low);
	}
}

bool lapic_read(const struct lapic *l, uint32_t msr, uint64_t *value)
{
	*value = 0;
	switch (msr) {
	case REG_ID:
	case REG_TIMER_CURRENT:
		return true;
	case REG_VERSION:
		*value = VERSION;
		return true;
	case REG_TPR:
		*value = l->tpr;
		return true;
	case REG_PPR:
		*value = priority(l);
		return true;
	case REG_LDR:
		*value = LOGICAL_ID;
		return true;
	case REG_SVR:
		*value = l->svr;
		return true;
	case REG_ISR ... REG_ISR + 7:
		*value = l->isr[msr - REG_ISR];
		return true;
	case REG_TMR ... REG_TMR + 7: /* all our interrupts are edges */
		return true;
	case REG_IRR ... REG_IRR + 7:
		*value = l->irr[msr - REG_IRR];
		return true;
	case REG_ESR:
		*value = l->esr;
		return true;
	case REG_ICR:
		*value = l->icr;
		return true;
	case REG_LVT_TIMER ... REG_LVT_ERROR:
		*value = l->lvt[msr - REG_LVT_TIMER];
		return true;
	case REG_TIMER_INITIAL:
		*value = l->timer_initial;
		return true;
	case REG_TIMER_DIVIDE:
		*value = l->timer_divide;
		return true;
	default:
		return false;
	}
}

static bool set(uint32_t *reg, uint64_t value, uint32_t writable)
{
	if (value & ~(uint64_t)writable)
		return false;
	*reg = (uint32_t)value;
	return true;
}

/* SDM Vol 3, "TSC-Deadline Mode": a change of the mode disarms the timer. */
static bool set_timer(struct lapic *l, uint64_t value)
{
	uint32_t before = l->lvt[LVT_TIMER];

	if (!set(&l->lvt[LVT_TIMER], value, LVT_TIMER_WRITABLE))
		return false;
	if ((before ^ l->lvt[LVT_TIMER]) & TIMER_MODE)
		l->deadline = 0;
	return true;
}

bool lapic_write(struct lapic *l, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case REG_TPR:
		return set(&l->tpr, value, 0xff);
	case REG_EOI:
		if (value)
			return false;
		end_of_interrupt(l);
		return true;
	case REG_SVR:
		if (!set(&l->svr, value, SVR_WRITABLE))
			return false;
		/* SDM Vol 3, "Local APIC State After It Has Been Software Disabled". */
		for (unsigned i = 0; !(l->svr & SVR_ENABLED) && i < LVT_COUNT; i++)
			l->lvt[i] |= LVT_MASKED;
		return true;
	case REG_ESR:
		return value == 0;
	case REG_ICR:
		if (value & ~ICR_WRITABLE)
			return false;
		send(l, value);
		return true;
	case REG_LVT_TIMER:
		return set_timer(l, value);
	case REG_LVT_TIMER + 1 ... REG_LVT_ERROR:
		return set(&l->lvt[msr - REG_LVT_TIMER], value, LVT_WRITABLE);
	case REG_TIMER_INITIAL:
		return set(&l->timer_initial, value, UINT32_MAX);
	case REG_TIMER_DIVIDE:
		return set(&l->timer_divide, value, 0xb);
	case REG_SELF_IPI:
		if (value > UINT8_MAX)
			return false;
		lapic_raise(l, (uint8_t)value);
		return true;
	default:
		return false;
	}
}

void lapic_set_deadline(struct lapic *l, uint64_t tsc)
{
	if ((l->lvt[LVT_TIMER] & TIMER_MODE) == TIMER_DEADLINE)
		l->deadline = tsc;
}

void lapic_tick(struct lapic *l, uint64_t tsc)
{
	if (!l->deadline || tsc < l->deadline)
		return;
	l->deadline = 0;
	if (!(l->lvt[LVT_TIMER] & LVT_MASKED))
		lapic_raise(l, (uint8_t)l->lvt[LVT_TIMER]);
}
