/*
 * A core: one hardware thread that runs the hypervisor's loop. Its struct is the only thing that a
 * core owns alone; %gs:0 holds its address while host code runs.
 */
#ifndef HV_CORE_H
#define HV_CORE_H

#include "hv/host.h"
#include "hv/sched.h"
#include "hv/tlb.h"
#include "lib/base.h"
#include "lib/csprng.h"

#define CORE_MAX 1024

struct guest;
struct trap_frame;

/* Selectors in every core's GDT. */
#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

/* Places in the TSS's interrupt stack table; 0 in a gate means "stay on the current stack". */
enum core_ist { IST_DOUBLE_FAULT = 1, IST_NMI, IST_MACHINE_CHECK, IST_END };

/* SDM Vol 3, "64-Bit TSS Format". */
struct PACKED core_tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[n - 1] is IST n */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map;
};

_Static_assert(sizeof(struct core_tss) == 104, "64-bit TSS");
_Static_assert(offsetof(struct core_tss, ist) == 36, "64-bit TSS");

struct core {
	struct core *self; /* must be first: read through %gs:0 */
	unsigned id;       /* dense, 0 is the boot core */
	uint32_t apic_id;
	unsigned node;     /* NUMA node */
	void *stack_top;

	void *vm;               /* the backend's per-core state */
	struct sched_core sched;
	struct tlb_core *tlb;
	struct host_meter_value meter[METER_KINDS];
	char error[GUEST_REASON_MAX]; /* of the last operation on a guest that failed here */
	struct {
		enum guest_stop stop; /* STOP_NONE: it stays what it is */
		char text[GUEST_REASON_MAX];
	} leaving;              /* what is to become of the guest that leaves this core */
	uint64_t lineage;       /* of the guest that ran here last (hv/speculation.h) */
	struct guest *current;  /* whose vCPU is loaded in the backend's control block, or NULL */

	/* Loaded into this core's registers by idt_load(). */
	uint64_t gdt[5]; /* null, code, data, TSS in two */
	struct core_tss tss ALIGNED(8);

	uint64_t stacks;     /* lowest byte of the area that core_set_stacks() laid out */
	uint64_t loop_guard; /* the page below the loop's stack */
	bool online;         /* it has arrived in C code */
	bool parked;         /* started, but kept out of the loop: a sibling thread, or above max_cores */
	uint64_t nmi_count, spurious_count, timer_count, unhandled_count;
	const struct trap_frame *stopped_at; /* by panic's NMI */
	unsigned machine_check_banks; /* recorded by hv/machine_check.c */
	uint64_t idle_tsc, idle_since; /* ticks spent halted; since when it is, or 0. Read by others */

	struct csprng random; /* hv/random.c */
	uint64_t random_reseed_tsc;
	uint64_t random_drawn; /* bytes since the last reseed */
};

extern struct core *cores[CORE_MAX];
extern unsigned core_count;

/* How many cores will run when all come that the machine names; known before memory is given out. */
extern unsigned core_planned;

static inline struct core *this_core(void)
{
	struct core *c;

	__asm__("mov %%gs:0, %0" : "=r"(c));
	return c;
}

/*
 * The stacks of a core, in one area with an unmapped page below each: the loop's own, then one each
 * for double faults, NMIs and machine checks. The boot core runs its loop on the loader's stack.
 */
#define CORE_STACK_SIZE  (64 * KIB)
#define CORE_IST_SIZE    (16 * KIB)
#define CORE_STACKS_SIZE                                                                           \
	(PAGE_SIZE + CORE_STACK_SIZE + (IST_END - 1) * (PAGE_SIZE + CORE_IST_SIZE))

/* Lay the stacks of `core` out in CORE_STACKS_SIZE bytes, page aligned. */
void core_set_stacks(struct core *core, uint64_t area);

/* Unmap the guard pages. The area must be mapped by hv/hostmap.h already. */
void core_guard_stacks(const struct core *core);

/* Which guard page of `core` `address` lies in: a name for a message, or NULL. */
const char *core_guard_name(const struct core *core, uint64_t address);

/* Control registers, PAT and vector state of the core that this runs on, as all cores have them. */
void core_setup_registers(void);

/* The struct of the boot core, which runs on the loader's stack with this page below it. */
struct core *core_boot(uint64_t stack_guard);

#endif
