#include "lib/heap.h"

/* Makes the root with the greater key the leftmost child of the other; returns that other. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->key < a->key) {
		struct heap_node *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	a->next = a->prev = NULL;
	return a;
}

/* Two-pass pairing of a list of siblings, without recursion: the depth is the guests' to choose. */
static struct heap_node *meld_siblings(struct heap_node *first)
{
	struct heap_node *pairs = NULL, *root = NULL;

	while (first) {
		struct heap_node *a = first, *b = a->next;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct heap_node *rest = pairs->next;

		pairs->next = NULL;
		root = meld(root, pairs);
		pairs = rest;
	}
	return root;
}

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key)
{
	*n = (struct heap_node){.key = key, .queued = true};
	h->root = meld(h->root, n);
	h->count++;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	if (!n->queued)
		return;
	struct heap_node *below = meld_siblings(n->child);

	if (n == h->root) {
		h->root = below;
	} else {
		if (n->prev->child == n)
			n->prev->child = n->next;
		else
			n->prev->next = n->next;
		if (n->next)
			n->next->prev = n->prev;
		h->root = meld(h->root, below);
	}
	if (h->root)
		h->root->prev = h->root->next = NULL;
	*n = (struct heap_node){.key = n->key};
	h->count--;
}

struct heap_node *heap_pop(struct heap *h)
{
	struct heap_node *n = h->root;

	if (n)
		heap_remove(h, n);
	return n;
}
