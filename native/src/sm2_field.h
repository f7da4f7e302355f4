/* Numbers of SM2: the field of p, in which coordinates live, and the scalars modulo n, the order of the generator G
 * (GB/T 32918.5 s.2).
 *
 * A number is four 64-bit words, the lowest first. Field elements are kept in Montgomery form, a 2^256 mod p, and always
 * below p, so that two equal elements have equal words. Multiplication in the field is in the kernels (sm2_curve.h),
 * because its speed decides everything; the rest is here. Nothing here branches on a value or uses one as an address.
 */
#ifndef DDTP_SM2_FIELD_H
#define DDTP_SM2_FIELD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

typedef uint64_t number[4];
typedef unsigned __int128 wide;

#define SM2_P_0 UINT64_C(0xFFFFFFFFFFFFFFFF)
#define SM2_P_1 UINT64_C(0xFFFFFFFF00000000)
#define SM2_P_2 UINT64_C(0xFFFFFFFFFFFFFFFF)
#define SM2_P_3 UINT64_C(0xFFFFFFFEFFFFFFFF)

static const number sm2_p = {SM2_P_0, SM2_P_1, SM2_P_2, SM2_P_3};
static const number sm2_n = {
    UINT64_C(0x53BBF40939D54123), UINT64_C(0x7203DF6B21C6052B), SM2_P_2, SM2_P_3,
};
/* In Montgomery form: 1 and the b of the curve y^2 = x^3 - 3 x + b; 2^512 mod p brings a number into this form. */
static const number sm2_one = {1, UINT64_C(0x00000000FFFFFFFF), 0, UINT64_C(0x0000000100000000)};
static const number sm2_b = {
    UINT64_C(0x90D230632BC0DD42), UINT64_C(0x71CF379AE9B537AB), UINT64_C(0x527981505EA51C3C), UINT64_C(0x240FE188BA20E2C8),
};
static const number sm2_to_field = {
    UINT64_C(0x0000000200000003), UINT64_C(0x00000002FFFFFFFF), UINT64_C(0x0000000100000001), UINT64_C(0x0000000400000002),
};

/* All ones if `bit` is 1, zero if it is 0. The empty statement hides from the compiler that there are only two masks: it
 * could otherwise turn a selection into a branch. */
static inline uint64_t mask_of(uint64_t bit)
{
    __asm__("" : "+r"(bit));
    return 0 - bit;
}

/* All ones if `word` is zero. */
static inline uint64_t mask_if_zero(uint64_t word)
{
    return mask_of(1 ^ ((word | (0 - word)) >> 63));
}

static inline uint64_t mask_if_number_zero(const number a)
{
    return mask_if_zero(a[0] | a[1] | a[2] | a[3]);
}

static inline uint64_t mask_if_equal(const number a, const number b)
{
    return mask_if_zero((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

/* target = mask ? source : target. */
static inline void copy_if(uint64_t mask, number target, const number source)
{
    for (int i = 0; i < 4; i++) {
        target[i] ^= (target[i] ^ source[i]) & mask;
    }
}

/* a + b + carry, and the new carry, 0 or 1; compilers make one instruction of the intrinsic only. */
static inline uint64_t add_carry(uint64_t a, uint64_t b, uint8_t *carry)
{
#if defined(__x86_64__)
    unsigned long long sum;
    *carry = _addcarry_u64(*carry, a, b, &sum);
    return sum;
#else
    wide sum = (wide)a + b + *carry;
    *carry = (uint8_t)(sum >> 64);
    return (uint64_t)sum;
#endif
}

static inline uint64_t subtract_borrow(uint64_t a, uint64_t b, uint8_t *borrow)
{
#if defined(__x86_64__)
    unsigned long long difference;
    *borrow = _subborrow_u64(*borrow, a, b, &difference);
    return difference;
#else
    wide difference = (wide)a - b - *borrow;
    *borrow = (uint8_t)(difference >> 64) & 1;
    return (uint64_t)difference;
#endif
}

/* sum = a + b mod 2^256; returns the carry. */
static inline uint64_t add_words(number sum, const number a, const number b)
{
    uint8_t carry = 0;
    uint64_t word0 = add_carry(a[0], b[0], &carry), word1 = add_carry(a[1], b[1], &carry);
    uint64_t word2 = add_carry(a[2], b[2], &carry), word3 = add_carry(a[3], b[3], &carry);
    sum[0] = word0;
    sum[1] = word1;
    sum[2] = word2;
    sum[3] = word3;
    return carry;
}

/* difference = a - b mod 2^256; returns the borrow. */
static inline uint64_t subtract_words(number difference, const number a, const number b)
{
    uint8_t borrow = 0;
    uint64_t word0 = subtract_borrow(a[0], b[0], &borrow), word1 = subtract_borrow(a[1], b[1], &borrow);
    uint64_t word2 = subtract_borrow(a[2], b[2], &borrow), word3 = subtract_borrow(a[3], b[3], &borrow);
    difference[0] = word0;
    difference[1] = word1;
    difference[2] = word2;
    difference[3] = word3;
    return borrow;
}

/* Takes a + top 2^256 < 2 m to [0, m). */
static inline void reduce_once(number result, const number a, uint64_t top, const number m)
{
    number less;
    uint64_t borrow = subtract_words(less, a, m);
    uint64_t keep = mask_of(borrow & (top ^ 1));
    for (int i = 0; i < 4; i++) {
        result[i] = (a[i] & keep) | (less[i] & ~keep);
    }
}

static inline uint64_t mask_if_below(const number a, const number m)
{
    number difference;
    return mask_of(subtract_words(difference, a, m));
}

/* Big-endian bytes, GB/T 32918.1 s.4.2. */
static inline void load_number(number a, const uint8_t bytes[32])
{
    for (int i = 0; i < 4; i++) {
        const uint8_t *from = bytes + 24 - 8 * i;
        uint64_t word = 0;
        for (int j = 0; j < 8; j++) {
            word = word << 8 | from[j];
        }
        a[i] = word;
    }
}

static inline void store_number(uint8_t bytes[32], const number a)
{
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 8; j++) {
            bytes[8 * i + j] = (uint8_t)(a[3 - i] >> (56 - 8 * j));
        }
    }
}

/* The `count` < 64 bits of a five-word number from bit `position` < 256 on. Position and count are public. */
static inline uint64_t bits_of(const uint64_t words[5], unsigned position, unsigned count)
{
    unsigned word = position / 64, shift = position % 64;
    uint64_t bits = words[word] >> shift;
    if (shift + count > 64) {
        bits |= words[word + 1] << (64 - shift);
    }
    return bits & ((UINT64_C(1) << count) - 1);
}

/* Arithmetic of scalars, all in [0, n). */
void scalar_add(number sum, const number a, const number b);
void scalar_subtract(number difference, const number a, const number b);
/* product = a b / 2^256 mod n: with one factor in Montgomery form the product is in plain form. */
void scalar_multiply(number product, const number a, const number b);
/* inverse = 2^256 / a mod n: the inverse in Montgomery form of a scalar in plain form; 0 for 0. */
void scalar_invert(number inverse, const number a);

/* Division of a constant by a number: for sm2_modulo_p the inverse of a field element, in Montgomery form as the element;
 * for sm2_modulo_n what scalar_invert gives. 0 for 0. */
struct modulus;
extern const struct modulus sm2_modulo_p, sm2_modulo_n;
void sm2_divide(number quotient, const number divisor, const struct modulus *modulus);

#endif
