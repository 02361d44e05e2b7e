#include "hv/budget.h"
#include "tests/unit/gmem_world.h"

#include <pthread.h>

static struct budget *sub_budget(struct world *w, struct budget *parent, uint64_t pages)
{
	uint64_t limit[BUDGET_KINDS] = {pages, 3, 2};
	struct budget *b;

	CHECK_EQ(budget_create(&w->pool, 0, parent, limit, &b), 0);
	return b;
}

TEST(a_charge_counts_on_all_levels_or_none)
{
	struct world w;

	world_init(&w, 100, 1, &world_caps_ept, 10);
	struct budget *outer = sub_budget(&w, w.root_budget, 10);
	struct budget *inner = sub_budget(&w, outer, 100);

	CHECK_EQ(budget_charge(inner, BUDGET_PAGES, 7), 0);
	CHECK(!budget_exceeded(inner, BUDGET_PAGES, 3));
	CHECK(budget_exceeded(inner, BUDGET_PAGES, 4) == outer);
	CHECK(budget_exceeded(inner, BUDGET_PAGES, 200) == inner);
	CHECK_EQ(budget_charge(inner, BUDGET_PAGES, 4), ERR_LIMIT);
	CHECK_EQ(budget_charge(inner, BUDGET_PAGES, UINT64_MAX), ERR_LIMIT);
	CHECK_EQ(budget_used(inner, BUDGET_PAGES), 7);
	CHECK_EQ(budget_used(outer, BUDGET_PAGES), 7);
	CHECK_EQ(budget_used(w.root_budget, BUDGET_PAGES), 7);
	CHECK_EQ(budget_charge(inner, BUDGET_PAGES, 3), 0);
	CHECK_EQ(budget_charge(inner, BUDGET_PAGES, 0), 0);
	CHECK_EQ(budget_charge(inner, BUDGET_GUESTS, 3), 0); /* kinds are apart */
	CHECK_EQ(budget_charge(inner, BUDGET_GUESTS, 1), ERR_LIMIT);
	budget_uncharge(inner, BUDGET_GUESTS, 3);
	budget_uncharge(inner, BUDGET_PAGES, 10);
	CHECK_EQ(budget_used(w.root_budget, BUDGET_PAGES), 0);
	budget_put(&w.pool, inner);
	budget_put(&w.pool, outer);
	world_end(&w);
}

TEST(limits_move)
{
	struct world w;

	world_init(&w, 100, 1, &world_caps_ept, 10);
	struct budget *b = sub_budget(&w, w.root_budget, 10);

	CHECK_EQ(budget_charge(b, BUDGET_PAGES, 10), 0);
	budget_set_limit(b, BUDGET_PAGES, 5);
	CHECK_EQ(budget_limit(b, BUDGET_PAGES), 5);
	CHECK_EQ(budget_charge(b, BUDGET_PAGES, 1), ERR_LIMIT);
	CHECK(budget_exceeded(b, BUDGET_PAGES, 1) == b);
	budget_uncharge(b, BUDGET_PAGES, 6);
	CHECK_EQ(budget_charge(b, BUDGET_PAGES, 1), 0);
	budget_set_limit(b, BUDGET_PAGES, 6);
	CHECK_EQ(budget_charge(b, BUDGET_PAGES, 1), 0);
	budget_uncharge(b, BUDGET_PAGES, 6);
	budget_put(&w.pool, b);
	world_end(&w);
}

TEST(deep_lineages_share_a_budget)
{
	struct world w;
	struct budget *chain[12];

	world_init(&w, 100, 1, &world_caps_ept, 10);
	chain[0] = w.root_budget;
	for (unsigned i = 1; i < ARRAY_SIZE(chain); i++)
		chain[i] = sub_budget(&w, chain[i - 1], 50);
	CHECK_EQ(chain[BUDGET_MAX_DEPTH - 1]->depth, BUDGET_MAX_DEPTH);
	CHECK(chain[11] == chain[BUDGET_MAX_DEPTH - 1]);
	CHECK(chain[BUDGET_MAX_DEPTH - 2] != chain[BUDGET_MAX_DEPTH - 1]);
	for (unsigned i = 1; i < ARRAY_SIZE(chain); i++)
		budget_put(&w.pool, chain[i]); /* from the top: children hold their parents */
	world_end(&w);
}

TEST(an_account_ends_with_its_last_frame)
{
	struct world w;
	struct account *a, *b;
	hpa_t f[2];

	world_init(&w, 100, 1, &world_caps_ept, 10);
	a = world_account(&w, NULL);
	CHECK(account_lookup(&w.pool, a->index) == a);
	for (unsigned i = 0; i < 2; i++)
		CHECK_EQ(frame_alloc(&w.pool, 0, 0, FRAME_DATA, a, FRAME_ZEROED, &f[i]), 0);
	CHECK_EQ(account_pages(a), 2);
	account_release(&w.pool, a);
	CHECK_EQ(account_pages(a), 2);
	CHECK_EQ(budget_used(w.root_budget, BUDGET_PAGES), 2);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(w.root_budget->refs, 2);
		CHECK(frame_put(&w.pool, f[i]));
		frame_free(&w.pool, 0, f[i]);
	}
	CHECK_EQ(w.root_budget->refs, 1);
	b = world_account(&w, NULL);
	CHECK(a == b); /* used again, same index */
	account_release(&w.pool, b);
	world_end(&w);
}

/* All frames of a guest pass to its snapshot, in one step, and then to another payer. */
TEST(a_snapshot_takes_the_account)
{
	struct world w;
	hpa_t f[5];

	world_init(&w, 200, 1, &world_caps_ept, 10);
	struct budget *owner = sub_budget(&w, w.root_budget, 8);
	struct budget *guest = sub_budget(&w, owner, 5), *store = sub_budget(&w, owner, 4);
	struct account *a = world_account(&w, guest);

	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(frame_alloc(&w.pool, 0, 0, FRAME_DATA, a, FRAME_OVERWRITE, &f[i]), 0);
	CHECK_EQ(account_move(&w.pool, a, store), ERR_LIMIT);
	CHECK_EQ(budget_used(guest, BUDGET_PAGES), 5);
	CHECK_EQ(budget_used(store, BUDGET_PAGES), 0);
	budget_set_limit(store, BUDGET_PAGES, 5);
	CHECK_EQ(account_move(&w.pool, a, store), 0); /* the owner has room for 3, and needs none */
	CHECK_EQ(budget_used(guest, BUDGET_PAGES), 0);
	CHECK_EQ(budget_used(store, BUDGET_PAGES), 5);
	CHECK_EQ(budget_used(owner, BUDGET_PAGES), 5);
	CHECK_EQ(account_move(&w.pool, a, w.root_budget), 0); /* to an ancestor */
	CHECK_EQ(budget_used(owner, BUDGET_PAGES), 0);
	CHECK_EQ(account_move(&w.pool, a, w.root_budget), 0); /* to where it is */
	CHECK_EQ(account_move(&w.pool, a, guest), 0);         /* and down again */
	CHECK_EQ(budget_used(w.root_budget, BUDGET_PAGES), 5);
	CHECK_EQ(budget_used(guest, BUDGET_PAGES), 5);
	account_release(&w.pool, a);
	budget_put(&w.pool, guest);
	budget_put(&w.pool, store);
	budget_put(&w.pool, owner);
	for (unsigned i = 0; i < 5; i++) {
		CHECK(frame_put(&w.pool, f[i]));
		frame_free_later(&w.pool, 0, f[i]);
	}
	frame_settle(&w.pool, 0);
	world_end(&w);
}

TEST(many_accounts_and_none_left_over)
{
	enum { MANY = 3000 };
	static struct account *a[MANY];
	struct world w;
	struct frame_stats s;

	world_init(&w, 200, 1, &world_caps_ept, 10);
	for (unsigned i = 0; i < MANY; i++) {
		a[i] = world_account(&w, NULL);
		CHECK(a[i]->index != ACCOUNT_NONE);
		CHECK(account_lookup(&w.pool, a[i]->index) == a[i]);
		if (i)
			CHECK(a[i]->index != a[i - 1]->index);
	}
	frame_pool_stats(&w.pool, &s);
	CHECK(s.used[FRAME_STATE] <= 3000 / 128 + 3);
	for (unsigned i = 0; i < MANY; i++)
		account_release(&w.pool, a[i]);
	CHECK_EQ(w.root_budget->refs, 1);
	uint32_t top = w.pool.ledger.next_index;

	a[0] = world_account(&w, NULL);
	CHECK_EQ(w.pool.ledger.next_index, top);
	account_release(&w.pool, a[0]);
	world_end(&w);
}

TEST(accounts_run_out_of_indices_and_memory)
{
	struct world w;
	struct account *a;

	world_init(&w, 40, 1, &world_caps_ept, 10);
	uint32_t next = w.pool.ledger.next_index;

	w.pool.ledger.next_index = 1u << ACCOUNT_INDEX_BITS;
	CHECK_EQ(account_create(&w.pool, 0, w.root_budget, &a), ERR_LIMIT);
	w.pool.ledger.next_index = next;
	w.pool.reserve = 1000;
	frame_core_drain(&w.pool, 0);
	CHECK_EQ(account_create(&w.pool, 0, w.root_budget, &a), ERR_NOMEM);
	w.pool.reserve = 0;
	CHECK_EQ(account_create(&w.pool, 0, w.root_budget, &a), 0);
	account_release(&w.pool, a);
	world_end(&w);
}

/* ---- from several threads ---------------------------------------------------------------------- */

static struct world shared;
static struct budget *small;

static void *charge_many(void *arg)
{
	uint64_t granted = 0;

	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		if (budget_charge(small, BUDGET_PAGES, 3) == 0) {
			granted++;
			CHECK(budget_used(small, BUDGET_PAGES) <= 10);
			budget_uncharge(small, BUDGET_PAGES, 3);
		}
	}
	CHECK(granted > 0);
	return NULL;
}

TEST(a_limit_holds_for_all_threads_together)
{
	pthread_t t[4];

	world_init(&shared, 100, 1, &world_caps_ept, 10);
	small = sub_budget(&shared, shared.root_budget, 10);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, charge_many, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(budget_used(small, BUDGET_PAGES), 0);
	CHECK_EQ(budget_used(shared.root_budget, BUDGET_PAGES), 0);
	budget_put(&shared.pool, small);
	world_end(&shared);
}
