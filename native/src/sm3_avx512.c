/* SM3 of 16 messages side by side, one in each 32-bit lane of AVX-512 registers. */
#include "sm3.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define LANES 16
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define word __m512i
#define SM3_INLINE static inline __attribute__((always_inline)) TARGET
#define ADD(x, y) _mm512_add_epi32(x, y)
#define XOR(x, y) _mm512_xor_si512(x, y)
#define ROTATE(x, n) _mm512_rol_epi32(x, n)
/* The constants are the truth tables of the three functions. */
#define XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define MAJORITY(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define CHOOSE(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define EVERY(table, j) _mm512_set1_epi32((int)(table)[j])

#include "sm3_rounds.h"

/* Words are big-endian in messages and digests (GB/T 32905 5.3.2, 5.4). */
SM3_INLINE word swap_bytes(word value)
{
    return _mm512_shuffle_epi8(value, _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203)));
}

/* Row i becomes column i of 16 x 16 words: pairs of rows, then of pairs, then of quarters. */
SM3_INLINE void transpose_blocks(word rows[LANES])
{
    word mixed[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        mixed[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        mixed[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(mixed[i], mixed[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(mixed[i], mixed[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        mixed[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
        mixed[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
        mixed[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
        mixed[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i32x4(mixed[i], mixed[i + 8], 0x88);
        rows[i + 4] = _mm512_shuffle_i32x4(mixed[i + 4], mixed[i + 12], 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(mixed[i], mixed[i + 8], 0xdd);
        rows[i + 12] = _mm512_shuffle_i32x4(mixed[i + 4], mixed[i + 12], 0xdd);
    }
}

/* The same for 8 x 8 words in both halves; done twice, it undoes itself. */
SM3_INLINE void transpose_states(word rows[8])
{
    const word low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    const word high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    word mixed[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        mixed[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        mixed[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(mixed[i], mixed[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(mixed[i], mixed[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        mixed[i] = _mm512_permutex2var_epi64(rows[i], low, rows[i + 4]);
        mixed[i + 4] = _mm512_permutex2var_epi64(rows[i], high, rows[i + 4]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        rows[i] = mixed[i];
    }
}

/* Lanes 0 to 7 are the lower halves, lanes 8 to 15 the upper ones. */
SM3_INLINE void load_states(word state[8], uint32_t (*states)[8])
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const __m256i lower = _mm256_loadu_si256((const __m256i *)states[i]);
        state[i] = _mm512_inserti64x4(_mm512_castsi256_si512(lower), _mm256_loadu_si256((const __m256i *)states[i + 8]), 1);
    }
    transpose_states(state);
}

SM3_INLINE void store_states(void *rows, word state[8])
{
    __m256i *halves = rows;
    transpose_states(state);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        _mm256_storeu_si256(halves + i, _mm512_castsi512_si256(state[i]));
        _mm256_storeu_si256(halves + i + 8, _mm512_extracti64x4_epi64(state[i], 1));
    }
}

TARGET static void compress(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks)
{
    word state[8], words[LANES];
    load_states(state, states);
    for (size_t offset = 0; offset < SM3_BLOCK_SIZE * blocks; offset += SM3_BLOCK_SIZE) {
#pragma GCC unroll 16
        for (int lane = 0; lane < LANES; lane++) {
            words[lane] = swap_bytes(_mm512_loadu_si512(bytes[lane] + offset));
        }
        transpose_blocks(words);
        compress_words(state, words);
    }
    store_states(states, state);
}

TARGET static void parents(const uint32_t start[8], const uint8_t (*pairs)[SM3_DIGEST_SIZE],
                           uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    word state[8], words[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        state[i] = _mm512_set1_epi32((int)start[i]);
    }
#pragma GCC unroll 16
    for (int lane = 0; lane < LANES; lane++) {
        words[lane] = swap_bytes(_mm512_loadu_si512(pairs[2 * lane]));
    }
    transpose_blocks(words);
    compress_words(state, words);
    compress_padding(state);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        state[i] = swap_bytes(state[i]);
    }
    store_states(parents, state);
}

const sm3_kernel sm3_avx512 = {
    .level = CPU_GFNI512,
    .lanes = LANES,
    .enough = 2,
    .stream = sm3_stream_bmi2,
    .compress = compress,
    .parents = parents,
    .narrow = &sm3_avx512vl,
};

#else
/* ISO C wants a translation unit to hold something. */
typedef int sm3_avx512_is_for_x86_64;
#endif
