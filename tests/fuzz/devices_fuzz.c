/*
 * The virtio devices of a Linux guest against a driver that does anything: rings, descriptors,
 * MSI-X entries, configuration space and ports with any bytes in any order. Nothing may be touched
 * but the guest's own memory, and everything ends.
 */
#include "tests/fuzz/virtio_requests.h"
#include "tests/unit/virtio_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ACTIONS_MAX 400

static const uint8_t *input;
static size_t left;
static struct vconsole console;
static struct vnet net;

static uint8_t next_byte(void)
{
	if (!left)
		return 0;
	left--;
	return *input++;
}

static uint32_t next_word(void)
{
	uint32_t v = next_byte();

	for (unsigned i = 0; i < 3; i++)
		v = v << 8 | next_byte();
	return v;
}

/* Near something, or anything. */
static uint64_t next_address(void)
{
	static const uint64_t near[] = {0, BUFFER(0), BUFFER(3), RAM_SIZE, VIRTIO_MEMORY, VBLK_GPA,
		VBLK_GPA + DISK_SIZE, UINT64_MAX, 1ull << 32, RING(0), RING(1), RING(4)};
	uint8_t how = next_byte();

	if (how < 0xf0)
		return near[how % ARRAY_SIZE(near)] + next_byte() - 16;
	return (uint64_t)next_word() << 32 | next_word();
}

static uint32_t next_size(void)
{
	uint8_t how = next_byte();

	if (how < 0x80)
		return how;
	return how < 0xf0 ? how * 16u : next_word();
}

static void random_bytes(void *buf, size_t size)
{
	memset(buf, 0x5a, size);
}

static size_t take(void *ctx, enum vconsole_port port, uint8_t *buf, size_t size)
{
	size_t n = MIN((size_t)next_byte(), size);

	(void)ctx;
	(void)port;
	memset(buf, 'i', n);
	return n;
}

static int64_t give(void *ctx, enum vconsole_port port, const uint8_t *data, size_t size)
{
	static uint8_t copy[4096];

	(void)ctx;
	(void)port;
	CHECK(size && size <= sizeof(copy));
	memcpy(copy, data, size);
	return (int64_t)(next_byte() % 4 ? size : size / 2);
}

static const struct vconsole_owner owner = {.take = take, .put = give};

static void react(struct paper_guest *p, struct virtio_event event)
{
	int err = 0;

	if (event.kind == VIRTIO_RESET)
		vconsole_reset(&console);
	if (event.kind != VIRTIO_NOTIFY)
		return;
	CHECK(event.queue < p->v.model->queues);
	if (p->v.model == &vconsole_model)
		err = vconsole_notify(&console, &p->v, &p->env, event.queue, &owner);
	else if (p->v.model == &vrng_model)
		err = vrng_notify(&p->v, &p->env, random_bytes);
	else if (p->v.model == &vblk_model)
		err = vblk_notify(&p->v, &p->env);
	else
		err = vnet_notify(&net, &p->v, &p->env, event.queue);
	CHECK(err == 0 || err == VCONSOLE_WAIT || err == ERR_LIMIT || err == ERR_NOMEM ||
		err == ERR_AGAIN);
}

/* Bytes of the guest's, anywhere that it has memory. */
static void scribble(struct paper_guest *p)
{
	uint8_t bytes[64];
	uint64_t gpa = next_address();
	unsigned n = next_byte() % sizeof(bytes);

	for (unsigned i = 0; i < n; i++)
		bytes[i] = next_byte();
	if (gmem_write(&p->mem, 0, gpa, bytes, n) == ERR_FAULT)
		put(p, BUFFER(1), bytes, n);
}

/* A request as the device wants it, but for a byte. */
static void request(struct paper_guest *p)
{
	uint8_t b[REQUEST_MAX], what = next_byte();
	unsigned type = p->v.model->type, queue = request_queue(type);
	uint32_t size = request_make(b, type, p->v.value, what);

	for (unsigned n = 0; n < p->v.model->queues; n++) {
		if (n == queue || (type == TYPE_CONSOLE && n % 2 && n != 2))
			continue;
		describe(p, n, 9, BUFFER(5 + n), 2048, DESC_WRITE, 0);
		offer(p, n, 9);
	}
	if (what & 0x80)
		b[next_byte() % REQUEST_MAX] = next_byte();
	put(p, BUFFER(1), b, sizeof(b));
	describe(p, queue, 0, BUFFER(1), size,
		type == TYPE_BLOCK    ? DESC_NEXT
		: type == TYPE_RANDOM ? DESC_WRITE
				      : 0,
		1);
	describe(p, queue, 1, BUFFER(2), next_size(), DESC_NEXT | (b[0] == 1 ? 0 : DESC_WRITE), 2);
	describe(p, queue, 2, BUFFER(3), 1, DESC_WRITE, 0);
	offer(p, queue, 0);
	if (type == TYPE_CONSOLE && what & 0x40) {
		describe(p, 1 + (what & 4), 0, BUFFER(2), next_size() % 0x4000, 0, 0);
		offer(p, 1 + (what & 4), 0);
		react(p, virtio_write(&p->v, &p->env, 0x3c, 2, 1 + (what & 4)));
	}
	react(p, virtio_write(&p->v, &p->env, 0x3c, 2, queue));
}

static void act(struct paper_guest *p)
{
	unsigned queue = next_byte() % VIRTIO_QUEUES, size = 1u << next_byte() % 3;
	uint8_t reg;

	switch (next_byte() % 12) {
	case 0:
		reg = next_byte();
		react(p, virtio_config_write(&p->v, &p->env, reg & ~(size - 1), size, next_word()));
		break;
	case 1:
		reg = next_byte();
		(void)virtio_config_read(&p->v, reg & ~(size - 1), size);
		break;
	case 2:
		reg = next_byte() % VIRTIO_PORTS;
		react(p, virtio_write(&p->v, &p->env, reg, size, next_word()));
		break;
	case 3:
		(void)virtio_read(&p->v, next_byte() % VIRTIO_PORTS, size);
		break;
	case 4:
		describe(p, queue, next_byte() % VRING_SIZE_MAX, next_address(), next_size(),
			next_byte() & 7, next_byte() % 80);
		break;
	case 5:
		offer(p, queue, next_byte() % 80);
		break;
	case 6:
		react(p, virtio_write(&p->v, &p->env, 0x3c, 2, queue));
		break;
	case 7:
		set_entry(p, queue, next_address(), next_word(), next_byte() & 1);
		virtio_retry(&p->v, &p->env);
		break;
	case 8:
		scribble(p);
		break;
	case 9:
	case 10:
		request(p);
		break;
	default:
		if (p->v.model == &vconsole_model)
			CHECK(vconsole_fill(&console, &p->v, &p->env, queue % VCONSOLE_PORTS,
				      &owner) <= 0);
		if (p->v.model == &vnet_model)
			vnet_become(&net, &p->v, queue);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct virtio_model *const models[] = {
		&vconsole_model, &vrng_model, &vblk_model, &vnet_model};
	static struct world world;
	static struct paper_guest p;

	if (!world.frames)
		world_init(&world, FRAMES, 1, &world_caps_npt, 15);
	input = data;
	left = size;
	vconsole_reset(&console);
	net = (struct vnet){0};
	guest_create(&p, &world, models[next_byte() % ARRAY_SIZE(models)], DISK_SIZE / 512);
	if (next_byte() % 8)
		set_up(&p);
	for (unsigned i = 0; left && i < ACTIONS_MAX; i++)
		act(&p);
	guest_destroy(&p, &world);
	return 0;
}
