/* In the order of the standard: data, error correction, function patterns, placement, masking. */
#include "lib/qr.h"

#include "lib/err.h"
#include "lib/string.h"

#define MODE_BYTE      4u
#define PAD_FIRST      0xecu
#define PAD_SECOND     0x11u
#define LEVEL_M        0u      /* as the format information has it */
#define FIELD          0x11du  /* x^8 + x^4 + x^3 + x^2 + 1 */
#define FORMAT_CODE    0x537u  /* generator of the (15, 5) BCH code */
#define FORMAT_MASK    0x5412u
#define VERSION_CODE   0x1f25u /* generator of the (18, 6) code */
#define VERSION_SHOWN  7u      /* from this one on, a code tells its version */
#define COUNT_WIDE     10u     /* from this one on, the length has 16 bits */
#define MASKS          8u
#define CODEWORDS_MAX  346u
#define ECC_MAX        26u

/* Penalties of "Evaluation of data masking results". */
#define RUN_LEAST      5u
#define PENALTY_RUN    3u
#define PENALTY_BLOCK  3u
#define PENALTY_FINDER 40u
#define PENALTY_SHARE  10u

/* Level M, by version: codewords in all, of error correction in each block, and blocks. */
static const struct capacity {
	uint16_t codewords;
	uint8_t ecc, blocks;
} capacities[QR_VERSION_MAX + 1] = {
	{0},
	{26, 10, 1},
	{44, 16, 1},
	{70, 26, 1},
	{100, 18, 2},
	{134, 24, 2},
	{172, 16, 4},
	{196, 18, 4},
	{242, 22, 4},
	{292, 22, 5},
	{346, 26, 5},
};

static unsigned data_codewords(unsigned version)
{
	const struct capacity *c = &capacities[version];

	return c->codewords - (unsigned)c->ecc * c->blocks;
}

/* ---- data ---- */

struct bits {
	uint8_t bytes[CODEWORDS_MAX];
	unsigned count;
};

static void put_bits(struct bits *b, unsigned value, unsigned width)
{
	while (width--) {
		if (value >> width & 1)
			b->bytes[b->count / 8] |= (uint8_t)(0x80 >> b->count % 8);
		b->count++;
	}
}

static unsigned head_bits(unsigned version)
{
	return 4 + (version < COUNT_WIDE ? 8 : 16);
}

static void encode_data(struct bits *b, unsigned version, const uint8_t *text, size_t size)
{
	unsigned room = 8 * data_codewords(version), terminator;

	put_bits(b, MODE_BYTE, 4);
	put_bits(b, (unsigned)size, head_bits(version) - 4);
	for (size_t i = 0; i < size; i++)
		put_bits(b, text[i], 8);
	terminator = MIN(room - b->count, 4u);
	put_bits(b, 0, terminator);
	put_bits(b, 0, (8 - b->count % 8) % 8);
	for (unsigned pad = PAD_FIRST; b->count < room; pad ^= PAD_FIRST ^ PAD_SECOND)
		put_bits(b, pad, 8);
}

/* ---- error correction: Reed-Solomon over GF(256) ---- */

static uint8_t multiply(uint8_t a, uint8_t b)
{
	unsigned product = 0;

	for (int i = 7; i >= 0; i--) {
		product = product << 1 ^ (product >> 7) * FIELD;
		product ^= (b >> i & 1u) * a;
	}
	return (uint8_t)product;
}

/* The product of (x - 2^i) for i below `degree`; the leading 1 is left out. */
static void make_generator(uint8_t generator[ECC_MAX], unsigned degree)
{
	uint8_t root = 1;

	memset(generator, 0, degree);
	generator[degree - 1] = 1;
	for (unsigned i = 0; i < degree; i++) {
		for (unsigned j = 0; j < degree; j++) {
			generator[j] = multiply(generator[j], root);
			if (j + 1 < degree)
				generator[j] ^= generator[j + 1];
		}
		root = multiply(root, 2);
	}
}

static void divide(uint8_t rest[ECC_MAX], const uint8_t *data, unsigned size,
	const uint8_t generator[ECC_MAX], unsigned degree)
{
	memset(rest, 0, degree);
	for (unsigned i = 0; i < size; i++) {
		uint8_t factor = data[i] ^ rest[0];

		memmove(rest, rest + 1, degree - 1);
		rest[degree - 1] = 0;
		for (unsigned j = 0; j < degree; j++)
			rest[j] ^= multiply(generator[j], factor);
	}
}

/* Blocks are cut from the data, the last ones a codeword longer, and then interleaved. */
static void add_correction(uint8_t out[CODEWORDS_MAX], const uint8_t *data, unsigned version)
{
	const struct capacity *c = &capacities[version];
	unsigned total = data_codewords(version), shorter = total / c->blocks;
	unsigned longer = total % c->blocks; /* blocks with one more */
	uint8_t generator[ECC_MAX], rest[ECC_MAX];

	make_generator(generator, c->ecc);
	for (unsigned b = 0; b < c->blocks; b++) {
		unsigned ahead = b > c->blocks - longer ? b - (c->blocks - longer) : 0;
		unsigned size = shorter + (b >= c->blocks - longer);
		const uint8_t *block = data + b * shorter + ahead;

		for (unsigned i = 0; i < shorter; i++)
			out[i * c->blocks + b] = block[i];
		if (size > shorter)
			out[shorter * c->blocks + ahead] = block[shorter];
		divide(rest, block, size, generator, c->ecc);
		for (unsigned i = 0; i < c->ecc; i++)
			out[total + i * c->blocks + b] = rest[i];
	}
}

/* ---- function patterns ---- */

struct drawing {
	struct qr *qr;
	uint64_t taken[QR_SIZE_MAX]; /* modules that hold no data */
	unsigned version;
};

static void set(struct drawing *d, unsigned x, unsigned y, bool dark)
{
	uint64_t bit = 1ull << x;

	d->qr->row[y] = dark ? d->qr->row[y] | bit : d->qr->row[y] & ~bit;
	d->taken[y] |= bit;
}

static int away(int v)
{
	return v < 0 ? -v : v;
}

/* Rings around a centre, by their distance from it; what lies outside of the code is left out. */
static void draw_rings(struct drawing *d, int x, int y, int radius, unsigned dark_rings)
{
	int size = (int)d->qr->size;

	for (int dy = -radius; dy <= radius; dy++) {
		for (int dx = -radius; dx <= radius; dx++) {
			int ring = MAX(away(dx), away(dy));

			if (x + dx >= 0 && x + dx < size && y + dy >= 0 && y + dy < size)
				set(d, (unsigned)(x + dx), (unsigned)(y + dy),
					dark_rings >> ring & 1);
		}
	}
}

#define FINDER_RINGS    0x0bu /* 0, 1 and 3; ring 4 is the separator */
#define ALIGNMENT_RINGS 0x05u /* 0 and 2 */

static void draw_alignment(struct drawing *d)
{
	int last = (int)d->qr->size - 7, middle = 2 * ((int)d->version + 4);
	int at[3] = {6, d->version < 7 ? last : middle, last};
	int count = d->version < 7 ? 2 : 3;

	if (d->version < 2)
		return;
	for (int i = 0; i < count; i++) {
		for (int j = 0; j < count; j++) {
			bool corner = (i == 0 && j == 0) || (i == 0 && j == count - 1) ||
				      (i == count - 1 && j == 0);

			if (!corner)
				draw_rings(d, at[i], at[j], 2, ALIGNMENT_RINGS);
		}
	}
}

/* `data` and, behind it, what is left of it by the generator of `degree` bits. */
static unsigned bch(unsigned data, unsigned generator, unsigned degree)
{
	unsigned rest = data;

	for (unsigned i = 0; i < degree; i++)
		rest = rest << 1 ^ (rest >> (degree - 1)) * generator;
	return data << degree | rest;
}

static void draw_version(struct drawing *d)
{
	unsigned bits = bch(d->version, VERSION_CODE, 12), edge = d->qr->size - 11;

	if (d->version < VERSION_SHOWN)
		return;
	for (unsigned i = 0; i < 18; i++) {
		set(d, edge + i % 3, i / 3, bits >> i & 1);
		set(d, i / 3, edge + i % 3, bits >> i & 1);
	}
}

/* Once around the upper left finder, and once beside the two others. */
static void draw_format(struct drawing *d, unsigned mask)
{
	unsigned bits = bch(LEVEL_M << 3 | mask, FORMAT_CODE, 10) ^ FORMAT_MASK;
	unsigned size = d->qr->size;

	for (unsigned i = 0; i < 15; i++) {
		bool dark = bits >> i & 1;
		unsigned near = i < 6 ? i : i < 8 ? i + 1 : 14 - i;

		if (i < 8)
			set(d, 8, near, dark);
		else
			set(d, i == 8 ? 7 : near, 8, dark);
		if (i < 8)
			set(d, size - 1 - i, 8, dark);
		else
			set(d, 8, size - 15 + i, dark);
	}
	set(d, 8, size - 8, true);
}

static void draw_functions(struct drawing *d)
{
	unsigned size = d->qr->size;

	for (unsigned i = 0; i < size; i++) {
		set(d, 6, i, i % 2 == 0);
		set(d, i, 6, i % 2 == 0);
	}
	draw_rings(d, 3, 3, 4, FINDER_RINGS);
	draw_rings(d, (int)size - 4, 3, 4, FINDER_RINGS);
	draw_rings(d, 3, (int)size - 4, 4, FINDER_RINGS);
	draw_alignment(d);
	draw_version(d);
	draw_format(d, 0); /* takes its place; the mask comes later */
}

/* Columns of two, from the right, up and down in turn; the column of the timing pattern is left out. */
static void place(struct drawing *d, const uint8_t *codewords, unsigned count)
{
	unsigned size = d->qr->size, bit = 0;

	for (unsigned pair = 0; pair < size / 2; pair++) {
		unsigned right = size - 1 - 2 * pair;

		right -= right <= 6;
		for (unsigned i = 0; i < 2 * size; i++) {
			unsigned x = right - i % 2, y = pair % 2 ? i / 2 : size - 1 - i / 2;

			if (d->taken[y] >> x & 1)
				continue;
			if (bit < 8 * count && codewords[bit / 8] >> (7 - bit % 8) & 1)
				d->qr->row[y] |= 1ull << x;
			bit++;
		}
	}
}

/* ---- masking ---- */

static bool inverts(unsigned mask, unsigned x, unsigned y)
{
	switch (mask) {
	case 0:
		return (x + y) % 2 == 0;
	case 1:
		return y % 2 == 0;
	case 2:
		return x % 3 == 0;
	case 3:
		return (x + y) % 3 == 0;
	case 4:
		return (x / 3 + y / 2) % 2 == 0;
	case 5:
		return x * y % 2 + x * y % 3 == 0;
	case 6:
		return (x * y % 2 + x * y % 3) % 2 == 0;
	default:
		return ((x + y) % 2 + x * y % 3) % 2 == 0;
	}
}

static void apply_mask(struct drawing *d, unsigned mask)
{
	for (unsigned y = 0; y < d->qr->size; y++) {
		for (unsigned x = 0; x < d->qr->size; x++) {
			if (!(d->taken[y] >> x & 1) && inverts(mask, x, y))
				d->qr->row[y] ^= 1ull << x;
		}
	}
}

/* Of one line: runs of one colour, and what looks like a finder with light space beside it. */
static unsigned line_penalty(uint64_t line, unsigned size)
{
	const uint64_t finder = 0x5d, around = 0x7ff; /* 1011101, in 11 modules */
	unsigned penalty = 0, run = 1;

	for (unsigned i = 1; i <= size; i++) {
		if (i < size && (line >> i & 1) == (line >> (i - 1) & 1)) {
			run++;
			continue;
		}
		if (run >= RUN_LEAST)
			penalty += PENALTY_RUN + run - RUN_LEAST;
		run = 1;
	}
	for (unsigned i = 0; i + 11 <= size; i++) {
		uint64_t seen = line >> i & around;

		penalty += (seen == finder || seen == finder << 4) * PENALTY_FINDER;
	}
	return penalty;
}

static uint64_t column(const struct qr *qr, unsigned x)
{
	uint64_t line = 0;

	for (unsigned y = 0; y < qr->size; y++)
		line |= (qr->row[y] >> x & 1) << y;
	return line;
}

static unsigned penalty(const struct qr *qr)
{
	unsigned size = qr->size, all = size * size, dark = 0, sum = 0, off;

	for (unsigned i = 0; i < size; i++) {
		sum += line_penalty(qr->row[i], size) + line_penalty(column(qr, i), size);
		for (unsigned x = 0; x < size; x++)
			dark += qr->row[i] >> x & 1;
	}
	for (unsigned y = 0; y + 1 < size; y++) {
		uint64_t same = ~(qr->row[y] ^ qr->row[y + 1]);
		uint64_t beside = ~(qr->row[y] ^ qr->row[y] >> 1);

		for (unsigned x = 0; x + 1 < size; x++)
			sum += (unsigned)(same >> x & same >> (x + 1) & beside >> x & 1) *
			       PENALTY_BLOCK;
	}
	/* for each step of 5 % away from a half */
	off = 20 * dark > 10 * all ? 20 * dark - 10 * all : 10 * all - 20 * dark;
	return sum + off / all * PENALTY_SHARE;
}

static void choose_mask(struct drawing *d)
{
	unsigned best = 0, least = UINT32_MAX;

	for (unsigned mask = 0; mask < MASKS; mask++) {
		unsigned now;

		apply_mask(d, mask);
		draw_format(d, mask);
		now = penalty(d->qr);
		if (now < least) {
			least = now;
			best = mask;
		}
		apply_mask(d, mask);
	}
	apply_mask(d, best);
	draw_format(d, best);
}

int qr_make(struct qr *qr, const void *text, size_t size)
{
	struct drawing d = {.qr = qr, .version = 1};
	struct bits data = {.count = 0};
	uint8_t codewords[CODEWORDS_MAX];

	if (size > QR_TEXT_MAX)
		return ERR_TOOBIG;
	while (head_bits(d.version) + 8 * size > 8 * data_codewords(d.version))
		d.version++;
	*qr = (struct qr){.size = 17 + 4 * d.version};
	encode_data(&data, d.version, text, size);
	add_correction(codewords, data.bytes, d.version);
	draw_functions(&d);
	place(&d, codewords, capacities[d.version].codewords);
	choose_mask(&d);
	return OK;
}
