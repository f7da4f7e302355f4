/* What the three x86-64 kernels of SM4-GCM share: the layout of an expanded key, and GHASH on 128 bits.
 *
 * All helpers are inlined into functions whose target has at least SSSE3, SSE4.1 and PCLMULQDQ, and take their encoding.
 */
#ifndef DDTP_SM4_X86_H
#define DDTP_SM4_X86_H

#include <immintrin.h>

#include "sm4.h"
#include "sm4_derived.h"
#include "wipe.h"

#define SM4_ROUNDS 32
#define SM4_POWERS 64

/* The state of the cipher is kept as N(word) ^ whitening; see sm4_derived.h for N, and whiten_key below. */
typedef struct {
    uint32_t planes[SM4_ROUNDS][4];       /* correction of each round, byte j of the word replicated four times */
    uint32_t words[SM4_ROUNDS];           /* the same, as a word in memory order */
    uint32_t start[4];                    /* whitening of the four input words, in memory order */
    uint8_t end[SM4_BLOCK_SIZE];          /* what is left to add to an output block after N^-1 */
    _Alignas(64) uint8_t powers[SM4_POWERS + 3][SM4_BLOCK_SIZE]; /* H^64 .. H^1 reflected, then zeros to read past */
} x86_key;

_Static_assert(sizeof(x86_key) <= sizeof(((sm4_key *)0)->room), "an expanded key fits its room");

#define X86_INLINE(targets) static inline __attribute__((always_inline, target(targets)))
#define GHASH_INLINE X86_INLINE("sse4.1,ssse3,pclmul")

static inline const x86_key *x86_key_of(const sm4_key *key)
{
    return (const x86_key *)(const void *)key->room;
}

static inline uint32_t rotate_left(uint32_t word, int bits)
{
    return (word << bits) | (word >> (32 - bits));
}

static inline uint32_t load_word(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* CK_i of GB/T 32907-2016 s.7.3: byte j is (4 i + j) * 7 mod 256. */
static inline uint32_t key_constant(int round)
{
    uint32_t word = 0;
    for (int j = 0; j < 4; j++) {
        word = word << 8 | (uint32_t)((4 * round + j) * 7 & 255);
    }
    return word;
}

/* Turns mapped round keys into the corrections of the rounds. `mapped[i]` is N(rk_i) plus the constant of the input map of
 * the S-box, as a big-endian word.
 *
 * Let each state word X_i be kept as N(X_i) ^ k_i. With k_(i+1) ^ k_(i+2) ^ k_(i+3) = mapped_i the input of the S-box in
 * round i needs no key, and X_(i+4) needs k_i ^ k_(i+4) added. k_0, k_1, k_2 and k_35 are free: zero. The round adds the
 * sum of the four bytes of its correction c to each byte, so c_j = d_j ^ (d_0 ^ d_1 ^ d_2 ^ d_3) makes up for d.
 *
 * `end` receives the whitening of the output words X_35, X_34, X_33, X_32 in memory order, still in the basis N. */
static inline void whiten_key(x86_key *key, const uint32_t mapped[SM4_ROUNDS], uint32_t end[4])
{
    uint32_t whitening[SM4_ROUNDS + 4] = {0};
    for (int i = 0; i < SM4_ROUNDS; i++) {
        whitening[i + 3] = mapped[i] ^ whitening[i + 1] ^ whitening[i + 2];
    }
    for (int i = 0; i < SM4_ROUNDS; i++) {
        const uint32_t difference = whitening[i] ^ whitening[i + 4];
        uint32_t sum = difference ^ rotate_left(difference, 16);
        sum ^= rotate_left(sum, 8);
        const uint32_t correction = difference ^ sum;
        key->words[i] = __builtin_bswap32(correction);
        for (int j = 0; j < 4; j++) {
            key->planes[i][j] = (correction >> (24 - 8 * j) & 255) * 0x01010101u;
        }
    }
    for (int i = 0; i < 4; i++) {
        key->start[i] = __builtin_bswap32(whitening[i]);
        end[i] = __builtin_bswap32(whitening[SM4_ROUNDS + 3 - i]);
    }
    wipe(whitening, sizeof whitening);
}

/* GHASH works on blocks with their 16 bytes reversed, so that the bit of x^127 is the lowest, and with H multiplied by x:
 * then the product of the reflected polynomials needs no shift by one (Gueron, Kounavis: "Intel Carry-Less
 * Multiplication Instruction and its Usage for Computing the GCM Mode", rev. 2.02, and Gueron's POLYVAL, RFC 8452 app. A).
 * GHASH_POLYNOMIAL is 1 + x + x^2 + x^7 + x^128 (SP 800-38D s.6.3) reflected: x^127 + x^126 + x^121 + 1. */
#define GHASH_POLYNOMIAL _mm_set_epi64x((long long)0xc200000000000000u, 1)
#define REVERSE_BYTES _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

GHASH_INLINE __m128i load_reversed(const uint8_t *block)
{
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)block), REVERSE_BYTES);
}

GHASH_INLINE void store_reversed(uint8_t *block, __m128i value)
{
    _mm_storeu_si128((__m128i *)(void *)block, _mm_shuffle_epi8(value, REVERSE_BYTES));
}

/* Montgomery reduction of low + middle * x^64 + high * x^128 in two steps of 64 bits. */
GHASH_INLINE __m128i ghash_reduce(__m128i low, __m128i middle, __m128i high)
{
    low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
    high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
    for (int step = 0; step < 2; step++) {
        const __m128i folded = _mm_clmulepi64_si128(low, GHASH_POLYNOMIAL, 0x10);
        low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), folded);
    }
    return _mm_xor_si128(high, low);
}

GHASH_INLINE __m128i ghash_multiply(__m128i first, __m128i second)
{
    const __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(first, second, 0x10),
                                         _mm_clmulepi64_si128(first, second, 0x01));
    return ghash_reduce(_mm_clmulepi64_si128(first, second, 0x00), middle, _mm_clmulepi64_si128(first, second, 0x11));
}

/* The reversed block H times x, without a branch on its highest bit. */
GHASH_INLINE __m128i ghash_times_x(__m128i value)
{
    const __m128i carry = _mm_srai_epi32(_mm_shuffle_epi32(value, 0xff), 31);
    const __m128i doubled = _mm_or_si128(_mm_slli_epi64(value, 1), _mm_srli_epi64(_mm_slli_si128(value, 8), 63));
    return _mm_xor_si128(doubled, _mm_and_si128(carry, GHASH_POLYNOMIAL));
}

/* The last block of GHASH, reversed: the sizes in bits (SP 800-38D s.7.1 step 5). */
GHASH_INLINE __m128i ghash_sizes(uint64_t aad_size, uint64_t size)
{
    return _mm_set_epi64x((long long)(aad_size * 8), (long long)(size * 8));
}

#endif
