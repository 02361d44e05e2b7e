#include "hv/dev/vrng.h"

#include "lib/wipe.h"

#define PCI_OTHER 0xff
#define BYTES_MAX 256u /* for one request; the driver asks again */

static void show_own(const struct virtio_model *model, uint64_t value, uint8_t out[VIRTIO_CONFIG_SIZE])
{
	(void)model;
	(void)value;
	(void)out; /* it has no fields of its own */
}

const struct virtio_model vrng_model = {
	.type = 4,
	.class = PCI_OTHER,
	.queues = 1,
	.config = show_own,
};

static int answer(struct vring *q, const struct virtio_env *env, const struct vring_chain *chain,
	void (*random)(void *buf, size_t size))
{
	uint8_t bytes[BYTES_MAX];
	size_t size = MIN(chain->writable, sizeof(bytes));
	int err = vring_prepare(q, env->mem, env->core, chain, size);

	if (err)
		return err;
	random(bytes, size);
	err = vring_write(env->mem, env->core, chain, 0, bytes, size);
	wipe(bytes, sizeof(bytes));
	return err ? err : vring_give(q, env->mem, env->core, chain, (uint32_t)size);
}

int vrng_notify(struct virtio *v, const struct virtio_env *env,
	void (*random)(void *buf, size_t size))
{
	struct vring *q = &v->queue[0];
	struct vring_chain chain;
	bool used = false;
	int err;

	vring_begin(q);
	while (!(err = vring_next(q, env->mem, &chain))) {
		err = answer(q, env, &chain, random);
		if (err)
			break;
		used = true;
	}
	if (used)
		virtio_used(v, env, 0);
	return virtio_conclude(v, env, err);
}
