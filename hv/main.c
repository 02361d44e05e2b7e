/* The hypervisor's story. It begins where boot/ ends. */
#include "boot/handover.h"
#include "drivers/nic.h"
#include "drivers/pci.h"
#include "drivers/virtio/rng.h"
#include "hv/acpi.h"
#include "hv/apic.h"
#include "hv/bootmem.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/driver_env.h"
#include "hv/hostmap.h"
#include "hv/hypervisor.h"
#include "hv/idt.h"
#include "hv/iommu.h"
#include "hv/log.h"
#include "hv/machine_check.h"
#include "hv/panic.h"
#include "hv/power.h"
#include "hv/random.h"
#include "hv/run.h"
#include "hv/screen.h"
#include "hv/service.h"
#include "hv/smp.h"
#include "hv/status.h"
#include "lib/string.h"

/* Kept free of guests, unless creel.conf says more or less: for our own tables and streams. */
#define RESERVE_SHIFT 6 /* a 64th of memory */
#define RESERVE_MIN   (8 * MIB)
#define RESERVE_MAX   (512 * MIB)

#define WHY_MAX 256

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

static void read_firmware_tables(const struct boot_info *info)
{
	static const struct acpi_source source = { .map = map_table, .note = note_table };

	acpi_parse(&acpi, info->rsdp, &source);
	if (!acpi.present)
		log_info("the firmware has no ACPI tables");
}

/* Processor, microcode and memory, as a report of trouble must name them. */
static void describe_machine(const struct boot_info *info)
{
	struct cpuid_regs brand[4] = {
		cpuid(CPUID_BRAND), cpuid(CPUID_BRAND + 1), cpuid(CPUID_BRAND + 2), { 0 },
	};
	const char *name = (const char *)brand;
	uint64_t revision = 0;

	/* Intel has the revision in the upper half (SDM Vol 3, "Microcode Update Facilities"), AMD in
	 * the lower */
	if (rdmsr_safe(MSR_UCODE_REV, &revision) && revision >> 32)
		revision >>= 32;
	while (*name == ' ')
		name++;
	log_info("processor: %s, microcode %llx", name, (unsigned long long)revision);
	log_info("memory: %llu MiB usable", (unsigned long long)(bootmem_left(info) / MIB));
}

static void choose_backend(void)
{
	char why[WHY_MAX];

	if (cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_VMX)
		hv.vm = &vmx_ops;
	else if (cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM)
		hv.vm = &svm_ops;
	else
		refuse("this processor offers neither VT-x nor AMD-V; if it has one, switch it on in the "
		       "firmware set-up, or in the hypervisor that this machine runs on");
	if (hv.vm->probe(&hv.caps, why, sizeof(why)))
		refuse("%s", why);
	log_info("virtualisation: %s, %u tags", hv.vm->name, hv.caps.tag_count);
}

static uint64_t alloc_table_page(void)
{
	hpa_t page;

	if (frame_alloc(&hv.pool, this_core()->id, 0, FRAME_HOST, NULL, FRAME_ZEROED, &page))
		return 0;
	return page;
}

static void kick(void *context, unsigned core)
{
	(void)context;
	if (core < core_count)
		apic_kick(cores[core]);
}

/* All memory that has not been taken yet becomes frames. */
static void share_out_memory(struct boot_info *info)
{
	static struct frame_range ranges[BOOT_MAX_RANGES];
	uint64_t reserve = info->config.reserve, total = bootmem_left(info);
	struct tlb_core *tlbs =
		(struct tlb_core *)bootmem_take(info, core_planned * sizeof(struct tlb_core));
	int err;

	if (!reserve)
		reserve = MIN(MAX(total >> RESERVE_SHIFT, RESERVE_MIN), RESERVE_MAX);
	if (reserve >= total)
		refuse("reserve in creel.conf is %llu MiB, but only %llu MiB of memory are usable",
			(unsigned long long)(reserve / MIB), (unsigned long long)(total / MIB));
	for (unsigned i = 0; i < info->range_count; i++) {
		ranges[i].base = info->ranges[i].base;
		ranges[i].size = info->ranges[i].size;
	}
	tlb_host_init(&hv.tlb, tlbs, core_planned);
	tlb_host_set_caps(&hv.tlb, &hv.caps.tlb, hv.caps.tag_count);
	err = frame_pool_init(&hv.pool, NULL, ranges, info->range_count, core_planned,
		reserve / PAGE_SIZE, &hv.tlb);
	if (err)
		refuse("the memory of this machine cannot be managed: %s", err_str(err));
	hv.pool.kick = kick;
	hostmap_set_allocator(alloc_table_page);
	log_info("memory: %llu MiB for guests, %llu MiB in reserve",
		(unsigned long long)((frame_pool_free(&hv.pool) * PAGE_SIZE - reserve) / MIB),
		(unsigned long long)(reserve / MIB));
}

/* From here on guests can be made; none runs before the cores do. */
static void start_guests(const struct boot_info *info)
{
	int err = hypervisor_start();

	if (err == ERR_UNSUPPORTED)
		refuse("this processor has no XSAVE, which keeps guests' vector registers apart");
	if (err)
		refuse("too little memory for the tables of guests: %s", err_str(err));
	hypervisor_put_images(info);
}

/* What devices add to the generator. */
static void gather_device_entropy(void)
{
	uint8_t bytes[64];
	size_t n = virtio_rng_read(driver_env(), bytes, sizeof(bytes));

	random_add(bytes, n, false);
}

/* Every core's life, after the boot core has told the story below. */
NORETURN static void core_main(struct core *core)
{
	int err = hypervisor_core_start(core);

	if (err)
		panic("core %u: %s cannot be switched on: %s", core->id, hv.vm->name, err_str(err));
	run_loop(core, core->id == 0 ? service_poll : NULL);
}

void hv_main(struct boot_info *info)
{
	struct core *core = core_boot(info->stack_guard);

	/* first of all a way to speak, and to say why if something breaks */
	console_start(info->config.serial_console);
	log_set_level(info->config.log_level);
	idt_init();
	idt_load(core);

	/* our own page tables: nothing of the firmware's is used from here on */
	hostmap_init(info);
	core_setup_registers();
	core_guard_stacks(core);
	if (info->config.screen_console)
		screen_start(&info->framebuffer);
	machine_check_init();
	describe_machine(info);
	if (info->config.max_memory)
		bootmem_limit(info, info->config.max_memory);

	/* can guests run here at all? */
	choose_backend();

	/* what the firmware tells of the machine; time; interrupts */
	read_firmware_tables(info);
	clock_init(&acpi, info->tsc_at_entry);
	apic_init(&acpi);
	apic_core_init();
	apic_timer_calibrate();
	iommu_disable_all(&acpi);
	power_init(&acpi);
	random_init(info);

	/* memory: first for the cores' stacks, the rest as frames */
	smp_prepare(info, &acpi, core);
	share_out_memory(info);
	start_guests(info);

	/* devices: none may write to memory but those that we drive */
	pci_quiesce(driver_env());
	gather_device_entropy();
	hv.boot_id[0] = random_u64();
	hv.boot_id[1] = random_u64();
	hv.boot_tsc = clock_tsc_zero();
	service_start(info, nic_probe(driver_env()));

	/* all other cores, then our own part */
	smp_start(info, core_main);
	char key[STATUS_KEY_SIZE];

	service_host_key(key);
	status_start(info->config.port, key, info->host_key_source != HOST_KEY_NONE);
	status_show();
	core_main(core);
}
