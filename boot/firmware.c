/* What the firmware tells about the machine: ACPI, frame buffer, randomness, processors. */
#include "boot/boot.h"
#include "boot/hostkey.h"
#include "lib/csprng.h"
#include "lib/string.h"
#include "lib/wipe.h"

#include <cpuid.h>

/* PI Specification Vol 2, "MP Services Protocol"; gnu-efi does not have it. */
struct mp_processor_information {
	uint64_t processor_id; /* the local APIC id */
	uint32_t status;
	uint32_t package, core, thread;
	uint32_t extended[6];
};

#define MP_STATUS_BSP     (1u << 0)
#define MP_STATUS_ENABLED (1u << 1)
#define MP_STATUS_HEALTHY (1u << 2)

struct mp_services {
	EFI_STATUS(EFIAPI *get_number)(struct mp_services *self, UINTN *all, UINTN *enabled);
	EFI_STATUS(EFIAPI *get_info)
	(struct mp_services *self, UINTN number, struct mp_processor_information *info);
	/* the rest is not called */
};

static EFI_GUID mp_services_guid = {
	0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};

static bool same_guid(const EFI_GUID *a, const EFI_GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void firmware_find_rsdp(EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
	static const EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID;

	for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *t = &system->ConfigurationTable[i];

		if (same_guid(&t->VendorGuid, &acpi2)) {
			info->rsdp = (uint64_t)(uintptr_t)t->VendorTable;
			return;
		}
		if (same_guid(&t->VendorGuid, &acpi1))
			info->rsdp = (uint64_t)(uintptr_t)t->VendorTable;
	}
}

void firmware_find_framebuffer(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = NULL;

	if (EFI_ERROR(bs->LocateProtocol(&guid, NULL, (void **)&gop)) || !gop->Mode ||
		!gop->Mode->Info)
		return;

	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = gop->Mode->Info;
	uint64_t bytes = 4ull * mode->PixelsPerScanLine * mode->VerticalResolution;

	if (mode->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
		mode->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
		return;
	if (mode->PixelsPerScanLine < mode->HorizontalResolution ||
		gop->Mode->FrameBufferSize < bytes)
		return;
	info->framebuffer = (struct boot_framebuffer){
		.base = gop->Mode->FrameBufferBase,
		.width = mode->HorizontalResolution,
		.height = mode->VerticalResolution,
		.stride = mode->PixelsPerScanLine,
		.bgr = mode->PixelFormat == PixelBlueGreenRedReserved8BitPerColor,
	};
}

/* False: the firmware has no generator. */
static bool draw(EFI_BOOT_SERVICES *bs, uint8_t *out, UINTN size)
{
	EFI_GUID guid = EFI_RNG_PROTOCOL_GUID;
	EFI_RNG_PROTOCOL *rng = NULL;

	return !EFI_ERROR(bs->LocateProtocol(&guid, NULL, (void **)&rng)) &&
	       !EFI_ERROR(rng->GetRNG(rng, NULL, size, out));
}

void firmware_draw_entropy(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	if (draw(bs, info->entropy, sizeof(info->entropy)))
		info->entropy_size = sizeof(info->entropy);
}

/* ---- the host's key; its random numbers come from all that hv/random.c takes, too ---- */

#define KEY_WORDS 8 /* of 64 bits, from the processor; RDRAND's count half, as in hv/random.c */

static bool rdseed(uint64_t *out)
{
	bool ok;

	__asm__ volatile("rdseed %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}

static bool rdrand(uint64_t *out)
{
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}

/* The words that came of one of the processor's sources; one that repeats itself is broken. */
static unsigned mix_words(struct csprng *g, bool (*source)(uint64_t *))
{
	uint64_t word = 0, last = 0;
	unsigned n = 0;

	for (unsigned tries = 0; tries < 64 * KEY_WORDS && n < KEY_WORDS; tries++) {
		if (!source(&word) || word == last || word == 0 || word == UINT64_MAX)
			continue;
		csprng_mix(g, &word, sizeof(word));
		last = word;
		n++;
	}
	wipe(&word, sizeof(word));
	wipe(&last, sizeof(last));
	return n;
}

static bool random_key(void *ctx, uint8_t out[CONFIG_KEY_SIZE])
{
	uint8_t drawn[64];
	uint32_t a, b, c, d;
	unsigned bits = 0;
	struct csprng g;
	uint64_t now = __builtin_ia32_rdtsc();

	csprng_init(&g);
	csprng_mix(&g, &now, sizeof(now));
	if (draw(ctx, drawn, sizeof(drawn))) {
		csprng_mix(&g, drawn, sizeof(drawn));
		bits += 8 * sizeof(drawn);
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_RDSEED))
		bits += 64 * mix_words(&g, rdseed);
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_RDRND))
		bits += 32 * mix_words(&g, rdrand);
	csprng_read(&g, out, CONFIG_KEY_SIZE);
	wipe(&g, sizeof(g));
	wipe(drawn, sizeof(drawn));
	return bits >= 8 * CONFIG_KEY_SIZE;
}

void firmware_find_host_key(EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
	hostkey_find(system->RuntimeServices, info, random_key, system->BootServices);
}

void firmware_list_processors(EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	struct mp_services *mp = NULL;
	UINTN all = 0, enabled = 0;
	unsigned n = 1; /* the first place is the boot processor's */
	bool boot_seen = false;

	if (EFI_ERROR(bs->LocateProtocol(&mp_services_guid, NULL, (void **)&mp)))
		return;
	if (EFI_ERROR(mp->get_number(mp, &all, &enabled)))
		return;
	for (UINTN i = 0; i < all; i++) {
		struct mp_processor_information cpu = {0};

		if (EFI_ERROR(mp->get_info(mp, i, &cpu)))
			continue;
		if (cpu.status & MP_STATUS_BSP) {
			info->cpu_apic_ids[0] = (uint32_t)cpu.processor_id;
			boot_seen = true;
		} else if ((cpu.status & MP_STATUS_ENABLED) && (cpu.status & MP_STATUS_HEALTHY) &&
			   n < BOOT_MAX_CPUS) {
			info->cpu_apic_ids[n++] = (uint32_t)cpu.processor_id;
		}
	}
	info->cpu_count = boot_seen ? n : 0;
}
