/*
 * Memory trees: sharing, and faults. See gmem.h and docs/memory.md.
 *
 * The invariant that all of this keeps: an entry with the write bit is in a table whose only user (going
 * down from the root of one tree) is that tree, and what it points to has a count of one. Hence the
 * walk for a write looks at counts only where the write bit is clear.
 *
 * Entries of a shared table change in one way only: a copier clears their write bits. That lowers no
 * right that is in use, since the bit is clear above in every tree that shares the table.
 */
#include "hv/gmem_reap.h"

#include "lib/string.h"

/* SDM Vol 3, "EPT Translation Mechanism": read 0, write 1, execute 2; in a leaf, memory type 5:3
 * (6 is write-back) and ignore-PAT 6. */
#define EPT_READ       (1ull << 0)
#define EPT_EXEC       (1ull << 2)
#define EPT_WRITE_BACK (6ull << 3)
#define EPT_IGNORE_PAT (1ull << 6)

const struct pt_format pt_format_ept = {
	.name = "EPT",
	.table_bits = EPT_READ | EPT_EXEC,
	.leaf_bits = EPT_READ | EPT_EXEC | EPT_WRITE_BACK | EPT_IGNORE_PAT,
};

/* APM Vol 2, "Nested Paging": every nested access is a user access. A and D are set from the start,
 * so that the hardware never writes a table. */
#define NPT_PRESENT  (1ull << 0)
#define NPT_USER     (1ull << 2)
#define NPT_ACCESSED (1ull << 5)
#define NPT_DIRTY    (1ull << 6)

const struct pt_format pt_format_npt = {
	.name = "NPT",
	.table_bits = NPT_PRESENT | NPT_USER | NPT_ACCESSED,
	.leaf_bits = NPT_PRESENT | NPT_USER | NPT_ACCESSED | NPT_DIRTY,
};

#define RECLAIM_STEPS 4096 /* table entries dropped when an allocation finds nothing */

#define LEVEL_BITS 9

static inline unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + LEVEL_BITS * (level - 1);
}

static inline unsigned level_index(gpa_t gpa, unsigned level)
{
	return (unsigned)(gpa >> level_shift(level)) % GMEM_ENTRIES;
}

static inline uint64_t *entry_at(const struct frame_pool *pool, hpa_t table, unsigned index)
{
	return (uint64_t *)frame_ptr(pool, table) + index;
}

static inline uint64_t entry_load(const uint64_t *entry)
{
	return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

static inline void entry_store(uint64_t *entry, uint64_t v)
{
	__atomic_store_n(entry, v, __ATOMIC_RELAXED);
}

static inline hpa_t entry_hpa(uint64_t v)
{
	return align_down(v, PAGE_SIZE);
}

/* The entry for `gpa` in the table at `level` that the entry `v` above it points to. */
static inline uint64_t *entry_below(const struct frame_pool *pool, uint64_t v, gpa_t gpa,
	unsigned level)
{
	return entry_at(pool, entry_hpa(v), level_index(gpa, level));
}

static inline void bump(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

static inline struct gmem_stats *stats_of(struct gmem *m, unsigned core)
{
	return &m->pool->gmem->cores[core].stats;
}

/* ---- extents ---------------------------------------------------------------------------------- */

int gmem_check(const struct gmem *m, gpa_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->extent_count; i++) {
		const struct gmem_extent *e = &m->extents[i];

		if (gpa >= e->base && len <= e->size && gpa - e->base <= e->size - len)
			return 0;
	}
	return ERR_FAULT;
}

static bool extents_valid(const struct gmem_extent *extents, unsigned n)
{
	gpa_t end = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct gmem_extent *e = &extents[i];

		if ((e->base | e->size) % PAGE_SIZE || !e->size || e->base < end ||
			e->base >> GMEM_ADDRESS_BITS ||
			e->size > (1ull << GMEM_ADDRESS_BITS) - e->base)
			return false;
		end = e->base + e->size;
	}
	return n >= 1 && n <= GMEM_MAX_EXTENTS;
}

/* The entries that can be in use, of the table at `level` on the way to `gpa`, in whole fours. */
static void used_entries(const struct gmem *m, gpa_t gpa, unsigned level, unsigned *first,
	unsigned *last)
{
	uint64_t span = 1ull << (level_shift(level) + LEVEL_BITS);
	gpa_t start = align_down(gpa, span), end = start + span - 1;

	*first = GMEM_ENTRIES - 1;
	*last = 0;
	for (unsigned i = 0; i < m->extent_count; i++) {
		gpa_t low = MAX(start, m->extents[i].base);
		gpa_t high = MIN(end, m->extents[i].base + m->extents[i].size - 1);

		if (low > high)
			continue;
		*first = MIN(*first, level_index(low, level) & ~3u);
		*last = MAX(*last, level_index(high, level) | 3);
	}
}

/* ---- frames of the tree ----------------------------------------------------------------------- */

/* Memory that this host could have back is on the reaper's lists: take a slice of it, try again. */
static int alloc_pressed(struct gmem *m, unsigned core, enum frame_kind kind, enum frame_fill fill,
	hpa_t *out, int err)
{
	if (!gmem_reap_pending(m->pool))
		return err;
	gmem_reap(m->pool, core, RECLAIM_STEPS);
	err = frame_alloc(m->pool, core, 0, kind, m->account, fill, out);
	return err && gmem_reap_pending(m->pool) ? ERR_AGAIN : err;
}

static inline int alloc(struct gmem *m, unsigned core, enum frame_kind kind, enum frame_fill fill,
	hpa_t *out)
{
	int err = frame_alloc(m->pool, core, 0, kind, m->account, fill, out);

	return LIKELY(!err) ? 0 : alloc_pressed(m, core, kind, fill, out, err);
}

static inline void get_child(struct frame *records, uint64_t v)
{
	frame_get_child(&records[v >> PAGE_SHIFT]);
}

/* Four entries, of which some are not there. */
static NOINLINE void copy_mixed(struct frame *records, uint64_t *from, uint64_t *to)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v = entry_load(&from[i]);

		to[i] = v & ~PT_WRITE;
		if (v)
			get_child(records, v);
		if (v & PT_WRITE)
			entry_store(&from[i], v & ~PT_WRITE);
	}
}

/*
 * Copy `n` entries, a multiple of 4: a reference on each child, and no write bit in either table. Four
 * at a time, as this is where the time of a first fault goes: in a large guest most tables are full,
 * and were copied before; in a small one most entries are empty.
 */
static NOINLINE void copy_entries(struct frame *records, uint64_t *from, uint64_t *to, size_t n)
{
	for (uint64_t *end = from + n; from != end; from += 4, to += 4) {
		uint64_t a = entry_load(from), b = entry_load(from + 1);
		uint64_t c = entry_load(from + 2), d = entry_load(from + 3);
		uint64_t any = a | b | c | d, all = a & b & c & d;

		if (!any) {
			to[0] = to[1] = to[2] = to[3] = 0;
			continue;
		}
		if (!(all & PT_PRESENT)) {
			copy_mixed(records, from, to);
			continue;
		}
		if (any & PT_WRITE) {
			entry_store(from, a &= ~PT_WRITE);
			entry_store(from + 1, b &= ~PT_WRITE);
			entry_store(from + 2, c &= ~PT_WRITE);
			entry_store(from + 3, d &= ~PT_WRITE);
		}
		to[0] = a;
		to[1] = b;
		to[2] = c;
		to[3] = d;
		get_child(records, a);
		get_child(records, b);
		get_child(records, c);
		get_child(records, d);
	}
}

/*
 * Copy a shared table, which the caller holds one reference of. Takes a reference on every child and
 * clears the write bit in both, the original first. The caller drops its reference on the original
 * after this: then the other holder may see a count of one there, and must not find a write bit
 * above what the copy shares.
 */
static NOINLINE int gmem_table_copy(struct gmem *m, unsigned core, hpa_t table, unsigned level,
	gpa_t gpa, hpa_t *out)
{
	unsigned first, last;

	used_entries(m, gpa, level, &first, &last);
	size_t n = last + 1 - first;
	int err = alloc(m, core, FRAME_TABLE, n == GMEM_ENTRIES ? FRAME_OVERWRITE : FRAME_ZEROED,
		out);

	if (err)
		return err;
	copy_entries(m->pool->records, entry_at(m->pool, table, first),
		entry_at(m->pool, *out, first), n);
	bump(&stats_of(m, core)->tables_copied);
	return 0;
}

static int table_create(struct gmem *m, unsigned core, hpa_t *out)
{
	int err = alloc(m, core, FRAME_TABLE, FRAME_ZEROED, out);

	if (!err)
		bump(&stats_of(m, core)->tables_created);
	return err;
}

/* Drop a reference on a table; its children follow, later, if it was the last. */
static void table_put(struct gmem *m, hpa_t table, unsigned level)
{
	if (frame_put(m->pool, table))
		gmem_reap_push(m->pool, table, level);
}

/* ---- sharing ---------------------------------------------------------------------------------- */

int gmem_create(struct gmem *m, struct frame_pool *pool, unsigned core,
	const struct pt_format *format, struct account *account, const struct gmem_extent *extents,
	unsigned extent_count)
{
	if (!extents_valid(extents, extent_count))
		return ERR_INVALID;
	*m = (struct gmem){
		.pool = pool,
		.format = format,
		.account = account,
		.page_kind = FRAME_DATA,
		.tlb_gen = 1,
		.root_gen = 1,
		.extent_count = extent_count,
	};
	for (unsigned i = 0; i < extent_count; i++)
		m->extents[i] = extents[i];
	return table_create(m, core, &m->root);
}

/* Clear the write bits of the root: all below is then read-only. True if there was any. */
static bool protect_root(struct gmem *m)
{
	bool lowered = false;

	for (unsigned i = 0; i < m->extent_count; i++) {
		gpa_t base = m->extents[i].base, end = base + m->extents[i].size - 1;

		for (unsigned e = level_index(base, GMEM_LEVELS);
			e <= level_index(end, GMEM_LEVELS); e++) {
			uint64_t *entry = entry_at(m->pool, m->root, e), v = entry_load(entry);

			if (v & PT_WRITE) {
				entry_store(entry, v & ~PT_WRITE);
				lowered = true;
			}
		}
	}
	return lowered;
}

/* On a tree that is shared already, and not written since, this only reads and counts up: a snapshot
 * can be forked on several cores at once. */
int gmem_share(struct gmem *m, struct gmem *copy, struct account *account)
{
	if (frame_get(m->pool, m->root))
		return ERR_LIMIT;
	if (protect_root(m))
		m->tlb_gen++;
	if (m->root_gen)
		m->root_gen = 0;
	*copy = *m;
	copy->account = account;
	copy->tlb_gen = 1;
	return 0;
}

int gmem_rollback(struct gmem *m, unsigned core, struct gmem *snapshot)
{
	struct gmem fresh;
	int err = gmem_share(snapshot, &fresh, m->account);

	if (err)
		return err;
	fresh.tlb_gen = m->tlb_gen + 1;
	gmem_drop(m, core);
	*m = fresh;
	return 0;
}

void gmem_drop(struct gmem *m, unsigned core)
{
	(void)core;
	table_put(m, m->root, GMEM_LEVELS);
	m->root = 0;
}

/* ---- faults ----------------------------------------------------------------------------------- */

/* The page's leaf entry as it is; 0 where it, or a table above, is missing. */
static inline uint64_t look_up(const struct gmem *m, gpa_t gpa)
{
	uint64_t v = m->root;

	for (unsigned level = GMEM_LEVELS; v && level > 0; level--)
		v = entry_load(entry_below(m->pool, v, gpa, level));
	return v;
}

/* Make the root this tree's own. */
static NOINLINE int own_root(struct gmem *m, unsigned core, struct gmem_fault_result *r)
{
	hpa_t root;

	if (frame_refs(m->pool, m->root) == 1)
		return 0;
	int err = gmem_table_copy(m, core, m->root, GMEM_LEVELS, 0, &root);

	if (err)
		return err;
	hpa_t old = m->root;

	m->root = root;
	m->root_gen = ++m->tlb_gen;
	r->tables_copied++;
	table_put(m, old, GMEM_LEVELS);
	return 0;
}

/*
 * Make the table that `*entry` points to this tree's own, and the entry writable. The table that
 * holds the entry, at level + 1, is the tree's own.
 */
static NOINLINE int own_table(struct gmem *m, unsigned core, uint64_t *entry, unsigned level, gpa_t gpa,
	struct gmem_fault_result *r)
{
	uint64_t v = entry_load(entry), bits = m->format->table_bits | PT_WRITE;
	hpa_t table, old = entry_hpa(v);
	int err;

	if (!v) {
		err = table_create(m, core, &table);
		if (err)
			return err;
		entry_store(entry, table | bits);
		r->tables_created++;
		return 0;
	}
	if (frame_refs(m->pool, old) == 1) {
		entry_store(entry, v | PT_WRITE);
		r->raised++;
		return 0;
	}
	err = gmem_table_copy(m, core, old, level, gpa, &table);
	if (err)
		return err;
	entry_store(entry, table | bits);
	m->tlb_gen++; /* what is cached may still go through the old table */
	r->tables_copied++;
	table_put(m, old, level);
	return 0;
}

static int create_page(struct gmem *m, unsigned core, uint64_t *entry, struct gmem_fault_result *r)
{
	hpa_t page;
	int err = alloc(m, core, m->page_kind, FRAME_ZEROED, &page);

	if (err)
		return err;
	entry_store(entry, page | m->format->leaf_bits | PT_WRITE);
	bump(&stats_of(m, core)->pages_created);
	r->pages_created++;
	return 0;
}

static int copy_page(struct gmem *m, unsigned core, uint64_t *entry, hpa_t old,
	struct gmem_fault_result *r)
{
	hpa_t page;
	int err = alloc(m, core, m->page_kind, FRAME_OVERWRITE, &page);

	if (err)
		return err;
	memcpy(frame_ptr(m->pool, page), frame_ptr(m->pool, old), PAGE_SIZE);
	entry_store(entry, page | m->format->leaf_bits | PT_WRITE);
	m->tlb_gen++; /* another address may be cached with the old page */
	bump(&stats_of(m, core)->pages_copied);
	r->pages_copied++;
	if (frame_put(m->pool, old))
		frame_free(m->pool, core, old);
	return 0;
}

/* Make the page of the leaf entry, in a table of the tree's own, writable. */
static int own_page(struct gmem *m, unsigned core, uint64_t *entry, struct gmem_fault_result *r)
{
	uint64_t v = entry_load(entry);

	if (!v)
		return create_page(m, core, entry, r);
	if (frame_refs(m->pool, v) != 1)
		return copy_page(m, core, entry, entry_hpa(v), r);
	entry_store(entry, v | PT_WRITE);
	r->raised++;
	return 0;
}

/* Make the page at `gpa` writable and this tree's own, with all tables on the way to it. */
static int own_path(struct gmem *m, unsigned core, gpa_t gpa, uint64_t **leaf,
	struct gmem_fault_result *r)
{
	const struct frame_pool *pool = m->pool;
	uint64_t *entry = entry_below(pool, m->root, gpa, GMEM_LEVELS), v = entry_load(entry);

	/* A shared root has no write bits. */
	if (UNLIKELY(!(v & PT_WRITE))) {
		int err = own_root(m, core, r);

		if (err)
			return err;
		entry = entry_below(pool, m->root, gpa, GMEM_LEVELS);
	}
	for (unsigned level = GMEM_LEVELS - 1; level > 0; level--) {
		if (UNLIKELY(!(v & PT_WRITE))) {
			int err = own_table(m, core, entry, level, gpa, r);

			if (err)
				return err;
			v = entry_load(entry);
		}
		entry = entry_below(pool, v, gpa, level);
		v = entry_load(entry);
	}
	*leaf = entry;
	return v & PT_WRITE ? 0 : own_page(m, core, entry, r);
}

/*
 * The tree allows the access already: something stale was cached, and the fault has dropped it. Some
 * processor might keep a pointer to a table with the right that it had; then the guest would fault for
 * ever. A flush, once, makes sure that it does not.
 */
static void spurious(struct gmem *m, unsigned core)
{
	m->tlb_gen++;
	bump(&stats_of(m, core)->spurious);
}

int gmem_fault(struct gmem *m, unsigned core, gpa_t gpa, enum gmem_access access,
	struct gmem_fault_result *result)
{
	struct gmem_fault_result r = {0};
	uint64_t *leaf;
	int err = gmem_check(m, gpa, 1);

	if (UNLIKELY(err))
		return err;
	if (access == GMEM_WRITE || !look_up(m, gpa))
		err = own_path(m, core, gpa, &leaf, &r);
	if (r.raised)
		bump(&stats_of(m, core)->raised);
	else if (!(r.tables_copied | r.tables_created | r.pages_copied | r.pages_created) && !err)
		spurious(m, core);
	if (result)
		*result = r;
	return err;
}

/* ---- software access -------------------------------------------------------------------------- */

const void *gmem_page(const struct gmem *m, gpa_t gpa)
{
	if (gmem_check(m, gpa, 1))
		return NULL;
	uint64_t v = look_up(m, gpa);

	return v ? frame_ptr(m->pool, entry_hpa(v)) : NULL;
}

int gmem_page_for_write(struct gmem *m, unsigned core, gpa_t gpa, void **out)
{
	struct gmem_fault_result r = {0};
	uint64_t *leaf;
	int err = gmem_check(m, gpa, 1);

	if (!err)
		err = own_path(m, core, gpa, &leaf, &r);
	if (!err)
		*out = frame_ptr(m->pool, entry_hpa(entry_load(leaf)));
	return err;
}

int gmem_read(const struct gmem *m, gpa_t gpa, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	int err = gmem_check(m, gpa, len);

	while (!err && len) {
		uint64_t offset = gpa % PAGE_SIZE, n = MIN(len, PAGE_SIZE - offset);
		const uint8_t *page = gmem_page(m, gpa);

		if (page)
			memcpy(to, page + offset, n);
		else
			memset(to, 0, n);
		to += n;
		gpa += n;
		len -= n;
	}
	return err;
}

int gmem_write(struct gmem *m, unsigned core, gpa_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;
	int err = gmem_check(m, gpa, len);

	while (!err && len) {
		uint64_t offset = gpa % PAGE_SIZE, n = MIN(len, PAGE_SIZE - offset);
		void *page;

		err = gmem_page_for_write(m, core, gpa, &page);
		if (err)
			break;
		memcpy((uint8_t *)page + offset, from, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return err;
}
