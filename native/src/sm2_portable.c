/* The point arithmetic of SM2 in plain C; needs a compiler with 128-bit integers. */

/* GCC would pack pairs of words into vector registers to select between them, which costs more than it saves: a field
 * multiplication took 29 ns instead of 15. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-vectorize")
#endif

#include "sm2_field.h"
#include "sm2_table.h"

/* Montgomery reduction by 2^128: (m0, t1, r) -> (r + quotient, carry), which is (t + m p) / 2^128 with m = -t / p modulo
 * 2^128. As p = -1 + 2^64 - 2^96 modulo 2^128, m is (1 + 2^64 - 2^96) t: no multiplication is needed. With W = 2^32 m the
 * quotient is, word by word, (m1 - W1, -W0 - W2, m0 - W1, m1 - W2) and what is carried out of words 0 and 1. */
static inline uint64_t reduce_two_words(uint64_t r[4], uint64_t m0, uint64_t t1)
{
    uint8_t borrow = 0, carry = 0;
    uint64_t step = subtract_borrow(m0, m0 << 32, &borrow);
    uint64_t m1 = add_carry(t1, step, &carry);
    uint64_t middle = m0 >> 32 | m1 << 32; /* W1 */
    uint64_t quotient0 = subtract_borrow(m1, middle, &borrow);
    uint64_t quotient1 = subtract_borrow(0, m0 << 32 | m1 >> 32, &borrow);
    uint64_t quotient2 = subtract_borrow(m0, middle, &borrow);
    uint64_t quotient3 = subtract_borrow(m1, m1 >> 32, &borrow); /* no borrow: the quotient is not negative */
    r[0] = add_carry(r[0], quotient0, &carry);
    r[1] = add_carry(r[1], quotient1, &carry);
    r[2] = add_carry(r[2], quotient2, &carry);
    r[3] = add_carry(r[3], quotient3, &carry);
    return carry;
}

/* *word += a b + carry; returns what is above. */
static inline uint64_t multiply_add(uint64_t *word, uint64_t a, uint64_t b, uint64_t carry)
{
    wide sum = (wide)a * b + *word + carry;
    *word = (uint64_t)sum;
    return (uint64_t)(sum >> 64);
}

/* t[0..3] += a b; returns the fifth word. */
static inline uint64_t add_row(uint64_t *t, uint64_t a, const number b)
{
    uint64_t carry = multiply_add(&t[0], a, b[0], 0);
    carry = multiply_add(&t[1], a, b[1], carry);
    carry = multiply_add(&t[2], a, b[2], carry);
    return multiply_add(&t[3], a, b[3], carry);
}

static __attribute__((noinline)) void field_multiply(number product, const number a, const number b)
{
    uint64_t t[8] = {0};
    t[4] = add_row(t, a[0], b);
    t[5] = add_row(t + 1, a[1], b);
    t[6] = reduce_two_words(t + 2, t[0], t[1]);
    t[6] += add_row(t + 2, a[2], b);
    t[7] = add_row(t + 3, a[3], b);
    uint64_t top = reduce_two_words(t + 4, t[2], t[3]);
    reduce_once(product, t + 4, top, sm2_p);
}

static inline void field_square(number square, const number a)
{
    field_multiply(square, a, a);
}

static inline void field_add(number sum, const number a, const number b)
{
    number total;
    uint64_t carry = add_words(total, a, b);
    reduce_once(sum, total, carry, sm2_p);
}

static inline void field_subtract(number difference, const number a, const number b)
{
    uint64_t mask = mask_of(subtract_words(difference, a, b));
    const number back = {mask, mask & SM2_P_1, mask, mask & SM2_P_3};
    add_words(difference, difference, back);
}

/* a / 2: of a and a + p one is even. */
static inline void field_halve(number half, const number a)
{
    uint64_t mask = mask_of(a[0] & 1);
    const number p = {mask, mask & SM2_P_1, mask, mask & SM2_P_3};
    number even;
    uint64_t carry = add_words(even, a, p);
    for (int i = 0; i < 3; i++) {
        half[i] = even[i] >> 1 | even[i + 1] << 63;
    }
    half[3] = even[3] >> 1 | carry << 63;
}

/* A vector of the compiler: a register of SSE2 or Neon, or two words. */
typedef uint64_t vector __attribute__((vector_size(16)));

/* result = entries[index], of `count` entries of `vectors` <= 10 times 16 bytes. All are read: which lines of the cache were
 * used tells nothing. Unrolled, or the compiler keeps `chosen` in memory. */
static inline __attribute__((always_inline)) void choose(void *result, const void *entries, unsigned vectors, unsigned count,
                                                         uint64_t index)
{
    vector chosen[10] = {{0}};
    const uint8_t *from = entries;
    for (unsigned i = 0; i < count; i++) {
        uint64_t word = mask_if_zero(i ^ index);
        vector mask = {word, word};
#pragma GCC unroll 10
        for (unsigned j = 0; j < vectors; j++) {
            vector part;
            memcpy(&part, from, sizeof part);
            from += sizeof part;
            chosen[j] |= part & mask;
        }
    }
    memcpy(result, chosen, vectors * sizeof(vector));
}

static __attribute__((noinline)) void choose_affine(affine_point *entry, const affine_point *row, uint64_t index)
{
    choose(entry, row, 4, SM2_TABLE_ENTRIES, index);
}

static __attribute__((noinline)) void choose_large(void *entry, const void *table, uint64_t index)
{
    choose(entry, table, 10, 16, index);
}

#define choose_entry(entry, table, index) choose_large(entry, table, index)

/* No registers that other code leaves alone for long. */
static inline void forget_vectors(void)
{
}

#include "sm2_curve.inc.h"

_Static_assert(sizeof(table_point) == 5 * 32 && WINDOW_ENTRIES == 16, "as choose_large takes it");

const sm2_kernel sm2_portable = {CPU_PORTABLE, multiply_generator, multiply_point, check_sum, on_curve, find_y};
