/* What the files of boot/ share. All of it runs under the firmware's boot services. */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "boot/handover.h"
#include "boot/memmap.h"
#include "lib/base.h"

#include <efi.h>

/* One guest image; a size above is a broken directory entry rather than a wish. */
#define BOOT_MAX_IMAGE_SIZE (64 * GIB)

/* Memory for the first page tables of hv/, which may not touch a range before it has its own. */
#define BOOT_SCRATCH_SIZE (1 * MIB)

/* console.c. A line of the log goes to COM1. */
void console_init(EFI_SYSTEM_TABLE *system);
void console_say(const char *format, ...) PRINTF(1, 2);
void console_without_firmware(void);

/* Says why this machine or its set-up cannot run Creel, on both consoles, and halts for ever. */
NORETURN void boot_refuse(const char *format, ...) PRINTF(1, 2);

/* files.c: creel.conf and the guest images on the volume that we were started from. */
void files_read_config(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_config *config);
void files_read_images(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info);

/* firmware.c: what the firmware knows about the machine. Each leaves its fields 0 if it doesn't. */
void firmware_find_rsdp(EFI_SYSTEM_TABLE *system, struct boot_info *info);
void firmware_find_framebuffer(EFI_BOOT_SERVICES *bs, struct boot_info *info);
void firmware_draw_entropy(EFI_BOOT_SERVICES *bs, struct boot_info *info);
void firmware_find_host_key(EFI_SYSTEM_TABLE *system, struct boot_info *info);
void firmware_list_processors(EFI_BOOT_SERVICES *bs, struct boot_info *info);

/* memory.c. memory_check() refuses a machine with too little; `why` ends its sentence. */
void memory_check(EFI_BOOT_SERVICES *bs, const char *why);
void memory_reserve(EFI_BOOT_SERVICES *bs, struct boot_info *info);

/* Fills the ranges of `info` and leaves boot services; nothing of the firmware works afterwards. */
void memory_take(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info);

/* entry.S: goes to hv_main(info) on the stack that ends at `stack_top`. */
NORETURN void boot_jump(struct boot_info *info, uint64_t stack_top);

/* crt0 of gnu-efi calls this after it has relocated us. */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

#endif
