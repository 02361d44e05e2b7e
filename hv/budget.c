/* Budgets and accounts; see budget.h. */
#include "hv/budget.h"

#include "hv/frame.h"

/* The account table: top -> PER_TABLE tables -> PER_SLAB accounts. A frame at each end. */
#define PER_SLAB  (PAGE_SIZE / sizeof(struct account))
#define PER_TABLE (PAGE_SIZE / sizeof(struct account *))
#define TOP_SIZE  ((1u << ACCOUNT_INDEX_BITS) / (PER_SLAB * PER_TABLE))

_Static_assert(sizeof(struct account) == 32, "accounts fill a frame");
_Static_assert(sizeof(struct budget) == 64, "budgets fill a frame, and a cache line each");

/* ---- budgets ---------------------------------------------------------------------------------- */

/* Charge one level, never past its limit. */
static inline bool charge_level(struct budget *b, enum budget_kind kind, uint64_t n)
{
	uint64_t limit = __atomic_load_n(&b->limit[kind], __ATOMIC_RELAXED);
	uint64_t used = __atomic_load_n(&b->used[kind], __ATOMIC_RELAXED);

	do {
		if (used > limit || limit - used < n)
			return false;
	} while (!__atomic_compare_exchange_n(&b->used[kind], &used, used + n, true,
		__ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

/* All levels from `from` up to, and without, `end`. */
static inline void uncharge_levels(struct budget *from, struct budget *end, enum budget_kind kind,
	uint64_t n)
{
	for (; from != end; from = from->parent)
		__atomic_fetch_sub(&from->used[kind], n, __ATOMIC_RELAXED);
}

static inline int charge_levels(struct budget *from, struct budget *end, enum budget_kind kind, uint64_t n)
{
	for (struct budget *b = from; b != end; b = b->parent) {
		if (UNLIKELY(!charge_level(b, kind, n))) {
			uncharge_levels(from, b, kind, n);
			return ERR_LIMIT;
		}
	}
	return 0;
}

int budget_charge(struct budget *budget, enum budget_kind kind, uint64_t n)
{
	return charge_levels(budget, NULL, kind, n);
}

void budget_uncharge(struct budget *budget, enum budget_kind kind, uint64_t n)
{
	uncharge_levels(budget, NULL, kind, n);
}

void budget_set_limit(struct budget *budget, enum budget_kind kind, uint64_t limit)
{
	__atomic_store_n(&budget->limit[kind], limit, __ATOMIC_RELAXED);
}

uint64_t budget_limit(const struct budget *budget, enum budget_kind kind)
{
	return __atomic_load_n(&budget->limit[kind], __ATOMIC_RELAXED);
}

uint64_t budget_used(const struct budget *budget, enum budget_kind kind)
{
	return __atomic_load_n(&budget->used[kind], __ATOMIC_RELAXED);
}

struct budget *budget_exceeded(struct budget *budget, enum budget_kind kind, uint64_t n)
{
	for (; budget; budget = budget->parent) {
		uint64_t limit = budget_limit(budget, kind), used = budget_used(budget, kind);

		if (used > limit || limit - used < n)
			return budget;
	}
	return NULL;
}

/* Caller holds ledger.lock. */
static int grow_budgets(struct frame_pool *pool, unsigned core)
{
	hpa_t hpa;
	int err = frame_alloc(pool, core, 0, FRAME_STATE, NULL, FRAME_ZEROED, &hpa);

	if (err)
		return err;
	struct budget *slab = frame_ptr(pool, hpa);

	for (size_t i = 0; i < PAGE_SIZE / sizeof(*slab); i++) {
		slab[i].parent = pool->ledger.free_budgets;
		pool->ledger.free_budgets = &slab[i];
	}
	return 0;
}

int budget_create(struct frame_pool *pool, unsigned core, struct budget *parent,
	const uint64_t limit[BUDGET_KINDS], struct budget **out)
{
	struct ledger *ledger = &pool->ledger;
	struct budget *b;

	if (parent)
		budget_get(parent);
	if (parent && parent->depth == BUDGET_MAX_DEPTH) {
		*out = parent;
		return 0;
	}
	spin_lock(&ledger->lock);
	if (!ledger->free_budgets) {
		int err = grow_budgets(pool, core);

		if (err) {
			spin_unlock(&ledger->lock);
			if (parent)
				budget_put(pool, parent);
			return err;
		}
	}
	b = ledger->free_budgets;
	ledger->free_budgets = b->parent;
	spin_unlock(&ledger->lock);

	*b = (struct budget){
		.parent = parent,
		.limit = {limit[BUDGET_PAGES], limit[BUDGET_GUESTS], limit[BUDGET_SNAPSHOTS]},
		.refs = 1,
		.depth = parent ? parent->depth + 1 : 1,
	};
	*out = b;
	return 0;
}

void budget_get(struct budget *budget)
{
	__atomic_fetch_add(&budget->refs, 1, __ATOMIC_RELAXED);
}

void budget_put(struct frame_pool *pool, struct budget *budget)
{
	while (budget && __atomic_sub_fetch(&budget->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		struct budget *parent = budget->parent;

		spin_lock(&pool->ledger.lock);
		budget->parent = pool->ledger.free_budgets;
		pool->ledger.free_budgets = budget;
		spin_unlock(&pool->ledger.lock);
		budget = parent;
	}
}

/* ---- accounts --------------------------------------------------------------------------------- */

int ledger_init(struct frame_pool *pool)
{
	hpa_t hpa;
	int err = frame_alloc_contiguous(pool, TOP_SIZE * sizeof(*pool->ledger.top) / PAGE_SIZE,
		PAGE_SIZE, &hpa);

	if (err)
		return err;
	pool->ledger = (struct ledger){.top = frame_ptr(pool, hpa), .next_index = ACCOUNT_NONE + 1};
	return 0;
}

struct account *account_lookup(struct frame_pool *pool, uint32_t index)
{
	struct account ***top = &pool->ledger.top[index / (PER_SLAB * PER_TABLE)];
	struct account **table = __atomic_load_n(top, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&table[index / PER_SLAB % PER_TABLE], __ATOMIC_ACQUIRE) +
		index % PER_SLAB;
}

/* A frame for *slot if it has none. */
static int grow_slot(struct frame_pool *pool, unsigned core, void **slot)
{
	hpa_t hpa;

	if (*slot)
		return 0;
	int err = frame_alloc(pool, core, 0, FRAME_STATE, NULL, FRAME_ZEROED, &hpa);

	if (!err)
		__atomic_store_n(slot, frame_ptr(pool, hpa), __ATOMIC_RELEASE);
	return err;
}

/* The next account that never was. Caller holds ledger.lock. */
static int grow_accounts(struct frame_pool *pool, unsigned core)
{
	struct ledger *ledger = &pool->ledger;
	uint32_t index = ledger->next_index;

	if (index >> ACCOUNT_INDEX_BITS)
		return ERR_LIMIT;
	struct account ***table = &ledger->top[index / (PER_SLAB * PER_TABLE)];
	int err = grow_slot(pool, core, (void **)table);

	if (!err)
		err = grow_slot(pool, core, (void **)&(*table)[index / PER_SLAB % PER_TABLE]);
	if (err)
		return err;
	struct account *account = account_lookup(pool, index);

	account->index = index;
	account->budget = NULL;
	ledger->free_accounts = account;
	ledger->next_index++;
	return 0;
}

int account_create(struct frame_pool *pool, unsigned core, struct budget *budget,
	struct account **out)
{
	struct ledger *ledger = &pool->ledger;

	spin_lock(&ledger->lock);
	if (!ledger->free_accounts) {
		int err = grow_accounts(pool, core);

		if (err) {
			spin_unlock(&ledger->lock);
			return err;
		}
	}
	struct account *account = ledger->free_accounts;

	ledger->free_accounts = (struct account *)account->budget;
	spin_unlock(&ledger->lock);

	budget_get(budget);
	account->budget = budget;
	account->pages = 0;
	account->owned = true;
	*out = account;
	return 0;
}

/* Nobody owns it and no frame names it. */
static void account_end(struct frame_pool *pool, struct account *account)
{
	struct budget *budget = account->budget;

	spin_lock(&pool->ledger.lock);
	account->budget = (struct budget *)pool->ledger.free_accounts;
	pool->ledger.free_accounts = account;
	spin_unlock(&pool->ledger.lock);
	budget_put(pool, budget);
}

void account_release(struct frame_pool *pool, struct account *account)
{
	spin_lock(&account->lock);
	account->owned = false;
	bool last = account->pages == 0;
	spin_unlock(&account->lock);

	if (last)
		account_end(pool, account);
}

int account_charge(struct account *account, uint64_t pages)
{
	spin_lock(&account->lock);
	int err = budget_charge(account->budget, BUDGET_PAGES, pages);

	if (!err)
		account->pages += pages;
	spin_unlock(&account->lock);
	return err;
}

void account_uncharge(struct frame_pool *pool, struct account *account, uint64_t pages)
{
	spin_lock(&account->lock);
	budget_uncharge(account->budget, BUDGET_PAGES, pages);
	account->pages -= pages;
	bool last = account->pages == 0 && !account->owned;
	spin_unlock(&account->lock);

	if (last)
		account_end(pool, account);
}

/* The lowest budget that is above, or is, both; NULL: there is none. */
static struct budget *common_ancestor(struct budget *a, struct budget *b)
{
	while (a != b) {
		if (!a || !b)
			return NULL;
		if (a->depth >= b->depth)
			a = a->parent;
		else
			b = b->parent;
	}
	return a;
}

/* What pays for both already is left alone, so that a move never needs the room twice. */
int account_move(struct frame_pool *pool, struct account *account, struct budget *budget)
{
	spin_lock(&account->lock);
	struct budget *old = account->budget, *common = common_ancestor(old, budget);
	int err = charge_levels(budget, common, BUDGET_PAGES, account->pages);

	if (!err) {
		uncharge_levels(old, common, BUDGET_PAGES, account->pages);
		budget_get(budget);
		account->budget = budget;
	}
	spin_unlock(&account->lock);
	if (!err)
		budget_put(pool, old);
	return err;
}

uint64_t account_pages(struct account *account)
{
	spin_lock(&account->lock);
	uint64_t pages = account->pages;
	spin_unlock(&account->lock);
	return pages;
}
