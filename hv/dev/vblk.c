#include "hv/dev/vblk.h"

#include "lib/bytes.h"
#include "lib/string.h"

#define PCI_STORAGE       0x01
#define PCI_STORAGE_OTHER 0x80

#define SECTOR       512u
#define HEADER_SIZE  16u /* "struct virtio_blk_req": type, reserved, sector */
#define CHUNK        1024u
#define SEGMENTS_MAX (VRING_SIZE_MAX - 2)
#define SHARE_MAX    (256 * KIB) /* bytes moved before others have their turn */
#define REQUEST_MAX  (4 * MIB)   /* drivers make none of more than 1.25 MiB */
#define SERIAL       "creel"
#define SERIAL_SIZE  20u

#define FEATURE_SEG_MAX (1ull << 2)
#define FEATURE_FLUSH   (1ull << 9)

/* Offsets of the device's own fields. */
#define CONFIG_SEG_MAX  12

enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8 };
enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_UNSUPPORTED = 2 };

static void show_own(const struct virtio_model *model, uint64_t value, uint8_t out[VIRTIO_CONFIG_SIZE])
{
	(void)model;
	store_le64(out, value);
	store_le32(out + CONFIG_SEG_MAX, SEGMENTS_MAX);
}

const struct virtio_model vblk_model = {
	.type = 2,
	.class = PCI_STORAGE,
	.subclass = PCI_STORAGE_OTHER,
	.queues = 1,
	.features = FEATURE_SEG_MAX | FEATURE_FLUSH,
	.config = show_own,
};

/* `size` bytes at `sector` are on the disk. */
static bool on_disk(const struct virtio *v, uint64_t sector, uint64_t size)
{
	return size % SECTOR == 0 && sector <= v->value && size / SECTOR <= v->value - sector;
}

/* From the disk to the guest. */
static int move_in(const struct virtio_env *env, const struct vring_chain *chain, uint64_t from,
	uint64_t size)
{
	uint8_t bytes[CHUNK];
	int err = OK;

	for (uint64_t done = 0; done < size && !err; done += CHUNK) {
		size_t n = MIN(size - done, sizeof(bytes));

		err = gmem_read(env->mem, from + done, bytes, n);
		if (!err)
			err = vring_write(env->mem, env->core, chain, done, bytes, n);
	}
	return err;
}

/* From the guest to the disk. What fails half-way for want of a page is done again from the start. */
static int move_out(const struct virtio_env *env, const struct vring_chain *chain, uint64_t to,
	uint64_t size)
{
	uint8_t bytes[CHUNK];
	int err = OK;

	for (uint64_t done = 0; done < size && !err; done += CHUNK) {
		size_t n = MIN(size - done, sizeof(bytes));

		if (vring_read(env->mem, chain, HEADER_SIZE + done, bytes, n) != n)
			return ERR_INVALID;
		err = gmem_write(env->mem, env->core, to + done, bytes, n);
	}
	return err;
}

static int identify(const struct virtio_env *env, const struct vring_chain *chain, uint64_t size)
{
	uint8_t serial[SERIAL_SIZE] = SERIAL;

	return vring_write(env->mem, env->core, chain, 0, serial, MIN(size, sizeof(serial)));
}

/* Does the request, and says what its status is. `in` and `out` are bytes of data either way. */
static int serve(const struct virtio *v, const struct virtio_env *env, const struct vring_chain *chain,
	const uint8_t header[HEADER_SIZE], uint64_t in, uint64_t out, uint8_t *status)
{
	uint64_t sector = load_le64(header + 8);
	uint32_t type = load_le32(header);
	uint64_t size = type == TYPE_OUT ? out : in;

	*status = STATUS_OK;
	if (type == TYPE_FLUSH)
		return OK; /* all of it is in memory, and lives as long as the guest does */
	if (type == TYPE_GET_ID)
		return identify(env, chain, in);
	if (type != TYPE_IN && type != TYPE_OUT) {
		*status = STATUS_UNSUPPORTED;
		return OK;
	}
	if (!on_disk(v, sector, size)) {
		*status = STATUS_ERROR;
		return OK;
	}
	gpa_t at = VBLK_GPA + sector * SECTOR;

	return type == TYPE_OUT ? move_out(env, chain, at, size) : move_in(env, chain, at, size);
}

static int request(struct virtio *v, const struct virtio_env *env, const struct vring_chain *chain)
{
	uint8_t header[HEADER_SIZE], status;

	if (!chain->writable || vring_read(env->mem, chain, 0, header, sizeof(header)) != sizeof(header))
		return ERR_INVALID;
	uint64_t in = chain->writable - 1, out = chain->readable - HEADER_SIZE;

	if (in > REQUEST_MAX || out > REQUEST_MAX)
		return ERR_INVALID;
	int err = vring_prepare(&v->queue[0], env->mem, env->core, chain, chain->writable);

	if (!err)
		err = serve(v, env, chain, header, in, out, &status);
	if (!err)
		err = vring_write(env->mem, env->core, chain, in, &status, 1);
	return err ? err : vring_give(&v->queue[0], env->mem, env->core, chain,
		(uint32_t)chain->writable);
}

int vblk_notify(struct virtio *v, const struct virtio_env *env)
{
	struct vring_chain chain;
	uint64_t moved = 0;
	bool used = false;
	int err;

	vring_begin(&v->queue[0]);
	while (!(err = vring_next(&v->queue[0], env->mem, &chain))) {
		if (moved > SHARE_MAX) {
			err = ERR_AGAIN;
			break;
		}
		err = request(v, env, &chain);
		if (err)
			break;
		moved += chain.readable + chain.writable;
		used = true;
	}
	if (used)
		virtio_used(v, env, 0);
	return virtio_conclude(v, env, err);
}
