/* Images of Linux guests: one file of kernel, initrd, command line and disk (lib/bundle.h). */
#include "mgmt/creelctl/creelctl.h"
#include "mgmt/creelctl/image.h"

#include "lib/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEMORY  (256 * MIB)
#define DEFAULT_CMDLINE "console=ttyS0 panic=-1"
/*
 * The agent loads the driver of hvc0, which is not polled. What wakes an idle guest for nothing is off, and so
 * is what makes a fork dearer to become another one: the host's link has no IPv6, and needs no fair queues.
 */
#define ROOTFS_CMDLINE                                                                             \
	"console=hvc0 panic=-1 quiet nowatchdog psi=0 sysctl.vm.compaction_proactiveness=0 "             \
	"sysctl.vm.stat_interval=10 sysctl.net.ipv6.conf.default.disable_ipv6=1 "                      \
	"sysctl.net.core.default_qdisc=pfifo_fast"

static struct rootfs rootfs;

/* clang-format off: rows of a table */
const struct option image_options[] = {
	FILENAME(0, "kernel", &settings.kernel, "a Linux kernel (bzImage)"),
	FILENAME(0, "initrd", &settings.initrd, "its initramfs"),
	FILENAME(0, "disk", &settings.disk, "its disk, which guests share and each may change"),
	VALUE(0, "rootfs", FILE, &rootfs.path, "PATH",
		"or a folder, tar file or OCI layout (FOLDER[:NAME]) to make it of"),
	VALUE(0, "modules", FILE, &rootfs.modules, "FOLDER",
		"with --rootfs: its modules (lib/modules/VERSION beside it)"),
	FILENAME(0, "agent", &rootfs.agent,
		"with --rootfs: creel-agent (the one that came with creelctl)"),
	VALUE('u', "user", TEXT, &rootfs.user, "USER[:GROUP]", "with --rootfs: of the entry point"),
	VALUE(0, "cmdline", LINE, &settings.cmdline, "TEXT",
		"its command line (console=ttyS0 panic=-1)"),
	VALUE('m', "memory", SIZE, &settings.memory, "SIZE", "memory of its guests (256M)"),
	END_OPTIONS,
};
/* clang-format on */

static bool align(FILE *to, uint64_t *at)
{
	static const char zeros[BUNDLE_ALIGN];
	size_t n = (size_t)(align_up(*at, BUNDLE_ALIGN) - *at);

	*at += n;
	return fwrite(zeros, 1, n, to) == n;
}

static bool add_file(FILE *to, const char *path, uint64_t *at, struct bundle_part *part)
{
	static char buf[1 << 16];
	FILE *f = path ? fopen(path, "rb") : NULL;
	bool good = true;
	size_t n;

	part->offset = *at;
	if (!path)
		return true;
	if (!f) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	while (good && (n = fread(buf, 1, sizeof(buf), f)) > 0) {
		good = fwrite(buf, 1, n, to) == n;
		part->size += n;
	}
	if (ferror(f) || !good)
		complain("can't copy %s: %s", path, strerror(errno));
	good = good && !ferror(f);
	fclose(f);
	*at += part->size;
	return good && align(to, at);
}

/* Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"; the host looks at the rest. */
static bool is_bzimage(const char *path)
{
	static const uint8_t flag[] = {0x55, 0xaa}, magic[] = {'H', 'd', 'r', 'S'};
	uint8_t head[0x206] = {0};
	FILE *f = fopen(path, "rb");

	if (!f) {
		complain("can't open %s: %s", path, strerror(errno));
		return false;
	}
	(void)!fread(head, 1, sizeof(head), f);
	fclose(f);
	if (!memcmp(head + 0x1fe, flag, sizeof(flag)) && !memcmp(head + 0x202, magic, sizeof(magic)))
		return true;
	complain("%s is no Linux kernel: a bzImage is wanted, as in /boot/vmlinuz-VERSION", path);
	return false;
}

static bool write_bundle(const struct settings *s, FILE *to)
{
	const char *cmdline = s->cmdline ? s->cmdline : DEFAULT_CMDLINE;
	struct bundle_header h = {
		.version = BUNDLE_VERSION,
		.header_size = sizeof(h),
		.memory = align_up(s->memory ? s->memory : DEFAULT_MEMORY, PAGE_SIZE),
		.cmdline.size = strlen(cmdline),
	};
	uint64_t at = sizeof(h);

	if (!is_bzimage(s->kernel))
		return false;
	memcpy(h.magic, BUNDLE_MAGIC, sizeof(h.magic));
	if (fwrite(&h, sizeof(h), 1, to) != 1 || !align(to, &at))
		return false;
	if (!add_file(to, s->kernel, &at, &h.kernel) || !add_file(to, s->initrd, &at, &h.initrd))
		return false;
	if (!add_file(to, s->disk, &at, &h.disk))
		return false;
	h.cmdline.offset = at;
	return fwrite(cmdline, 1, h.cmdline.size, to) == h.cmdline.size &&
	       fseek(to, 0, SEEK_SET) == 0 && fwrite(&h, sizeof(h), 1, to) == 1 &&
	       fflush(to) == 0;
}

/* The image's name is the kernel's, as it came. */
bool put_kernel(struct settings *s, uint64_t *image, int *status)
{
	struct creel_image put;
	FILE *f = tmpfile();
	char *path;
	int code;

	*status = EXIT_REFUSED;
	if (!f) {
		complain("can't make a temporary file: %s", strerror(errno));
		return false;
	}
	if (!write_bundle(s, f) || fseek(f, 0, SEEK_END)) {
		fclose(f);
		return false;
	}
	long size = ftell(f);

	rewind(f);
	path = strdup(s->kernel);
	code = upload_file(s, f, (uint64_t)size, basename(path), &put);
	free(path);
	fclose(f);
	if (code != CREEL_OK) {
		*status = failed(s, code);
		return false;
	}
	*image = put.id;
	return true;
}

/* From --rootfs, to a file without a name that becomes the initrd. It is open as long as the process. */
static bool make_initrd(struct settings *s)
{
	static char path[32];
	FILE *f = tmpfile();

	if (!f) {
		complain("can't make a temporary file: %s", strerror(errno));
		return false;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(f));
	s->initrd = path;
	if (!s->cmdline)
		s->cmdline = ROOTFS_CMDLINE;
	return image_initrd(s, &rootfs, f);
}

/* Under another name until it is whole. */
static bool write_output(const struct settings *s, const char *path)
{
	char *part;
	FILE *f;
	bool good;

	if (asprintf(&part, "%s.%d.part", path, getpid()) < 0)
		abort();
	f = fopen(part, "wbx");
	if (!f) {
		complain("can't make %s: %s", part, strerror(errno));
		free(part);
		return false;
	}
	good = write_bundle(s, f);
	good = fclose(f) == 0 && good;
	if (good && rename(part, path)) {
		complain("can't make %s: %s", path, strerror(errno));
		good = false;
	}
	if (!good)
		unlink(part);
	free(part);
	return good;
}

int run_image_build(struct settings *s, int argc, char **argv)
{
	(void)argc;
	if (rootfs.path && s->initrd) {
		complain("image build takes --rootfs or --initrd, not both");
		return EXIT_USAGE;
	}
	if (!s->kernel) {
		complain("image build needs --kernel FILE");
		return EXIT_USAGE;
	}
	if ((rootfs.path && !make_initrd(s)) || !write_output(s, argv[0])) {
		complain("%s was not made", argv[0]);
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}
