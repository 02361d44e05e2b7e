/* The guests' allocator. The Makefile gives its functions names of their own for this program. */
#include "guest-sdk/lib/internal.h"

#include <sys/mman.h>

#include "tests/unit/test.h"

#define ARENA  (64ul << 20)
#define BLOCKS 2000

struct creel_info creel_self;

static void begin(void)
{
	if (creel_self.memory)
		return;
	char *arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(arena != MAP_FAILED);
	creel_self.image_end = (uint64_t)arena + 7;
	creel_self.memory = (uint64_t)arena + ARENA;
}

static void check_bytes(const char *p, size_t size, char pattern)
{
	for (size_t i = 0; i < size; i += 61)
		CHECK_EQ(p[i], pattern);
	if (size)
		CHECK_EQ(p[size - 1], pattern);
}

TEST(malloc_keeps_blocks_apart_and_gets_all_back)
{
	static char *block[BLOCKS];
	static size_t size[BLOCKS];
	uint64_t seed = 5;

	begin();
	for (int step = 0; step < 500000; step++) {
		size_t i = test_random(&seed) % BLOCKS;

		if (block[i]) {
			check_bytes(block[i], size[i], (char)i);
			free(block[i]);
			block[i] = NULL;
			continue;
		}
		size[i] = test_random(&seed) % (step % 50 ? 700 : 100000);
		block[i] = malloc(size[i]);
		CHECK(block[i] != NULL);
		CHECK_EQ((uint64_t)block[i] % 16, 0);
		memset(block[i], (int)i, size[i]);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(block[i]);
	char *all = malloc(ARENA - 64);

	CHECK(all != NULL);
	free(all);
}

TEST(malloc_refuses_what_does_not_fit)
{
	begin();
	CHECK(malloc(ARENA) == NULL);
	CHECK(malloc(SIZE_MAX) == NULL);
	CHECK(malloc(SIZE_MAX - 40) == NULL);
	CHECK(calloc(1ul << 33, 1ul << 33) == NULL);
	free(NULL);
}

TEST(realloc_keeps_the_bytes)
{
	begin();
	char *p = realloc(NULL, 100);

	memset(p, 'x', 100);
	char *fence = malloc(16);

	p = realloc(p, 100000);
	check_bytes(p, 100, 'x');
	CHECK(realloc(p, 50) == p);
	free(fence);
	free(p);
}
