/*
 * The host's private key. creel.conf may have it; else it is made at the first boot and kept in a
 * variable of the firmware, non-volatile and with boot-services access only, so that no operating
 * system that is started on this machine later can read it, or plant one.
 */
#ifndef BOOT_HOSTKEY_H
#define BOOT_HOSTKEY_H

#include "boot/handover.h"

#include <efi.h>

/*
 * Finds the key of `info`, whose config is read, and wipes it there; or makes one of what `random`
 * gives, which returns false if it has no seed. Where no key can be kept, info->host_key_problem says
 * why, and hv/ makes one that lasts as long as this boot.
 */
void hostkey_find(EFI_RUNTIME_SERVICES *rt, struct boot_info *info,
	bool (*random)(void *ctx, uint8_t out[CONFIG_KEY_SIZE]), void *ctx);

#endif
