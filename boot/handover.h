/*
 * The one struct that passes from boot/ to hv/. boot/ fills it before ExitBootServices and jumps to
 * hv_main(); nothing else is shared by the two. All pointers are physical addresses, identity
 * mapped.
 */
#ifndef BOOT_HANDOVER_H
#define BOOT_HANDOVER_H

#include "boot/config.h"
#include "lib/base.h"

#define BOOT_MAX_RANGES 256
#define BOOT_MAX_CPUS   1024
#define BOOT_MAX_IMAGES 64
#define BOOT_NAME_MAX   64 /* with its terminator */

/* Usable RAM: page aligned, ascending, not overlapping, without anything that this struct names. */
struct boot_range {
	uint64_t base;
	uint64_t size;
};

/* A file of \creel\images\, whole, in memory that is in no boot_range. */
struct boot_image {
	char name[BOOT_NAME_MAX];
	const uint8_t *data;
	uint64_t size;
};

/* Linear frame buffer with 32 bits a pixel; base is 0 where there is none. */
struct boot_framebuffer {
	uint64_t base;
	uint32_t width, height;
	uint32_t stride; /* pixels a line */
	bool bgr;        /* blue in the low byte, as most have it */
};

/* A part of our own image with one set of permissions; page aligned. */
struct boot_section {
	uint64_t base;
	uint64_t size;
};

enum boot_host_key {
	HOST_KEY_NONE, /* hv/ makes one, which is lost at the next boot */
	HOST_KEY_CONF, /* of creel.conf */
	HOST_KEY_KEPT, /* of a variable of the firmware, from an earlier boot */
	HOST_KEY_MADE, /* made now and stored there */
};

struct boot_info {
	struct boot_range ranges[BOOT_MAX_RANGES];
	unsigned range_count;
	uint64_t ram_top; /* first address above all RAM, used or not */

	struct boot_section text, rodata, data; /* data holds .data and .bss */
	uint64_t stack_guard; /* the page below the stack that hv_main runs on, in data; unmap it */

	/* Zeroed memory in no range, for the first page tables. Until hv/ has loaded CR3, GDT and
	 * IDT of its own it runs on the firmware's, which lie somewhere in the ranges: write
	 * nothing there before. */
	struct boot_section scratch;

	uint64_t rsdp; /* ACPI root pointer, 0 where the firmware has none */

	/* Local APIC ids of all enabled processors, the boot processor first, by MP Services.
	 * Empty where the firmware has no such protocol: then the MADT tells. */
	uint32_t cpu_apic_ids[BOOT_MAX_CPUS];
	unsigned cpu_count;

	uint64_t trampoline; /* one free page below 1 MiB for starting processors */

	struct boot_framebuffer framebuffer;
	struct boot_image images[BOOT_MAX_IMAGES];
	unsigned image_count;
	struct boot_config config;

	/* The host's private key: hv/ wipes it here. */
	uint8_t host_key[CONFIG_KEY_SIZE];
	enum boot_host_key host_key_source;
	bool host_key_replaced; /* what the firmware had was not as we leave it, and was deleted */
	const char *host_key_problem; /* with HOST_KEY_NONE: why none is kept */

	/* 64 bytes of the firmware's generator (EFI_RNG_PROTOCOL), or entropy_size 0. */
	uint8_t entropy[64];
	unsigned entropy_size;

	uint64_t tsc_at_entry;
};

/* hv/main.c. Runs on a stack of its own, interrupts off, boot services gone; never returns. */
NORETURN void hv_main(struct boot_info *info);

#endif
