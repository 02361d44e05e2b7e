/* The firmware's memory: what we set aside before boot services end, and what is ours after. */
#include "boot/boot.h"
#include "boot/memmap.h"
#include "lib/string.h"

#define MAP_MAX_ENTRIES  2048
#define MAP_BUFFER_SIZE  (MAP_MAX_ENTRIES * 64)
#define EXIT_MAX_RETRIES 8

static uint8_t map_buffer[MAP_BUFFER_SIZE] ALIGNED(16);
static struct memmap_entry map_entries[MAP_MAX_ENTRIES];

struct map {
	size_t count;
	UINTN key;
};

static bool type_is_ram(UINT32 type)
{
	switch (type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
	case EfiConventionalMemory:
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return true;
	default:
		return false;
	}
}

/* Loader memory holds our image, the guest images and the scratch; ACPI memory the tables. */
static bool type_is_usable(UINT32 type)
{
	return type == EfiConventionalMemory || type == EfiBootServicesCode ||
	       type == EfiBootServicesData;
}

static struct map read_map(EFI_BOOT_SERVICES *bs)
{
	struct map map = {0};
	UINTN size = sizeof(map_buffer), stride = 0;
	UINT32 version = 0;
	EFI_STATUS status = bs->GetMemoryMap(
		&size, (EFI_MEMORY_DESCRIPTOR *)map_buffer, &map.key, &stride, &version);

	if (EFI_ERROR(status))
		boot_refuse("the firmware's memory map cannot be read (error %lu, %lu bytes)",
			status & 0xff, size);
	if (stride < sizeof(EFI_MEMORY_DESCRIPTOR))
		boot_refuse("the firmware's memory map has entries of %lu bytes", stride);
	for (UINTN at = 0; at + stride <= size && map.count < MAP_MAX_ENTRIES; at += stride) {
		EFI_MEMORY_DESCRIPTOR d;

		memcpy(&d, map_buffer + at, sizeof(d));
		map_entries[map.count++] = (struct memmap_entry){
			.base = d.PhysicalStart,
			.pages = d.NumberOfPages,
			.ram = type_is_ram(d.Type),
			.usable = type_is_usable(d.Type),
		};
	}
	return map;
}

void memory_check(EFI_BOOT_SERVICES *bs, const char *why)
{
	static struct boot_info probe;
	uint64_t usable = memmap_build(&probe, map_entries, read_map(bs).count);

	if (usable < CONFIG_MIN_MEMORY)
		boot_refuse("this machine has %llu MiB of usable memory%s, Creel needs at least "
			    "%llu MiB",
			usable / MIB, why, CONFIG_MIN_MEMORY / MIB);
}

void memory_reserve(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	EFI_PHYSICAL_ADDRESS page = MEMMAP_LOW_END - 1;
	EFI_PHYSICAL_ADDRESS scratch = UINT32_MAX; /* starting processors load CR3 in 32 bits */

	/* SDM Vol 3, "MP Initialization Protocol Algorithm": the start-up vector is a page below
	 * 1 MiB. AllocateMaxAddress takes the highest byte allowed. */
	if (EFI_ERROR(bs->AllocatePages(AllocateMaxAddress, EfiLoaderData, 1, &page)))
		boot_refuse("the firmware has no free page below 1 MiB to start processors with");
	info->trampoline = page;

	if (EFI_ERROR(bs->AllocatePages(
		    AllocateMaxAddress, EfiLoaderData, BOOT_SCRATCH_SIZE / PAGE_SIZE, &scratch)))
		boot_refuse(
			"the firmware has no %llu KiB for page tables", BOOT_SCRATCH_SIZE / KIB);
	memset((void *)(uintptr_t)scratch, 0, BOOT_SCRATCH_SIZE);
	info->scratch = (struct boot_section){.base = scratch, .size = BOOT_SCRATCH_SIZE};
}

void memory_take(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	/* UEFI, "EFI_BOOT_SERVICES.ExitBootServices()": a stale key means that the map changed;
	 * read it again and retry, and call nothing else meanwhile. */
	for (unsigned i = 0; i < EXIT_MAX_RETRIES; i++) {
		struct map map = read_map(bs);

		EFI_STATUS status = bs->ExitBootServices(image, map.key);

		/* even when it fails, part of the firmware may have shut down */
		console_without_firmware();
		if (EFI_ERROR(status))
			continue;
		memmap_build(info, map_entries, map.count);
		return;
	}
	boot_refuse("the firmware does not let go of boot services");
}
