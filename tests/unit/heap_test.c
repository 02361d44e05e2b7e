#include "lib/heap.h"
#include "tests/unit/test.h"

#define NODES 2000

TEST(heap_gives_keys_in_order_with_random_removals)
{
	static struct heap_node node[NODES];
	struct heap h = {0};
	uint64_t seed = 1;

	for (int round = 0; round < 50; round++) {
		size_t left = 0;

		for (size_t i = 0; i < NODES; i++)
			heap_insert(&h, &node[i], test_random(&seed) % 1000);
		CHECK_EQ(h.count, NODES);
		for (size_t i = 0; i < NODES; i++) {
			if (test_random(&seed) % 3 == 0) {
				heap_remove(&h, &node[i]);
				heap_remove(&h, &node[i]);
			} else {
				left++;
			}
		}
		CHECK_EQ(h.count, left);
		uint64_t last = 0;
		while (heap_first(&h)) {
			struct heap_node *n = heap_pop(&h);

			CHECK(n->key >= last);
			CHECK(!n->queued);
			last = n->key;
			left--;
		}
		CHECK_EQ(left, 0);
		CHECK(heap_pop(&h) == NULL);
	}
}

TEST(heap_interleaves_insertion_and_removal)
{
	static struct heap_node node[256];
	struct heap h = {0};
	uint64_t seed = 7, in = 0;

	for (int step = 0; step < 200000; step++) {
		struct heap_node *n = &node[test_random(&seed) % 256];

		if (n->queued) {
			heap_remove(&h, n);
			in--;
		} else {
			heap_insert(&h, n, test_random(&seed));
			in++;
		}
		CHECK_EQ(h.count, in);
		for (struct heap_node *c = h.root ? h.root->child : NULL; c; c = c->next)
			CHECK(c->key >= h.root->key);
	}
}
