/* SM3 with the SM3 instructions of ARMv8.2 (FEAT_SM3, HWCAP_SM3 on Linux), of one message or of two side by side: each
 * instruction of a round waits for the one before, so a second message fills the gaps.
 *
 * The instructions are those of the Arm Architecture Reference Manual (DDI 0487), C7.2 "SM3PARTW1" to "SM3TT2B".
 */
#include "sm3.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define LANES 2
#define TARGET __attribute__((target("arch=armv8.2-a+sm4")))
#define INLINE static inline __attribute__((always_inline)) TARGET

extern const uint32_t sm3_constants[64], sm3_padding_words[64], sm3_padding_mixed[64];

/* One message: its registers D, C, B, A and H, G, F, E, as the instructions want them, and a ring of five times four words,
 * W_j to W_(j+19). */
typedef struct {
    uint32x4_t upper, lower;
    uint32x4_t words[5];
} lane_state;

INLINE uint32x4_t reverse(uint32x4_t value)
{
    const uint32x4_t swapped = vrev64q_u32(value);
    return vextq_u32(swapped, swapped, 2);
}

INLINE void load_state(lane_state *lane, const uint32_t state[8])
{
    lane->upper = reverse(vld1q_u32(state));
    lane->lower = reverse(vld1q_u32(state + 4));
}

INLINE void load_words(lane_state *lane, const uint8_t *bytes)
{
    for (int i = 0; i < 4; i++) { /* words are big-endian (GB/T 32905 5.3.2) */
        lane->words[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(bytes + 16 * i)));
    }
}

/* Four more words (GB/T 32905 5.3.2), of which SM3PARTW1 and SM3PARTW2 compute a half each. */
INLINE uint32x4_t next_words(uint32x4_t first, uint32x4_t second, uint32x4_t third, uint32x4_t fourth)
{
    const uint32x4_t seven = vextq_u32(second, third, 3);     /* W_(j+7) on */
    const uint32x4_t three = vextq_u32(first, second, 3);     /* W_(j+3) on */
    const uint32x4_t ten = vextq_u32(third, fourth, 2);       /* W_(j+10) on */
    return vsm3partw2q_u32(vsm3partw1q_u32(seven, first, fourth), ten, three);
}

/* Rounds j to j + 3 (GB/T 32905 5.3.3); the variants A and B of the instructions have the Boolean functions of rounds 0 to 15
 * and of those after. The index of a word in its register must be a literal. */
#define ONE_ROUND(lane, variant, j, i, message, mixed)                                                                        \
    do {                                                                                                                      \
        const uint32x4_t first = vsm3ss1q_u32((lane)->upper, vdupq_n_u32(sm3_constants[(j) + (i)]), (lane)->lower);           \
        (lane)->upper = vsm3tt1##variant##q_u32((lane)->upper, first, mixed, i);                                              \
        (lane)->lower = vsm3tt2##variant##q_u32((lane)->lower, first, message, i);                                            \
    } while (0)
#define FOUR_ROUNDS(lane, variant, j, message, mixed)                                                                         \
    do {                                                                                                                      \
        ONE_ROUND(lane, variant, j, 0, message, mixed);                                                                       \
        ONE_ROUND(lane, variant, j, 1, message, mixed);                                                                       \
        ONE_ROUND(lane, variant, j, 2, message, mixed);                                                                       \
        ONE_ROUND(lane, variant, j, 3, message, mixed);                                                                       \
    } while (0)

INLINE void four_rounds(lane_state *lane, int j, uint32x4_t message, uint32x4_t mixed)
{
    if (j < 16) {
        FOUR_ROUNDS(lane, a, j, message, mixed);
    } else {
        FOUR_ROUNDS(lane, b, j, message, mixed);
    }
}

INLINE void ring_rounds(lane_state *lane, int j)
{
    uint32x4_t *words = lane->words;
    const int quarter = j / 4;
    const uint32x4_t first = words[quarter % 5], second = words[(quarter + 1) % 5];
    if (j < 52) { /* W_67 is the last */
        words[(quarter + 4) % 5] = next_words(first, second, words[(quarter + 2) % 5], words[(quarter + 3) % 5]);
    }
    four_rounds(lane, j, first, veorq_u32(first, second));
}

/* One block of each of `count` messages. */
INLINE void compress_words(lane_state *lanes, int count)
{
    uint32x4_t upper[LANES], lower[LANES];
    for (int lane = 0; lane < count; lane++) {
        upper[lane] = lanes[lane].upper;
        lower[lane] = lanes[lane].lower;
    }
#pragma GCC unroll 16
    for (int j = 0; j < 64; j += 4) {
#pragma GCC unroll 2
        for (int lane = 0; lane < count; lane++) {
            ring_rounds(&lanes[lane], j);
        }
    }
    for (int lane = 0; lane < count; lane++) {
        lanes[lane].upper = veorq_u32(upper[lane], lanes[lane].upper);
        lanes[lane].lower = veorq_u32(lower[lane], lanes[lane].lower);
    }
}

/* The block that pads a message of 128 bytes: nothing of it is to be expanded. */
INLINE void compress_padding(lane_state *lane)
{
    const uint32x4_t upper = lane->upper, lower = lane->lower;
#pragma GCC unroll 16
    for (int j = 0; j < 64; j += 4) {
        four_rounds(lane, j, vld1q_u32(sm3_padding_words + j), vld1q_u32(sm3_padding_mixed + j));
    }
    lane->upper = veorq_u32(upper, lane->upper);
    lane->lower = veorq_u32(lower, lane->lower);
}

INLINE void compress_lanes(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks, int count)
{
    lane_state lanes[LANES];
    for (int lane = 0; lane < count; lane++) {
        load_state(&lanes[lane], states[lane]);
    }
    for (size_t offset = 0; offset < SM3_BLOCK_SIZE * blocks; offset += SM3_BLOCK_SIZE) {
        for (int lane = 0; lane < count; lane++) {
            load_words(&lanes[lane], bytes[lane] + offset);
        }
        compress_words(lanes, count);
    }
    for (int lane = 0; lane < count; lane++) {
        vst1q_u32(states[lane], reverse(lanes[lane].upper));
        vst1q_u32(states[lane] + 4, reverse(lanes[lane].lower));
    }
}

TARGET static void stream(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    compress_lanes((uint32_t(*)[8])state, &bytes, blocks, 1);
}

TARGET static void compress(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks)
{
    compress_lanes(states, bytes, blocks, LANES);
}

TARGET static void parents(const uint32_t start[8], const uint8_t (*pairs)[SM3_DIGEST_SIZE],
                           uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    lane_state lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        load_state(&lanes[lane], start);
        load_words(&lanes[lane], pairs[2 * lane]);
    }
    compress_words(lanes, LANES);
    for (int lane = 0; lane < LANES; lane++) {
        compress_padding(&lanes[lane]);
    }
    for (int lane = 0; lane < LANES; lane++) {
        vst1q_u8(parents[lane], vrev32q_u8(vreinterpretq_u8_u32(reverse(lanes[lane].upper))));
        vst1q_u8(parents[lane] + 16, vrev32q_u8(vreinterpretq_u8_u32(reverse(lanes[lane].lower))));
    }
}

const sm3_kernel sm3_armce = {
    .level = CPU_ARMCE,
    .lanes = LANES,
    .enough = 2,
    .stream = stream,
    .compress = compress,
    .parents = parents,
};

#else
/* ISO C wants a translation unit to hold something. */
typedef int sm3_armce_is_for_aarch64;
#endif
