/* The hypervisor's story. It begins where boot/ ends. */
#include "boot/handover.h"
#include "hv/acpi.h"
#include "hv/apic.h"
#include "hv/bootmem.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/idt.h"
#include "hv/iommu.h"
#include "hv/log.h"
#include "hv/machine_check.h"
#include "hv/panic.h"
#include "hv/random.h"
#include "hv/smp.h"
#include "lib/string.h"

static struct acpi_info acpi;

static const void *map_table(void *ctx, uint64_t physical, uint64_t size)
{
	(void)ctx;
	return hostmap_firmware(physical, size);
}

static void note_table(void *ctx, const char *sentence)
{
	(void)ctx;
	log_warn("%s", sentence);
}

/* Processor, microcode and memory, as a report of trouble must name them. */
static void describe_machine(const struct boot_info *info)
{
	struct cpuid_regs brand[4] = {
		cpuid(CPUID_BRAND), cpuid(CPUID_BRAND + 1), cpuid(CPUID_BRAND + 2), { 0 },
	};
	const char *name = (const char *)brand;
	uint64_t usable = 0, revision = 0;

	/* SDM Vol 3, "Microcode Update Facilities": the revision is in the upper half; AMD: lower */
	if (rdmsr_safe(MSR_UCODE_REV, &revision) && revision >> 32)
		revision >>= 32;
	while (*name == ' ')
		name++;
	for (unsigned i = 0; i < info->range_count; i++)
		usable += info->ranges[i].size;
	log_info("processor: %s, microcode %llx", name, (unsigned long long)revision);
	log_info("memory: %llu MiB usable", (unsigned long long)(usable / MIB));
}

NORETURN static void core_loop(struct core *core)
{
	log_info("core %u runs", core->id);
	for (;;)
		cpu_sleep();
}

void hv_main(struct boot_info *info)
{
	struct core *core = core_boot();

	/* first of all a way to speak, and to say why if something breaks */
	console_start(info->config.serial_console);
	log_set_level(info->config.log_level);
	idt_init();
	idt_load(core);
	log_info("Creel");

	/* our own page tables: nothing of the firmware's is used from here on */
	hostmap_init(info);
	core_setup_registers();
	core_guard_stacks(core);
	if (info->config.screen_console)
		console_screen_start(&info->framebuffer);
	machine_check_init();
	describe_machine(info);

	/* what the firmware tells of the machine */
	acpi_parse(&acpi, info->rsdp, &(struct acpi_source){ .map = map_table, .note = note_table });
	if (!acpi.present)
		log_info("the firmware has no ACPI tables");

	/* time, interrupts, chance */
	clock_init(&acpi, info->tsc_at_entry);
	apic_init(&acpi);
	apic_core_init();
	apic_timer_calibrate();
	iommu_disable_all(&acpi);
	random_init(info);

	smp_prepare(info, &acpi, core);

	/* all other cores */
	smp_start(info, core_loop);
	core_loop(core);
}
