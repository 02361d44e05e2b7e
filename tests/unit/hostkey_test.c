/* The host's key in a firmware that behaves, in one that does not, and after somebody else was there. */
#include "boot/hostkey.h"
#include "tests/unit/test.h"

#define KEPT (EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS)

static struct {
	bool there, read_only, forgets, seeded;
	UINT32 attributes;
	UINTN size;
	uint8_t value[64];
	unsigned sets;
} firmware;

static EFI_STATUS EFIAPI get_variable(
	CHAR16 *name, EFI_GUID *vendor, UINT32 *attributes, UINTN *size, VOID *data)
{
	UINTN room = *size;

	(void)name;
	(void)vendor;
	if (!firmware.there)
		return EFI_NOT_FOUND;
	*size = firmware.size;
	*attributes = firmware.attributes;
	if (room < firmware.size)
		return EFI_BUFFER_TOO_SMALL;
	memcpy(data, firmware.value, firmware.size);
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI set_variable(
	CHAR16 *name, EFI_GUID *vendor, UINT32 attributes, UINTN size, VOID *data)
{
	(void)name;
	(void)vendor;
	firmware.sets++;
	if (firmware.read_only)
		return EFI_WRITE_PROTECTED;
	firmware.there = size != 0 && !firmware.forgets;
	firmware.attributes = attributes;
	firmware.size = size;
	CHECK(size <= sizeof(firmware.value));
	if (size)
		memcpy(firmware.value, data, size);
	return EFI_SUCCESS;
}

static bool random_key(void *ctx, uint8_t out[CONFIG_KEY_SIZE])
{
	(void)ctx;
	memset(out, 0x5a, CONFIG_KEY_SIZE);
	return firmware.seeded;
}

static EFI_RUNTIME_SERVICES services;
static struct boot_info info;

static void boot(void)
{
	services.GetVariable = get_variable;
	services.SetVariable = set_variable;
	memset(&info, 0, sizeof(info));
	hostkey_find(&services, &info, random_key, NULL);
}

static void fresh(void)
{
	memset(&firmware, 0, sizeof(firmware));
	firmware.seeded = true;
}

static void check_lost(void)
{
	CHECK_EQ(info.host_key_source, HOST_KEY_NONE);
	CHECK(info.host_key_problem != NULL);
	for (size_t i = 0; i < CONFIG_KEY_SIZE; i++)
		CHECK_EQ(info.host_key[i], 0);
}

TEST(a_key_is_made_once_and_kept)
{
	fresh();
	boot();
	CHECK_EQ(info.host_key_source, HOST_KEY_MADE);
	CHECK_EQ(info.host_key[31], 0x5a);
	CHECK_EQ(firmware.attributes, KEPT);
	CHECK_EQ(firmware.size, CONFIG_KEY_SIZE);
	firmware.value[3] = 0x77;
	boot();
	CHECK_EQ(info.host_key_source, HOST_KEY_KEPT);
	CHECK_EQ(info.host_key[3], 0x77);
	CHECK_EQ(firmware.sets, 1);
	CHECK(!info.host_key_replaced);
}

TEST(the_key_of_creel_conf_comes_first)
{
	fresh();
	boot();
	memset(&info, 0, sizeof(info));
	info.config.has_host_key = true;
	memset(info.config.host_key, 0x11, CONFIG_KEY_SIZE);
	hostkey_find(&services, &info, random_key, NULL);
	CHECK_EQ(info.host_key_source, HOST_KEY_CONF);
	CHECK_EQ(info.host_key[0], 0x11);
	CHECK_EQ(info.config.host_key[0], 0);
	CHECK_EQ(firmware.sets, 1);
}

/* What an operating system could have read or made is not trusted. */
TEST(what_is_not_as_we_leave_it_is_replaced)
{
	static const struct {
		UINT32 attributes;
		UINTN size;
		uint8_t byte;
	} odd[] = {
		{KEPT | EFI_VARIABLE_RUNTIME_ACCESS, CONFIG_KEY_SIZE, 9},
		{EFI_VARIABLE_BOOTSERVICE_ACCESS, CONFIG_KEY_SIZE, 9},
		{0, CONFIG_KEY_SIZE, 9},
		{KEPT, CONFIG_KEY_SIZE - 1, 9},
		{KEPT, CONFIG_KEY_SIZE + 1, 9},
		{KEPT, 64, 9},
		{KEPT, 1, 9},
		{KEPT, CONFIG_KEY_SIZE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		fresh();
		firmware.there = true;
		firmware.attributes = odd[i].attributes;
		firmware.size = odd[i].size;
		memset(firmware.value, odd[i].byte, sizeof(firmware.value));
		boot();
		CHECK_EQ(info.host_key_source, HOST_KEY_MADE);
		CHECK(info.host_key_replaced);
		CHECK_EQ(info.host_key[0], 0x5a);
		CHECK_EQ(firmware.attributes, KEPT);
		CHECK_EQ(firmware.sets, 2);
		boot();
		CHECK_EQ(info.host_key_source, HOST_KEY_KEPT);
	}
}

TEST(a_firmware_that_keeps_nothing_is_told)
{
	fresh();
	firmware.read_only = true;
	boot();
	check_lost();
	fresh();
	firmware.forgets = true;
	boot();
	check_lost();
	fresh();
	firmware.seeded = false;
	boot();
	check_lost();
	CHECK_EQ(firmware.sets, 0);
}
