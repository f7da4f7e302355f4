/* SM4-GCM with the SM4 and PMULL instructions of ARMv8.2, 8 blocks at a time.
 *
 * The instructions take a time that does not depend on data (Arm Architecture Reference Manual, PSTATE.DIT); there is no table,
 * branch or address that depends on a secret.
 */
#if defined(__aarch64__)

#include "sm4.h"
#include "wipe.h"

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+sm4+crypto")
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

enum { GROUPS_OF_ROUNDS = 8, BLOCKS = 8, BATCH = BLOCKS * SM4_BLOCK_SIZE };

typedef struct {
    uint32x4_t rounds[GROUPS_OF_ROUNDS]; /* four round keys each */
    uint64x2_t powers[BLOCKS];           /* H^8 .. H^1 reversed, times x: see sm4_x86.h */
} arm_key;

_Static_assert(sizeof(arm_key) <= sizeof(((sm4_key *)0)->room), "an expanded key fits its room");

INLINE const arm_key *key_of(const sm4_key *key)
{
    return (const arm_key *)(const void *)key->room;
}

/* The four words of a block, or back: both are big-endian in memory. */
INLINE uint32x4_t swap_words(uint8x16_t bytes)
{
    return vreinterpretq_u32_u8(vrev32q_u8(bytes));
}

INLINE uint8x16_t block_of_words(uint32x4_t words)
{
    return vrev32q_u8(vreinterpretq_u8_u32(words));
}

/* SM4E does four rounds; the output words come in reverse (GB/T 32907-2016 s.7.1). */
INLINE void encrypt_blocks(const arm_key *key, uint32x4_t *blocks, int count)
{
    for (int i = 0; i < GROUPS_OF_ROUNDS; i++) {
        for (int block = 0; block < count; block++) {
            blocks[block] = vsm4eq_u32(blocks[block], key->rounds[i]);
        }
    }
    for (int block = 0; block < count; block++) {
        const uint32x4_t pairs = vrev64q_u32(blocks[block]);
        blocks[block] = vextq_u32(pairs, pairs, 2);
    }
}

INLINE uint32x4_t nonce_words(const uint8_t nonce[SM4_NONCE_SIZE])
{
    uint8_t block[SM4_BLOCK_SIZE] = {0};
    memcpy(block, nonce, SM4_NONCE_SIZE);
    return swap_words(vld1q_u8(block));
}

INLINE uint8x16_t one_block(const arm_key *key, uint32x4_t nonce, uint32_t counter)
{
    uint32x4_t words = vsetq_lane_u32(counter, nonce, 3);
    encrypt_blocks(key, &words, 1);
    return block_of_words(words);
}

/* ---- GHASH, as in sm4_x86.h ---- */

#define GHASH_POLYNOMIAL 0xc200000000000000u

INLINE uint64x2_t reverse_bytes(uint8x16_t bytes)
{
    const uint8x16_t halves = vrev64q_u8(bytes);
    return vreinterpretq_u64_u8(vextq_u8(halves, halves, 8));
}

INLINE uint64x2_t load_reversed(const uint8_t *block)
{
    return reverse_bytes(vld1q_u8(block));
}

INLINE void store_reversed(uint8_t *block, uint64x2_t value)
{
    vst1q_u8(block, vreinterpretq_u8_u64(reverse_bytes(vreinterpretq_u8_u64(value))));
}

INLINE uint64x2_t multiply_words(uint64_t first, uint64_t second)
{
    return vreinterpretq_u64_p128(vmull_p64((poly64_t)first, (poly64_t)second));
}

INLINE uint64x2_t swap_halves(uint64x2_t value)
{
    return vextq_u64(value, value, 1);
}

typedef struct {
    uint64x2_t low, middle, high;
} ghash_sum;

INLINE void ghash_add(ghash_sum *sum, uint64x2_t block, uint64x2_t power)
{
    const uint64_t low = vgetq_lane_u64(block, 0), high = vgetq_lane_u64(block, 1);
    const uint64_t power_low = vgetq_lane_u64(power, 0), power_high = vgetq_lane_u64(power, 1);
    sum->low = veorq_u64(sum->low, multiply_words(low, power_low));
    sum->high = veorq_u64(sum->high, multiply_words(high, power_high));
    sum->middle = veorq_u64(sum->middle, veorq_u64(multiply_words(low, power_high), multiply_words(high, power_low)));
}

INLINE uint64x2_t ghash_end(const ghash_sum *sum)
{
    const uint64x2_t zero = vdupq_n_u64(0);
    uint64x2_t low = veorq_u64(sum->low, vextq_u64(zero, sum->middle, 1));
    const uint64x2_t high = veorq_u64(sum->high, vextq_u64(sum->middle, zero, 1));
    for (int step = 0; step < 2; step++) {
        low = veorq_u64(swap_halves(low), multiply_words(vgetq_lane_u64(low, 0), GHASH_POLYNOMIAL));
    }
    return veorq_u64(low, high);
}

INLINE uint64x2_t ghash_multiply(uint64x2_t first, uint64x2_t second)
{
    ghash_sum sum = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
    ghash_add(&sum, first, second);
    return ghash_end(&sum);
}

INLINE uint64x2_t ghash_times_x(uint64x2_t value)
{
    const uint64_t low = vgetq_lane_u64(value, 0), high = vgetq_lane_u64(value, 1), carry = 0 - (high >> 63);
    const uint64_t doubled[2] = {low << 1 ^ (carry & 1), (high << 1 | low >> 63) ^ (carry & GHASH_POLYNOMIAL)};
    return vld1q_u64(doubled);
}

/* Up to 8 whole blocks with one reduction. */
INLINE uint64x2_t ghash_blocks(const arm_key *key, uint64x2_t hash, const uint8_t *bytes, int count)
{
    ghash_sum sum = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
    for (int i = 0; i < count; i++) {
        const uint64x2_t block = load_reversed(bytes + SM4_BLOCK_SIZE * i);
        ghash_add(&sum, i == 0 ? veorq_u64(block, hash) : block, key->powers[BLOCKS - count + i]);
    }
    return ghash_end(&sum);
}

static uint64x2_t ghash_bytes(const arm_key *key, uint64x2_t hash, const uint8_t *bytes, size_t size)
{
    for (; size >= BATCH; bytes += BATCH, size -= BATCH) {
        hash = ghash_blocks(key, hash, bytes, BLOCKS);
    }
    if (size >= SM4_BLOCK_SIZE) {
        const size_t whole = size / SM4_BLOCK_SIZE * SM4_BLOCK_SIZE;
        hash = ghash_blocks(key, hash, bytes, (int)(whole / SM4_BLOCK_SIZE));
        bytes += whole;
        size -= whole;
    }
    if (size > 0) {
        uint8_t padded[SM4_BLOCK_SIZE] = {0};
        memcpy(padded, bytes, size);
        hash = ghash_blocks(key, hash, padded, 1);
    }
    return hash;
}

/* ---- the kernel ---- */

static void crypt_batch(const arm_key *key, uint32x4_t nonce, uint32_t counter, const uint8_t *in, uint8_t *out)
{
    uint32x4_t blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = vsetq_lane_u32(counter + (uint32_t)i, nonce, 3);
    }
    encrypt_blocks(key, blocks, BLOCKS);
    for (int i = 0; i < BLOCKS; i++) {
        const uint8x16_t text = vld1q_u8(in + SM4_BLOCK_SIZE * i);
        vst1q_u8(out + SM4_BLOCK_SIZE * i, veorq_u8(block_of_words(blocks[i]), text));
    }
}

static uint64x2_t crypt_bytes(const arm_key *key, bool sealing, uint32x4_t nonce, uint32_t counter, uint64x2_t hash,
                              const uint8_t *in, size_t size, uint8_t *out)
{
    while (size > 0) {
        const size_t taken = size < BATCH ? size : BATCH;
        if (!sealing) {
            hash = ghash_bytes(key, hash, in, taken);
        }
        if (taken == BATCH) {
            crypt_batch(key, nonce, counter, in, out);
        } else {
            uint8_t text[BATCH] = {0};
            memcpy(text, in, taken);
            crypt_batch(key, nonce, counter, text, text);
            memcpy(out, text, taken);
            wipe(text, sizeof text);
        }
        if (sealing) {
            hash = ghash_bytes(key, hash, out, taken);
        }
        in += taken;
        out += taken;
        size -= taken;
        counter += BLOCKS;
    }
    return hash;
}

static void part(const sm4_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                 uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *in, size_t size, uint8_t *out)
{
    const uint64x2_t before = load_reversed(hash);
    store_reversed(hash, crypt_bytes(key_of(key), sealing, nonce_words(nonce), counter, before, in, size, out));
}

static void authenticate(const sm4_key *key, uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *bytes, size_t size)
{
    store_reversed(hash, ghash_bytes(key_of(key), load_reversed(hash), bytes, size));
}

static void message(const sm4_key *key_room, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad,
                    size_t aad_size, const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE])
{
    const arm_key *key = key_of(key_room);
    const uint32x4_t words = nonce_words(nonce);
    const uint8x16_t mask = one_block(key, words, 1);
    uint64x2_t hash = ghash_bytes(key, vdupq_n_u64(0), aad, aad_size);
    hash = crypt_bytes(key, sealing, words, 2, hash, in, size, out);
    const uint64_t sizes[2] = {(uint64_t)size * 8, (uint64_t)aad_size * 8};
    hash = ghash_multiply(veorq_u64(hash, vld1q_u64(sizes)), key->powers[BLOCKS - 1]);
    store_reversed(tag, veorq_u64(hash, reverse_bytes(mask)));
}

static void expand(sm4_key *key_room, const uint8_t bytes[SM4_KEY_SIZE])
{
    static const uint32_t family_key[4] = {0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc}; /* GB/T 32907-2016 s.7.3 */
    arm_key *key = (arm_key *)(void *)key_room->room;
    uint32x4_t words = veorq_u32(swap_words(vld1q_u8(bytes)), vld1q_u32(family_key));
    for (int i = 0; i < GROUPS_OF_ROUNDS; i++) {
        uint32_t constants[4]; /* CK_i: byte j is (4 i + j) * 7 mod 256 */
        for (int round = 0; round < 4; round++) {
            constants[round] = 0;
            for (int j = 0; j < 4; j++) {
                constants[round] = constants[round] << 8 | (uint32_t)((4 * (4 * i + round) + j) * 7 & 255);
            }
        }
        words = vsm4ekeyq_u32(words, vld1q_u32(constants));
        key->rounds[i] = words;
    }
    /* H is the encrypted block of zeros */
    uint64x2_t power = ghash_times_x(reverse_bytes(one_block(key, vdupq_n_u32(0), 0)));
    key->powers[BLOCKS - 1] = power;
    for (int i = BLOCKS - 2; i >= 0; i--) {
        power = ghash_multiply(power, key->powers[BLOCKS - 1]);
        key->powers[i] = power;
    }
}

const sm4_kernel sm4_armce = {CPU_ARMCE, expand, message, part, authenticate};

#pragma GCC pop_options

#endif
