/* SM2 verification, 8 signatures side by side in the 8 lanes of AVX-512 IFMA; only public values, so time may vary.
 *
 * A signature (r, s) of the key P over e is valid if x1 = (r - e) mod n for (x1, y1) = s*G + t*P, t = r + s mod n
 * (GB/T 32918.2 s.7.1). All lanes run in lockstep along the 255 doublings of t*P; every 5 of them a multiple of P is
 * added from a table of the lane, every 13 a multiple of G from a table that all share.
 *
 * - Field: 5 limbs of 52 bits, Montgomery form with R = 2^260. p = -1 mod 2^64 makes the Montgomery factor 1, and
 *   p + 1 = 2^52 * (-c + 16 * c * 2^156) with c = 2^44 - 2^12 leaves two products per limb to reduce by.
 * - Scalars are written with odd digits only, so no digit is zero and the sum is never empty: an even scalar k is
 *   replaced by n - k and the base by its inverse (Joye and Tunstall, "Exponent Recoding and Regular Exponentiation
 *   Algorithms", AFRICACRYPT 2009).
 * - Points: Jacobian, with D = 2*Y in place of Y, which removes multiples of Y from the doubling formula. The table of
 *   P has one denominator C for all entries, so they are affine on the isomorphic curve where lengths are scaled by C.
 *   Additions happen there (they do not depend on the curve's coefficients) and need z = Z/C; doublings happen on SM2's
 *   own curve, where a = -3, and need only Z^2. The sum therefore keeps z and Z^2 (`square`), both sides of the
 *   isomorphism. Formulas: dbl-2001-b and add-2007-bl of the Explicit-Formulas Database, with D put in.
 * - An addition that its formula cannot do (equal or opposite points) gives z = 0, and z stays 0 from then on. Such
 *   lanes are found once, at the end, and done again bit by bit with every case distinguished.
 */
#include "sm2_batch.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <pthread.h>
#include <string.h>

#include "cpu.h"

#define IFMA __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")))
#define INLINED static inline __attribute__((always_inline)) IFMA

#define LANES SM2_BATCH
#define LIMBS 5
#define WORDS 4

/* ---- field ----
 *
 * Eight numbers modulo p. In an `element` each limb is the low 52 bits of its 64: the multiplier reads no others, so
 * stale carries may stand above them. In `limbs` all 64 bits count, signed. Bounds of values are in units of p; an
 * element is below 16 p < 2^260. A product of elements below a and b is below 1 + a * b / 16 (and not negative). */
typedef struct {
    __m512i l0, l1, l2, l3, l4;
} element;

typedef element limbs;

/* The 10 limbs of a double-length number, signed. */
typedef struct {
    __m512i c0, c1, c2, c3, c4, c5, c6, c7, c8, c9;
} columns;

#define LIMB_MASK 0xFFFFFFFFFFFFFLL
#define TOP_MASK 0xFFFFFFFFFFFFLL /* of the 48 bits of the highest limb of p */
#define FACTOR 0xFFFFFFFF000LL    /* c = 2^44 - 2^12 */

#define P0 0xFFFFFFFFFFFFFLL
#define P1 0xFF00000000FFFLL
#define P2 0xFFFFFFFFFFFFFLL
#define P3 0xFFFFFFFFFFFFFLL
#define P4 0xFFFFFFFEFFFFLL

INLINED __m512i all(long long value)
{
    return _mm512_set1_epi64(value);
}

INLINED __m512i low_product(__m512i sum, __m512i a, __m512i b)
{
    return _mm512_madd52lo_epu64(sum, a, b);
}

INLINED __m512i high_product(__m512i sum, __m512i a, __m512i b)
{
    return _mm512_madd52hi_epu64(sum, a, b);
}

/* `multiple` times p, in the upper half: what a reduction starts with so that subtractions later stay above zero. */
INLINED columns start(long long multiple)
{
    __m512i zero = _mm512_setzero_si512();
    columns t = {zero, zero, zero, zero, zero, zero, zero, zero, zero, zero};
    if (multiple != 0) {
        t.c5 = all(multiple * P0);
        t.c6 = all(multiple * P1);
        t.c7 = all(multiple * P2);
        t.c8 = all(multiple * P3);
        t.c9 = all(multiple * P4);
    }
    return t;
}

INLINED columns add_product(columns t, const element *a, const element *b)
{
    t.c0 = low_product(t.c0, a->l0, b->l0);
    t.c1 = low_product(t.c1, a->l0, b->l1);
    t.c2 = low_product(t.c2, a->l0, b->l2);
    t.c3 = low_product(t.c3, a->l0, b->l3);
    t.c4 = low_product(t.c4, a->l0, b->l4);
    t.c1 = high_product(t.c1, a->l0, b->l0);
    t.c2 = high_product(t.c2, a->l0, b->l1);
    t.c3 = high_product(t.c3, a->l0, b->l2);
    t.c4 = high_product(t.c4, a->l0, b->l3);
    t.c5 = high_product(t.c5, a->l0, b->l4);

    t.c1 = low_product(t.c1, a->l1, b->l0);
    t.c2 = low_product(t.c2, a->l1, b->l1);
    t.c3 = low_product(t.c3, a->l1, b->l2);
    t.c4 = low_product(t.c4, a->l1, b->l3);
    t.c5 = low_product(t.c5, a->l1, b->l4);
    t.c2 = high_product(t.c2, a->l1, b->l0);
    t.c3 = high_product(t.c3, a->l1, b->l1);
    t.c4 = high_product(t.c4, a->l1, b->l2);
    t.c5 = high_product(t.c5, a->l1, b->l3);
    t.c6 = high_product(t.c6, a->l1, b->l4);

    t.c2 = low_product(t.c2, a->l2, b->l0);
    t.c3 = low_product(t.c3, a->l2, b->l1);
    t.c4 = low_product(t.c4, a->l2, b->l2);
    t.c5 = low_product(t.c5, a->l2, b->l3);
    t.c6 = low_product(t.c6, a->l2, b->l4);
    t.c3 = high_product(t.c3, a->l2, b->l0);
    t.c4 = high_product(t.c4, a->l2, b->l1);
    t.c5 = high_product(t.c5, a->l2, b->l2);
    t.c6 = high_product(t.c6, a->l2, b->l3);
    t.c7 = high_product(t.c7, a->l2, b->l4);

    t.c3 = low_product(t.c3, a->l3, b->l0);
    t.c4 = low_product(t.c4, a->l3, b->l1);
    t.c5 = low_product(t.c5, a->l3, b->l2);
    t.c6 = low_product(t.c6, a->l3, b->l3);
    t.c7 = low_product(t.c7, a->l3, b->l4);
    t.c4 = high_product(t.c4, a->l3, b->l0);
    t.c5 = high_product(t.c5, a->l3, b->l1);
    t.c6 = high_product(t.c6, a->l3, b->l2);
    t.c7 = high_product(t.c7, a->l3, b->l3);
    t.c8 = high_product(t.c8, a->l3, b->l4);

    t.c4 = low_product(t.c4, a->l4, b->l0);
    t.c5 = low_product(t.c5, a->l4, b->l1);
    t.c6 = low_product(t.c6, a->l4, b->l2);
    t.c7 = low_product(t.c7, a->l4, b->l3);
    t.c8 = low_product(t.c8, a->l4, b->l4);
    t.c5 = high_product(t.c5, a->l4, b->l0);
    t.c6 = high_product(t.c6, a->l4, b->l1);
    t.c7 = high_product(t.c7, a->l4, b->l2);
    t.c8 = high_product(t.c8, a->l4, b->l3);
    t.c9 = high_product(t.c9, a->l4, b->l4);
    return t;
}

/* The products of different limbs in a square, once each (they count twice); columns 0 and 9 have none. */
INLINED columns crossed(columns t, const element *a)
{
    t.c1 = low_product(t.c1, a->l0, a->l1);
    t.c2 = low_product(t.c2, a->l0, a->l2);
    t.c3 = low_product(t.c3, a->l0, a->l3);
    t.c4 = low_product(t.c4, a->l0, a->l4);
    t.c2 = high_product(t.c2, a->l0, a->l1);
    t.c3 = high_product(t.c3, a->l0, a->l2);
    t.c4 = high_product(t.c4, a->l0, a->l3);
    t.c5 = high_product(t.c5, a->l0, a->l4);
    t.c3 = low_product(t.c3, a->l1, a->l2);
    t.c4 = low_product(t.c4, a->l1, a->l3);
    t.c5 = low_product(t.c5, a->l1, a->l4);
    t.c4 = high_product(t.c4, a->l1, a->l2);
    t.c5 = high_product(t.c5, a->l1, a->l3);
    t.c6 = high_product(t.c6, a->l1, a->l4);
    t.c5 = low_product(t.c5, a->l2, a->l3);
    t.c6 = low_product(t.c6, a->l2, a->l4);
    t.c6 = high_product(t.c6, a->l2, a->l3);
    t.c7 = high_product(t.c7, a->l2, a->l4);
    t.c7 = low_product(t.c7, a->l3, a->l4);
    t.c8 = high_product(t.c8, a->l3, a->l4);
    return t;
}

INLINED columns add_diagonal(columns t, const element *a)
{
    t.c0 = low_product(t.c0, a->l0, a->l0);
    t.c1 = high_product(t.c1, a->l0, a->l0);
    t.c2 = low_product(t.c2, a->l1, a->l1);
    t.c3 = high_product(t.c3, a->l1, a->l1);
    t.c4 = low_product(t.c4, a->l2, a->l2);
    t.c5 = high_product(t.c5, a->l2, a->l2);
    t.c6 = low_product(t.c6, a->l3, a->l3);
    t.c7 = high_product(t.c7, a->l3, a->l3);
    t.c8 = low_product(t.c8, a->l4, a->l4);
    t.c9 = high_product(t.c9, a->l4, a->l4);
    return t;
}

INLINED columns subtract_columns(columns a, columns b)
{
    columns t = {a.c0 - b.c0, a.c1 - b.c1, a.c2 - b.c2, a.c3 - b.c3, a.c4 - b.c4,
                 a.c5 - b.c5, a.c6 - b.c6, a.c7 - b.c7, a.c8 - b.c8, a.c9 - b.c9};
    return t;
}

INLINED columns add_columns(columns a, columns b)
{
    columns t = {a.c0 + b.c0, a.c1 + b.c1, a.c2 + b.c2, a.c3 + b.c3, a.c4 + b.c4,
                 a.c5 + b.c5, a.c6 + b.c6, a.c7 + b.c7, a.c8 + b.c8, a.c9 + b.c9};
    return t;
}

INLINED columns add_square(columns t, const element *a)
{
    columns cross = crossed(start(0), a);
    return add_diagonal(add_columns(t, add_columns(cross, cross)), a);
}

/* t / R modulo p, above t / R by less than p. Each step makes the lowest limb vanish by adding q * p, where q is its
 * value modulo 2^52: q * (p + 1) goes to the limbs above, and the limb less q is its carry; the lowest column of a
 * single product has none. */
INLINED limbs reduce_columns(columns t, bool is_lowest_narrow)
{
    __m512i factor = all(FACTOR), factor16 = all(16 * FACTOR), zero = _mm512_setzero_si512();
    __m512i taken, high;

    taken = low_product(zero, t.c0, factor);
    high = high_product(zero, t.c0, factor);
    t.c4 = low_product(t.c4, t.c0, factor16);
    t.c5 = high_product(t.c5, t.c0, factor16);
    if (!is_lowest_narrow) {
        t.c1 = t.c1 + (t.c0 >> 52);
    }
    t.c1 = t.c1 - taken;

    taken = low_product(high, t.c1, factor);
    high = high_product(zero, t.c1, factor);
    t.c5 = low_product(t.c5, t.c1, factor16);
    t.c6 = high_product(t.c6, t.c1, factor16);
    t.c2 = t.c2 + (t.c1 >> 52) - taken;

    taken = low_product(high, t.c2, factor);
    high = high_product(zero, t.c2, factor);
    t.c6 = low_product(t.c6, t.c2, factor16);
    t.c7 = high_product(t.c7, t.c2, factor16);
    t.c3 = t.c3 + (t.c2 >> 52) - taken;

    taken = low_product(high, t.c3, factor);
    high = high_product(zero, t.c3, factor);
    t.c7 = low_product(t.c7, t.c3, factor16);
    t.c8 = high_product(t.c8, t.c3, factor16);
    t.c4 = t.c4 + (t.c3 >> 52) - taken;

    taken = low_product(high, t.c4, factor);
    high = high_product(zero, t.c4, factor);
    t.c8 = low_product(t.c8, t.c4, factor16);
    t.c9 = high_product(t.c9, t.c4, factor16);
    t.c5 = t.c5 + (t.c4 >> 52) - taken;
    t.c6 = t.c6 - high;

    limbs result = {t.c5, t.c6, t.c7, t.c8, t.c9};
    return result;
}

INLINED limbs reduce(columns t)
{
    return reduce_columns(t, false);
}

/* Moves carries up, so that the low 52 bits of each limb are its value. For values in [0, 2^260). */
INLINED element carry(limbs a)
{
    a.l1 += a.l0 >> 52;
    a.l2 += a.l1 >> 52;
    a.l3 += a.l2 >> 52;
    a.l4 += a.l3 >> 52;
    return a;
}

/* An element as limbs: without what stands above them. */
INLINED limbs exact(const element *a)
{
    __m512i mask = all(LIMB_MASK);
    limbs result = {a->l0 & mask, a->l1 & mask, a->l2 & mask, a->l3 & mask, a->l4 & mask};
    return result;
}

/* Subtracts a multiple of p: a value in [p/16, 2^260) comes out above zero and below 1.01. The multiple is
 * estimated from the highest limb: it is short by less than 2^220, and each p subtracted leaves 2^224. */
INLINED limbs fold(limbs a)
{
    __m512i over = a.l4 >> 48;
    a.l0 += over;
    a.l1 = low_product(a.l1, over, all(FACTOR));
    a.l4 = low_product(a.l4 & all(TOP_MASK), over, all(1LL << 16));
    return a;
}

INLINED limbs plus(limbs a, limbs b)
{
    limbs result = {a.l0 + b.l0, a.l1 + b.l1, a.l2 + b.l2, a.l3 + b.l3, a.l4 + b.l4};
    return result;
}

INLINED limbs minus(limbs a, limbs b)
{
    limbs result = {a.l0 - b.l0, a.l1 - b.l1, a.l2 - b.l2, a.l3 - b.l3, a.l4 - b.l4};
    return result;
}

INLINED limbs twice(limbs a)
{
    return plus(a, a);
}

INLINED limbs multiple_of_p(long long multiple)
{
    limbs result = {all(multiple * P0), all(multiple * P1), all(multiple * P2), all(multiple * P3), all(multiple * P4)};
    return result;
}

INLINED limbs negate_some(limbs a, __mmask8 lanes)
{
    __m512i zero = _mm512_setzero_si512();
    a.l0 = _mm512_mask_sub_epi64(a.l0, lanes, zero, a.l0);
    a.l1 = _mm512_mask_sub_epi64(a.l1, lanes, zero, a.l1);
    a.l2 = _mm512_mask_sub_epi64(a.l2, lanes, zero, a.l2);
    a.l3 = _mm512_mask_sub_epi64(a.l3, lanes, zero, a.l3);
    a.l4 = _mm512_mask_sub_epi64(a.l4, lanes, zero, a.l4);
    return a;
}

INLINED element choose(__mmask8 lanes, const element *otherwise, const element *chosen)
{
    element result = {_mm512_mask_blend_epi64(lanes, otherwise->l0, chosen->l0),
                      _mm512_mask_blend_epi64(lanes, otherwise->l1, chosen->l1),
                      _mm512_mask_blend_epi64(lanes, otherwise->l2, chosen->l2),
                      _mm512_mask_blend_epi64(lanes, otherwise->l3, chosen->l3),
                      _mm512_mask_blend_epi64(lanes, otherwise->l4, chosen->l4)};
    return result;
}

INLINED limbs raw_product(const element *a, const element *b, long long multiple)
{
    return reduce_columns(add_product(start(multiple), a, b), true);
}

INLINED limbs raw_square(const element *a, long long multiple)
{
    return reduce_columns(add_square(start(multiple), a), true);
}

INLINED element product(const element *a, const element *b)
{
    return carry(raw_product(a, b, 0));
}

INLINED element square(const element *a)
{
    return carry(raw_square(a, 0));
}

/* The same called, not copied, where speed does not matter. */
static __attribute__((noinline)) IFMA void multiply(element *result, const element *a, const element *b)
{
    *result = product(a, b);
}

static __attribute__((noinline)) IFMA element canonical(const element *a)
{
    limbs value = fold(exact(a));
    value = carry(value);
    value = exact(&value);
    /* below 2^256 + 2^228, so at most one p is left to subtract */
    limbs less = carry(minus(value, multiple_of_p(1)));
    __mmask8 smaller = _mm512_movepi64_mask(less.l4);
    less = exact(&less);
    return choose(smaller, &less, &value);
}

static IFMA __mmask8 is_zero(const element *a)
{
    element value = canonical(a);
    __m512i some = value.l0 | value.l1 | value.l2 | value.l3 | value.l4;
    return _mm512_testn_epi64_mask(some, some);
}

static IFMA __mmask8 is_equal(const element *a, const element *b)
{
    element first = canonical(a), second = canonical(b);
    element difference = carry(plus(minus(first, second), multiple_of_p(1)));
    return is_zero(&difference);
}

/* Four words of 64 bits per lane as limbs of 52, and back. */
INLINED element from_words(__m512i w0, __m512i w1, __m512i w2, __m512i w3)
{
    element result = {w0, _mm512_maskz_srli_epi64(0xFF, w0, 52) | (w1 << 12),
                      _mm512_maskz_srli_epi64(0xFF, w1, 40) | (w2 << 24),
                      _mm512_maskz_srli_epi64(0xFF, w2, 28) | (w3 << 36), _mm512_maskz_srli_epi64(0xFF, w3, 16)};
    return result;
}

INLINED void to_words(__m512i words[WORDS], const element *exact_limbs)
{
    const element *a = exact_limbs;
    words[0] = a->l0 | (a->l1 << 52);
    words[1] = (a->l1 >> 12) | (a->l2 << 40);
    words[2] = (a->l2 >> 24) | (a->l3 << 28);
    words[3] = (a->l3 >> 36) | (a->l4 << 16);
}

INLINED element same_in_all_lanes(const uint64_t words[WORDS])
{
    return from_words(all((long long)words[0]), all((long long)words[1]), all((long long)words[2]),
                      all((long long)words[3]));
}

/* GB/T 32918.5 s.2: the recommended curve. Words from low to high. */
static const uint64_t prime_words[WORDS] = {0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF00000000, 0xFFFFFFFFFFFFFFFF,
                                            0xFFFFFFFEFFFFFFFF};
static const uint64_t order_words[WORDS] = {0x53BBF40939D54123, 0x7203DF6B21C6052B, 0xFFFFFFFFFFFFFFFF,
                                            0xFFFFFFFEFFFFFFFF};
static const uint64_t b_words[WORDS] = {0xDDBCBD414D940E93, 0xF39789F515AB8F92, 0x4D5A9E4BCF6509A7,
                                        0x28E9FA9E9D9F5E34};
static const uint64_t generator_x_words[WORDS] = {0x715A4589334C74C7, 0x8FE30BBFF2660BE1, 0x5F9904466A39C994,
                                                  0x32C4AE2C1F198119};
static const uint64_t generator_y_words[WORDS] = {0x02DF32E52139F0A0, 0xD0A9877CC62A4740, 0x59BDCEE36B692153,
                                                  0xBC3736A2F4F6779C};
/* R mod p = 16 * (2^256 - p) and R^2 mod p; native/tests/test_sm2_batch.c would fail everywhere if they were wrong. */
static const uint64_t one_words[WORDS] = {16, 0xFFFFFFFF0, 0, 0x1000000000};
static const uint64_t enter_words[WORDS] = {0x0000020000000300, 0x000002FFFFFFFF00, 0x0000010000000100,
                                              0x0000040000000200};

/* Into Montgomery form. */
static IFMA element enter(const element *a)
{
    element factor = same_in_all_lanes(enter_words), result;
    multiply(&result, a, &factor);
    return result;
}

/* ---- points ---- */

/* A sum under way in each lane: the point (x / Z^2, d / (2 * Z^3)) of SM2's curve with Z = z * C, `square` = Z^2.
 * Between operations x < 4.1, d < 4.7, z < 2.3, square < 1.4. */
typedef struct {
    element x, d, z, square;
} sum8;

/* x and d of 8 points whose denominator is known from elsewhere. */
typedef struct {
    element x, d;
} point8;

static __attribute__((noinline)) IFMA void double_sum(sum8 *sum)
{
    element b = square(&sum->d); /* 4 y^2 */

    /* m = 3 * (x^2 - Z^4 + 2 p), folded from between 5 and 13 */
    columns x_cross = crossed(start(1), &sum->x), z_cross = crossed(start(0), &sum->square);
    columns cross = subtract_columns(x_cross, z_cross);
    cross = add_columns(cross, cross);
    columns difference = subtract_columns(add_diagonal(cross, &sum->x), add_diagonal(start(0), &sum->square));
    limbs n = reduce(difference);
    element m = carry(fold(plus(twice(n), n)));

    limbs s = raw_product(&sum->x, &b, 5);                   /* 4 x y^2 + 5 p, below 6.5 */
    limbs x = minus(raw_square(&m, 13), twice(s));           /* m^2 - 2 s, between 0 and 4.1 */
    element e = carry(twice(minus(s, x)));                   /* 2 (s - x), below 13 */
    columns d = add_product(start(1), &m, &e);               /* m e - b^2, between 0 and 2.9 */
    d = subtract_columns(d, add_square(start(0), &b));

    sum->z = product(&sum->d, &sum->z);
    sum->square = product(&b, &sum->square);
    sum->x = carry(x);
    sum->d = carry(reduce(d));
}

/* Adds points of which `square_z` and `cube_z`, multiplied to their x and d, give what x and d of the sum compare with;
 * the points of `negative` lanes are subtracted. */
INLINED void add_scaled(sum8 *sum, const point8 *point, const element *square_z, const element *cube_z,
                        __mmask8 negative)
{
    limbs h_raw = minus(raw_product(&point->x, square_z, 5), exact(&sum->x));
    element h = carry(fold(h_raw));
    limbs r_raw = negate_some(raw_product(&point->d, cube_z, 0), negative);
    element r = carry(fold(plus(minus(r_raw, exact(&sum->d)), multiple_of_p(7))));

    element i = carry(twice(twice(raw_square(&h, 0))));      /* 4 h^2, below 4.3 */
    limbs j = raw_product(&h, &i, 0);                        /* 4 h^3, below 1.3 */
    limbs v = raw_product(&sum->x, &i, 2);                   /* 4 x h^2 + 2 p, below 4.2 */
    limbs x = minus(minus(raw_square(&r, 10), j), twice(v)); /* r^2 - j - 2 v, between 0.3 and 7.1 */
    x = fold(x);
    element e = carry(minus(v, x));
    element minus_j = carry(minus(multiple_of_p(2), j));
    columns d = add_product(add_product(start(0), &r, &e), &sum->d, &minus_j);

    sum->z = carry(twice(raw_product(&sum->z, &h, 0)));
    sum->square = product(&sum->square, &i);
    sum->x = carry(x);
    sum->d = carry(twice(reduce(d)));
}

/* Adds affine points of SM2's own curve: powers of Z = z * C, which is `scale`. */
static __attribute__((noinline)) IFMA void add_affine(sum8 *sum, const point8 *point, const element *scale,
                                                       __mmask8 negative)
{
    element z = product(&sum->z, scale);
    element cube = product(&z, &sum->square);
    add_scaled(sum, point, &sum->square, &cube, negative);
}

/* Adds table entries, affine on the isomorphic curve: powers of z. */
static __attribute__((noinline)) IFMA void add_entry(sum8 *sum, const point8 *point, __mmask8 negative)
{
    element square_z = square(&sum->z);
    element cube = product(&square_z, &sum->z);
    add_scaled(sum, point, &square_z, &cube, negative);
}

/* ---- scalars: 8 numbers below 2^256, as words with room to read beyond the highest ---- */
typedef struct {
    __m512i word[WORDS + 2];
} scalar8;

/* The `width` bits of each lane from bit `position` on. */
INLINED __m512i bits_at(const scalar8 *scalar, int position, int width)
{
    int word = position / 64, offset = position % 64;
    __m512i low = _mm512_srl_epi64(scalar->word[word], _mm_cvtsi32_si128(offset));
    __m512i high = _mm512_sll_epi64(scalar->word[word + 1], _mm_cvtsi32_si128(64 - offset));
    return (low | high) & all((1LL << width) - 1);
}

/* A digit in odd-digit form: with every bit of an odd number k read as the sign of the power of two below it (1 as +, 0
 * as -), the signs of `width` powers from `position` on make +-(2 * index + 1). Returns the index; the lanes below zero
 * go to `negative`. */
INLINED __m512i odd_digit(const scalar8 *odd, int position, int width, __mmask8 *negative)
{
    __m512i signs = bits_at(odd, position + 1, width);
    __m512i top = all(1LL << (width - 1)), others = all((1LL << (width - 1)) - 1);
    *negative = _mm512_testn_epi64_mask(signs, top);
    return _mm512_mask_xor_epi64(signs, *negative, signs, others) & others;
}

/* ---- multiples of the 8 points ---- */
#define POINT_WINDOW 5 /* 51 additions and 15 for the table; 4 or 6 bits need more in sum */
#define POINT_ENTRIES 16
#define POINT_TOP 255 /* the sign of 2^255 is always +, the windows cover those below */

typedef struct {
    point8 entry[POINT_ENTRIES]; /* odd multiples, all with the denominator `scale` */
    element scale;
} multiples;

/* P, 3P, .. 31P by co-Z additions of 2P (Meloni, "New Point Addition Formulae for ECC Applications", WAIFI 2007): each
 * gives the sum and, with the same denominator, 2P again. Then all are brought to the last denominator. */
static IFMA void fill_multiples(multiples *table, const point8 *base, const element *one)
{
    element step_up[POINT_ENTRIES]; /* from the denominator of one entry to that of the next */

    /* 2P, and P with the same denominator d = 2y: x * d^2, 2y * d^3 = (d^2)^2 */
    point8 doubled, *entry = table->entry;
    element b = square(&base->d);
    limbs s = raw_product(&base->x, &b, 5); /* bounds as in double_sum */
    limbs n = minus(raw_square(&base->x, 1), exact(one));
    element m = carry(fold(plus(twice(n), n)));
    limbs x = minus(raw_square(&m, 13), twice(s));
    element e = carry(twice(minus(s, x)));
    columns d = add_product(start(1), &m, &e);
    d = subtract_columns(d, add_square(start(0), &b));
    doubled.x = carry(fold(x));
    doubled.d = carry(reduce(d));
    entry[0].x = carry(fold(s));
    entry[0].d = square(&b);

    for (int k = 0; k + 1 < POINT_ENTRIES; k++) {
        element h = carry(fold(plus(minus(exact(&doubled.x), exact(&entry[k].x)), multiple_of_p(8))));
        element r = carry(fold(plus(minus(exact(&doubled.d), exact(&entry[k].d)), multiple_of_p(8))));
        element i = carry(twice(twice(raw_square(&h, 0))));
        limbs w = raw_product(&doubled.x, &i, 0), v = raw_product(&entry[k].x, &i, 0);
        element h_cube = carry(fold(plus(minus(w, v), multiple_of_p(4))));
        limbs sum_x = fold(plus(minus(minus(raw_square(&r, 0), w), v), multiple_of_p(8)));
        element to_x = carry(plus(minus(w, sum_x), multiple_of_p(2)));
        limbs doubled_d = twice(raw_product(&doubled.d, &h_cube, 0));

        entry[k + 1].d = carry(plus(minus(twice(raw_product(&r, &to_x, 0)), doubled_d), multiple_of_p(3)));
        entry[k + 1].x = carry(sum_x);
        doubled.x = carry(w);
        doubled.d = carry(doubled_d);
        step_up[k] = carry(twice(exact(&h)));
    }

    element scale = step_up[POINT_ENTRIES - 2];
    for (int k = POINT_ENTRIES - 2;; k--) {
        element scale_square = square(&scale), scale_cube = product(&scale_square, &scale);
        entry[k].x = product(&entry[k].x, &scale_square);
        entry[k].d = product(&entry[k].d, &scale_cube);
        if (k == 0) {
            break;
        }
        scale = product(&scale, &step_up[k - 1]);
    }
    table->scale = product(&base->d, &scale);
}

INLINED element gather_element(const element *first, __m512i index)
{
    const char *memory = (const char *)first;
    element result = {_mm512_i64gather_epi64(index, memory, 8), _mm512_i64gather_epi64(index, memory + 64, 8),
                      _mm512_i64gather_epi64(index, memory + 128, 8), _mm512_i64gather_epi64(index, memory + 192, 8),
                      _mm512_i64gather_epi64(index, memory + 256, 8)};
    return result;
}

/* The entries of the digits at `position`. */
INLINED point8 find_multiple(const multiples *table, const scalar8 *odd, int position, __mmask8 *negative)
{
    __m512i index = odd_digit(odd, position, POINT_WINDOW, negative);
    /* an entry takes 80 words, and each limb has one word per lane */
    index = (index << 6) + (index << 4) + _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    point8 point = {gather_element(&table->entry[0].x, index), gather_element(&table->entry[0].d, index)};
    return point;
}

/* ---- multiples of G ---- */
#define GENERATOR_WINDOW 13 /* 20 additions from 256 KiB; a bit more doubles the table and saves one or two of them */
#define GENERATOR_ENTRIES 4096
#define GENERATOR_WINDOWS 20
#define GENERATOR_TOP (GENERATOR_WINDOW * GENERATOR_WINDOWS) /* the sign above all: always + */

/* x and d of the odd multiples of G, affine: one cache line each. */
static struct {
    uint64_t x[WORDS], d[WORDS];
} generator_table[GENERATOR_ENTRIES] __attribute__((aligned(64)));

INLINED element gather_words(__m512i index, const char *memory)
{
    return from_words(_mm512_i64gather_epi64(index, memory, 8), _mm512_i64gather_epi64(index, memory + 8, 8),
                      _mm512_i64gather_epi64(index, memory + 16, 8), _mm512_i64gather_epi64(index, memory + 24, 8));
}

INLINED point8 find_generator_multiple(const scalar8 *odd, int position, __mmask8 *negative)
{
    __m512i index = odd_digit(odd, position, GENERATOR_WINDOW, negative) << 3;
    const char *memory = (const char *)generator_table;
    point8 point = {gather_words(index, memory), gather_words(index, memory + 32)};
    return point;
}

/* ---- every case distinguished, for lanes that met an exceptional addition, and for the table ---- */

/* A sum that may be empty. */
typedef struct {
    sum8 sum; /* with C = 1 */
    __mmask8 empty;
} any_sum8;

static IFMA any_sum8 empty_sum(const element *one)
{
    any_sum8 result = {{*one, *one, *one, *one}, 0xFF};
    return result;
}

INLINED sum8 choose_sum(__mmask8 lanes, const sum8 *otherwise, const sum8 *chosen)
{
    sum8 result = {choose(lanes, &otherwise->x, &chosen->x), choose(lanes, &otherwise->d, &chosen->d),
                   choose(lanes, &otherwise->z, &chosen->z), choose(lanes, &otherwise->square, &chosen->square)};
    return result;
}

static IFMA void add_any(any_sum8 *to, const point8 *point, const element *one, __mmask8 lanes)
{
    element x, d;
    multiply(&x, &point->x, &to->sum.square);
    multiply(&d, &to->sum.square, &to->sum.z);
    multiply(&d, &d, &point->d);
    __mmask8 same_x = is_equal(&x, &to->sum.x), same = same_x & is_equal(&d, &to->sum.d);

    sum8 first = {point->x, point->d, *one, *one}, doubled = to->sum, added = to->sum;
    double_sum(&doubled);
    add_affine(&added, point, one, 0);

    sum8 result = choose_sum(same, &added, &doubled);
    result = choose_sum(to->empty, &result, &first);
    to->sum = choose_sum(lanes, &to->sum, &result);
    to->empty = (__mmask8)((to->empty & ~lanes) | (lanes & ~to->empty & same_x & ~same));
}

INLINED __mmask8 bit_lanes(const scalar8 *scalar, int position)
{
    __m512i bit = bits_at(scalar, position, 1);
    return _mm512_test_epi64_mask(bit, bit);
}

/* first * points + second * others, bit by bit. */
static IFMA any_sum8 multiply_any(const point8 *points, const scalar8 *first, const point8 *others,
                                  const scalar8 *second, const element *one)
{
    any_sum8 result = empty_sum(one);
    for (int position = 255; position >= 0; position--) {
        __mmask8 lanes = bit_lanes(first, position), other_lanes = bit_lanes(second, position);
        if (result.empty != 0xFF) {
            double_sum(&result.sum); /* an odd order: a point that is not empty has a double that is not */
        }
        if (lanes != 0) {
            add_any(&result, points, one, lanes);
        }
        if (other_lanes != 0) {
            add_any(&result, others, one, other_lanes);
        }
    }
    return result;
}

/* ---- the table of G ---- */

/* a^(p-2) = 1 / a */
static IFMA element invert(const element *a)
{
    element result = *a;
    for (int position = 254; position >= 0; position--) {
        multiply(&result, &result, &result);
        uint64_t word = prime_words[position / 64] - (position < 64 ? 2 : 0);
        if (word >> (position % 64) & 1) {
            multiply(&result, &result, a);
        }
    }
    return result;
}

/* x / Z^2 and d / Z^3, given 1 / Z. */
static IFMA point8 affine(const sum8 *sum, const element *inverse)
{
    point8 result;
    element square_inverse, cube;
    multiply(&square_inverse, inverse, inverse);
    multiply(&cube, &square_inverse, inverse);
    multiply(&result.x, &sum->x, &square_inverse);
    multiply(&result.d, &sum->d, &cube);
    return result;
}

static IFMA void store_generator_entries(int first, const point8 *points)
{
    uint64_t x[WORDS][LANES] __attribute__((aligned(64))), d[WORDS][LANES] __attribute__((aligned(64)));
    element exact_x = canonical(&points->x), exact_d = canonical(&points->d);
    to_words((__m512i *)x, &exact_x);
    to_words((__m512i *)d, &exact_d);
    for (int lane = 0; lane < LANES; lane++) {
        for (int word = 0; word < WORDS; word++) {
            generator_table[first + lane].x[word] = x[word][lane];
            generator_table[first + lane].d[word] = d[word][lane];
        }
    }
}

static IFMA point8 generator(void)
{
    element x = same_in_all_lanes(generator_x_words), y = same_in_all_lanes(generator_y_words);
    point8 result = {enter(&x), enter(&y)};
    limbs d = twice(exact(&result.d));
    result.d = carry(d);
    return result;
}

#define INVERTED_TOGETHER 32

static IFMA void fill_generator_table(void)
{
    element one = same_in_all_lanes(one_words);
    point8 base = generator();
    scalar8 odd = {{_mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1)}}, sixteen = {{all(16)}}, none = {{all(0)}};
    any_sum8 all_steps = multiply_any(&base, &sixteen, &base, &none, &one);
    element inverse = invert(&all_steps.sum.z);
    point8 step = affine(&all_steps.sum, &inverse);

    /* lane i holds (2 i + 1 + 16 k) G, never 16 G, so no addition is exceptional */
    sum8 sum = multiply_any(&base, &odd, &base, &none, &one).sum;
    for (int first = 0; first < GENERATOR_ENTRIES; first += LANES * INVERTED_TOGETHER) {
        sum8 sums[INVERTED_TOGETHER];
        element products[INVERTED_TOGETHER]; /* of the denominators so far */
        for (int k = 0; k < INVERTED_TOGETHER; k++) {
            sums[k] = sum;
            if (k == 0) {
                products[k] = sum.z;
            } else {
                multiply(&products[k], &products[k - 1], &sum.z);
            }
            add_affine(&sum, &step, &one, 0);
        }
        element inverses = invert(&products[INVERTED_TOGETHER - 1]);
        for (int k = INVERTED_TOGETHER - 1; k >= 0; k--) {
            inverse = inverses;
            if (k > 0) {
                multiply(&inverse, &inverses, &products[k - 1]);
                multiply(&inverses, &inverses, &sums[k].z);
            }
            point8 points = affine(&sums[k], &inverse);
            store_generator_entries(first + LANES * k, &points);
        }
    }
}

static pthread_once_t generator_table_filled = PTHREAD_ONCE_INIT;

/* ---- inputs: numbers of 4 words, one lane at a time ---- */
typedef unsigned __int128 wide;

static void read_words(uint64_t words[WORDS], const uint8_t bytes[32])
{
    for (int i = 0; i < WORDS; i++) {
        uint64_t word;
        memcpy(&word, bytes + 24 - 8 * i, 8);
        words[i] = __builtin_bswap64(word);
    }
}

/* a - b, and 1 if that is below zero. */
static uint64_t subtract_words(uint64_t result[WORDS], const uint64_t a[WORDS], const uint64_t b[WORDS])
{
    uint64_t borrow = 0;
    for (int i = 0; i < WORDS; i++) {
        wide difference = (wide)a[i] - b[i] - borrow;
        result[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    return borrow;
}

static uint64_t add_words(uint64_t result[WORDS], const uint64_t a[WORDS], const uint64_t b[WORDS])
{
    uint64_t up = 0;
    for (int i = 0; i < WORDS; i++) {
        wide sum = (wide)a[i] + b[i] + up;
        result[i] = (uint64_t)sum;
        up = (uint64_t)(sum >> 64);
    }
    return up;
}

static bool is_below(const uint64_t a[WORDS], const uint64_t b[WORDS])
{
    uint64_t ignored[WORDS];
    return subtract_words(ignored, a, b) != 0;
}

static bool is_none(const uint64_t a[WORDS])
{
    return (a[0] | a[1] | a[2] | a[3]) == 0;
}

/* One number per lane, by words. */
typedef uint64_t lane_words[WORDS][LANES];

typedef struct {
    lane_words x, y;    /* of the key */
    lane_words s, t;    /* the scalars */
    lane_words value;   /* what x1 is if the signature is valid: (r - e) mod n .. */
    lane_words other;   /* .. or this, n more where that is below p */
    __mmask8 in_range;
} inputs8;

static void write_lane(lane_words to, int lane, const uint64_t words[WORDS])
{
    for (int i = 0; i < WORDS; i++) {
        to[i][lane] = words[i];
    }
}

static void read_lane(inputs8 *inputs, int lane, const uint8_t point[64], const uint8_t e_bytes[32],
                      const uint8_t signature[64])
{
    uint64_t x[WORDS], y[WORDS], r[WORDS], s[WORDS], t[WORDS], e[WORDS], value[WORDS], other[WORDS];
    read_words(x, point);
    read_words(y, point + 32);
    read_words(r, signature);
    read_words(s, signature + 32);
    read_words(e, e_bytes);
    bool in_range = is_below(x, prime_words) && is_below(y, prime_words) && is_below(r, order_words) &&
                    is_below(s, order_words) && !is_none(r) && !is_none(s);

    if (add_words(t, r, s) != 0 || !is_below(t, order_words)) {
        subtract_words(t, t, order_words);
    }
    in_range = in_range && !is_none(t);
    if (!is_below(e, order_words)) {
        subtract_words(e, e, order_words);
    }
    if (subtract_words(value, r, e) != 0) {
        add_words(value, value, order_words);
    }
    if (add_words(other, value, order_words) != 0 || !is_below(other, prime_words)) {
        memcpy(other, value, sizeof other);
    }

    if (in_range) {
        inputs->in_range |= (__mmask8)(1 << lane);
    }
    write_lane(inputs->x, lane, x);
    write_lane(inputs->y, lane, y);
    write_lane(inputs->s, lane, s);
    write_lane(inputs->t, lane, t);
    write_lane(inputs->value, lane, value);
    write_lane(inputs->other, lane, other);
}

INLINED element load_element(const lane_words words)
{
    return from_words(_mm512_loadu_si512(words[0]), _mm512_loadu_si512(words[1]), _mm512_loadu_si512(words[2]),
                      _mm512_loadu_si512(words[3]));
}

INLINED scalar8 load_scalar(const lane_words words)
{
    __m512i zero = _mm512_setzero_si512();
    scalar8 result = {{_mm512_loadu_si512(words[0]), _mm512_loadu_si512(words[1]), _mm512_loadu_si512(words[2]),
                       _mm512_loadu_si512(words[3]), zero, zero}};
    return result;
}

/* Even scalars k become n - k; returns which. */
INLINED __mmask8 make_odd(scalar8 *scalar)
{
    __mmask8 even = _mm512_testn_epi64_mask(scalar->word[0], all(1));
    __m512i borrow = _mm512_setzero_si512();
    for (int i = 0; i < WORDS; i++) {
        __m512i order = all((long long)order_words[i]), word = scalar->word[i];
        __m512i difference = _mm512_sub_epi64(_mm512_sub_epi64(order, word), borrow);
        __mmask8 below = _mm512_cmplt_epu64_mask(order, word) |
                         (_mm512_cmpeq_epu64_mask(order, word) & _mm512_test_epi64_mask(borrow, borrow));
        borrow = _mm512_maskz_mov_epi64(below, all(1));
        scalar->word[i] = _mm512_mask_mov_epi64(word, even, difference);
    }
    return even;
}

/* y^2 = x^3 - 3 x + b */
static IFMA __mmask8 is_on_curve(const element *x, const element *y)
{
    element b = same_in_all_lanes(b_words), left = square(y), right = square(x);
    b = enter(&b);
    right = product(&right, x);
    limbs exact_x = exact(x);
    right = carry(plus(minus(plus(exact(&right), exact(&b)), plus(twice(exact_x), exact_x)), multiple_of_p(8)));
    return is_equal(&left, &right);
}

/* Which lanes have the affine x coordinate x1 in the sum. */
static IFMA __mmask8 has_x(const sum8 *sum, const lane_words x1)
{
    element value = load_element(x1), one = {all(1), all(0), all(0), all(0), all(0)};
    multiply(&value, &value, &sum->square);
    multiply(&one, &one, &sum->x);
    return is_equal(&value, &one);
}

static IFMA __mmask8 has_either_x(const sum8 *sum, const inputs8 *inputs)
{
    return has_x(sum, inputs->value) | has_x(sum, inputs->other);
}

/* s*G + t*P in every lane, as the head of this file says. */
static IFMA void multiply_8(sum8 *sum, const point8 *base, scalar8 s, scalar8 t, const element *one)
{
    multiples table;
    fill_multiples(&table, base, one);
    __mmask8 flipped_s = make_odd(&s), flipped_t = make_odd(&t);
    s.word[GENERATOR_TOP / 64] = s.word[GENERATOR_TOP / 64] | all(1LL << (GENERATOR_TOP % 64));

    sum->x = table.entry[0].x;
    limbs d = negate_some(exact(&table.entry[0].d), flipped_t);
    sum->d = carry(plus(d, multiple_of_p(2)));
    sum->z = *one;
    multiply(&sum->square, &table.scale, &table.scale);
    for (int position = POINT_TOP - 1; position >= 0; position--) {
        bool is_point_due = position % POINT_WINDOW == 0;
        bool is_generator_due = position % GENERATOR_WINDOW == 0;
        point8 point, generator_point;
        __mmask8 negative = 0, generator_negative = 0;
        /* before the doubling, which gives the gathers time */
        if (is_point_due) {
            point = find_multiple(&table, &t, position, &negative);
        }
        if (is_generator_due) {
            generator_point = find_generator_multiple(&s, position, &generator_negative);
        }
        double_sum(sum);
        if (is_point_due) {
            add_entry(sum, &point, negative ^ flipped_t);
        }
        if (is_generator_due) {
            add_affine(sum, &generator_point, &table.scale, generator_negative ^ flipped_s);
        }
    }
}

IFMA void sm2_verify_8(const uint8_t (*points)[64], const uint8_t (*es)[32], const uint8_t (*signatures)[64],
                       uint8_t *results)
{
    pthread_once(&generator_table_filled, fill_generator_table);

    inputs8 inputs;
    inputs.in_range = 0;
    for (int lane = 0; lane < LANES; lane++) {
        read_lane(&inputs, lane, points[lane], es[lane], signatures[lane]);
    }
    element one = same_in_all_lanes(one_words), x = load_element(inputs.x), y = load_element(inputs.y);
    point8 base = {enter(&x), enter(&y)};
    __mmask8 usable = inputs.in_range & is_on_curve(&base.x, &base.d);
    base.d = carry(twice(exact(&base.d)));
    scalar8 s = load_scalar(inputs.s), t = load_scalar(inputs.t);

    sum8 sum;
    multiply_8(&sum, &base, s, t, &one);
    __mmask8 exceptional = usable & is_zero(&sum.z);
    __mmask8 valid = usable & ~exceptional & has_either_x(&sum, &inputs);
    if (exceptional != 0) {
        point8 generators = generator();
        any_sum8 again = multiply_any(&generators, &s, &base, &t, &one);
        valid |= exceptional & ~again.empty & has_either_x(&again.sum, &inputs);
    }
    for (int lane = 0; lane < LANES; lane++) {
        results[lane] = (uint8_t)(valid >> lane & 1);
    }
}

bool sm2_batch_supported(void)
{
    return cpu_used() == CPU_GFNI512;
}

#else

bool sm2_batch_supported(void)
{
    return false;
}

void sm2_verify_8(const uint8_t (*points)[64], const uint8_t (*es)[32], const uint8_t (*signatures)[64],
                  uint8_t *results)
{
    (void)points, (void)es, (void)signatures;
    for (int lane = 0; lane < SM2_BATCH; lane++) {
        results[lane] = 0;
    }
}

#endif
