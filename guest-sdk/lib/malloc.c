/*
 * A small allocator: blocks side by side behind the image, free ones in lists by size, neighbours
 * merged when freed. Memory is touched only as it is given out, since every page touched is a page
 * that the guest pays for, and copies again after a fork.
 */
#include "internal.h"

#define ALIGN     16ul
#define MIN_BLOCK 32ul /* a header, and the links of a free block */
#define USED      1ul

/* Lists for sizes 2^n to 2^(n+1), each in four parts. */
#define BINS_A_POWER 4
#define BINS         (64 * BINS_A_POWER)

struct block {
	size_t size;     /* of the whole block, header included; USED */
	size_t previous; /* size of the block before, 0 for the first */
	struct block *next, *prior; /* of a free block: in its list */
};

#define HEADER (2 * sizeof(size_t))

_Static_assert(HEADER == ALIGN, "what malloc() returns is aligned");
_Static_assert(sizeof(struct block) == MIN_BLOCK, "a free block holds its links");

static struct block *bins[BINS];
static uint64_t bins_used[BINS / 64]; /* a bit for each list that is not empty */
static char *bottom, *top, *limit;    /* blocks are from bottom to top; memory ends at limit */
static size_t last;                   /* size of the block that ends at top */

static unsigned bin_of(size_t size)
{
	unsigned power = 63 - (unsigned)__builtin_clzl(size);

	return power * BINS_A_POWER + (unsigned)(size >> (power - 2) & (BINS_A_POWER - 1));
}

static size_t size_of(const struct block *b)
{
	return b->size & ~USED;
}

static struct block *after(struct block *b)
{
	return (struct block *)((char *)b + size_of(b));
}

static void set_size(struct block *b, size_t size, size_t used)
{
	b->size = size | used;
	if ((char *)b + size == top)
		last = size;
	else
		after(b)->previous = size;
}

static void list_add(struct block *b)
{
	unsigned i = bin_of(b->size);

	b->prior = NULL;
	b->next = bins[i];
	if (b->next)
		b->next->prior = b;
	bins[i] = b;
	bins_used[i / 64] |= 1ul << (i % 64);
}

static void list_take(struct block *b)
{
	unsigned i = bin_of(b->size);

	if (b->next)
		b->next->prior = b->prior;
	if (b->prior)
		b->prior->next = b->next;
	else
		bins[i] = b->next;
	if (!bins[i])
		bins_used[i / 64] &= ~(1ul << (i % 64));
}

/* Blocks in a list may be smaller than what is asked for; those of the lists behind it never are. */
static struct block *find(size_t size)
{
	unsigned i = bin_of(size);

	for (struct block *b = bins[i]; b; b = b->next) {
		if (b->size >= size)
			return b;
	}
	for (i++; i < BINS; i = (i / 64 + 1) * 64) {
		uint64_t rest = bins_used[i / 64] >> (i % 64);

		if (rest)
			return bins[i + (unsigned)__builtin_ctzl(rest)];
	}
	return NULL;
}

static struct block *extend(size_t size)
{
	struct block *b = (struct block *)top;

	if (size > (size_t)(limit - top))
		return NULL;
	top += size;
	b->previous = last;
	set_size(b, size, USED);
	return b;
}

static void *reuse(struct block *b, size_t size)
{
	size_t rest = b->size - size;

	list_take(b);
	if (rest < MIN_BLOCK) {
		b->size |= USED;
		return (char *)b + HEADER;
	}
	set_size(b, size, USED);
	struct block *r = after(b);

	r->previous = size;
	set_size(r, rest, 0);
	list_add(r);
	return (char *)b + HEADER;
}

void *malloc(size_t size)
{
	if (!bottom) {
		bottom = top = (char *)((creel_self.image_end + ALIGN - 1) & ~(ALIGN - 1));
		limit = (char *)(creel_self.memory & ~(ALIGN - 1));
	}
	if (size > (size_t)(limit - bottom))
		return NULL;
	size = (size + HEADER + ALIGN - 1) & ~(ALIGN - 1);
	if (size < MIN_BLOCK)
		size = MIN_BLOCK;
	struct block *b = find(size);

	if (b)
		return reuse(b, size);
	b = extend(size);
	return b ? (char *)b + HEADER : NULL;
}

void free(void *p)
{
	if (!p)
		return;
	struct block *b = (struct block *)((char *)p - HEADER);
	size_t size = size_of(b);
	struct block *next = after(b);

	if ((char *)next < top && !(next->size & USED)) {
		list_take(next);
		size += next->size;
	}
	if (b->previous) {
		struct block *before = (struct block *)((char *)b - b->previous);

		if (!(before->size & USED)) {
			list_take(before);
			size += before->size;
			b = before;
		}
	}
	if ((char *)b + size == top) {
		top = (char *)b;
		last = b->previous;
		return;
	}
	set_size(b, size, 0);
	list_add(b);
}

void *calloc(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	void *p = malloc(bytes);

	return p ? memset(p, 0, bytes) : NULL;
}

void *realloc(void *p, size_t size)
{
	if (!p)
		return malloc(size);
	size_t have = size_of((struct block *)((char *)p - HEADER)) - HEADER;

	if (size <= have)
		return p;
	void *q = malloc(size);

	if (q) {
		memcpy(q, p, have);
		free(p);
	}
	return q;
}
