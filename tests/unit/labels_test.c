/* Labels and selectors. */
#include "lib/labels.h"
#include "tests/unit/test.h"

static const char *changed(const char *labels, const char *set, const char *remove)
{
	static char text[LABELS_SIZE];

	snprintf(text, sizeof(text), "%s", labels);
	return labels_change(text, set, remove) ? text : "too much";
}

TEST(right_and_wrong_labels)
{
	static const char *const right[] = {"", "a=b", "a=", "a=b,c=d", "team/app.x-y_z=v1.2:3@h+e/f"};
	static const char *const wrong[] = {"a", "=b", "a=b,", ",a=b", "a=b,,c=d", "a b=c", "a=b c",
		"a=b=c", "a=\x7f", "a=b,a=c", "\xc3\xa4=b", ","};
	char text[400];

	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		CHECK(labels_check(right[i], LABELS_PAIRS) == NULL);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK(labels_check(wrong[i], LABELS_PAIRS) != NULL);
	CHECK(labels_check("a,b=c", LABELS_SELECTOR) == NULL);
	CHECK(labels_check("a,b", LABELS_KEYS) == NULL);
	CHECK(labels_check("a,b=c", LABELS_KEYS) != NULL);
	for (int size = 62; size <= 64; size++) {
		snprintf(text, sizeof(text), "%.*s=x", size,
			"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
		CHECK_EQ(labels_check(text, LABELS_PAIRS) == NULL, size <= LABEL_KEY_MAX);
		snprintf(text, sizeof(text), "x=%.*s", size,
			"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
		CHECK_EQ(labels_check(text, LABELS_PAIRS) == NULL, size <= LABEL_VALUE_MAX);
	}
	size_t n = 0;

	for (char c = 'a'; c < 'a' + LABELS_MAX; c++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%c=1", n ? "," : "", c);
	CHECK(labels_check(text, LABELS_PAIRS) == NULL);
	snprintf(text + n, sizeof(text) - n, ",z=1");
	CHECK(labels_check(text, LABELS_PAIRS) != NULL);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK(labels_check(text, LABELS_SELECTOR) != NULL);
}

TEST(labels_are_set_and_removed)
{
	CHECK_STR(changed("", "a=1,b=2", ""), "a=1,b=2");
	CHECK_STR(changed("a=1,b=2", "b=3,c=4", ""), "a=1,b=3,c=4");
	CHECK_STR(changed("a=1,b=2,c=3", "", "a,c"), "b=2");
	CHECK_STR(changed("a=1", "", "a"), "");
	CHECK_STR(changed("a=1", "a=", "b"), "a=");
	CHECK_STR(changed("ab=1,a=2", "", "a"), "ab=1");
	CHECK_STR(changed("a=1", "b=2", "b"), "a=1");
}

TEST(labels_have_an_end)
{
	char labels[LABELS_SIZE] = "", pair[8];

	for (int i = 0; i < LABELS_MAX; i++) {
		snprintf(pair, sizeof(pair), "k%d=v", i);
		CHECK(labels_change(labels, pair, ""));
	}
	CHECK(!labels_change(labels, "more=1", ""));
	CHECK(labels_change(labels, "k3=other", "k4"));
	CHECK(labels_check(labels, LABELS_PAIRS) == NULL);

	/* by size: 63 + 1 + 63 twice and a comma are 255 */
	char large[LABELS_SIZE];

	memset(large, 'k', 255);
	large[255] = '\0';
	large[63] = large[191] = '=';
	large[127] = ',';
	large[128] = 'z';
	CHECK(labels_check(large, LABELS_PAIRS) == NULL);
	CHECK_STR(changed("", large, ""), large);
	CHECK_STR(changed("a=", large, ""), "too much");
	CHECK_STR(changed("a=", large, "a"), large);
}

TEST(selectors_pick)
{
	CHECK(labels_match("", ""));
	CHECK(labels_match("a=1,b=2", ""));
	CHECK(labels_match("a=1,b=2", "a=1"));
	CHECK(labels_match("a=1,b=2", "b=2,a=1"));
	CHECK(labels_match("a=1,b=2", "b"));
	CHECK(!labels_match("a=1,b=2", "c"));
	CHECK(!labels_match("a=1,b=2", "a=2"));
	CHECK(!labels_match("a=1,b=2", "a=1,c"));
	CHECK(!labels_match("a=12", "a=1"));
	CHECK(!labels_match("a=1", "a="));
	CHECK(labels_match("a=", "a="));
	CHECK(!labels_match("", "a"));
}
