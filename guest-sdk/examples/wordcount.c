/*
 * Reads a text of any size and prints its lines, words, bytes, and the words that stand in it most
 * often. Arguments: how many of these to show (10).
 */
#include <creel/creel.h>

#define WORD_MAX  64
#define FIRST_SIZE 1024 /* a power of two */

struct word {
	char *text;
	uint32_t hash;
	uint64_t count;
};

static struct word *table;
static size_t table_size, table_used;

static uint32_t hash_of(const char *s, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

static struct word *slot(struct word *in, size_t size, const char *text, size_t n, uint32_t hash)
{
	size_t i = hash & (size - 1);

	while (in[i].text && !(in[i].hash == hash && strncmp(in[i].text, text, n) == 0 &&
				     in[i].text[n] == '\0'))
		i = (i + 1) & (size - 1);
	return &in[i];
}

static void grow(void)
{
	size_t size = table_size ? table_size * 2 : FIRST_SIZE;
	struct word *bigger = calloc(size, sizeof(*bigger));

	if (!bigger)
		creel_crash("the text has more different words than memory holds: give it more memory");
	for (size_t i = 0; i < table_size; i++) {
		struct word *w = &table[i];

		if (w->text)
			*slot(bigger, size, w->text, strlen(w->text), w->hash) = *w;
	}
	free(table);
	table = bigger;
	table_size = size;
}

static void count(const char *text, size_t n)
{
	uint32_t hash = hash_of(text, n);

	if (table_used * 4 >= table_size * 3)
		grow();
	struct word *w = slot(table, table_size, text, n, hash);

	if (!w->text) {
		w->text = malloc(n + 1);
		if (!w->text)
			creel_crash("the text has more different words than memory holds: give it more "
				    "memory");
		memcpy(w->text, text, n);
		w->text[n] = '\0';
		w->hash = hash;
		table_used++;
	}
	w->count++;
}

static int is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '\'' || c >= 0x80;
}

static int lower(int c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* More often first, then by the alphabet. */
static bool before(const struct word *a, const struct word *b)
{
	return a->count != b->count ? a->count > b->count : strcmp(a->text, b->text) < 0;
}

static void show(size_t most)
{
	for (size_t shown = 0; shown < most; shown++) {
		struct word *best = NULL;

		for (size_t i = 0; i < table_size; i++) {
			if (table[i].count && (!best || before(&table[i], best)))
				best = &table[i];
		}
		if (!best)
			return;
		printf("%8lu %s\n", best->count, best->text);
		best->count = 0;
	}
}

int main(int argc, char **argv)
{
	uint64_t lines = 0, words = 0, bytes = 0;
	char word[WORD_MAX];
	size_t n = 0;
	int c;

	do {
		c = getchar();
		bytes += c >= 0;
		lines += c == '\n';
		if (c >= 0 && is_letter(c)) {
			if (n < WORD_MAX)
				word[n++] = (char)lower(c);
			continue;
		}
		if (n) {
			count(word, n);
			words++;
		}
		n = 0;
	} while (c >= 0);
	printf("%lu lines, %lu words, %lu bytes, %zu different words\n", lines, words, bytes,
		table_used);
	show(argc > 1 ? (size_t)atoi(argv[1]) : 10);
	return 0;
}
