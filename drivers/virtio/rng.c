/* virtio-rng; see rng.h. */
#include "drivers/virtio/rng.h"

#include "drivers/io.h"
#include "drivers/virtio/device.h"
#include "lib/string.h"

#define TYPE_ENTROPY 4
#define QUEUE        0
#define RING_SIZE    8

#define ANSWER_LIMIT_US 1000000

struct shared {
	uint8_t answer[PAGE_SIZE];
	uint8_t ring[VIRTQ_MEMORY_SIZE(RING_SIZE)];
};

static size_t wait_answer(const struct driver_env *env, struct virtio_queue *q)
{
	uint64_t start = env->now_us(env->ctx);
	uint32_t length;
	uint16_t id;

	for (;;) {
		int r = virtq_pop(&q->ring, &id, &length);

		if (r)
			return r > 0 ? length : 0;
		if (env->now_us(env->ctx) - start > ANSWER_LIMIT_US)
			return 0;
		io_relax();
	}
}

static size_t ask(struct virtio_device *d, struct shared *s, uint64_t physical, size_t size)
{
	struct virtio_queue q;
	uint16_t id;

	if (virtio_begin(d, VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM))
		return 0;
	if (virtio_queue(d, &q, QUEUE, RING_SIZE, s->ring, physical + offsetof(struct shared, ring),
		    false))
		return 0;
	virtio_run(d);
	if (virtq_take(&q.ring, &id))
		return 0;
	virtq_post(&q.ring, id, physical, (uint32_t)size, true);
	virtio_kick(&q);
	return wait_answer(d->env, &q);
}

struct request {
	const struct driver_env *env;
	uint8_t *buf;
	size_t size, got;
};

static int read_from(void *ctx, const struct pci_function *f)
{
	struct request *q = ctx;
	const struct driver_env *env = q->env;
	struct virtio_device d;
	uint64_t physical;

	if (!virtio_is(f, TYPE_ENTROPY) || virtio_open(&d, env, f))
		return 0;
	struct shared *s = env->dma_alloc(env->ctx, sizeof(*s), &physical);
	if (!s)
		return 0;
	q->got = ask(&d, s, physical, q->size);
	virtio_stop(&d);
	memcpy(q->buf, s->answer, q->got);
	memset(s->answer, 0, sizeof(s->answer));
	env->dma_free(env->ctx, s, sizeof(*s));
	return q->got != 0;
}

size_t virtio_rng_read(const struct driver_env *env, void *buf, size_t size)
{
	struct request q = {.env = env, .buf = buf, .size = MIN(size, (size_t)PAGE_SIZE)};

	pci_walk(read_from, &q);
	return q.got;
}
