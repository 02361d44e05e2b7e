/* A guest of paper for the virtio devices: memory, a local APIC, and a driver that knows the rules and can
 * break each of them. */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include "hv/dev/vblk.h"
#include "hv/dev/vconsole.h"
#include "hv/dev/vnet.h"
#include "hv/dev/vrng.h"
#include "lib/bytes.h"
#include "tests/unit/gmem_world.h"

#define RAM_SIZE  (64 * PAGE_SIZE)
#define DISK_SIZE (16 * PAGE_SIZE)
#define FRAMES    512

/* Where the driver has its rings, and buffers of a page behind them. */
#define RING(n)   (PAGE_SIZE * (1 + (n)))
#define AVAIL     0x400u
#define USED      0x800u
#define BUFFER(n) (PAGE_SIZE * (16 + (n)))

#define DESC_NEXT     1u
#define DESC_WRITE    2u

struct paper_guest {
	struct gmem mem;
	struct lapic lapic;
	struct virtio v;
	struct virtio_env env;
	struct account *account;
	uint16_t avail[VIRTIO_QUEUES]; /* index, by queue */
};

/* `w` is made once; guests on it come and go. */
static inline void guest_create(struct paper_guest *p, struct world *w, const struct virtio_model *model,
	uint64_t value)
{
	const struct gmem_extent extents[] = {
		{.base = 0, .size = RAM_SIZE},
		{.base = VIRTIO_MEMORY, .size = VIRTIO_MEMORY_SIZE},
		{.base = VBLK_GPA, .size = DISK_SIZE},
	};

	memset(p, 0, sizeof(*p));
	p->account = world_account(w, NULL);
	CHECK_EQ(gmem_create(&p->mem, &w->pool, 0, &pt_format_npt, p->account, extents,
			 ARRAY_SIZE(extents)), 0);
	lapic_reset(&p->lapic);
	CHECK(lapic_write(&p->lapic, 0x80f, 0x1ff));
	virtio_create(&p->v, model, 1, value);
	p->env = (struct virtio_env){.mem = &p->mem, .core = 0, .lapic = &p->lapic};
}

static inline void guest_destroy(struct paper_guest *p, struct world *w)
{
	gmem_drop(&p->mem, 0);
	world_reap_all(w, 1);
	account_release(&w->pool, p->account);
}

static inline void put(struct paper_guest *p, gpa_t gpa, const void *data, uint64_t size)
{
	CHECK_EQ(gmem_write(&p->mem, 0, gpa, data, size), 0);
}

static inline uint64_t get(struct paper_guest *p, gpa_t gpa, unsigned size)
{
	uint64_t value = 0;

	CHECK_EQ(gmem_read(&p->mem, gpa, &value, size), 0);
	return value;
}

static inline void put16(struct paper_guest *p, gpa_t gpa, uint16_t value)
{
	put(p, gpa, &value, sizeof(value));
}

static inline void describe(struct paper_guest *p, unsigned queue, unsigned i, uint64_t gpa, uint32_t size,
	uint16_t flags, uint16_t next)
{
	uint8_t d[16];

	store_le64(d, gpa);
	store_le32(d + 8, size);
	store_le16(d + 12, flags);
	store_le16(d + 14, next);
	put(p, RING(queue) + i * 16, d, sizeof(d));
}

static inline void offer(struct paper_guest *p, unsigned queue, uint16_t head)
{
	put16(p, RING(queue) + AVAIL + 4 + p->avail[queue] % VRING_SIZE_MAX * 2, head);
	p->avail[queue]++;
	put16(p, RING(queue) + AVAIL + 2, p->avail[queue]);
}

static inline uint16_t used_index(struct paper_guest *p, unsigned queue)
{
	return (uint16_t)get(p, RING(queue) + USED + 2, 2);
}

static inline void out(struct paper_guest *p, unsigned offset, unsigned size, uint32_t value)
{
	(void)virtio_write(&p->v, &p->env, offset, size, value);
}

/* MSI-X vector n is interrupt 0x40 + n. */
static inline void set_entry(struct paper_guest *p, unsigned n, uint64_t address, uint32_t data,
	uint32_t control)
{
	uint8_t e[16];

	store_le64(e, address);
	store_le32(e + 8, data);
	store_le32(e + 12, control);
	put(p, VIRTIO_MEMORY + PAGE_SIZE + n * 16, e, sizeof(e));
}

/* As "Device Initialization" has it. */
static inline void set_up(struct paper_guest *p)
{
	(void)virtio_config_write(&p->v, &p->env, 0x42, 2, 0x8000);
	out(p, 0x14, 1, 0);
	out(p, 0x14, 1, 3);
	out(p, 0x08, 4, 0);
	out(p, 0x0c, 4, (uint32_t)p->v.model->features);
	out(p, 0x08, 4, 1);
	out(p, 0x0c, 4, 1);
	out(p, 0x14, 1, 3 | VIRTIO_FEATURES_OK);
	CHECK(virtio_read(&p->v, 0x14, 1) & VIRTIO_FEATURES_OK);
	for (unsigned n = 0; n < p->v.model->queues; n++) {
		set_entry(p, n, 0xfee00000, 0x40 + n, 0);
		out(p, 0x16, 2, n);
		out(p, 0x1a, 2, n);
		out(p, 0x20, 4, (uint32_t)RING(n));
		out(p, 0x28, 4, (uint32_t)RING(n) + AVAIL);
		out(p, 0x30, 4, (uint32_t)RING(n) + USED);
		out(p, 0x1c, 2, 1);
		CHECK_EQ(virtio_read(&p->v, 0x1c, 2), 1);
	}
	out(p, 0x14, 1, 3 | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	CHECK(virtio_ready(&p->v));
}

static inline bool raised(const struct paper_guest *p, unsigned vector)
{
	return p->lapic.irr[vector / 32] >> vector % 32 & 1;
}

#endif
