/* SM3 of one message at a time, in C for any processor, and once more for x86-64 processors with BMI2. */
#include "sm3.h"

#include <string.h>

#include "wipe.h"

#define word uint32_t
#define SM3_INLINE static inline __attribute__((always_inline))
#define ADD(x, y) ((x) + (y))
#define XOR(x, y) ((x) ^ (y))
#define XOR3(x, y, z) ((x) ^ (y) ^ (z))
#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
/* A sum of words that have no bit in common, so that it can join the other sums of a round in any order. */
#define MAJORITY(x, y, z) (((x) & (y)) + (((x) ^ (y)) & (z)))
#define CHOOSE(x, y, z) ((((y) ^ (z)) & (x)) ^ (z))
#define EVERY(table, j) (table)[j]

/* T_j <<< (j mod 32) (GB/T 32905 4.2, 5.3.3). */
const uint32_t sm3_constants[64] = {
    0x79cc4519, 0xf3988a32, 0xe7311465, 0xce6228cb, 0x9cc45197, 0x3988a32f, 0x7311465e, 0xe6228cbc,
    0xcc451979, 0x988a32f3, 0x311465e7, 0x6228cbce, 0xc451979c, 0x88a32f39, 0x11465e73, 0x228cbce6,
    0x9d8a7a87, 0x3b14f50f, 0x7629ea1e, 0xec53d43c, 0xd8a7a879, 0xb14f50f3, 0x629ea1e7, 0xc53d43ce,
    0x8a7a879d, 0x14f50f3b, 0x29ea1e76, 0x53d43cec, 0xa7a879d8, 0x4f50f3b1, 0x9ea1e762, 0x3d43cec5,
    0x7a879d8a, 0xf50f3b14, 0xea1e7629, 0xd43cec53, 0xa879d8a7, 0x50f3b14f, 0xa1e7629e, 0x43cec53d,
    0x879d8a7a, 0x0f3b14f5, 0x1e7629ea, 0x3cec53d4, 0x79d8a7a8, 0xf3b14f50, 0xe7629ea1, 0xcec53d43,
    0x9d8a7a87, 0x3b14f50f, 0x7629ea1e, 0xec53d43c, 0xd8a7a879, 0xb14f50f3, 0x629ea1e7, 0xc53d43ce,
    0x8a7a879d, 0x14f50f3b, 0x29ea1e76, 0x53d43cec, 0xa7a879d8, 0x4f50f3b1, 0x9ea1e762, 0x3d43cec5,
};

/* W_j and W'_j (GB/T 32905 5.3.2) of the block that pads a message of 128 bytes: 80, 61 zeros, 0400. */
const uint32_t sm3_padding_words[64] = {
    0x80000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000400,
    0x80404000, 0x00000000, 0x02010100, 0x10005000, 0x00000000, 0x00400540, 0xac545c04, 0x00000000,
    0x12b05472, 0xa0003000, 0x00000000, 0x00400500, 0xa4525804, 0x20200040, 0xa2c13070, 0x33005102,
    0xa0002000, 0x01040154, 0x5ad5d5d0, 0x0a0e0216, 0x61ea4085, 0x0ae04260, 0x20000000, 0x01040150,
    0x7a571590, 0x23220044, 0x9badb795, 0xb1305112, 0xea402280, 0x54504155, 0x29fb8159, 0x4898ed79,
    0xe4fea07a, 0x232eb1a4, 0xc1c1c140, 0x08502915, 0x23b7695d, 0x63122544, 0xc92a9a19, 0x08030c1b,
    0x2d24a7aa, 0xd5018081, 0x6c1e19c1, 0x9e878cc1, 0x5d177ef0, 0xc0ea9122, 0x2c1c1c14, 0xd2418343,
};

const uint32_t sm3_padding_mixed[64] = {
    0x80000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000000, 0x00000000, 0x00000000, 0x00000400, 0x80404000, 0x00000000, 0x02010100, 0x10005400,
    0x80404000, 0x00400540, 0xae555d04, 0x10005000, 0x12b05472, 0xa0403540, 0xac545c04, 0x00400500,
    0xb6e20c76, 0x80203040, 0xa2c13070, 0x33405402, 0x04527804, 0x21240114, 0xf814e5a0, 0x390e5314,
    0xc1ea6085, 0x0be44334, 0x7ad5d5d0, 0x0b0a0346, 0x1bbd5515, 0x29c24224, 0xbbadb795, 0xb0345042,
    0x90173710, 0x77724111, 0xb25636cc, 0xf9a8bc6b, 0x0ebe82fa, 0x777ef0f1, 0xe83a4019, 0x40c8c46c,
    0xc749c927, 0x403c94e0, 0x08eb5b59, 0x0053250e, 0x0e93cef7, 0xb613a5c5, 0xa53483d8, 0x968480da,
    0x7033d95a, 0x15eb11a3, 0x400205d5, 0x4cc60f82, 0xd12945f1, 0x85d9b372, 0x89e23250, 0xe0f1b3d2,
};

#include "sm3_rounds.h"

SM3_INLINE uint32_t load_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

SM3_INLINE void compress_blocks(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    uint32_t words[16];
    for (; blocks > 0; blocks--, bytes += SM3_BLOCK_SIZE) {
        for (int i = 0; i < 16; i++) {
            words[i] = load_word(bytes + 4 * i);
        }
        compress_words(state, words);
    }
    wipe(words, sizeof words);
}

static void stream(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    compress_blocks(state, bytes, blocks);
}

#if defined(__x86_64__)
/* RORX rotates into another register and leaves the flags, ANDN saves an inversion. */
__attribute__((target("bmi,bmi2"))) void sm3_stream_bmi2(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    compress_blocks(state, bytes, blocks);
}
#endif

static void compress(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks)
{
    compress_blocks(states[0], bytes[0], blocks);
}

static void parents(const uint32_t start[8], const uint8_t (*pairs)[SM3_DIGEST_SIZE], uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    uint32_t state[8];
    memcpy(state, start, sizeof state);
    compress_blocks(state, pairs[0], 1);
    compress_padding(state);
    for (int i = 0; i < 8; i++) {
        for (int byte = 0; byte < 4; byte++) {
            parents[0][4 * i + byte] = (uint8_t)(state[i] >> (24 - 8 * byte));
        }
    }
}

const sm3_kernel sm3_portable = {
    .level = CPU_PORTABLE,
    .lanes = 1,
    .enough = 1,
    .stream = stream,
    .compress = compress,
    .parents = parents,
};
