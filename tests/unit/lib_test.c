#include "lib/bytes.h"
#include "lib/err.h"
#include "lib/list.h"
#include "lib/string.h"
#include "tests/unit/test.h"

TEST(err_str_names_every_code)
{
	for (int e = ERR_RANGE; e <= OK; e++)
		CHECK(strcmp(err_str(e), "unknown error") != 0);
	CHECK_STR(err_str(1), "unknown error");
	CHECK_STR(err_str(ERR_RANGE - 1), "unknown error");
}

TEST(fmt_matches_printf)
{
	char a[128], b[128];

	fmt(a, sizeof(a), "%d|%5u|%-5u|%05d|%x|%X|%#x|", -7, 42u, 42u, -42, 0xbeefu, 0xbeefu, 255u);
	CHECK_STR(a, "-7|   42|42   |-0042|beef|BEEF|0xff|");
	fmt(a, sizeof(a), "%lld %llu %lx %zu %hhx", INT64_MIN + 0ll, UINT64_MAX + 0ull, 1ul << 40,
		(size_t)9, (unsigned char)0xab);
	snprintf(b, sizeof(b), "%lld %llu %lx %zu %hhx", INT64_MIN + 0ll, UINT64_MAX + 0ull,
		1ul << 40, (size_t)9, (unsigned char)0xab);
	CHECK_STR(a, b);
	fmt(a, sizeof(a), "%s|%.2s|%-6s|%6s|%c|%%|%*d", "abc", "abc", "abc", "abc", 'x', 4, 7);
	CHECK_STR(a, "abc|ab|abc   |   abc|x|%|   7");
}

TEST(fmt_truncates_and_returns_what_it_wrote)
{
	char a[5];

	CHECK_EQ(fmt(a, sizeof(a), "%s", "abcdefgh"), 4);
	CHECK_STR(a, "abcd");
	CHECK_EQ(fmt(NULL, 0, "%d", 5), 0);
}

TEST(bytes_are_in_order)
{
	uint8_t b[8];

	store_be32(b, 0x01020304);
	CHECK_EQ(b[0], 1);
	CHECK_EQ(load_be16(b + 1), 0x0203);
	store_le64(b, 0x0102030405060708ull);
	CHECK_EQ(b[0], 8);
	CHECK_EQ(load_le32(b + 4), 0x01020304);
}

TEST(list_keeps_order)
{
	struct list head, n[3];

	list_init(&head);
	list_push_back(&head, &n[1]);
	list_push_back(&head, &n[2]);
	list_push_front(&head, &n[0]);
	int i = 0;
	LIST_FOR_EACH(it, &head)
		CHECK(it == &n[i++]);
	CHECK_EQ(i, 3);
	LIST_FOR_EACH_SAFE(it, tmp, &head)
		list_remove(it);
	CHECK(list_empty(&head));
}
