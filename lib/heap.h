/*
 * Intrusive pairing heap: the least key first. Insertion is O(1), removal of the least or of any node
 * O(log n) amortised; no memory of its own. Nodes with equal keys come in no promised order.
 */
#ifndef LIB_HEAP_H
#define LIB_HEAP_H

#include "lib/base.h"

struct heap_node {
	uint64_t key;
	struct heap_node *child; /* leftmost child */
	struct heap_node *next;  /* right sibling */
	struct heap_node *prev;  /* left sibling, or the parent of a leftmost child */
	bool queued;
};

struct heap {
	struct heap_node *root;
	size_t count;
};

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key);

/* Removes `n`; does nothing when it is in no heap. */
void heap_remove(struct heap *h, struct heap_node *n);

static inline struct heap_node *heap_first(const struct heap *h)
{
	return h->root;
}

/* Removes and returns the least, NULL when empty. */
struct heap_node *heap_pop(struct heap *h);

#define HEAP_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

#endif
