/* The files of the boot volume: \creel\creel.conf and the guest images under \creel\images\. */
#include "boot/boot.h"
#include "lib/string.h"

void files_read_config(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_config *config)
{
	(void)image;
	(void)bs;
	config_defaults(config);
}

void files_read_images(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	(void)image;
	(void)bs;
	(void)info;
}
