/* SM4-GCM in plain C: bitsliced, for any processor with 64-bit words.
 *
 * Constant-time: the cipher is gates on bit planes, with no table. GHASH multiplies two secrets (the hash so far, AAD and sizes
 * by H) with integer multiplications only. The ciphertext is public, to whoever can watch this process too, and so it may
 * choose the entries of a table: see hash_text. Nothing else chooses an address or a branch but sizes and the counter.
 *
 * Long messages: 128 blocks in 128 planes of 128 bits, which the compiler lowers to SSE2, NEON or pairs of words. Short ones:
 * up to 16 blocks, each word of the state being 8 planes of 64 bits.
 */
#include "public.h"
#include "sm4.h"
#include "sm4_derived.h"
#include "wipe.h"

#define INLINE static inline __attribute__((always_inline))

typedef uint64_t wide __attribute__((vector_size(16)));
typedef uint64_t narrow;

enum {
    ROUNDS = 32,
    FEW_BLOCKS = 16,    /* that fit narrow planes */
    BATCH_BLOCKS = 128, /* that fit wide planes */
    BATCH = BATCH_BLOCKS * SM4_BLOCK_SIZE,
    POWERS = 8, /* of H with a table of multiples */
};

/* An element of the field of GCM: bit 63 of `first` is x^0, bit 0 of `second` is x^127. */
typedef struct {
    uint64_t first, second;
} element;

typedef struct {
    uint32_t corrections[ROUNDS]; /* byte j of the word is in bits 8 j ..; see expand_rounds */
    uint32_t start[4];            /* whitening of the input words */
    uint32_t end[4];              /* of the output words, out of the basis N */
    element powers[POWERS];       /* H^1 .. H^8 */
    wide multiples[POWERS][16];   /* entry n of row k: H^(k+1) n, where bit 3 of n is x^0 and bit 0 is x^3 */
} portable_key;

_Static_assert(sizeof(portable_key) <= sizeof(((sm4_key *)0)->room), "an expanded key fits its room");

INLINE const portable_key *key_of(const sm4_key *key)
{
    return (const portable_key *)(const void *)key->room;
}

INLINE uint32_t load_little_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

INLINE uint64_t load_big_endian(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

INLINE void store_big_endian(uint8_t *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

INLINE uint64_t memory_order(uint64_t little_endian)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(little_endian);
#else
    return little_endian;
#endif
}

/* ---- narrow planes: byte j of block b is at bit 16 j + b ---- */

#define ONE_BLOCK 0x0001000100010001u /* the four bytes of block 0 */

/* Byte j of a word to bits 16 j .. 16 j + 7, and back. */
INLINE narrow spread_bytes(uint32_t word)
{
    narrow spread = ((narrow)word | (narrow)word << 16) & 0x0000ffff0000ffffu;
    return (spread | spread << 8) & 0x00ff00ff00ff00ffu;
}

INLINE uint32_t gather_bytes(narrow spread)
{
    spread = (spread | spread >> 8) & 0x0000ffff0000ffffu;
    return (uint32_t)(spread | spread >> 16);
}

INLINE uint32_t word_of_block(const narrow planes[8], int block)
{
    narrow spread = 0;
    for (int bit = 0; bit < 8; bit++) {
        spread |= (planes[bit] >> block & ONE_BLOCK) << bit;
    }
    return gather_bytes(spread);
}

/* The same word in all blocks. */
INLINE void planes_of_word(uint32_t word, narrow planes[8])
{
    const narrow spread = spread_bytes(word);
    for (int bit = 0; bit < 8; bit++) {
        planes[bit] = (spread >> bit & ONE_BLOCK) * 0xffff;
    }
}

INLINE narrow rotate_narrow(narrow plane, int bits)
{
    return plane << bits | plane >> (64 - bits);
}

INLINE uint32_t map_word_into(uint32_t word)
{
    narrow planes[8], mapped[8];
    planes_of_word(word, planes);
    SM4_BITS_MAP_INTO(narrow, planes, mapped);
    return word_of_block(mapped, 0);
}

INLINE uint32_t map_word_out_of(uint32_t word)
{
    narrow planes[8], mapped[8];
    planes_of_word(word, planes);
    SM4_BITS_MAP_OUT_OF(narrow, planes, mapped);
    return word_of_block(mapped, 0);
}

INLINE void narrow_round(narrow a[8], const narrow b[8], const narrow c[8], const narrow d[8], uint32_t correction)
{
    narrow in[8], own[8], next[8];
    const narrow spread = spread_bytes(correction);
    for (int bit = 0; bit < 8; bit++) {
        in[bit] = b[bit] ^ c[bit] ^ d[bit];
    }
    SM4_BITS_SBOX(narrow, in, own, next);
    for (int bit = 0; bit < 8; bit++) {
        const narrow sum = own[bit] ^ rotate_narrow(next[bit], 16) ^ (spread >> bit & ONE_BLOCK) * 0xffff;
        a[bit] ^= rotate_narrow(sum, 16) ^ rotate_narrow(sum, 32) ^ rotate_narrow(sum, 48);
    }
}

/* Key stream of `count` <= 16 blocks from `counter` on. */
static void few_blocks(const portable_key *key, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter, int count,
                       uint8_t *stream)
{
    narrow words[4][8];
    for (int w = 0; w < 3; w++) {
        planes_of_word(map_word_into(load_little_endian(nonce + 4 * w)) ^ key->start[w], words[w]);
    }
    narrow counters[8] = {0}, whitening[8];
    for (int block = 0; block < count; block++) {
        const narrow spread = spread_bytes(__builtin_bswap32(counter + (uint32_t)block));
        for (int bit = 0; bit < 8; bit++) {
            counters[bit] |= (spread >> bit & ONE_BLOCK) << block;
        }
    }
    SM4_BITS_MAP_INTO(narrow, counters, words[3]);
    planes_of_word(key->start[3], whitening);
    for (int bit = 0; bit < 8; bit++) {
        words[3][bit] ^= whitening[bit];
    }
    for (int i = 0; i < ROUNDS; i += 4) {
        narrow_round(words[0], words[1], words[2], words[3], key->corrections[i]);
        narrow_round(words[1], words[2], words[3], words[0], key->corrections[i + 1]);
        narrow_round(words[2], words[3], words[0], words[1], key->corrections[i + 2]);
        narrow_round(words[3], words[0], words[1], words[2], key->corrections[i + 3]);
    }
    for (int w = 0; w < 4; w++) { /* the output words come in reverse (GB/T 32907-2016 s.7.1) */
        narrow mapped[8];
        SM4_BITS_MAP_OUT_OF(narrow, words[3 - w], mapped);
        for (int block = 0; block < count; block++) {
            const uint32_t word = word_of_block(mapped, block) ^ key->end[w];
            for (int j = 0; j < 4; j++) {
                stream[SM4_BLOCK_SIZE * block + 4 * w + j] = (uint8_t)(word >> (8 * j));
            }
        }
    }
}

/* ---- wide planes: plane 32 w + 8 j + bit is that bit of byte j of word w in all 128 blocks ---- */

INLINE wide repeat(uint64_t word)
{
    return (wide){word, word};
}

/* Masks of the corrections, for all calls on one message. */
typedef struct {
    uint64_t rounds[ROUNDS][4][8];
} correction_masks;

static void make_masks(const portable_key *key, correction_masks *masks)
{
    for (int i = 0; i < ROUNDS; i++) {
        for (int bit = 0; bit < 32; bit++) {
            masks->rounds[i][bit / 8][bit % 8] = 0 - (uint64_t)(key->corrections[i] >> bit & 1);
        }
    }
}

/* One round on the word a: see OWN and NEXT in derive_sm4.py. Not inlined: 32 copies would not fit the instruction cache. */
__attribute__((noinline)) static void wide_round(wide a[32], const wide b[32], const wide c[32], const wide d[32],
                                                 const uint64_t masks[4][8])
{
    wide own[4][8], next[4][8];
    for (int j = 0; j < 4; j++) {
        wide in[8];
        for (int bit = 0; bit < 8; bit++) {
            in[bit] = b[8 * j + bit] ^ c[8 * j + bit] ^ d[8 * j + bit];
        }
        SM4_BITS_SBOX(wide, in, own[j], next[j]);
    }
    for (int bit = 0; bit < 8; bit++) {
        const wide sum0 = own[0][bit] ^ next[3][bit] ^ repeat(masks[0][bit]);
        const wide sum1 = own[1][bit] ^ next[0][bit] ^ repeat(masks[1][bit]);
        const wide sum2 = own[2][bit] ^ next[1][bit] ^ repeat(masks[2][bit]);
        const wide sum3 = own[3][bit] ^ next[2][bit] ^ repeat(masks[3][bit]);
        const wide all = sum0 ^ sum1 ^ sum2 ^ sum3;
        a[bit] ^= sum0 ^ all;
        a[8 + bit] ^= sum1 ^ all;
        a[16 + bit] ^= sum2 ^ all;
        a[24 + bit] ^= sum3 ^ all;
    }
}

/* One step of the transposition of 64 x 64 bits, in both halves of the planes: swaps the bits that `mask` leaves out with those
 * of the row `distance` further down (H. S. Warren, "Hacker's Delight", 2nd ed., s.7-3). */
INLINE void swap_bits(wide rows[128], int distance, uint64_t mask)
{
    for (int block = 0; block < 128; block += 2 * distance) {
        for (int row = block; row < block + distance; row++) {
            const wide difference = ((rows[row] >> distance) ^ rows[row + distance]) & repeat(mask);
            rows[row + distance] ^= difference;
            rows[row] ^= difference << distance;
        }
    }
}

/* Turns 128 planes into 128 blocks. */
static void transpose(wide rows[128])
{
    swap_bits(rows, 1, 0x5555555555555555u);
    swap_bits(rows, 2, 0x3333333333333333u);
    swap_bits(rows, 4, 0x0f0f0f0f0f0f0f0fu);
    swap_bits(rows, 8, 0x00ff00ff00ff00ffu);
    swap_bits(rows, 16, 0x0000ffff0000ffffu);
    swap_bits(rows, 32, 0x00000000ffffffffu);
    for (int row = 0; row < 64; row++) {
        const wide upper = rows[row], lower = rows[row + 64];
        rows[row] = (wide){memory_order(upper[0]), memory_order(lower[0])};
        rows[row + 64] = (wide){memory_order(upper[1]), memory_order(lower[1])};
    }
}

/* Planes of the counters: adds the number of the block, whose bits are constant planes, with a ripple of carries. */
INLINE void counter_planes(uint32_t counter, wide bits[32])
{
    static const uint64_t numbers[6] = {0xaaaaaaaaaaaaaaaau, 0xccccccccccccccccu, 0xf0f0f0f0f0f0f0f0u,
                                        0xff00ff00ff00ff00u, 0xffff0000ffff0000u, 0xffffffff00000000u};
    wide carry = repeat(0);
    for (int bit = 0; bit < 32; bit++) {
        const wide fixed = repeat(0 - (uint64_t)(counter >> bit & 1));
        const wide number = bit < 6 ? repeat(numbers[bit]) : bit == 6 ? (wide){0, ~(uint64_t)0} : repeat(0);
        bits[bit] = fixed ^ number ^ carry;
        carry = (fixed & number) | (carry & (fixed ^ number));
    }
}

/* Key stream of 128 blocks from `counter` on. */
static void batch_blocks(const portable_key *key, const correction_masks *masks, const uint8_t nonce[SM4_NONCE_SIZE],
                         uint32_t counter, wide stream[BATCH_BLOCKS])
{
    wide state[128], counters[32];
    for (int w = 0; w < 3; w++) {
        const uint32_t word = map_word_into(load_little_endian(nonce + 4 * w)) ^ key->start[w];
        for (int bit = 0; bit < 32; bit++) {
            state[32 * w + bit] = repeat(0 - (uint64_t)(word >> bit & 1));
        }
    }
    counter_planes(counter, counters);
    for (int j = 0; j < 4; j++) {
        SM4_BITS_MAP_INTO(wide, (counters + 8 * (3 - j)), (state + 96 + 8 * j));
    }
    for (int bit = 0; bit < 32; bit++) {
        state[96 + bit] ^= repeat(0 - (uint64_t)(key->start[3] >> bit & 1));
    }
    for (int i = 0; i < ROUNDS; i += 4) {
        wide_round(state, state + 32, state + 64, state + 96, masks->rounds[i]);
        wide_round(state + 32, state + 64, state + 96, state, masks->rounds[i + 1]);
        wide_round(state + 64, state + 96, state, state + 32, masks->rounds[i + 2]);
        wide_round(state + 96, state, state + 32, state + 64, masks->rounds[i + 3]);
    }
    for (int w = 0; w < 4; w++) {
        for (int j = 0; j < 4; j++) {
            SM4_BITS_MAP_OUT_OF(wide, (state + 32 * (3 - w) + 8 * j), (stream + 32 * w + 8 * j));
        }
        for (int bit = 0; bit < 32; bit++) {
            stream[32 * w + bit] ^= repeat(0 - (uint64_t)(key->end[w] >> bit & 1));
        }
    }
    transpose(stream);
}

/* ---- GHASH ---- */

/* The product of two polynomials of degree 63 over GF(2), with multiplications of integers: bits that are three apart keep room
 * for the carries, which are masked out (T. Pornin, BearSSL, bearssl.org/constanttime.html, "GHASH"). That room holds sums of
 * up to 15 bits: the highest four bits of `b` go by masks instead. Multiplication takes a time that does not depend on its
 * operands on x86-64 and aarch64; on some smaller processors it does (bearssl.org/ctmul.html). */
INLINE unsigned __int128 multiply_words(uint64_t a, uint64_t b)
{
    const unsigned __int128 every_fourth = (unsigned __int128)0x1111111111111111u << 64 | 0x1111111111111111u;
    unsigned __int128 product = 0;
    uint64_t as[4], bs[4];
    for (int i = 0; i < 4; i++) {
        as[i] = a & (uint64_t)every_fourth << i;
        bs[i] = b & (uint64_t)every_fourth << i & (~(uint64_t)0 >> 4);
    }
    for (int i = 0; i < 4; i++) {
        unsigned __int128 sum = 0;
        for (int j = 0; j < 4; j++) {
            sum ^= (unsigned __int128)as[j] * bs[(i - j) & 3];
        }
        product |= sum & every_fourth << i;
    }
    for (int bit = 60; bit < 64; bit++) {
        product ^= (unsigned __int128)(a & (0 - (b >> bit & 1))) << bit;
    }
    return product;
}

/* A product before its reduction: bit 63 of `words[0]` is x^0, bit 0 of `words[3]` is x^255. */
typedef struct {
    uint64_t words[4];
} product;

/* By Karatsuba in three multiplications of words. */
INLINE product multiply(element a, element b)
{
    const unsigned __int128 low = multiply_words(a.second, b.second), high = multiply_words(a.first, b.first);
    const unsigned __int128 cross = multiply_words(a.first ^ a.second, b.first ^ b.second) ^ low ^ high;
    const uint64_t v0 = (uint64_t)low, v1 = (uint64_t)(low >> 64) ^ (uint64_t)cross;
    const uint64_t v2 = (uint64_t)high ^ (uint64_t)(cross >> 64), v3 = (uint64_t)(high >> 64);
    /* bit i of a word stands for x^(63-i), and the product of two such has 127 bits: one bit short of 256 in all */
    return (product){{v3 << 1 | v2 >> 63, v2 << 1 | v1 >> 63, v1 << 1 | v0 >> 63, v0 << 1}};
}

/* Modulo 1 + x + x^2 + x^7 + x^128 (SP 800-38D s.6.3). */
INLINE element reduce(product p)
{
    uint64_t *w = p.words;
    for (int i = 3; i >= 2; i--) {
        w[i - 2] ^= w[i] ^ w[i] >> 1 ^ w[i] >> 2 ^ w[i] >> 7;
        w[i - 1] ^= w[i] << 63 ^ w[i] << 62 ^ w[i] << 57;
    }
    return (element){w[0], w[1]};
}

INLINE element times_x(element a)
{
    const uint64_t carry = 0 - (a.second & 1);
    return (element){a.first >> 1 ^ (carry & (uint64_t)0xe1 << 56), a.second >> 1 | a.first << 63};
}

INLINE element load_element(const uint8_t *bytes)
{
    return (element){load_big_endian(bytes), load_big_endian(bytes + 8)};
}

INLINE void store_element(uint8_t *bytes, element value)
{
    store_big_endian(bytes, value.first);
    store_big_endian(bytes + 8, value.second);
}

INLINE element hash_block(const portable_key *key, element hash, element block)
{
    return reduce(multiply((element){hash.first ^ block.first, hash.second ^ block.second}, key->powers[0]));
}

/* AAD and the like: nothing is assumed of the bytes. */
static element hash_bytes(const portable_key *key, element hash, const uint8_t *bytes, size_t size)
{
    for (; size >= SM4_BLOCK_SIZE; bytes += SM4_BLOCK_SIZE, size -= SM4_BLOCK_SIZE) {
        hash = hash_block(key, hash, load_element(bytes));
    }
    if (size > 0) {
        uint8_t padded[SM4_BLOCK_SIZE] = {0};
        memcpy(padded, bytes, size);
        hash = hash_block(key, hash, load_element(padded));
    }
    return hash;
}

/* hash H^count + C_1 H^count + ... + C_count H for ciphertext blocks C.
 *
 * The half-bytes of the ciphertext choose among the multiples of the powers of H: the addresses depend on public data, only the
 * contents are secret. Half-bytes at the same place of all blocks are summed up first, then the sums are put together by
 * Horner's rule, 4 bits at a time, those of byte `place` and of byte `place` + 8 (x^64 apart) side by side. The product of
 * the two secrets, hash and H^count, goes through multiply. */
INLINE element hash_text(const portable_key *key, element hash, const uint8_t *text, int count)
{
    /* 16 times each half-byte: offsets into a row of multiples */
    uint8_t offsets[2][POWERS * SM4_BLOCK_SIZE];
    for (int block = 0; block < count; block++) {
        wide bytes, upper, lower;
        memcpy(&bytes, text + SM4_BLOCK_SIZE * block, sizeof bytes);
        upper = bytes & repeat(0xf0f0f0f0f0f0f0f0u);
        lower = bytes << 4 & repeat(0xf0f0f0f0f0f0f0f0u);
        memcpy(offsets[0] + SM4_BLOCK_SIZE * block, &upper, sizeof upper);
        memcpy(offsets[1] + SM4_BLOCK_SIZE * block, &lower, sizeof lower);
    }
    uint64_t total[4] = {0};
    for (int place = 7; place >= 0; place--) {
        for (int nibble = 1; nibble >= 0; nibble--) {
            const uint8_t *offset = offsets[nibble] + place;
            wide sum = repeat(0), later = repeat(0);
            for (int block = 0; block < count; block++, offset += SM4_BLOCK_SIZE) {
                const uint8_t *multiples = (const uint8_t *)key->multiples[count - 1 - block];
                sum ^= *(const wide *)(const void *)(multiples + offset[0]);
                later ^= *(const wide *)(const void *)(multiples + offset[8]);
            }
            total[3] = total[3] >> 4 | total[2] << 60;
            total[2] = (total[2] >> 4 | total[1] << 60) ^ later[1];
            total[1] = (total[1] >> 4 | total[0] << 60) ^ sum[1] ^ later[0];
            total[0] = total[0] >> 4 ^ sum[0];
        }
    }
    product sum = multiply(hash, key->powers[count - 1]);
    for (int i = 0; i < 4; i++) {
        sum.words[i] ^= total[i];
    }
    return reduce(sum);
}

/* Ciphertext, padded with zeros to whole blocks. */
static element hash_ciphertext(const portable_key *key, element hash, const uint8_t *text, size_t size)
{
    const size_t group = (size_t)POWERS * SM4_BLOCK_SIZE;
    MARK_PUBLIC(text, size);
    for (; size >= group; text += group, size -= group) {
        hash = hash_text(key, hash, text, POWERS);
    }
    const size_t blocks = size / SM4_BLOCK_SIZE;
    if (blocks > 1) { /* one alone is as fast by multiplication */
        hash = hash_text(key, hash, text, (int)blocks);
        text += blocks * SM4_BLOCK_SIZE;
        size -= blocks * SM4_BLOCK_SIZE;
    }
    return hash_bytes(key, hash, text, size);
}

/* ---- the kernel ---- */

INLINE void add_stream(uint8_t *out, const uint8_t *in, const uint8_t *stream, size_t size)
{
    size_t i = 0;
    for (; i + sizeof(wide) <= size; i += sizeof(wide)) {
        wide text, key;
        memcpy(&text, in + i, sizeof text);
        memcpy(&key, stream + i, sizeof key);
        text ^= key;
        memcpy(out + i, &text, sizeof text);
    }
    for (; i < size; i++) {
        out[i] = in[i] ^ stream[i];
    }
}

INLINE element crypt_with_stream(const portable_key *key, bool sealing, element hash, const uint8_t *stream,
                                 const uint8_t *in, size_t size, uint8_t *out)
{
    if (!sealing) {
        hash = hash_ciphertext(key, hash, in, size);
    }
    add_stream(out, in, stream, size);
    if (sealing) {
        hash = hash_ciphertext(key, hash, out, size);
    }
    return hash;
}

/* From here on (in bytes) one wide batch is faster than narrow ones. */
enum { FEW = FEW_BLOCKS * SM4_BLOCK_SIZE, WORTH_A_BATCH = 3 * FEW };

static element crypt_long(const portable_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                          element hash, const uint8_t *in, size_t size, uint8_t *out)
{
    correction_masks masks;
    wide stream[BATCH_BLOCKS];
    make_masks(key, &masks);
    while (size > 0) {
        const size_t taken = size < BATCH ? size : BATCH;
        batch_blocks(key, &masks, nonce, counter, stream);
        hash = crypt_with_stream(key, sealing, hash, (const uint8_t *)stream, in, taken, out);
        in += taken;
        out += taken;
        size -= taken;
        counter += BATCH_BLOCKS;
    }
    wipe(&masks, sizeof masks);
    wipe(stream, sizeof stream);
    return hash;
}

static element crypt_short(const portable_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                           element hash, const uint8_t *in, size_t size, uint8_t *out)
{
    uint8_t stream[FEW];
    while (size > 0) {
        const size_t taken = size < FEW ? size : FEW;
        few_blocks(key, nonce, counter, (int)((taken + SM4_BLOCK_SIZE - 1) / SM4_BLOCK_SIZE), stream);
        hash = crypt_with_stream(key, sealing, hash, stream, in, taken, out);
        in += taken;
        out += taken;
        size -= taken;
        counter += FEW_BLOCKS;
    }
    wipe(stream, sizeof stream);
    return hash;
}

static void part(const sm4_key *key_room, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                 uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *in, size_t size, uint8_t *out)
{
    const portable_key *key = key_of(key_room);
    const element before = load_element(hash);
    store_element(hash, (size < WORTH_A_BATCH ? crypt_short : crypt_long)(key, sealing, nonce, counter, before, in, size, out));
}

static void authenticate(const sm4_key *key, uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *bytes, size_t size)
{
    store_element(hash, hash_bytes(key_of(key), load_element(hash), bytes, size));
}

static void message(const sm4_key *key_room, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad,
                    size_t aad_size, const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE])
{
    const portable_key *key = key_of(key_room);
    uint8_t stream[FEW];
    element hash = hash_bytes(key, (element){0, 0}, aad, aad_size);
    if (size <= FEW - SM4_BLOCK_SIZE) { /* the block that masks the tag (counter 1) and the text in one pass */
        few_blocks(key, nonce, 1, 1 + (int)((size + SM4_BLOCK_SIZE - 1) / SM4_BLOCK_SIZE), stream);
        hash = crypt_with_stream(key, sealing, hash, stream + SM4_BLOCK_SIZE, in, size, out);
    } else {
        few_blocks(key, nonce, 1, 1, stream);
        hash = (size < WORTH_A_BATCH ? crypt_short : crypt_long)(key, sealing, nonce, 2, hash, in, size, out);
    }
    hash = hash_block(key, hash, (element){(uint64_t)aad_size * 8, (uint64_t)size * 8});
    const element mask = load_element(stream);
    store_element(tag, (element){hash.first ^ mask.first, hash.second ^ mask.second});
    wipe(stream, sizeof stream);
}

/* S-box on the four bytes of a word. OWN + NEXT is a rotation by two bits, so S is (own + next) out of the basis, rotated
 * back; the constants of both forms cancel but for that of the S-box. */
INLINE uint32_t sbox_word(uint32_t word)
{
    narrow planes[8], own[8], next[8], rotated[8];
    planes_of_word(map_word_into(word) ^ SM4_BITS_INTO_CONSTANT * 0x01010101u, planes);
    SM4_BITS_SBOX(narrow, planes, own, next);
    for (int bit = 0; bit < 8; bit++) {
        own[bit] ^= next[bit];
    }
    SM4_BITS_MAP_OUT_OF(narrow, own, rotated);
    for (int bit = 0; bit < 8; bit++) {
        planes[bit] = rotated[(bit + 2) & 7];
    }
    return word_of_block(planes, 0) ^ SM4_SBOX_CONSTANT * 0x01010101u;
}

INLINE uint32_t rotate_left(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

/* Round keys (GB/T 32907-2016 s.7.3), and the state kept as N(X_i) ^ k_i as sm4_x86.h explains: here as words whose byte 0 is
 * in bits 0..7. */
static void expand_rounds(portable_key *key, const uint8_t bytes[SM4_KEY_SIZE])
{
    static const uint32_t family_key[4] = {0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc};
    uint32_t words[4], whitening[ROUNDS + 4] = {0};
    for (int i = 0; i < 4; i++) {
        words[i] = __builtin_bswap32(load_little_endian(bytes + 4 * i)) ^ family_key[i];
    }
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t constant = 0;
        for (int j = 0; j < 4; j++) {
            constant = constant << 8 | (uint32_t)((4 * i + j) * 7 & 255);
        }
        const uint32_t t = sbox_word(words[(i + 1) & 3] ^ words[(i + 2) & 3] ^ words[(i + 3) & 3] ^ constant);
        words[i & 3] ^= t ^ rotate_left(t, 13) ^ rotate_left(t, 23);
        const uint32_t round_key = __builtin_bswap32(words[i & 3]);
        whitening[i + 3] = map_word_into(round_key) ^ SM4_BITS_INTO_CONSTANT * 0x01010101u ^ whitening[i + 1] ^
                           whitening[i + 2];
    }
    whitening[ROUNDS + 3] = 0;
    for (int i = 0; i < ROUNDS; i++) {
        /* the circuit leaves out the constants of OWN and NEXT: they come in here */
        const uint32_t difference = whitening[i] ^ whitening[i + 4] ^ SM4_BITS_CONSTANT * 0x01010101u;
        uint32_t sum = difference ^ rotate_left(difference, 16);
        sum ^= rotate_left(sum, 8);
        key->corrections[i] = difference ^ sum;
    }
    for (int i = 0; i < 4; i++) {
        key->start[i] = whitening[i];
        key->end[i] = map_word_out_of(whitening[ROUNDS + 3 - i]);
    }
    wipe(words, sizeof words);
    wipe(whitening, sizeof whitening);
}

static void expand(sm4_key *key_room, const uint8_t bytes[SM4_KEY_SIZE])
{
    static const uint8_t zero_nonce[SM4_NONCE_SIZE];
    portable_key *key = (portable_key *)(void *)key_room->room;
    uint8_t subkey[SM4_BLOCK_SIZE];
    expand_rounds(key, bytes);
    few_blocks(key, zero_nonce, 0, 1, subkey); /* H is the encrypted block of zeros */
    key->powers[0] = load_element(subkey);
    wipe(subkey, sizeof subkey);
    for (int k = 0; k < POWERS; k++) {
        if (k > 0) {
            key->powers[k] = reduce(multiply(key->powers[k - 1], key->powers[0]));
        }
        wide *multiples = key->multiples[k];
        element multiple = key->powers[k];
        multiples[0] = repeat(0);
        for (int bit = 8; bit > 0; bit /= 2) {
            multiples[bit] = (wide){multiple.first, multiple.second};
            multiple = times_x(multiple);
        }
        for (int n = 1; n < 16; n++) {
            multiples[n] = multiples[n & 8] ^ multiples[n & 4] ^ multiples[n & 2] ^ multiples[n & 1];
        }
    }
}

const sm4_kernel sm4_portable = {CPU_PORTABLE, expand, message, part, authenticate};
