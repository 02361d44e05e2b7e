/* QR codes, read back by the standard's rules in reverse. What scanners make of them: test_host.py. */
#include "lib/err.h"
#include "lib/qr.h"
#include "tests/unit/test.h"

static unsigned format_bits(const struct qr *qr, bool second)
{
	static const int x1[15] = {8, 8, 8, 8, 8, 8, 8, 8, 7, 5, 4, 3, 2, 1, 0};
	static const int y1[15] = {0, 1, 2, 3, 4, 5, 7, 8, 8, 8, 8, 8, 8, 8, 8};
	unsigned bits = 0;
	int n = (int)qr->size;

	for (int i = 0; i < 15; i++) {
		int x = second ? (i < 8 ? n - 1 - i : 8) : x1[i];
		int y = second ? (i < 8 ? 8 : n - 15 + i) : y1[i];

		bits |= (unsigned)qr_dark(qr, x, y) << i;
	}
	return bits;
}

/* ISO/IEC 18004, table of format information: level M. */
static const unsigned formats[8] = {
	0x5412, 0x5125, 0x5e7c, 0x5b4b, 0x45f9, 0x40ce, 0x4f97, 0x4aa0};

static bool has_finder(const struct qr *qr, int x, int y)
{
	static const char *const rings[7] = {
		"#######", "#.....#", "#.###.#", "#.###.#", "#.###.#", "#.....#", "#######"};

	for (int dy = -1; dy < 8; dy++) {
		for (int dx = -1; dx < 8; dx++) {
			bool in = dx >= 0 && dx < 7 && dy >= 0 && dy < 7;

			if (qr_dark(qr, x + dx, y + dy) != (in && rings[dy][dx] == '#'))
				return false;
		}
	}
	return true;
}

TEST(every_length_has_the_smallest_version_and_sound_patterns)
{
	static const unsigned most[] = {14, 26, 42, 62, 84, 106, 122, 152, 180, 213};
	char text[QR_TEXT_MAX];
	struct qr qr;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	for (unsigned n = 0, version = 1; n <= sizeof(text); n++) {
		unsigned format;

		version += n > most[version - 1];
		CHECK_EQ(qr_make(&qr, text, n), OK);
		CHECK_EQ(qr.size, 17 + 4 * version);
		int far = (int)qr.size - 7;
		CHECK(has_finder(&qr, 0, 0) && has_finder(&qr, far, 0) && has_finder(&qr, 0, far));
		for (int i = 8; i < (int)qr.size - 8; i++)
			CHECK(qr_dark(&qr, i, 6) == (i % 2 == 0) && qr_dark(&qr, 6, i) == (i % 2 == 0));
		CHECK(qr_dark(&qr, 8, (int)qr.size - 8));
		format = format_bits(&qr, false);
		CHECK_EQ(format, format_bits(&qr, true));
		unsigned known = 0;
		for (unsigned m = 0; m < 8; m++)
			known += formats[m] == format;
		CHECK_EQ(known, 1);
		for (unsigned y = 0; y < QR_SIZE_MAX; y++)
			CHECK(y < qr.size ? qr.row[y] >> qr.size == 0 : qr.row[y] == 0);
	}
}

TEST(too_much_text_is_refused)
{
	char text[QR_TEXT_MAX + 1] = {0};
	struct qr qr;

	CHECK_EQ(qr_make(&qr, text, sizeof(text)), ERR_TOOBIG);
	CHECK_EQ(qr_make(&qr, text, SIZE_MAX), ERR_TOOBIG);
}

TEST(outside_is_light)
{
	struct qr qr;

	CHECK_EQ(qr_make(&qr, "creel", 5), OK);
	CHECK(!qr_dark(&qr, -1, 0) && !qr_dark(&qr, 0, -1) && !qr_dark(&qr, 21, 0) && !qr_dark(&qr, 0, 21));
}
