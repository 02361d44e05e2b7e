/*
 * X25519 as in RFC 7748, section 5, "The X25519 and X448 Functions", on integers modulo
 * p = 2^255 - 19 in five limbs of 51 bits.
 *
 * Bounds. A "tight" element, the output of mul, square and mul_small, has limbs below 2^51 + 2^13.
 * A sum of two tight ones has limbs below 2^53, a difference (which adds 4p first) below 2^54.
 * Factors may be any of these: a column of a product is then below 5 * 19 * 2^54 * 2^54 < 2^115.
 */
#include "mgmt/crypto/x25519.h"

#include "lib/bytes.h"
#include "lib/wipe.h"

#define LIMBS     5
#define LIMB_BITS 51
#define LIMB_MASK ((1ull << LIMB_BITS) - 1)
#define A24       121665 /* (486662 - 2) / 4 of the curve */

typedef unsigned __int128 u128;

struct element {
	uint64_t v[LIMBS];
};

static const uint8_t base_point[X25519_SIZE] = {9};

/* RFC 7748, "decodeUCoordinate": bit 255 is ignored, a value from p on is taken modulo p. */
static struct element element_load(const uint8_t in[X25519_SIZE])
{
	uint64_t a = load_le64(in), b = load_le64(in + 8);
	uint64_t c = load_le64(in + 16), d = load_le64(in + 24);

	return (struct element){{
		a & LIMB_MASK,
		(a >> 51 | b << 13) & LIMB_MASK,
		(b >> 38 | c << 26) & LIMB_MASK,
		(c >> 25 | d << 39) & LIMB_MASK,
		d >> 12 & LIMB_MASK,
	}};
}

/* One pass of carries; what leaves the top comes back times 19, since 2^255 = 19 modulo p. */
static void element_carry(struct element *x)
{
	for (int i = 0; i < LIMBS - 1; i++) {
		x->v[i + 1] += x->v[i] >> LIMB_BITS;
		x->v[i] &= LIMB_MASK;
	}
	x->v[0] += 19 * (x->v[4] >> LIMB_BITS);
	x->v[4] &= LIMB_MASK;
}

/* The one representative below p. `x` is tight. */
static void element_store(uint8_t out[X25519_SIZE], struct element x)
{
	uint64_t q = 19;

	/* the second pass leaves all limbs within 51 bits, as the first brought the value below 2p
	 */
	element_carry(&x);
	element_carry(&x);
	/* q = 1 if x + 19 reaches 2^255, that is if x >= p, else 0: then x - q * p = x + 19q - q *
	 * 2^255 */
	for (int i = 0; i < LIMBS; i++)
		q = (x.v[i] + q) >> LIMB_BITS;
	x.v[0] += 19 * q;
	for (int i = 0; i < LIMBS - 1; i++) {
		x.v[i + 1] += x.v[i] >> LIMB_BITS;
		x.v[i] &= LIMB_MASK;
	}
	x.v[4] &= LIMB_MASK;
	store_le64(out, x.v[0] | x.v[1] << 51);
	store_le64(out + 8, x.v[1] >> 13 | x.v[2] << 38);
	store_le64(out + 16, x.v[2] >> 26 | x.v[3] << 25);
	store_le64(out + 24, x.v[3] >> 39 | x.v[4] << 12);
	wipe(&x, sizeof(x));
}

static inline struct element add(const struct element *a, const struct element *b)
{
	return (struct element){{a->v[0] + b->v[0], a->v[1] + b->v[1], a->v[2] + b->v[2],
		a->v[3] + b->v[3], a->v[4] + b->v[4]}};
}

/* a - b + 4p, so that no limb goes below zero. `b` is tight, or a sum of two that are. */
static inline struct element sub(const struct element *a, const struct element *b)
{
	const uint64_t low = 4 * (LIMB_MASK - 18), high = 4 * LIMB_MASK;

	return (struct element){{a->v[0] + low - b->v[0], a->v[1] + high - b->v[1],
		a->v[2] + high - b->v[2], a->v[3] + high - b->v[3], a->v[4] + high - b->v[4]}};
}

/*
 * The low limb of a column of a product, which is below 2^115 with what the column before carried
 * into it; the rest is the carry. Column by column, so that few of them are alive at a time.
 */
static inline uint64_t limb_of(u128 column, uint64_t *carry)
{
	*carry = (uint64_t)(column >> LIMB_BITS);
	return (uint64_t)column & LIMB_MASK;
}

/*
 * Makes an element tight: the carry of column 4, which has no factor 19 and is below 2^111, comes
 * back times 19, and that is below 2^64.
 */
static inline void wrap(struct element *r, uint64_t carry)
{
	r->v[0] += 19 * carry;
	r->v[1] += r->v[0] >> LIMB_BITS;
	r->v[0] &= LIMB_MASK;
}

/* r = x * y. r may be a factor. */
static void mul(struct element *r, const struct element *x, const struct element *y)
{
	const uint64_t a0 = x->v[0], a1 = x->v[1], a2 = x->v[2], a3 = x->v[3], a4 = x->v[4];
	const uint64_t b0 = y->v[0], b1 = y->v[1], b2 = y->v[2], b3 = y->v[3], b4 = y->v[4];
	const uint64_t a1_19 = 19 * a1, a2_19 = 19 * a2, a3_19 = 19 * a3, a4_19 = 19 * a4;
	uint64_t c;

	r->v[0] = limb_of((u128)a0 * b0 + (u128)a4_19 * b1 + (u128)a3_19 * b2 + (u128)a2_19 * b3 +
				  (u128)a1_19 * b4,
		&c);
	r->v[1] = limb_of((u128)a1 * b0 + (u128)a0 * b1 + (u128)a4_19 * b2 + (u128)a3_19 * b3 +
				  (u128)a2_19 * b4 + c,
		&c);
	r->v[2] = limb_of((u128)a2 * b0 + (u128)a1 * b1 + (u128)a0 * b2 + (u128)a4_19 * b3 +
				  (u128)a3_19 * b4 + c,
		&c);
	r->v[3] = limb_of((u128)a3 * b0 + (u128)a2 * b1 + (u128)a1 * b2 + (u128)a0 * b3 +
				  (u128)a4_19 * b4 + c,
		&c);
	r->v[4] = limb_of(
		(u128)a4 * b0 + (u128)a3 * b1 + (u128)a2 * b2 + (u128)a1 * b3 + (u128)a0 * b4 + c,
		&c);
	wrap(r, c);
}

static void square(struct element *r, const struct element *x)
{
	const uint64_t a0 = x->v[0], a1 = x->v[1], a2 = x->v[2], a3 = x->v[3], a4 = x->v[4];
	const uint64_t a0_2 = 2 * a0, a1_2 = 2 * a1, a2_2 = 2 * a2;
	const uint64_t a3_19 = 19 * a3, a4_19 = 19 * a4;
	uint64_t c;

	r->v[0] = limb_of((u128)a0 * a0 + (u128)a1_2 * a4_19 + (u128)a2_2 * a3_19, &c);
	r->v[1] = limb_of((u128)a0_2 * a1 + (u128)a2_2 * a4_19 + (u128)a3 * a3_19 + c, &c);
	r->v[2] = limb_of((u128)a0_2 * a2 + (u128)a1 * a1 + (u128)(2 * a3) * a4_19 + c, &c);
	r->v[3] = limb_of((u128)a0_2 * a3 + (u128)a1_2 * a2 + (u128)a4 * a4_19 + c, &c);
	r->v[4] = limb_of((u128)a0_2 * a4 + (u128)a1_2 * a3 + (u128)a2 * a2 + c, &c);
	wrap(r, c);
}

static void mul_small(struct element *r, const struct element *x, uint32_t n)
{
	uint64_t c = 0;

	for (int i = 0; i < LIMBS; i++)
		r->v[i] = limb_of((u128)x->v[i] * n + c, &c);
	wrap(r, c);
}

static void square_times(struct element *r, const struct element *x, int n)
{
	square(r, x);
	while (--n)
		square(r, r);
}

/* x^(p - 2) = 1/x; 0 for 0. The exponent is 2^255 - 21; xN is x^(2^N - 1). */
static void invert(struct element *r, const struct element *x)
{
	struct element x2, x5, x10, x20, x50, x100, t;

	square(&t, x);
	mul(&x2, &t, x);
	square_times(&t, &x2, 2);
	mul(&t, &t, &x2); /* x4 */
	square(&t, &t);
	mul(&x5, &t, x);
	square_times(&t, &x5, 5);
	mul(&x10, &t, &x5);
	square_times(&t, &x10, 10);
	mul(&x20, &t, &x10);
	square_times(&t, &x20, 20);
	mul(&t, &t, &x20); /* x40 */
	square_times(&t, &t, 10);
	mul(&x50, &t, &x10);
	square_times(&t, &x50, 50);
	mul(&x100, &t, &x50);
	square_times(&t, &x100, 100);
	mul(&t, &t, &x100); /* x200 */
	square_times(&t, &t, 50);
	mul(&t, &t, &x50); /* x250 */
	/* 2^255 - 21 = (2^250 - 1) * 2^5 + 11, and 11 = 8 + 3 */
	square_times(&t, &t, 5);
	mul(&t, &t, &x2);
	square_times(&x5, x, 3);
	mul(r, &t, &x5);
}

/* Exchanges a and b if `swap` is 1, leaves them if it is 0: RFC 7748, "cswap". */
static inline void cswap(uint64_t swap, struct element *a, struct element *b)
{
	const uint64_t mask = 0 - swap;

	for (int i = 0; i < LIMBS; i++) {
		uint64_t t = mask & (a->v[i] ^ b->v[i]);

		a->v[i] ^= t;
		b->v[i] ^= t;
	}
}

/* A point of the Montgomery ladder and the one after it, by their projective u-coordinates. */
struct ladder {
	struct element x2, z2, x3, z3;
};

/* One step of the ladder, with the names of RFC 7748, section 5. */
static void ladder_step(struct ladder *l, const struct element *x1)
{
	struct element A = add(&l->x2, &l->z2), B = sub(&l->x2, &l->z2);
	struct element C = add(&l->x3, &l->z3), D = sub(&l->x3, &l->z3);
	struct element AA, BB, E, DA, CB, t;

	square(&AA, &A);
	square(&BB, &B);
	E = sub(&AA, &BB);
	mul(&DA, &D, &A);
	mul(&CB, &C, &B);
	t = add(&DA, &CB);
	square(&l->x3, &t);
	t = sub(&DA, &CB);
	square(&t, &t);
	mul(&l->z3, &t, x1);
	mul(&l->x2, &AA, &BB);
	mul_small(&t, &E, A24);
	t = add(&AA, &t);
	mul(&l->z2, &E, &t);
}

/* The caller has clamped the scalar. */
static void scalar_mul(
	uint8_t out[X25519_SIZE], const uint8_t k[X25519_SIZE], const uint8_t point[X25519_SIZE])
{
	const struct element x1 = element_load(point);
	struct ladder l = {.x2 = {{1}}, .z2 = {{0}}, .x3 = x1, .z3 = {{1}}};
	uint64_t swap = 0;

	for (int i = 254; i >= 0; i--) {
		uint64_t bit = k[i / 8] >> (i % 8) & 1;

		cswap(swap ^ bit, &l.x2, &l.x3);
		cswap(swap ^ bit, &l.z2, &l.z3);
		swap = bit;
		ladder_step(&l, &x1);
	}
	cswap(swap, &l.x2, &l.x3);
	cswap(swap, &l.z2, &l.z3);
	invert(&l.z2, &l.z2);
	mul(&l.x2, &l.x2, &l.z2);
	element_store(out, l.x2);
	wipe(&l, sizeof(l));
}

int x25519(uint8_t out[X25519_SIZE], const uint8_t scalar[X25519_SIZE],
	const uint8_t point[X25519_SIZE])
{
	uint8_t k[X25519_SIZE];
	uint8_t any = 0;

	/* RFC 7748, "decodeScalar25519" */
	memcpy(k, scalar, sizeof(k));
	k[0] &= 0xf8;
	k[31] = (k[31] & 0x7f) | 0x40;
	scalar_mul(out, k, point);
	wipe(k, sizeof(k));
	/* RFC 7748, section 6.1: whether all is zero, without a branch */
	for (int i = 0; i < X25519_SIZE; i++)
		any |= out[i];
	return (int)(((uint32_t)any - 1) >> 31) * ERR_INVALID;
}

void x25519_public(uint8_t out[X25519_SIZE], const uint8_t scalar[X25519_SIZE])
{
	/* the base point has a large order: no result is zero */
	int status = x25519(out, scalar, base_point);

	(void)status;
}
