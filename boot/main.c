/*
 * The loader's story, from the firmware's entry to hv_main(). Everything that needs the firmware
 * happens here and is handed over in one struct; boot/ is gone from the stack when hv/ begins.
 */
#include "boot/boot.h"
#include "lib/string.h"

/* hv_main's stack, with a page below it that hv/ unmaps. */
#define STACK_SIZE (64 * KIB)

static struct {
	uint8_t guard[PAGE_SIZE];
	uint8_t stack[STACK_SIZE];
} boot_stack ALIGNED(4096);

static struct boot_info boot_info;

/* boot/efi.lds */
extern uint8_t image_text[], image_text_end[], image_rodata[], image_rodata_end[], image_data[],
	image_data_end[];

static struct boot_section section(const uint8_t *start, const uint8_t *end)
{
	return (struct boot_section){
		.base = (uint64_t)(uintptr_t)start,
		.size = (uint64_t)(end - start),
	};
}

static void describe_image(struct boot_info *info)
{
	info->text = section(image_text, image_text_end);
	info->rodata = section(image_rodata, image_rodata_end);
	info->data = section(image_data, image_data_end);
	info->stack_guard = (uint64_t)(uintptr_t)boot_stack.guard;
}

static uint64_t bytes_of(const struct boot_info *info)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < info->range_count; i++)
		bytes += info->ranges[i].size;
	return bytes;
}

/* A debugger stores 1 here; see docs/debugging.md. */
static volatile uint32_t boot_debug_go;

static void wait_for_debugger(void)
{
	console_say("waiting for a debugger to set boot_debug_go");
	while (!boot_debug_go)
		__builtin_ia32_pause();
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	struct boot_info *info = &boot_info;
	EFI_BOOT_SERVICES *bs = system->BootServices;

	info->tsc_at_entry = __builtin_ia32_rdtsc();
	console_init(system);
	describe_image(info);
	/* tests and debuggers read this line: the image is linked at 0 */
	console_say("image at 0x%llx", info->text.base - PAGE_SIZE);

	/* the firmware resets the machine after five minutes of a loader that runs on */
	bs->SetWatchdogTimer(0, 0, 0, NULL);

	memory_check(bs, "");
	files_read_config(image, bs, &info->config);
	if (info->config.debug_wait)
		wait_for_debugger();
	files_read_images(image, bs, info);
	memory_check(bs, " beside the guest images");

	firmware_find_rsdp(system, info);
	firmware_find_framebuffer(bs, info);
	firmware_draw_entropy(bs, info);
	firmware_find_host_key(system, info);
	firmware_list_processors(bs, info);

	memory_reserve(bs, info);
	memory_take(image, bs, info);
	console_say("handing over %llu MiB in %u ranges, %u processors, %u images",
		bytes_of(info) / MIB, info->range_count, info->cpu_count, info->image_count);
	boot_jump(info, (uint64_t)(uintptr_t)(boot_stack.stack + STACK_SIZE));
}
