#include "lib/logring.h"
#include "tests/unit/test.h"

static struct logring ring;

static void reset(void)
{
	ring.first = ring.end = 0;
}

static void put(const char *text)
{
	logring_put(&ring, text, strlen(text));
}

TEST(logring_gives_back_lines_in_order)
{
	char buf[LOGRING_LINE_MAX + 1] = {0};
	uint64_t seq = 0;

	reset();
	put("one");
	put("two");
	CHECK_EQ(logring_read(&ring, &seq, buf, LOGRING_LINE_MAX), 8);
	CHECK_STR(buf, "one\ntwo\n");
	CHECK_EQ(logring_read(&ring, &seq, buf, LOGRING_LINE_MAX), 0);
	put("three");
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(logring_read(&ring, &seq, buf, LOGRING_LINE_MAX), 6);
	CHECK_STR(buf, "three\n");
}

TEST(logring_takes_any_position_from_a_client)
{
	static const uint64_t asked[] = {0, 1, 3, 4, 5, 7, 8, 9, 1ull << 40, UINT64_MAX};
	static const size_t lengths[] = {8, 4, 4, 4, 0, 0, 0, 0, 0, 0};
	char buf[LOGRING_LINE_MAX];

	reset();
	put("one");
	put("two");
	for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		uint64_t seq = asked[i];

		CHECK_EQ(logring_read(&ring, &seq, buf, sizeof(buf)), lengths[i]);
		CHECK_EQ(seq, 8);
	}
}

TEST(logring_cuts_long_lines_and_joins_split_ones)
{
	static char line[LOGRING_LINE_MAX * 2];
	char buf[LOGRING_LINE_MAX + 1] = {0};
	uint64_t seq = 0;

	reset();
	memset(line, 'x', sizeof(line));
	logring_put(&ring, line, sizeof(line));
	CHECK_EQ(logring_read(&ring, &seq, buf, LOGRING_LINE_MAX), LOGRING_LINE_MAX);
	CHECK_EQ(buf[LOGRING_LINE_MAX - 1], '\n');
	put("a\nb");
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(logring_read(&ring, &seq, buf, LOGRING_LINE_MAX), 4);
	CHECK_STR(buf, "a b\n");
}

/* Written past its size many times over, the ring always holds the newest lines, whole. */
TEST(logring_loses_the_oldest_lines)
{
	char line[64], buf[LOGRING_LINE_MAX + 1];
	uint64_t state = 7, seq = 0;
	unsigned last = 0;

	reset();
	for (unsigned i = 1; i <= 50000; i++) {
		int n = snprintf(line, sizeof(line), "%u %.*s", i,
			(int)(test_random(&state) % 40), "........................................");

		logring_put(&ring, line, (size_t)n);
		CHECK(ring.end - ring.first <= LOGRING_SIZE);
	}
	for (;;) {
		size_t n = logring_read(&ring, &seq, buf, LOGRING_LINE_MAX);
		unsigned number;

		if (!n)
			break;
		buf[n] = 0;
		for (char *p = buf; *p; p = strchr(p, '\n') + 1) {
			CHECK(sscanf(p, "%u ", &number) == 1);
			CHECK(last == 0 || number == last + 1);
			last = number;
		}
	}
	CHECK_EQ(last, 50000);
}
