#include "net/ring.h"

#include "lib/bytes.h"
#include "lib/string.h"

static uint8_t *chunk_at(const struct chunk_pool *pool, uint32_t chunk)
{
	return pool->base + (size_t)chunk * CHUNK_SIZE;
}

void pool_init(struct chunk_pool *pool, uint8_t *memory, uint32_t chunks, uint32_t reserve)
{
	*pool = (struct chunk_pool){
		.base = memory,
		.total = chunks,
		.free = chunks,
		.reserve = reserve,
		.first = 0,
	};
	for (uint32_t i = 0; i < chunks; i++)
		store_le32(chunk_at(pool, i), i + 1);
}

static uint32_t chunk_alloc(struct chunk_pool *pool, bool head)
{
	uint32_t chunk = pool->first;

	if (pool->free <= (head ? 0 : pool->reserve))
		return CHUNK_NONE;
	pool->first = load_le32(chunk_at(pool, chunk));
	pool->free--;
	return chunk;
}

static void chunk_free(struct chunk_pool *pool, uint32_t chunk)
{
	store_le32(chunk_at(pool, chunk), pool->first);
	pool->first = chunk;
	pool->free++;
}

void ring_init(struct ring *r, uint32_t *slot, uint32_t slots)
{
	*r = (struct ring){.slot = slot, .slots = slots};
	for (uint32_t i = 0; i < slots; i++)
		slot[i] = CHUNK_NONE;
}

/* The slot of the byte at `off` from the start, and its place within the chunk. */
static uint32_t *ring_slot(const struct ring *r, uint32_t off, uint32_t *within)
{
	uint32_t position = (r->start + off) % (r->slots * CHUNK_SIZE);

	*within = position % CHUNK_SIZE;
	return &r->slot[position / CHUNK_SIZE];
}

uint32_t ring_room(const struct chunk_pool *pool, const struct ring *r)
{
	uint32_t left = ring_capacity(r) - r->len;
	uint32_t within;
	const uint32_t *slot = ring_slot(r, r->len, &within);
	uint32_t chunks = pool->free;
	uint64_t memory = 0;

	/* The chunk that is there, or the head's, which may come out of the reserve. */
	if (*slot != CHUNK_NONE || r->len == 0)
		memory += CHUNK_SIZE - within;
	if (*slot == CHUNK_NONE && r->len == 0 && chunks)
		chunks--;
	if (chunks > pool->reserve)
		memory += (uint64_t)(chunks - pool->reserve) * CHUNK_SIZE;
	return (uint32_t)MIN((uint64_t)left, memory);
}

uint32_t ring_write(struct chunk_pool *pool, struct ring *r, uint32_t off, const void *data,
	uint32_t len)
{
	const uint8_t *src = data;
	uint32_t done = 0;

	if (off >= ring_capacity(r))
		return 0;
	len = MIN(len, ring_capacity(r) - off);
	while (done < len) {
		uint32_t within, n;
		uint32_t *slot = ring_slot(r, off + done, &within);

		if (*slot == CHUNK_NONE) {
			*slot = chunk_alloc(pool, off + done == 0);
			if (*slot == CHUNK_NONE)
				break;
		}
		n = MIN(len - done, CHUNK_SIZE - within);
		memcpy(chunk_at(pool, *slot) + within, src + done, n);
		done += n;
	}
	if (done)
		r->high = MAX(r->high, off + done);
	return done;
}

void ring_extend(struct ring *r, uint32_t n)
{
	r->len += n;
	r->high = MAX(r->high, r->len);
}

void ring_read(const struct chunk_pool *pool, const struct ring *r, uint32_t off, void *dst,
	uint32_t len)
{
	uint8_t *out = dst;

	while (len) {
		uint32_t within;
		const uint32_t *slot = ring_slot(r, off, &within);
		uint32_t n = MIN(len, CHUNK_SIZE - within);

		memcpy(out, chunk_at(pool, *slot) + within, n);
		out += n;
		off += n;
		len -= n;
	}
}

const uint8_t *ring_peek(const struct chunk_pool *pool, const struct ring *r, uint32_t *len)
{
	uint32_t within;
	const uint32_t *slot = ring_slot(r, 0, &within);

	*len = MIN(r->len, CHUNK_SIZE - within);
	return *len ? chunk_at(pool, *slot) + within : NULL;
}

static void slot_free(struct chunk_pool *pool, uint32_t *slot)
{
	if (*slot == CHUNK_NONE)
		return;
	chunk_free(pool, *slot);
	*slot = CHUNK_NONE;
}

void ring_consume(struct chunk_pool *pool, struct ring *r, uint32_t n)
{
	r->len -= n;
	r->high -= n;
	while (n) {
		uint32_t within;
		uint32_t *slot = ring_slot(r, 0, &within);
		uint32_t step = MIN(n, CHUNK_SIZE - within);

		r->start = (r->start + step) % (r->slots * CHUNK_SIZE);
		n -= step;
		if (within + step == CHUNK_SIZE)
			slot_free(pool, slot);
	}
	if (r->high == 0)
		ring_clear(pool, r);
}

void ring_clear(struct chunk_pool *pool, struct ring *r)
{
	for (uint32_t i = 0; i < r->slots; i++)
		slot_free(pool, &r->slot[i]);
	r->start = r->len = r->high = 0;
}
