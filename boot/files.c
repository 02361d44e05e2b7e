/*
 * The files of the boot volume: \creel\creel.conf and the guest images under \creel\images\. A file
 * that is missing is fine; one that is there but cannot be used as it stands is a refusal, since
 * somebody wants it.
 */
#include "boot/boot.h"
#include "lib/string.h"
#include "lib/wipe.h"

#define CONFIG_PATH L"\\creel\\creel.conf"
#define IMAGES_PATH L"\\creel\\images"

/* Some firmware fails on reads of many megabytes at once. */
#define READ_CHUNK (4 * MIB)

/* EFI_FILE_INFO with the longest name that FAT has. */
union file_info {
	EFI_FILE_INFO info;
	uint8_t space[sizeof(EFI_FILE_INFO) + 2 * 256];
};

static const char *status_name(EFI_STATUS status)
{
	switch (status) {
	case EFI_DEVICE_ERROR:
		return "device error";
	case EFI_NO_MEDIA:
		return "no medium";
	case EFI_MEDIA_CHANGED:
		return "medium changed";
	case EFI_VOLUME_CORRUPTED:
		return "file system is corrupt";
	case EFI_ACCESS_DENIED:
		return "access denied";
	case EFI_OUT_OF_RESOURCES:
		return "firmware is out of memory";
	case EFI_BUFFER_TOO_SMALL:
		return "name too long";
	case EFI_END_OF_FILE:
		return "file ends early";
	default:
		return "firmware error";
	}
}

/* The root directory we were started from, or NULL: a network boot has none. */
static EFI_FILE_HANDLE open_volume(EFI_HANDLE image, EFI_BOOT_SERVICES *bs)
{
	EFI_GUID loaded_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	EFI_GUID fs_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
	EFI_LOADED_IMAGE *loaded = NULL;
	EFI_FILE_IO_INTERFACE *fs = NULL;
	EFI_FILE_HANDLE root = NULL;

	if (EFI_ERROR(bs->HandleProtocol(image, &loaded_guid, (void **)&loaded)))
		return NULL;
	if (EFI_ERROR(bs->HandleProtocol(loaded->DeviceHandle, &fs_guid, (void **)&fs)))
		return NULL;

	EFI_STATUS status = fs->OpenVolume(fs, &root);

	if (EFI_ERROR(status))
		boot_refuse("the boot volume cannot be opened: %s", status_name(status));
	return root;
}

/* NULL when there is no such file. `name` is for people. */
static EFI_FILE_HANDLE open_file(EFI_FILE_HANDLE dir, CHAR16 *path, const char *name)
{
	EFI_FILE_HANDLE file = NULL;
	EFI_STATUS status = dir->Open(dir, &file, path, EFI_FILE_MODE_READ, 0);

	if (status == EFI_NOT_FOUND)
		return NULL;
	if (EFI_ERROR(status))
		boot_refuse("%s cannot be opened: %s", name, status_name(status));
	return file;
}

static uint64_t file_size(EFI_FILE_HANDLE file, const char *name, bool directory)
{
	static EFI_GUID guid = EFI_FILE_INFO_ID;
	static union file_info buffer;
	UINTN size = sizeof(buffer);
	EFI_STATUS status = file->GetInfo(file, &guid, &size, &buffer);

	if (EFI_ERROR(status))
		boot_refuse("%s cannot be examined: %s", name, status_name(status));
	if (((buffer.info.Attribute & EFI_FILE_DIRECTORY) != 0) != directory)
		boot_refuse("%s is %s; replace it", name,
			directory ? "not a directory" : "a directory");
	return buffer.info.FileSize;
}

static void read_whole(EFI_FILE_HANDLE file, const char *name, uint8_t *to, uint64_t size)
{
	uint64_t done = 0;

	while (done < size) {
		UINTN n = MIN(size - done, READ_CHUNK);
		EFI_STATUS status = file->Read(file, &n, to + done);

		if (!EFI_ERROR(status) && n == 0)
			status = EFI_END_OF_FILE;
		if (EFI_ERROR(status))
			boot_refuse("%s cannot be read at byte %lu: %s", name, done,
				status_name(status));
		done += n;
	}
}

void files_read_config(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_config *config)
{
	static char text[CONFIG_MAX_SIZE];
	static const char name[] = "\\creel\\creel.conf";
	char error[CONFIG_ERROR_MAX];
	EFI_FILE_HANDLE root = open_volume(image, bs);
	EFI_FILE_HANDLE file = root ? open_file(root, CONFIG_PATH, name) : NULL;

	if (!file) {
		config_defaults(config);
		console_say("no %s, the defaults hold", name);
		return;
	}

	uint64_t size = file_size(file, name, false);

	if (size > sizeof(text))
		boot_refuse("%s has %lu bytes, the most is %zu", name, size, sizeof(text));
	read_whole(file, name, (uint8_t *)text, size);
	file->Close(file);
	root->Close(root);
	if (config_parse(config, text, size, error))
		boot_refuse("%s, %s", name, error);
	wipe(text, sizeof(text)); /* it may have the host's key */
}

/* Letters, digits and ._- only: names go to logs, clients and command lines as they are. */
static bool copy_name(char name[BOOT_NAME_MAX], const CHAR16 *wide)
{
	size_t n = 0;

	for (; wide[n]; n++) {
		CHAR16 c = wide[n];
		bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';

		if (n == BOOT_NAME_MAX - 1) {
			name[n] = '\0';
			return false;
		}
		name[n] = fits ? (char)c : '?';
	}
	name[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '?')
			return false;
	}
	return true;
}

static void read_image(
	EFI_BOOT_SERVICES *bs, EFI_FILE_HANDLE dir, EFI_FILE_INFO *entry, struct boot_info *info)
{
	EFI_PHYSICAL_ADDRESS at = 0;
	struct boot_image *slot = &info->images[info->image_count];

	if (info->image_count == BOOT_MAX_IMAGES)
		boot_refuse("\\creel\\images has more than %d files", BOOT_MAX_IMAGES);
	if (!copy_name(slot->name, entry->FileName))
		boot_refuse("image name \"%s\": use at most %d letters, digits, dots, dashes and "
			    "underscores",
			slot->name, BOOT_NAME_MAX - 1);
	slot->size = entry->FileSize;
	if (slot->size == 0)
		boot_refuse("image %s is empty", slot->name);

	EFI_FILE_HANDLE file = open_file(dir, entry->FileName, slot->name);

	if (!file)
		boot_refuse("image %s vanished while the images were read", slot->name);
	if (slot->size > BOOT_MAX_IMAGE_SIZE ||
		EFI_ERROR(bs->AllocatePages(AllocateAnyPages, EfiLoaderData,
			align_up(slot->size, PAGE_SIZE) / PAGE_SIZE, &at)))
		boot_refuse("image %s of %llu MiB is too big for this machine's memory", slot->name,
			slot->size / MIB);
	read_whole(file, slot->name, (uint8_t *)(uintptr_t)at, slot->size);
	file->Close(file);
	slot->data = (const uint8_t *)(uintptr_t)at;
	info->image_count++;
}

void files_read_images(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	static union file_info entry;
	static const char name[] = "\\creel\\images";
	EFI_FILE_HANDLE root = open_volume(image, bs);
	EFI_FILE_HANDLE dir = root ? open_file(root, IMAGES_PATH, name) : NULL;

	if (!dir)
		return;
	file_size(dir, name, true);
	for (;;) {
		UINTN size = sizeof(entry);
		EFI_STATUS status = dir->Read(dir, &size, &entry);

		if (EFI_ERROR(status))
			boot_refuse("%s cannot be listed: %s", name, status_name(status));
		if (size == 0)
			break;
		/* directories, "." and "..", and what desktop systems leave behind */
		if ((entry.info.Attribute & EFI_FILE_DIRECTORY) || entry.info.FileName[0] == '.')
			continue;
		read_image(bs, dir, &entry.info, info);
	}
	dir->Close(dir);
	root->Close(root);
}
