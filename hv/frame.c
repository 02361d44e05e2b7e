/*
 * The frame pool; see frame.h.
 *
 * A freed frame goes: core's `freed` list -> a slot of the shared quarantine, with the epoch of that
 * moment -> when that epoch has passed (hv/tlb.h), the shared `dirty` list. So a slot's epoch is never
 * older than the moment any of its frames was freed. An allocation that finds nothing ends the epoch
 * itself and promises this core's flush, so that one core alone never waits.
 *
 * Counters that other cores read for statistics are written by one core, with relaxed order.
 */
#include "hv/frame.h"

#include "lib/string.h"

#define FRAME_NUMBERS (1ull << 32) /* links are 32 bits: 16 TiB of RAM */

/* ---- lists ------------------------------------------------------------------------------------ */

static inline void list_push(struct frame *records, struct frame_list *l, uint32_t n)
{
	__atomic_store_n(&records[n].refs, l->head, __ATOMIC_RELAXED);
	if (!l->count)
		l->tail = n;
	l->head = n;
	__atomic_store_n(&l->count, l->count + 1, __ATOMIC_RELAXED);
}

static inline uint32_t list_next(const struct frame_pool *pool, uint32_t n)
{
	return pool->records[n].refs;
}

/* The list is not empty. */
static inline uint32_t list_pop(struct frame_pool *pool, struct frame_list *l)
{
	uint32_t n = l->head;

	l->head = list_next(pool, n);
	__atomic_store_n(&l->count, l->count - 1, __ATOMIC_RELAXED);
	return n;
}

/* All of `from` to the front of `to`. */
static void list_splice(struct frame_pool *pool, struct frame_list *to, struct frame_list *from)
{
	if (!from->count)
		return;
	pool->records[from->tail].refs = to->head;
	if (!to->count)
		to->tail = from->tail;
	to->head = from->head;
	__atomic_store_n(&to->count, to->count + from->count, __ATOMIC_RELAXED);
	from->head = from->tail = 0;
	__atomic_store_n(&from->count, 0, __ATOMIC_RELAXED);
}

/* The first of `from` to the front of `to`, `max` at most. */
static void list_move(struct frame_pool *pool, struct frame_list *to, struct frame_list *from,
	uint64_t max)
{
	struct frame_list first = {.head = from->head, .tail = from->head, .count = max};

	if (from->count <= max) {
		list_splice(pool, to, from);
		return;
	}
	if (!max)
		return;
	for (uint64_t i = 1; i < max; i++)
		first.tail = list_next(pool, first.tail);
	from->head = list_next(pool, first.tail);
	__atomic_store_n(&from->count, from->count - max, __ATOMIC_RELAXED);
	list_splice(pool, to, &first);
}

static inline uint64_t list_count(const struct frame_list *l)
{
	return __atomic_load_n(&l->count, __ATOMIC_RELAXED);
}

static inline void count(struct frame_core *fc, enum frame_kind kind, int64_t n)
{
	__atomic_store_n(&fc->used[kind], fc->used[kind] + n, __ATOMIC_RELAXED);
}

/* ---- start-up --------------------------------------------------------------------------------- */

static int copy_ranges(struct frame_pool *pool, const struct frame_range *ranges, unsigned count_)
{
	hpa_t end = 0;

	if (count_ > FRAME_MAX_RANGES)
		return ERR_INVALID;
	for (unsigned i = 0; i < count_; i++) {
		struct frame_range r = ranges[i];

		if ((r.base | r.size) % PAGE_SIZE || r.base < end || r.base + r.size < r.base)
			return ERR_INVALID;
		end = r.base + r.size;
		if (end > FRAME_NUMBERS * PAGE_SIZE) /* what can't be numbered isn't used */
			r.size = r.base < FRAME_NUMBERS * PAGE_SIZE ?
				FRAME_NUMBERS * PAGE_SIZE - r.base : 0;
		if (r.base == 0 && r.size) { /* number 0 ends lists */
			r.base += PAGE_SIZE;
			r.size -= PAGE_SIZE;
		}
		if (!r.size)
			continue;
		pool->ranges[pool->range_count++] = r;
		pool->untouched += r.size >> PAGE_SHIFT;
	}
	pool->total = pool->untouched;
	return 0;
}

/* Take `frames` from the end of a range, before there are records. NULL: no range has so many. */
static void *carve(struct frame_pool *pool, uint64_t frames)
{
	for (unsigned i = pool->range_count; i-- > 0;) {
		struct frame_range *r = &pool->ranges[i];

		if (r->size >> PAGE_SHIFT < frames)
			continue;
		r->size -= frames << PAGE_SHIFT;
		pool->untouched -= frames;
		pool->contiguous += frames;
		return frame_ptr(pool, r->base + r->size);
	}
	return NULL;
}

int frame_pool_init(struct frame_pool *pool, void *base, const struct frame_range *ranges,
	unsigned range_count, unsigned max_cores, uint64_t reserve, struct tlb_host *tlb)
{
	*pool = (struct frame_pool){
		.base = base, .tlb = tlb, .max_cores = max_cores, .reserve = reserve};
	if (max_cores == 0 || max_cores > FRAME_MAX_CORES || tlb->core_count < max_cores)
		return ERR_INVALID;
	int err = copy_ranges(pool, ranges, range_count);

	if (err)
		return err;
	if (!pool->range_count)
		return ERR_NOMEM;
	const struct frame_range *top = &pool->ranges[pool->range_count - 1];
	uint64_t records_size = ((top->base + top->size) >> PAGE_SHIFT) * sizeof(struct frame);
	uint64_t cores_size = max_cores * sizeof(struct frame_core);

	pool->records = carve(pool, align_up(records_size, PAGE_SIZE) >> PAGE_SHIFT);
	pool->cores = carve(pool, align_up(cores_size, PAGE_SIZE) >> PAGE_SHIFT);
	if (!pool->records || !pool->cores)
		return ERR_NOMEM;
	memset(pool->cores, 0, cores_size);
	return ledger_init(pool);
}

int frame_alloc_contiguous(struct frame_pool *pool, uint64_t frames, uint64_t align, hpa_t *out)
{
	int err = ERR_NOMEM;

	if (!frames || align < PAGE_SIZE || (align & (align - 1)))
		return ERR_INVALID;
	if (frames > pool->total)
		return ERR_NOMEM;
	spin_lock(&pool->lock);
	for (unsigned i = pool->range_count; i-- > pool->range_first;) {
		struct frame_range *r = &pool->ranges[i];
		hpa_t end = r->base + r->size;

		if (r->size < frames << PAGE_SHIFT)
			continue;
		hpa_t base = align_down(end - (frames << PAGE_SHIFT), align);

		if (base < r->base)
			continue;
		/* What lies above, for the alignment, is as good as any other frame. */
		for (hpa_t p = base + (frames << PAGE_SHIFT); p < end; p += PAGE_SIZE) {
			list_push(pool->records, &pool->dirty, (uint32_t)(p >> PAGE_SHIFT));
			pool->untouched--;
		}
		r->size = base - r->base;
		pool->untouched -= frames;
		pool->contiguous += frames;
		*out = base;
		err = 0;
		break;
	}
	spin_unlock(&pool->lock);
	if (!err)
		memset(frame_ptr(pool, *out), 0, frames << PAGE_SHIFT);
	return err;
}

/* ---- quarantine. Callers hold pool->lock ------------------------------------------------------ */

static struct frame_quarantine *newest_slot(struct frame_pool *pool)
{
	unsigned i = pool->quarantine_first + pool->quarantine_used - 1;

	return &pool->quarantine[i % FRAME_QUARANTINE_SLOTS];
}

/* All of `l` was freed before this moment. When the slots are full the newest takes it, and waits for
 * the later epoch with all it has. */
static void quarantine_add(struct frame_pool *pool, struct frame_list *l)
{
	uint64_t epoch = __atomic_load_n(&pool->tlb->epoch, __ATOMIC_SEQ_CST);

	if (!l->count)
		return;
	if (!pool->quarantine_used || (newest_slot(pool)->epoch != epoch &&
					      pool->quarantine_used < FRAME_QUARANTINE_SLOTS)) {
		pool->quarantine_used++;
		*newest_slot(pool) = (struct frame_quarantine){0};
	}
	struct frame_quarantine *q = newest_slot(pool);

	pool->quarantined += l->count;
	q->epoch = epoch;
	list_splice(pool, &q->list, l);
	if (q->list.count >= FRAME_QUARANTINE_BATCH)
		tlb_epoch_end(pool->tlb, epoch);
}

/* What has waited long enough becomes free. */
static void quarantine_pass(struct frame_pool *pool)
{
	while (pool->quarantine_used) {
		struct frame_quarantine *q = &pool->quarantine[pool->quarantine_first];

		if (!tlb_epoch_passed(pool->tlb, q->epoch))
			return;
		pool->quarantined -= q->list.count;
		list_splice(pool, &pool->dirty, &q->list);
		pool->quarantine_first = (pool->quarantine_first + 1) % FRAME_QUARANTINE_SLOTS;
		pool->quarantine_used--;
	}
}

/* ---- allocation ------------------------------------------------------------------------------- */

/* Numbers of never used frames to `l`; up to `max`. */
static void take_untouched(struct frame_pool *pool, struct frame_list *l, uint64_t max)
{
	while (max && pool->untouched) {
		struct frame_range *r = &pool->ranges[pool->range_first];

		if (!r->size) {
			pool->range_first++;
			continue;
		}
		list_push(pool->records, l, (uint32_t)(r->base >> PAGE_SHIFT));
		r->base += PAGE_SIZE;
		r->size -= PAGE_SIZE;
		pool->untouched--;
		max--;
	}
}

static uint64_t available(const struct frame_pool *pool)
{
	return pool->dirty.count + pool->untouched + pool->zeroed.count;
}

/* How many frames a core may take now: the reserve is for frames of our own, one at a time. */
static uint64_t grant(const struct frame_pool *pool, enum frame_kind kind)
{
	uint64_t have = available(pool);

	if (have > pool->reserve)
		return MIN(have - pool->reserve, (uint64_t)FRAME_BATCH);
	return kind == FRAME_HOST && have ? 1 : 0;
}

/* Add to the core's lists, of the sort that `fill` wants if there is any. Caller holds pool->lock. */
static void refill_locked(struct frame_pool *pool, struct frame_core *fc, enum frame_kind kind,
	enum frame_fill fill)
{
	if (pool->dirty.count < FRAME_BATCH || available(pool) <= pool->reserve)
		quarantine_pass(pool);
	uint64_t n = grant(pool, kind);

	if (fill == FRAME_ZEROED && pool->zeroed.count)
		list_move(pool, &fc->zeroed, &pool->zeroed, n);
	else if (pool->dirty.count)
		list_move(pool, &fc->dirty, &pool->dirty, n);
	else if (pool->untouched)
		take_untouched(pool, &fc->dirty, n);
	else if (!fc->zeroed.count)
		list_move(pool, &fc->zeroed, &pool->zeroed, n);
}

static inline bool core_has_none(const struct frame_core *fc)
{
	return !fc->dirty.count && !fc->zeroed.count;
}

static void kick_cores(struct frame_pool *pool, uint64_t epoch)
{
	for (unsigned i = 0; pool->kick && i < pool->tlb->core_count; i++) {
		if (tlb_core_lags(&pool->tlb->cores[i], epoch))
			pool->kick(pool->kick_context, i);
	}
}

/* Nothing is free. End the epoch of what is in quarantine, promise this core's flush, look again. */
static int refill_pressed(struct frame_pool *pool, unsigned core, enum frame_kind kind,
	enum frame_fill fill)
{
	struct frame_core *fc = &pool->cores[core];
	uint64_t epoch = 0;

	spin_lock(&pool->lock);
	quarantine_add(pool, &fc->freed);
	if (pool->quarantine_used) {
		epoch = newest_slot(pool)->epoch;
		tlb_epoch_end(pool->tlb, epoch);
		tlb_promise(&pool->tlb->cores[core]);
	}
	refill_locked(pool, fc, kind, fill);
	bool none = core_has_none(fc), waiting = pool->quarantine_used != 0;

	__atomic_store_n(&pool->pressed, none, __ATOMIC_RELAXED);
	spin_unlock(&pool->lock);
	if (!none)
		return 0;
	if (!waiting)
		return ERR_NOMEM;
	kick_cores(pool, epoch);
	return ERR_AGAIN;
}

static NOINLINE int refill(struct frame_pool *pool, unsigned core, enum frame_kind kind,
	enum frame_fill fill)
{
	struct frame_core *fc = &pool->cores[core];

	spin_lock(&pool->lock);
	refill_locked(pool, fc, kind, fill);
	spin_unlock(&pool->lock);
	return core_has_none(fc) ? refill_pressed(pool, core, kind, fill) : 0;
}

/* Does the core have none of the sort that is wanted, where the pool may have some? */
static inline bool wants_refill(const struct frame_pool *pool, const struct frame_core *fc,
	enum frame_fill fill)
{
	if (fill == FRAME_OVERWRITE)
		return !fc->dirty.count;
	return !fc->zeroed.count && (!fc->dirty.count || list_count(&pool->zeroed));
}

/* A free frame's number, with the bytes that `fill` wants. */
static NOINLINE int take(struct frame_pool *pool, unsigned core, enum frame_kind kind,
	enum frame_fill fill, uint32_t *out)
{
	struct frame_core *fc = &pool->cores[core];

	if (UNLIKELY(wants_refill(pool, fc, fill))) {
		int err = refill(pool, core, kind, fill);

		if (err)
			return err;
	}
	if (fc->zeroed.count && (fill == FRAME_ZEROED || !fc->dirty.count)) {
		*out = list_pop(pool, &fc->zeroed);
		return 0;
	}
	*out = list_pop(pool, &fc->dirty);
	if (fill == FRAME_ZEROED)
		memset(frame_ptr(pool, (hpa_t)*out << PAGE_SHIFT), 0, PAGE_SIZE);
	return 0;
}

int frame_alloc(struct frame_pool *pool, unsigned core, unsigned node, enum frame_kind kind,
	struct account *account, enum frame_fill fill, hpa_t *out)
{
	struct frame_core *fc = &pool->cores[core];
	uint32_t n, tag = kind;
	int err;

	(void)node;
	if (account) {
		err = account_charge(account, 1);
		if (UNLIKELY(err))
			return err;
		tag |= account->index << FRAME_KIND_BITS;
	}
	if (fill == FRAME_OVERWRITE && LIKELY(fc->dirty.count)) {
		n = list_pop(pool, &fc->dirty);
	} else {
		err = take(pool, core, kind, fill, &n);
		if (UNLIKELY(err)) {
			if (account)
				account_uncharge(pool, account, 1);
			return err;
		}
	}
	struct frame *f = &pool->records[n];

	f->tag = tag;
	__atomic_store_n(&f->refs, 1, __ATOMIC_RELAXED);
	count(fc, kind, 1);
	*out = (hpa_t)n << PAGE_SHIFT;
	return 0;
}

/* ---- freeing ---------------------------------------------------------------------------------- */

static void hand_over_freed(struct frame_pool *pool, struct frame_core *fc)
{
	spin_lock(&pool->lock);
	quarantine_add(pool, &fc->freed);
	spin_unlock(&pool->lock);
}

static void credit(struct frame_pool *pool, struct frame_core *fc)
{
	if (!fc->credit_count)
		return;
	account_uncharge(pool, account_lookup(pool, fc->credit_account), fc->credit_count);
	fc->credit_count = 0;
}

/* Gather credits for one account at a time. */
static NOINLINE void credit_to(struct frame_pool *pool, struct frame_core *fc, uint32_t account)
{
	credit(pool, fc);
	fc->credit_account = account;
}

static inline void free_one(struct frame_pool *pool, struct frame *records, struct frame_core *fc,
	uint32_t n)
{
	struct frame *f = &records[n];
	uint32_t account = f->tag >> FRAME_KIND_BITS;
	enum frame_kind kind = f->tag & FRAME_KIND_MASK;

	if (UNLIKELY(kind == FRAME_FREE))
		__builtin_trap(); /* freed twice: we are wrong, and the #UD is our panic */
	if (account != ACCOUNT_NONE) {
		if (UNLIKELY(account != fc->credit_account))
			credit_to(pool, fc, account);
		fc->credit_count++;
	}
	f->tag = FRAME_FREE;
	count(fc, kind, -1);
	list_push(records, &fc->freed, n);
}

void frame_free_later(struct frame_pool *pool, unsigned core, hpa_t hpa)
{
	struct frame_core *fc = &pool->cores[core];

	free_one(pool, pool->records, fc, (uint32_t)(hpa >> PAGE_SHIFT));
	if (UNLIKELY(fc->freed.count >= FRAME_FREED_BATCH))
		hand_over_freed(pool, fc);
}

void frame_drop_many(struct frame_pool *pool, unsigned core, const uint64_t *words, unsigned n)
{
	struct frame_core *fc = &pool->cores[core];
	struct frame *records = pool->records;

	for (const uint64_t *end = words + n; words != end; words++) {
		uint64_t i = *words >> PAGE_SHIFT;

		if (i && frame_drop_record(&records[i]))
			free_one(pool, records, fc, (uint32_t)i);
	}
	if (UNLIKELY(fc->freed.count >= FRAME_FREED_BATCH))
		hand_over_freed(pool, fc);
}

void frame_settle(struct frame_pool *pool, unsigned core)
{
	struct frame_core *fc = &pool->cores[core];

	credit(pool, fc);
	if (UNLIKELY(__atomic_load_n(&pool->pressed, __ATOMIC_RELAXED)))
		hand_over_freed(pool, fc);
}

void frame_free(struct frame_pool *pool, unsigned core, hpa_t hpa)
{
	frame_free_later(pool, core, hpa);
	frame_settle(pool, core);
}

/* ---- for idle cores --------------------------------------------------------------------------- */

/* Not when memory is short: an allocation must not fail because frames are being zeroed. */
static uint32_t take_for_zeroing(struct frame_pool *pool)
{
	uint32_t n = 0;

	spin_lock(&pool->lock);
	if (pool->zeroed.count < FRAME_ZERO_TARGET &&
		available(pool) > pool->reserve + 2 * FRAME_BATCH) {
		if (!pool->dirty.count)
			quarantine_pass(pool);
		if (!pool->dirty.count)
			take_untouched(pool, &pool->dirty, FRAME_BATCH);
		if (LIKELY(pool->dirty.count))
			n = list_pop(pool, &pool->dirty);
	}
	spin_unlock(&pool->lock);
	return n;
}

unsigned frame_zero_some(struct frame_pool *pool, unsigned core, unsigned max)
{
	unsigned done = 0;
	uint32_t n;

	(void)core;
	while (done < max && (n = take_for_zeroing(pool))) {
		memset(frame_ptr(pool, (hpa_t)n << PAGE_SHIFT), 0, PAGE_SIZE);
		spin_lock(&pool->lock);
		list_push(pool->records, &pool->zeroed, n);
		spin_unlock(&pool->lock);
		done++;
	}
	return done;
}

void frame_core_drain(struct frame_pool *pool, unsigned core)
{
	struct frame_core *fc = &pool->cores[core];

	credit(pool, fc);
	spin_lock(&pool->lock);
	list_splice(pool, &pool->dirty, &fc->dirty);
	list_splice(pool, &pool->zeroed, &fc->zeroed);
	quarantine_add(pool, &fc->freed);
	spin_unlock(&pool->lock);
}

/* ---- statistics ------------------------------------------------------------------------------- */

void frame_pool_stats(struct frame_pool *pool, struct frame_stats *out)
{
	uint64_t used = 0;

	spin_lock(&pool->lock);
	*out = (struct frame_stats){
		.total = pool->total,
		.used[FRAME_HOST] = pool->contiguous,
		.quarantined = pool->quarantined,
		.zeroed = pool->zeroed.count,
		.reserve = pool->reserve,
	};
	for (unsigned c = 0; c < pool->max_cores; c++) {
		const struct frame_core *fc = &pool->cores[c];

		for (unsigned k = FRAME_FREE + 1; k < FRAME_KINDS; k++)
			out->used[k] += (uint64_t)__atomic_load_n(&fc->used[k], __ATOMIC_RELAXED);
		out->quarantined += list_count(&fc->freed);
		out->zeroed += list_count(&fc->zeroed);
	}
	spin_unlock(&pool->lock);
	for (unsigned k = FRAME_FREE + 1; k < FRAME_KINDS; k++)
		used += out->used[k];
	out->used[FRAME_FREE] = out->total - used - out->quarantined;
}

uint64_t frame_pool_free(struct frame_pool *pool)
{
	struct frame_stats stats;

	frame_pool_stats(pool, &stats);
	return stats.used[FRAME_FREE];
}
