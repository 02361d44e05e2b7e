#include "test.h"

#include "boot/memmap.h"

static struct boot_info info;

#define USABLE(b, p)                                                                               \
	{                                                                                          \
		.base = (b), .pages = (p), .ram = true, .usable = true                             \
	}
#define RESERVED(b, p)                                                                             \
	{                                                                                          \
		.base = (b), .pages = (p)                                                          \
	}
#define TAKEN(b, p)                                                                                \
	{                                                                                          \
		.base = (b), .pages = (p), .ram = true                                             \
	}

#define BUILD(...)                                                                                 \
	({                                                                                         \
		struct memmap_entry entries_[] = {__VA_ARGS__};                                    \
		memmap_build(&info, entries_, sizeof(entries_) / sizeof(entries_[0]));             \
	})

#define CHECK_RANGE(i, b, s)                                                                       \
	do {                                                                                       \
		CHECK_EQ(info.ranges[i].base, b);                                                  \
		CHECK_EQ(info.ranges[i].size, s);                                                  \
	} while (0)

TEST(memmap_sorts_and_merges)
{
	CHECK_EQ(BUILD(USABLE(0x400000, 0x100), USABLE(0x200000, 0x200)), 0x300000);
	CHECK_EQ(info.range_count, 1);
	CHECK_RANGE(0, 0x200000, 0x300000);
	CHECK_EQ(info.ram_top, 0x500000);
}

TEST(memmap_low_megabyte_is_left_alone)
{
	CHECK_EQ(BUILD(USABLE(0, 0x101)), 0x1000);
	CHECK_EQ(info.range_count, 1);
	CHECK_RANGE(0, 0x100000, 0x1000);
}

TEST(memmap_unusable_wins_where_entries_overlap)
{
	CHECK_EQ(BUILD(USABLE(0x200000, 0x100), TAKEN(0x210000, 0x10), RESERVED(0x2f0000, 0x100)),
		0xf0000 - 0x10000);
	CHECK_EQ(info.range_count, 2);
	CHECK_RANGE(0, 0x200000, 0x10000);
	CHECK_RANGE(1, 0x220000, 0xd0000);
	CHECK_EQ(info.ram_top, 0x300000);
}

TEST(memmap_overlapping_usable_counts_once)
{
	CHECK_EQ(BUILD(USABLE(0x200000, 0x100), USABLE(0x280000, 0x100), USABLE(0x210000, 1)),
		0x180000);
	CHECK_EQ(info.range_count, 1);
	CHECK_RANGE(0, 0x200000, 0x180000);
}

TEST(memmap_absurd_sizes_do_not_wrap)
{
	CHECK_EQ(BUILD(USABLE(0x200000, UINT64_MAX)), 0xfffffffffffff000 - 0x200000);
	CHECK_EQ(info.range_count, 1);
	CHECK_EQ(BUILD(USABLE(0x200000, 16), RESERVED(0x208000, UINT64_MAX)), 0x8000);
	CHECK_EQ(BUILD(USABLE(0xfffffffffffff000, 5)), 0);
	CHECK_EQ(BUILD(USABLE(0x200000, 0)), 0);
	CHECK_EQ(info.range_count, 0);
}

TEST(memmap_unaligned_bases_are_rounded)
{
	CHECK_EQ(BUILD(RESERVED(0x200800, 1), USABLE(0x200000, 2)), 0x1000);
	CHECK_RANGE(0, 0x201000, 0x1000);
}

TEST(memmap_gives_up_the_smallest_of_too_many)
{
	struct memmap_entry entries[BOOT_MAX_RANGES + 10];

	for (unsigned i = 0; i < BOOT_MAX_RANGES + 10; i++) {
		entries[i] = (struct memmap_entry){.base = 0x200000 + i * 0x100000ull,
			.pages = i < 10 ? 1 : 2,
			.ram = true,
			.usable = true};
	}
	CHECK_EQ(memmap_build(&info, entries, BOOT_MAX_RANGES + 10), BOOT_MAX_RANGES * 0x2000);
	CHECK_EQ(info.range_count, BOOT_MAX_RANGES);
	CHECK_RANGE(0, 0x200000 + 10 * 0x100000, 0x2000);
}

/* Held against a byte for each page. */
TEST(memmap_random_maps_match_a_page_model)
{
	enum { PAGES = 512, FIRST = 256 };
	uint64_t seed = 1;

	for (unsigned round = 0; round < 2000; round++) {
		struct memmap_entry entries[12];
		bool usable[PAGES] = {false}, blocked[PAGES] = {false};
		size_t count = test_random(&seed) % 13;
		uint64_t expected = 0, next = 0;

		for (size_t i = 0; i < count; i++) {
			uint64_t base = test_random(&seed) % PAGES;
			uint64_t pages = test_random(&seed) % (PAGES - base + 1);
			bool ok = test_random(&seed) % 3 != 0;

			entries[i] = (struct memmap_entry){.base = base * PAGE_SIZE,
				.pages = pages,
				.ram = true,
				.usable = ok};
			for (uint64_t p = base; p < base + pages; p++)
				*(ok ? &usable[p] : &blocked[p]) = true;
		}
		for (unsigned p = FIRST; p < PAGES; p++)
			expected += usable[p] && !blocked[p] ? PAGE_SIZE : 0;
		CHECK_EQ(memmap_build(&info, entries, count), expected);
		for (unsigned r = 0; r < info.range_count; r++) {
			struct boot_range *range = &info.ranges[r];

			CHECK(range->size > 0 && range->base >= next);
			next = range->base + range->size + 1; /* neighbours are merged */
			for (uint64_t a = range->base; a < range->base + range->size;
				a += PAGE_SIZE)
				CHECK(usable[a / PAGE_SIZE] && !blocked[a / PAGE_SIZE]);
		}
	}
}
