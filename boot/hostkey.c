#include "boot/hostkey.h"

#include "lib/string.h"
#include "lib/wipe.h"

/* UEFI Specification, "Variable Services": without runtime access only code that runs before
 * ExitBootServices can see or make it. */
#define KEPT (EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS)

static CHAR16 variable_name[] = L"HostKey";
static EFI_GUID variable_vendor = {
	0x3b0a6f0e, 0x52c4, 0x4e0b, {0x9d, 0x1f, 0x6c, 0x72, 0x65, 0x65, 0x6c, 0x01}};

enum finding { FOUND, ABSENT, ODD };

/* ODD: something lies there that we would not have left so. */
static enum finding read_kept(EFI_RUNTIME_SERVICES *rt, uint8_t key[CONFIG_KEY_SIZE])
{
	uint8_t value[CONFIG_KEY_SIZE + 1], any = 0;
	UINTN size = sizeof(value);
	UINT32 attributes = 0;
	EFI_STATUS status =
		rt->GetVariable(variable_name, &variable_vendor, &attributes, &size, value);
	enum finding finding = ODD;

	if (status == EFI_NOT_FOUND)
		return ABSENT;
	if (status == EFI_SUCCESS && size == CONFIG_KEY_SIZE && attributes == KEPT) {
		for (size_t i = 0; i < CONFIG_KEY_SIZE; i++)
			any |= value[i];
		if (any) {
			memcpy(key, value, CONFIG_KEY_SIZE);
			finding = FOUND;
		}
	}
	wipe(value, sizeof(value));
	return finding;
}

/* NULL, or why it is not kept. */
static const char *keep(EFI_RUNTIME_SERVICES *rt, const uint8_t key[CONFIG_KEY_SIZE])
{
	uint8_t written[CONFIG_KEY_SIZE];
	const char *problem = NULL;

	if (rt->SetVariable(variable_name, &variable_vendor, KEPT, CONFIG_KEY_SIZE,
		    (void *)(uintptr_t)key) != EFI_SUCCESS)
		problem = "the firmware stores no variable";
	else if (read_kept(rt, written) != FOUND || memcmp(written, key, CONFIG_KEY_SIZE) != 0)
		problem = "the firmware does not keep what it was given to store";
	wipe(written, sizeof(written));
	return problem;
}

static void make(EFI_RUNTIME_SERVICES *rt, struct boot_info *info,
	bool (*random)(void *ctx, uint8_t out[CONFIG_KEY_SIZE]), void *ctx)
{
	if (!random(ctx, info->host_key))
		info->host_key_problem = "there were no random numbers to make one of";
	else
		info->host_key_problem = keep(rt, info->host_key);
	if (info->host_key_problem)
		wipe(info->host_key, sizeof(info->host_key));
	else
		info->host_key_source = HOST_KEY_MADE;
}

void hostkey_find(EFI_RUNTIME_SERVICES *rt, struct boot_info *info,
	bool (*random)(void *ctx, uint8_t out[CONFIG_KEY_SIZE]), void *ctx)
{
	enum finding finding;

	info->host_key_source = HOST_KEY_NONE;
	if (info->config.has_host_key) {
		memcpy(info->host_key, info->config.host_key, sizeof(info->host_key));
		wipe(info->config.host_key, sizeof(info->config.host_key));
		info->host_key_source = HOST_KEY_CONF;
		return;
	}
	finding = read_kept(rt, info->host_key);
	if (finding == FOUND) {
		info->host_key_source = HOST_KEY_KEPT;
		return;
	}
	if (finding == ODD) {
		/* no attributes: it is deleted */
		rt->SetVariable(variable_name, &variable_vendor, 0, 0, NULL);
		info->host_key_replaced = true;
	}
	make(rt, info, random, ctx);
}
