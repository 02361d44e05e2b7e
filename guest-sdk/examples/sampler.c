/*
 * A language model in small. It learns from the text on its input which word follows which, freezes
 * itself as the snapshot "trained", and ends. Every fork of that snapshot wakes up with the model in
 * memory and random numbers of its own, makes up a sentence and prints
 *
 *	bits a word, seed, sentence
 *
 * where few bits mean that it is much like the text. Each line of input asks for one more; the line
 * "wreck" has it destroy its model.
 */
#include <creel/creel.h>

#define WORD_MAX     64
#define SENTENCE_MIN 8
#define SENTENCE_MAX 24
#define TRIES        1000
#define BUCKETS      4096
#define NONE         UINT32_MAX
#define BIT          256 /* bits are counted in 256ths */

/* The text, word by word. What may follow a word is found by looking at all places where it stands. */
struct place {
	const char *word;
	uint32_t before; /* the place before this one in the same bucket, or NONE */
};

struct sentence {
	uint32_t place[SENTENCE_MAX];
	uint32_t words, bits;
};

static struct place *text;
static uint32_t words, room;
static uint32_t bucket[BUCKETS]; /* the last place of all words with this hash */
static uint64_t random_state;

static uint32_t *bucket_of(const char *word)
{
	uint32_t h = 2166136261u;

	while (*word)
		h = (h ^ (unsigned char)*word++) * 16777619u;
	return &bucket[h % BUCKETS];
}

static void learn(const char *word)
{
	size_t size = strlen(word) + 1;
	char *copy = malloc(size);

	if (words == room) {
		room = room ? 2 * room : 1024;
		text = realloc(text, room * sizeof(*text));
	}
	if (!copy || !text)
		creel_crash("the text is too long for this memory");
	memcpy(copy, word, size);
	text[words] = (struct place){copy, *bucket_of(word)};
	*bucket_of(word) = words++;
}

static void train(void)
{
	char word[WORD_MAX];
	size_t n = 0;
	int c;

	memset(bucket, 0xff, sizeof(bucket));
	do {
		c = getchar();
		if (c > ' ' && n < WORD_MAX - 1)
			word[n++] = (char)c;
		if (c > ' ' || n == 0)
			continue;
		word[n] = '\0';
		learn(word);
		n = 0;
	} while (c >= 0);
}

/* xorshift64*: the same seed gives the same sentence. */
static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 2685821657736338717ull) >> 32) % n;
}

/* log2 of n >= 1 in 256ths; between powers of two along a straight line. */
static uint32_t log2_of(uint32_t n)
{
	uint32_t whole = 31 - (uint32_t)__builtin_clz(n);

	return whole * BIT + (uint32_t)(((uint64_t)n * BIT >> whole) - BIT);
}

/* Places where the word of `at` stands and another one follows; only those where `next` does, unless
 * it is NULL. The one with number `pick` is stored in *picked. */
static uint32_t followed(uint32_t at, const char *next, uint32_t pick, uint32_t *picked)
{
	uint32_t n = 0;

	for (uint32_t p = *bucket_of(text[at].word); p != NONE; p = text[p].before) {
		if (p + 1 == words || strcmp(text[p].word, text[at].word) != 0 ||
			(next && strcmp(text[p + 1].word, next) != 0))
			continue;
		if (n++ == pick)
			*picked = p + 1;
	}
	return n;
}

static bool ends_sentence(uint32_t at)
{
	return text[at].word[strlen(text[at].word) - 1] == '.';
}

static bool make_up(struct sentence *s)
{
	uint32_t at = random_below(words - 1);

	while (!ends_sentence(at))
		at = (at + 1) % words;
	s->words = s->bits = 0;
	while (s->words < SENTENCE_MAX) {
		uint32_t all = followed(at, NULL, NONE, NULL);

		if (!all)
			return false;
		uint32_t from = at;

		followed(from, NULL, random_below(all), &at);
		/* one more in the count: what was seen once only proves little */
		s->bits += log2_of(all + 1) - log2_of(followed(from, text[at].word, NONE, NULL));
		s->place[s->words++] = at;
		if (ends_sentence(at))
			return s->words >= SENTENCE_MIN;
	}
	return false;
}

static int say_a_sentence(void)
{
	struct sentence s;
	uint64_t seed;

	if (words < 2)
		creel_crash("there is no model to draw from");
	creel_random(&seed, sizeof(seed));
	random_state = seed | 1;
	for (int i = 0; i < TRIES; i++) {
		if (!make_up(&s))
			continue;
		uint32_t hundredths = s.bits * 100 / BIT / s.words;

		printf("%u.%02u %016lx", hundredths / 100, hundredths % 100, seed);
		for (uint32_t w = 0; w < s.words; w++)
			printf(" %s", text[s.place[w]].word);
		putchar('\n');
		return 0;
	}
	eprintf("sampler: this text has no sentences\n");
	return 1;
}

static int answer(void)
{
	char line[WORD_MAX];
	int status = say_a_sentence();

	while (status == 0 && creel_gets(line, sizeof(line))) {
		if (strcmp(line, "wreck\n") == 0) {
			memset(text, 0, words * sizeof(*text));
			words = 0;
		}
		status = say_a_sentence();
	}
	return status;
}

int main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	train();
	int64_t snapshot = creel_snapshot("trained");

	if (snapshot == 0)
		return answer();
	if (snapshot < 0) {
		eprintf("sampler: no snapshot could be taken: error %ld\n", snapshot);
		return 1;
	}
	printf("learned from %u words; snapshot %ld can be forked\n", words, snapshot);
	return 0;
}
