/*
 * A small allocator: blocks in address order behind the image, first fit from a rover, neighbours
 * merged when freed. Memory is touched only as it is given out, since every page touched is a page
 * that the guest pays for, and copies again after a fork.
 */
#include "internal.h"

#define ALIGN     16ul
#define MIN_SPLIT 64ul

struct block {
	size_t size; /* of the whole block, header included; bit 0: in use */
	size_t previous; /* size of the block before, 0 for the first */
};

_Static_assert(sizeof(struct block) == ALIGN, "what malloc() returns is aligned");

static struct block *first, *rover;
static char *top, *limit; /* blocks end at top; memory ends at limit */
static size_t last;       /* size of the block that ends at top */

static size_t size_of(const struct block *b)
{
	return b->size & ~1ul;
}

static struct block *after(struct block *b)
{
	return (struct block *)((char *)b + size_of(b));
}

static void set_size(struct block *b, size_t size, bool used)
{
	b->size = size | used;
	if ((char *)b + size == top)
		last = size;
	else
		after(b)->previous = size;
}

static void begin(void)
{
	top = (char *)((creel_self.image_end + ALIGN - 1) & ~(ALIGN - 1));
	limit = (char *)(creel_self.memory & ~(ALIGN - 1));
	first = rover = (struct block *)top;
}

static struct block *extend(size_t size)
{
	struct block *b = (struct block *)top;

	if (size > (size_t)(limit - top))
		return NULL;
	top += size;
	b->previous = last;
	set_size(b, size, true);
	return b;
}

static struct block *search(struct block *from, struct block *to, size_t size)
{
	for (; from < to; from = after(from)) {
		if (!(from->size & 1) && from->size >= size)
			return from;
	}
	return NULL;
}

void *malloc(size_t size)
{
	if (!first)
		begin();
	if (size > (size_t)(limit - (char *)first))
		return NULL;
	size = (size + sizeof(struct block) + ALIGN - 1) & ~(ALIGN - 1);
	if (size < 2 * ALIGN)
		size = 2 * ALIGN;
	struct block *b = search(rover, (struct block *)top, size);

	if (!b)
		b = search(first, rover, size);
	if (!b) {
		b = extend(size);
	} else if (b->size - size >= MIN_SPLIT) {
		size_t rest = b->size - size;

		b->size = size | 1;
		struct block *r = after(b);

		r->previous = size;
		set_size(r, rest, false);
		rover = r;
	} else {
		b->size |= 1;
	}
	return b ? b + 1 : NULL;
}

void free(void *p)
{
	struct block *b = p;

	if (!p)
		return;
	b--;
	size_t size = size_of(b);
	struct block *next = after(b);

	if ((char *)next < top && !(next->size & 1))
		size += next->size;
	if (b->previous) {
		struct block *before = (struct block *)((char *)b - b->previous);

		if (!(before->size & 1)) {
			size += before->size;
			b = before;
		}
	}
	/* The rover must not stay inside what has just become one block. */
	if (rover > b && (char *)rover < (char *)b + size)
		rover = b;
	set_size(b, size, false);
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
	size_t have = size_of((struct block *)p - 1) - sizeof(struct block);

	if (size <= have)
		return p;
	void *q = malloc(size);

	if (q) {
		memcpy(q, p, have);
		free(p);
	}
	return q;
}
