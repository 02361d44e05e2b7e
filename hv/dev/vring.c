#include "hv/dev/vring.h"

#include "lib/bytes.h"

#define DESC_SIZE      16u
#define DESC_NEXT      1u
#define DESC_WRITE     2u
#define RING_HEAD      4u /* flags and index, in front of both rings */
#define AVAIL_ENTRY    2u
#define USED_ENTRY     8u
#define AVAIL_QUIET    1u /* VIRTQ_AVAIL_F_NO_INTERRUPT */

struct desc {
	gpa_t gpa;
	uint32_t size;
	uint16_t flags, next;
};

/* In the guest's RAM, which is the first extent: devices know no other memory. */
static bool in_ram(const struct gmem *m, gpa_t gpa, uint64_t size)
{
	const struct gmem_extent *e = &m->extents[0];

	return gpa >= e->base && size <= e->size && gpa - e->base <= e->size - size;
}

bool vring_valid(const struct vring *q, const struct gmem *m)
{
	if (!q->size || q->size > VRING_SIZE_MAX || (q->size & (q->size - 1)))
		return false;
	if (q->desc % DESC_SIZE || q->avail % AVAIL_ENTRY || q->used % RING_HEAD)
		return false;
	return in_ram(m, q->desc, q->size * DESC_SIZE) &&
	       in_ram(m, q->avail, RING_HEAD + q->size * AVAIL_ENTRY) &&
	       in_ram(m, q->used, RING_HEAD + q->size * USED_ENTRY);
}

/* The memory of a guest may have become smaller than vring_valid() saw it: then 0. */
static uint16_t fetch16(const struct gmem *m, gpa_t gpa)
{
	uint8_t bytes[2] = {0};

	return gmem_read(m, gpa, bytes, sizeof(bytes)) ? 0 : load_le16(bytes);
}

static uint16_t available(const struct vring *q, const struct gmem *m)
{
	return (uint16_t)(fetch16(m, q->avail + 2) - q->taken);
}

bool vring_waiting(const struct vring *q, const struct gmem *m)
{
	return q->enabled && available(q, m);
}

static int fetch_desc(const struct vring *q, const struct gmem *m, uint16_t index, struct desc *d)
{
	uint8_t bytes[DESC_SIZE];

	if (index >= q->size || gmem_read(m, q->desc + index * DESC_SIZE, bytes, sizeof(bytes)))
		return ERR_INVALID;
	*d = (struct desc){
		.gpa = load_le64(bytes),
		.size = load_le32(bytes + 8),
		.flags = load_le16(bytes + 12),
		.next = load_le16(bytes + 14),
	};
	if ((d->flags & ~(DESC_NEXT | DESC_WRITE)) || !in_ram(m, d->gpa, d->size))
		return ERR_INVALID;
	return OK;
}

int vring_next(const struct vring *q, const struct gmem *m, struct vring_chain *c)
{
	uint16_t waiting = q->enabled ? available(q, m) : 0;
	struct desc d;

	if (!waiting)
		return ERR_NOENT;
	if (waiting > q->size)
		return ERR_INVALID; /* the index jumped */
	if (!q->left)
		return ERR_AGAIN;
	c->head = fetch16(m, q->avail + RING_HEAD + q->taken % q->size * AVAIL_ENTRY);
	c->parts = c->readable_parts = 0;
	c->readable = c->writable = 0;
	for (uint16_t index = c->head;; index = d.next) {
		if (c->parts == q->size || fetch_desc(q, m, index, &d))
			return ERR_INVALID; /* it loops, or leads nowhere */
		c->part[c->parts++] = (struct vring_part){.gpa = d.gpa, .size = d.size};
		if (d.flags & DESC_WRITE) {
			c->writable += d.size;
		} else {
			if (c->readable_parts != c->parts - 1)
				return ERR_INVALID; /* "device-readable after device-writable" */
			c->readable_parts = c->parts;
			c->readable += d.size;
		}
		if (!(d.flags & DESC_NEXT))
			return OK;
	}
}

size_t vring_read(const struct gmem *m, const struct vring_chain *c, uint64_t offset, void *buf,
	size_t size)
{
	uint8_t *to = buf;

	for (unsigned i = 0; i < c->readable_parts && size; i++) {
		const struct vring_part *p = &c->part[i];

		if (offset >= p->size) {
			offset -= p->size;
			continue;
		}
		uint64_t n = MIN(size, p->size - offset);

		if (gmem_read(m, p->gpa + offset, to, n))
			break;
		to += n;
		size -= n;
		offset = 0;
	}
	return (size_t)(to - (uint8_t *)buf);
}

/* Make all pages of [gpa, gpa + size) private. */
static int own(struct gmem *m, unsigned core, gpa_t gpa, uint64_t size)
{
	void *page;
	int err = OK;

	for (gpa_t at = align_down(gpa, PAGE_SIZE); !err && at < gpa + size; at += PAGE_SIZE)
		err = gmem_page_for_write(m, core, at, &page);
	return err;
}

int vring_prepare(const struct vring *q, struct gmem *m, unsigned core, const struct vring_chain *c,
	uint64_t size)
{
	int err = own(m, core, q->used, RING_HEAD + q->size * USED_ENTRY);

	for (unsigned i = c->readable_parts; i < c->parts && size && !err; i++) {
		uint64_t n = MIN(size, c->part[i].size);

		err = own(m, core, c->part[i].gpa, n);
		size -= n;
	}
	return err;
}

int vring_write(struct gmem *m, unsigned core, const struct vring_chain *c, uint64_t offset,
	const void *buf, size_t size)
{
	const uint8_t *from = buf;
	int err = OK;

	for (unsigned i = c->readable_parts; i < c->parts && size && !err; i++) {
		const struct vring_part *p = &c->part[i];

		if (offset >= p->size) {
			offset -= p->size;
			continue;
		}
		uint64_t n = MIN(size, p->size - offset);

		err = gmem_write(m, core, p->gpa + offset, from, n);
		from += n;
		size -= n;
		offset = 0;
	}
	return err;
}

int vring_give(struct vring *q, struct gmem *m, unsigned core, const struct vring_chain *c,
	uint32_t written)
{
	uint8_t entry[USED_ENTRY], index[2];
	int err;

	store_le32(entry, c->head);
	store_le32(entry + 4, written);
	store_le16(index, (uint16_t)(q->given + 1));
	err = gmem_write(m, core, q->used + RING_HEAD + q->given % q->size * USED_ENTRY, entry,
		sizeof(entry));
	if (!err)
		err = gmem_write(m, core, q->used + 2, index, sizeof(index));
	if (err)
		return err;
	q->given++;
	q->taken++;
	q->left--;
	return OK;
}

bool vring_interrupts(const struct vring *q, const struct gmem *m)
{
	return !(fetch16(m, q->avail) & AVAIL_QUIET);
}
