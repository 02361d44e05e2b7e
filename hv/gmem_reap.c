/*
 * Freeing dropped trees in slices. A tree's frames have no other user by then, or have one and only
 * lose a reference; so a slice can end at any entry.
 */
#include "hv/gmem_reap.h"

void gmem_reap_push(struct frame_pool *pool, hpa_t table, unsigned level)
{
	struct gmem_host *host = pool->gmem;

	spin_lock(&host->lock);
	frame_record(pool, table)->refs = host->heads[level];
	host->heads[level] = (uint32_t)(table >> PAGE_SHIFT);
	__atomic_fetch_add(&host->pending, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&host->queued, host->queued + 1, __ATOMIC_RELAXED);
	spin_unlock(&host->lock);
}

/* Take a table from the lists and begin with it. */
static bool reap_begin(struct frame_pool *pool, struct gmem_core *gc)
{
	struct gmem_host *host = pool->gmem;
	unsigned level = 1;

	if (!__atomic_load_n(&host->queued, __ATOMIC_RELAXED))
		return false;
	spin_lock(&host->lock);
	while (level <= GMEM_LEVELS && !host->heads[level])
		level++;
	if (level <= GMEM_LEVELS) {
		hpa_t table = (hpa_t)host->heads[level] << PAGE_SHIFT;

		host->heads[level] = frame_record(pool, table)->refs;
		__atomic_store_n(&host->queued, host->queued - 1, __ATOMIC_RELAXED);
		gc->stack[0] = (struct reap_place){.table = table, .level = level};
		gc->depth = 1;
	}
	spin_unlock(&host->lock);
	return gc->depth != 0;
}

/* Trees are sparse: skip what is not there, eight entries at a time. */
static inline unsigned skip_empty(const uint64_t *entries, unsigned i)
{
	const uint64_t *e = entries + i, *end = entries + GMEM_ENTRIES;

	if (i % 8)
		return i;
	while (e != end && !(e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]))
		e += 8;
	return (unsigned)(e - entries);
}

/* Drop children of a table of tables, from place->next up to `end`, or up to the first that nobody
 * else holds: that one goes to *child. */
static void drop_tables(struct frame_pool *pool, struct reap_place *place, unsigned end, hpa_t *child)
{
	const uint64_t *entries = frame_ptr(pool, place->table);
	unsigned i = place->next;

	while (!*child && (i = skip_empty(entries, i)) < end) {
		if (entries[i] && frame_drop(pool, entries[i]))
			*child = align_down(entries[i], PAGE_SIZE);
		i++;
	}
	place->next = MAX(i, place->next);
}

static void drop_pages(struct frame_pool *pool, unsigned core, struct reap_place *place, unsigned end)
{
	const uint64_t *entries = frame_ptr(pool, place->table);
	unsigned i = place->next;

	while ((i = skip_empty(entries, i)) < end) {
		unsigned first = i;

		/* All eights that begin with a page, so that one call does for a dense table. */
		do
			i = MIN((i | 7) + 1, end);
		while (i < end && entries[i]);
		frame_drop_many(pool, core, &entries[first], i - first);
	}
	place->next = i;
}

/* One table's entries, or a part. Returns the steps it took. */
static unsigned reap_step(struct frame_pool *pool, unsigned core, struct gmem_core *gc,
	unsigned steps)
{
	struct reap_place *place = &gc->stack[gc->depth - 1];
	unsigned first = place->next, end = MIN(first + steps, (unsigned)GMEM_ENTRIES);
	hpa_t child = 0;

	if (place->level > 1)
		drop_tables(pool, place, end, &child);
	else
		drop_pages(pool, core, place, end);
	unsigned done = place->next - first;

	if (child) {
		gc->stack[gc->depth++] =
			(struct reap_place){.table = child, .level = place->level - 1};
	} else if (place->next == GMEM_ENTRIES) {
		frame_free_later(pool, core, place->table);
		if (--gc->depth == 0)
			__atomic_fetch_sub(&pool->gmem->pending, 1, __ATOMIC_RELAXED);
	}
	return done;
}

bool gmem_reap(struct frame_pool *pool, unsigned core, unsigned steps)
{
	struct gmem_core *gc = &pool->gmem->cores[core];

	while (steps && (gc->depth || reap_begin(pool, gc)))
		steps -= MIN(reap_step(pool, core, gc, steps), steps);
	frame_settle(pool, core);
	return gc->depth || __atomic_load_n(&pool->gmem->queued, __ATOMIC_RELAXED);
}

bool gmem_reap_pending(struct frame_pool *pool)
{
	return __atomic_load_n(&pool->gmem->pending, __ATOMIC_RELAXED) != 0;
}

/* ---- the host's side of it -------------------------------------------------------------------- */

int gmem_host_init(struct frame_pool *pool)
{
	hpa_t host, cores;
	uint64_t size = pool->max_cores * sizeof(struct gmem_core);
	int err = frame_alloc_contiguous(pool, 1, PAGE_SIZE, &host);

	if (!err)
		err = frame_alloc_contiguous(pool, align_up(size, PAGE_SIZE) >> PAGE_SHIFT,
			PAGE_SIZE, &cores);
	if (err)
		return err;
	pool->gmem = frame_ptr(pool, host);
	pool->gmem->cores = frame_ptr(pool, cores);
	return 0;
}

void gmem_stats(struct frame_pool *pool, struct gmem_stats *out)
{
	*out = (struct gmem_stats){0};
	for (unsigned i = 0; i < pool->max_cores; i++) {
		const struct gmem_stats *s = &pool->gmem->cores[i].stats;

		out->tables_copied += __atomic_load_n(&s->tables_copied, __ATOMIC_RELAXED);
		out->tables_created += __atomic_load_n(&s->tables_created, __ATOMIC_RELAXED);
		out->pages_copied += __atomic_load_n(&s->pages_copied, __ATOMIC_RELAXED);
		out->pages_created += __atomic_load_n(&s->pages_created, __ATOMIC_RELAXED);
		out->raised += __atomic_load_n(&s->raised, __ATOMIC_RELAXED);
		out->spurious += __atomic_load_n(&s->spurious, __ATOMIC_RELAXED);
	}
}
