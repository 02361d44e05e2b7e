/*
 * The byte streams of a connection. A ring has a fixed capacity but holds memory only for bytes
 * that are in it: chunks drawn from one pool that all connections share, freed as they are
 * consumed. So an idle connection holds none. Bytes may be written beyond the end (out-of-order
 * segments) and be joined to the stream later.
 *
 * Nobody starves: the pool keeps a reserve of one chunk for each ring that exists, which only the
 * chunk at a ring's head may use. Whoever has an empty ring can therefore always write.
 */
#ifndef NET_RING_H
#define NET_RING_H

#include "lib/base.h"

#define CHUNK_SIZE 2048u
#define CHUNK_NONE UINT32_MAX

struct chunk_pool {
	uint8_t *base;
	uint32_t total;
	uint32_t free;
	uint32_t reserve;   /* kept for ring heads */
	uint32_t first;     /* of the free chunks; each starts with the number of the next */
};

struct ring {
	uint32_t *slot;     /* chunk number or CHUNK_NONE, by position / CHUNK_SIZE */
	uint32_t slots;     /* one more than the capacity needs: laps never meet */
	uint32_t start;     /* position of the first byte */
	uint32_t len;       /* bytes in the stream */
	uint32_t high;      /* end of what was ever written beyond it, from `start`; >= len */
};

/* Slots for a ring of `capacity` bytes. */
static inline uint32_t ring_slots(uint32_t capacity)
{
	return (capacity + CHUNK_SIZE - 1) / CHUNK_SIZE + 1;
}

void pool_init(struct chunk_pool *pool, uint8_t *memory, uint32_t chunks, uint32_t reserve);
void ring_init(struct ring *r, uint32_t *slot, uint32_t slots);

static inline uint32_t ring_capacity(const struct ring *r)
{
	return (r->slots - 1) * CHUNK_SIZE;
}

/* How many bytes could be appended now, given what the pool has left. */
uint32_t ring_room(const struct chunk_pool *pool, const struct ring *r);

/*
 * Copies up to `len` bytes to `off` from the start, without counting them as part of the stream.
 * Returns how many were taken: fewer when the capacity or the pool ends.
 */
uint32_t ring_write(struct chunk_pool *pool, struct ring *r, uint32_t off, const void *data,
	uint32_t len);

/* The next `n` bytes after the stream, written before, belong to it now. */
void ring_extend(struct ring *r, uint32_t n);

/* Copies `len` bytes at `off`, all within the stream. */
void ring_read(const struct chunk_pool *pool, const struct ring *r, uint32_t off, void *dst,
	uint32_t len);

/* The first bytes of the stream that lie together; NULL if it is empty. */
const uint8_t *ring_peek(const struct chunk_pool *pool, const struct ring *r, uint32_t *len);

/* Drops the first `n` bytes of the stream. */
void ring_consume(struct chunk_pool *pool, struct ring *r, uint32_t n);

/* Drops everything. */
void ring_clear(struct chunk_pool *pool, struct ring *r);

#endif
