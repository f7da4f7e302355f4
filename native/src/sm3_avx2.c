/* SM3 of 8 messages side by side, one in each 32-bit lane of AVX2 registers. */
#include "sm3.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define LANES 8
#define TARGET __attribute__((target("avx2")))
#define word __m256i
#define SM3_INLINE static inline __attribute__((always_inline)) TARGET
#define ADD(x, y) _mm256_add_epi32(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define XOR3(x, y, z) XOR(XOR(x, y), z)
#define ROTATE(x, n) _mm256_or_si256(_mm256_slli_epi32(x, n), _mm256_srli_epi32(x, 32 - (n)))
#define ROTATE_BYTE(x) \
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_set_epi32(0x0e0d0c0f, 0x0a09080b, 0x06050407, 0x02010003)))
#define MAJORITY(x, y, z) XOR(_mm256_and_si256(XOR(x, y), XOR(y, z)), y)
#define CHOOSE(x, y, z) XOR(_mm256_and_si256(XOR(y, z), x), z)
#define EVERY(table, j) _mm256_set1_epi32((int)(table)[j])

#include "sm3_rounds.h"

/* Words are big-endian in messages and digests (GB/T 32905 5.3.2, 5.4). */
SM3_INLINE word swap_bytes(word value)
{
    return _mm256_shuffle_epi8(value,
                               _mm256_broadcastsi128_si256(_mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203)));
}

/* Row i becomes column i of 8 x 8 words; done twice, it undoes itself. */
SM3_INLINE void transpose(word rows[8])
{
    word mixed[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        mixed[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        mixed[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        rows[i] = _mm256_unpacklo_epi64(mixed[i], mixed[i + 2]);
        rows[i + 1] = _mm256_unpackhi_epi64(mixed[i], mixed[i + 2]);
        rows[i + 2] = _mm256_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
        rows[i + 3] = _mm256_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        mixed[i] = _mm256_permute2x128_si256(rows[i], rows[i + 4], 0x20);
        mixed[i + 4] = _mm256_permute2x128_si256(rows[i], rows[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        rows[i] = mixed[i];
    }
}

SM3_INLINE word load(const void *bytes)
{
    return _mm256_loadu_si256(bytes);
}

SM3_INLINE void load_words(word words[16], const uint8_t *const *bytes, size_t offset)
{
#pragma GCC unroll 8
    for (int lane = 0; lane < LANES; lane++) {
        words[lane] = swap_bytes(load(bytes[lane] + offset));
    }
    transpose(words);
#pragma GCC unroll 8
    for (int lane = 0; lane < LANES; lane++) {
        words[lane + 8] = swap_bytes(load(bytes[lane] + offset + 32));
    }
    transpose(words + 8);
}

TARGET static void compress(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks)
{
    word state[8], words[16];
#pragma GCC unroll 8
    for (int lane = 0; lane < LANES; lane++) {
        state[lane] = load(states[lane]);
    }
    transpose(state);
    for (size_t offset = 0; offset < SM3_BLOCK_SIZE * blocks; offset += SM3_BLOCK_SIZE) {
        load_words(words, bytes, offset);
        compress_words(state, words);
    }
    transpose(state);
#pragma GCC unroll 8
    for (int lane = 0; lane < LANES; lane++) {
        _mm256_storeu_si256((word *)states[lane], state[lane]);
    }
}

TARGET static void parents(const uint32_t start[8], const uint8_t (*pairs)[SM3_DIGEST_SIZE],
                           uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    word state[8], words[16];
    const uint8_t *bytes[LANES];
    for (int i = 0; i < 8; i++) {
        state[i] = _mm256_set1_epi32((int)start[i]);
        bytes[i] = pairs[2 * i];
    }
    load_words(words, bytes, 0);
    compress_words(state, words);
    compress_padding(state);
    transpose(state);
#pragma GCC unroll 8
    for (int lane = 0; lane < LANES; lane++) {
        _mm256_storeu_si256((word *)parents[lane], swap_bytes(state[lane]));
    }
}

const sm3_kernel sm3_avx2 = {
    .level = CPU_AESNI,
    .lanes = LANES,
    .enough = 3,
    .stream = sm3_stream_bmi2,
    .compress = compress,
    .parents = parents,
};

#else
/* ISO C wants a translation unit to hold something. */
typedef int sm3_avx2_is_for_x86_64;
#endif
