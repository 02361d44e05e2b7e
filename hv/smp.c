/*
 * SDM Vol 3, "MP Initialization Protocol Algorithm": INIT, then a start-up message with the page where
 * the trampoline of hv/entry.S lies. Processors are started one by one: each takes its struct core from
 * smp_starting, and the next one is started when it has reported.
 */
#include "hv/smp.h"

#include "hv/apic.h"
#include "hv/bootmem.h"
#include "hv/clock.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/idt.h"
#include "hv/log.h"
#include "hv/machine_check.h"
#include "hv/panic.h"
#include "hv/random.h"
#include "hv/topology.h"
#include "hv/tsc_sync.h"
#include "lib/string.h"

#define INIT_WAIT_US    10000
#define STARTUP_WAIT_US 300     /* then the second start-up message, as the SDM has it */
#define ARRIVE_WAIT_US  2000000 /* emulators on a busy machine take long */

extern const uint8_t trampoline[], trampoline_end[], trampoline_cr3[], trampoline_cr4[];
extern const uint8_t trampoline_entry[], trampoline_far[], trampoline_gdtr[], trampoline_gdt[];

void smp_entry(void); /* hv/entry.S */
NORETURN void smp_core_main(struct core *core);

/* Who starts next, and on which stack. The processor that swaps it for NULL has it. */
struct core *smp_starting;
void *smp_starting_stack;

/* All processors, running and parked, the boot core first. */
static struct core *all[CORE_MAX];
static unsigned all_count;

static bool go; /* all have been tried: cores[] is final */
static void (*core_entry)(struct core *core);

/* ---- who there is ---- */

static unsigned list_ids(const struct boot_info *info, const struct acpi_info *acpi, uint32_t boot_id,
	uint32_t ids[CORE_MAX])
{
	bool madt = acpi->cpu_count != 0;
	unsigned count = madt ? acpi->cpu_count : info->cpu_count, n = 0;

	ids[n++] = boot_id;
	for (unsigned i = 0; i < count && n < CORE_MAX; i++) {
		uint32_t id = madt ? acpi->cpus[i].apic_id : info->cpu_apic_ids[i];

		if (id != boot_id)
			ids[n++] = id;
	}
	if (!apic_is_x2()) { /* ids of more than 8 bits, and the broadcast, cannot be reached */
		unsigned kept = 1;

		for (unsigned i = 1; i < n; i++)
			if (ids[i] < UINT8_MAX)
				ids[kept++] = ids[i];
		if (kept < n)
			log_warn("%u processors are left out: without x2APIC their ids are too large",
				n - kept);
		n = kept;
	}
	return n;
}

static unsigned node_of(const struct acpi_info *acpi, uint32_t apic_id)
{
	for (unsigned i = 0; i < acpi->cpu_count; i++)
		if (acpi->cpus[i].apic_id == apic_id)
			return acpi->cpus[i].node;
	return 0;
}

static struct core *make_core(struct boot_info *info)
{
	struct core *core = (struct core *)bootmem_take(info, sizeof(*core));

	core_set_stacks(core, bootmem_take(info, CORE_STACKS_SIZE));
	core_guard_stacks(core);
	return core;
}

void smp_prepare(struct boot_info *info, const struct acpi_info *acpi, struct core *boot_core)
{
	static uint32_t ids[CORE_MAX];
	static bool parked[CORE_MAX];
	const struct boot_config *config = &info->config;

	boot_core->apic_id = apic_id();
	all_count = list_ids(info, acpi, boot_core->apic_id, ids);
	core_planned = topology_plan(ids, all_count, topology_thread_bits(), config->smt,
		config->max_cores, parked);
	for (unsigned i = 0; i < all_count; i++) {
		struct core *core = i == 0 ? boot_core : make_core(info);

		core->apic_id = ids[i];
		core->node = node_of(acpi, ids[i]);
		core->parked = parked[i];
		all[i] = core;
	}
	cores[0] = boot_core;
	core_count = 1;
	boot_core->online = true;
}

/* ---- on a started processor ---- */

/*
 * Threads that run no guests rest here, in our own code: their machine checks and NMIs are handled,
 * and nothing of the firmware's is needed any more.
 */
NORETURN static void park(void)
{
	for (;;)
		__asm__ volatile("hlt" ::: "memory");
}

void smp_core_main(struct core *core)
{
	idt_load(core);
	core_setup_registers();
	apic_core_init();
	if (apic_id() != core->apic_id) /* it came too late, and took another's place */
		cpu_halt();
	machine_check_init();
	__atomic_store_n(&core->online, true, __ATOMIC_RELEASE);
	tsc_sync_answer();
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		cpu_relax();
	hostmap_setup_core(); /* drops what is cached of the trampoline's mapping */
	if (core->parked)
		park();
	if (cores[core->id] != core) /* given up for lost: its number may be another's */
		cpu_halt();
	core_entry(core);
	panic("core %u has left its loop", core->id);
}

/* ---- on the boot core ---- */

static void patch32(uint8_t *page, const uint8_t *label, uint32_t value)
{
	memcpy(page + (label - trampoline), &value, sizeof(value));
}

static void patch64(uint8_t *page, const uint8_t *label, uint64_t value)
{
	memcpy(page + (label - trampoline), &value, sizeof(value));
}

static uint32_t within_page(uint64_t page, const uint8_t *label)
{
	return (uint32_t)(page + (uint64_t)(label - trampoline));
}

static void place_trampoline(uint64_t page)
{
	uint8_t *p = (uint8_t *)page;
	uint32_t jump_offset;

	memcpy(p, trampoline, (size_t)(trampoline_end - trampoline));
	patch32(p, trampoline_cr3, (uint32_t)hostmap_root());
	patch32(p, trampoline_cr4, (uint32_t)(CR4_PAE | (read_cr4() & CR4_LA57)));
	patch64(p, trampoline_entry, (uint64_t)smp_entry);
	memcpy(&jump_offset, trampoline_far, sizeof(jump_offset));
	patch32(p, trampoline_far, (uint32_t)page + jump_offset);
	patch32(p, trampoline_gdtr + sizeof(uint16_t), within_page(page, trampoline_gdt));
	hostmap_set(page, PAGE_SIZE, HOSTMAP_EXEC, HOSTMAP_WRITE_BACK);
}

static bool wait_taken(uint64_t us)
{
	uint64_t end = clock_us() + us;

	do {
		if (!__atomic_load_n(&smp_starting, __ATOMIC_ACQUIRE))
			return true;
		cpu_relax();
	} while (clock_us() < end);
	return false;
}

static bool wait_online(const struct core *core)
{
	uint64_t end = clock_us() + ARRIVE_WAIT_US;

	do {
		if (__atomic_load_n(&core->online, __ATOMIC_ACQUIRE))
			return true;
		cpu_relax();
	} while (clock_us() < end);
	return false;
}

static bool start(struct core *core, uint64_t page)
{
	smp_starting_stack = core->stack_top;
	__atomic_store_n(&smp_starting, core, __ATOMIC_SEQ_CST);
	apic_send_startup(core->apic_id, page);
	if (!wait_taken(STARTUP_WAIT_US)) {
		apic_send_startup(core->apic_id, page);
		/* take it back from one that is too late; if that fails it has just come */
		if (!wait_taken(ARRIVE_WAIT_US) &&
			__atomic_exchange_n(&smp_starting, NULL, __ATOMIC_SEQ_CST))
			return false;
	}
	return wait_online(core);
}

static void add_core(struct core *core)
{
	if (core->parked)
		return;
	core->id = core_count;
	cores[core_count] = core;
	__atomic_store_n(&core_count, core_count + 1, __ATOMIC_RELEASE);
}

void smp_start(const struct boot_info *info, void (*entry)(struct core *core))
{
	unsigned parked = 0, missing = 0;

	core_entry = entry;
	if (all_count > 1)
		place_trampoline(info->trampoline);
	for (unsigned i = 1; i < all_count; i++)
		apic_send_init(all[i]->apic_id);
	if (all_count > 1)
		clock_delay_us(INIT_WAIT_US);
	for (unsigned i = 1; i < all_count; i++) {
		/* its number must be right before it runs; given to the next if it does not come */
		all[i]->id = all[i]->parked ? CORE_MAX + i : core_count;
		random_seed_core(all[i]);
		if (!start(all[i], info->trampoline)) {
			log_warn("the processor with APIC id %u does not start", all[i]->apic_id);
			missing++;
			continue;
		}
		add_core(all[i]);
		parked += all[i]->parked;
		tsc_sync_check(all[i]);
	}
	if (all_count > 1)
		hostmap_unmap_page(info->trampoline);
	log_info("cores: %u running, %u parked, %u missing", core_count, parked, missing);
	__atomic_store_n(&go, true, __ATOMIC_RELEASE);
}
