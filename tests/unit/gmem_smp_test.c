/*
 * Memory trees from several threads at once, under ThreadSanitizer. Each thread is a core with guests
 * of its own, forked from snapshots that all share; so tables and pages are copied, raised and dropped
 * by several at the same moment. What each guest should contain is known to its thread alone.
 */
#include "hv/gmem.h"
#include "tests/unit/gmem_world.h"

#include <pthread.h>

#define THREADS 4
#define PAGES   40 /* 3 tables of the lowest level */
#define ROUNDS  700

static struct world world;
static struct gmem base;
static struct account *base_account;

/* Snapshots that the threads hand each other: taken out to use, put back. */
static struct spinlock exchange_lock;
static struct exchanged {
	bool used;
	struct gmem m;
	struct account *account;
	uint64_t value[PAGES];
} exchange[4];

static gpa_t page_at(unsigned i)
{
	return (i % 3) * 2 * MIB + i * PAGE_SIZE;
}

struct guest {
	struct gmem m;
	struct account *account;
	struct tlb_guest tlb;
	uint64_t value[PAGES];
};

struct thread {
	pthread_t id;
	unsigned core;
	uint64_t random;
};

static unsigned roll(struct thread *t, unsigned n)
{
	return (unsigned)(test_random(&t->random) % n);
}

static void fault(struct thread *t, struct guest *g, gpa_t gpa, enum gmem_access access)
{
	int err;

	while ((err = gmem_fault(&g->m, t->core, gpa, access, NULL)) == ERR_AGAIN)
		tlb_promise(&world.cores[t->core]);
	CHECK_EQ(err, 0);
}

/* What the hardware does at run time: read and write the frames that the entries name. */
static uint64_t *frame_words(struct guest *g, gpa_t gpa)
{
	return (uint64_t *)(uintptr_t)gmem_page(&g->m, gpa);
}

static void run_guest(struct thread *t, struct guest *g)
{
	tlb_enter(&world.cores[t->core], &g->tlb, g->m.tlb_gen, g->m.root_gen);
	for (unsigned i = 0; i < 10; i++) {
		unsigned p = roll(t, PAGES);

		if (roll(t, 2)) {
			fault(t, g, page_at(p), GMEM_WRITE);
			frame_words(g, page_at(p))[3] = g->value[p] = test_random(&t->random);
		} else {
			fault(t, g, page_at(p), GMEM_READ);
			CHECK_EQ(frame_words(g, page_at(p))[3], g->value[p]);
		}
		tlb_enter(&world.cores[t->core], &g->tlb, g->m.tlb_gen, g->m.root_gen);
	}
}

static void check_guest(const struct guest *g)
{
	for (unsigned p = 0; p < PAGES; p++) {
		uint64_t words[4];

		CHECK_EQ(gmem_read(&g->m, page_at(p), words, sizeof(words)), 0);
		CHECK_EQ(words[3], g->value[p]);
	}
}

static void fork_guest(struct thread *t, struct gmem *from, const uint64_t value[PAGES],
	struct guest *g)
{
	*g = (struct guest){0};
	CHECK_EQ(account_create(&world.pool, t->core, world.root_budget, &g->account), 0);
	CHECK_EQ(gmem_share(from, &g->m, g->account), 0);
	memcpy(g->value, value, sizeof(g->value));
}

static void drop_guest(struct thread *t, struct guest *g)
{
	gmem_drop(&g->m, t->core);
	account_release(&world.pool, g->account);
}

/* Put a snapshot of the guest where others find it, in place of an older one. */
static void publish(struct thread *t, struct guest *g)
{
	struct exchanged fresh = {.used = true, .account = g->account}, old;
	struct exchanged *slot = &exchange[roll(t, ARRAY_SIZE(exchange))];

	CHECK_EQ(gmem_share(&g->m, &fresh.m, g->account), 0);
	memcpy(fresh.value, g->value, sizeof(fresh.value));
	CHECK_EQ(account_create(&world.pool, t->core, world.root_budget, &g->account), 0);
	g->m.account = g->account;
	spin_lock(&exchange_lock);
	old = *slot;
	*slot = fresh;
	spin_unlock(&exchange_lock);
	if (!old.used)
		return;
	gmem_drop(&old.m, t->core);
	account_release(&world.pool, old.account);
}

/* Roll back to, or fork from, what another thread has published. */
static void take_over(struct thread *t, struct guest *g)
{
	struct exchanged *slot = &exchange[roll(t, ARRAY_SIZE(exchange))];

	spin_lock(&exchange_lock);
	if (slot->used) {
		CHECK_EQ(gmem_rollback(&g->m, t->core, &slot->m), 0);
		memcpy(g->value, slot->value, sizeof(g->value));
	}
	spin_unlock(&exchange_lock);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	struct guest guests[3];
	uint64_t value[PAGES];

	for (unsigned p = 0; p < PAGES; p++)
		value[p] = p + 1;
	for (unsigned i = 0; i < ARRAY_SIZE(guests); i++)
		fork_guest(t, &base, value, &guests[i]);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct guest *g = &guests[roll(t, ARRAY_SIZE(guests))];

		switch (roll(t, 8)) {
		case 0:
			drop_guest(t, g);
			fork_guest(t, &base, value, g); /* all threads fork this one at once */
			break;
		case 1:
			publish(t, g);
			break;
		case 2:
			take_over(t, g);
			break;
		case 3:
			gmem_reap(&world.pool, t->core, roll(t, 2000));
			break;
		case 4:
			frame_zero_some(&world.pool, t->core, 8);
			frame_core_drain(&world.pool, t->core);
			tlb_idle_enter(&world.cores[t->core]);
			break;
		default:
			run_guest(t, g);
			break;
		}
		check_guest(g);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(guests); i++) {
		check_guest(&guests[i]);
		drop_guest(t, &guests[i]);
	}
	while (gmem_reap(&world.pool, t->core, 500))
		continue;
	tlb_idle_enter(&world.cores[t->core]);
	return NULL;
}

static void run_threads(uint64_t frames, const struct tlb_caps *caps, uint64_t seed)
{
	static const struct gmem_extent extent = {0, 16 * MIB};
	struct thread threads[THREADS];

	world_init(&world, frames, THREADS, caps, 20);
	memset(exchange, 0, sizeof(exchange));
	struct account *account = world_account(&world, NULL);
	struct gmem first;

	CHECK_EQ(gmem_create(&first, &world.pool, 0, &pt_format_npt, account, &extent, 1), 0);
	for (unsigned p = 0; p < PAGES; p++) {
		uint64_t v = p + 1;

		CHECK_EQ(gmem_write(&first, 0, page_at(p) + 3 * sizeof(v), &v, sizeof(v)), 0);
	}
	base_account = world_account(&world, NULL);
	CHECK_EQ(gmem_share(&first, &base, base_account), 0);
	gmem_drop(&first, 0);
	account_release(&world.pool, account);
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].core = i;
		threads[i].random = seed + i;
		CHECK_EQ(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(exchange); i++) {
		if (!exchange[i].used)
			continue;
		gmem_drop(&exchange[i].m, 0);
		account_release(&world.pool, exchange[i].account);
	}
	world_reap_all(&world, THREADS);
	struct gmem *left[] = {&base};

	world_check(&world, left, 1); /* what is left of it is the base, with counts of one */
	gmem_drop(&base, 0);
	account_release(&world.pool, base_account);
	world_reap_all(&world, THREADS);
	world_end(&world);
}

TEST(threads_share_trees)
{
	run_threads(4000, &world_caps_ept, 1);
	run_threads(4000, &world_caps_npt, 2);
}

/* Frames of the dead are wanted by the living all the time. */
TEST(threads_share_trees_where_memory_is_short)
{
	run_threads(1400, &world_caps_ept, 3);
}
