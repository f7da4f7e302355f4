/* SM4-GCM with GFNI, AVX-512 and VPCLMULQDQ.
 *
 * Long messages: 64 blocks at a time as 16 byte planes, plane 4 w + j being byte j of word w of all blocks. In this form the
 * rotations of L cost nothing but the choice of a plane (see OWN and NEXT in derive_sm4.py), the counter blocks need no
 * transposition, and a round of 64 blocks is 22 vector instructions. Two such batches run interleaved, since one alone waits for
 * its own results. Short messages and the block that masks the tag: up to 16 blocks in four registers of words.
 *
 * There is no table, branch or address that depends on a secret; only sizes and the public counter steer the flow.
 */
#if defined(__x86_64__)

#include "sm4.h"
#include "sm4_x86.h"
#include "wipe.h"

#define TARGETS "avx512f,avx512bw,avx512vl,avx512dq,gfni,vpclmulqdq,pclmul,sse4.1,ssse3,avx2,bmi2"
#define INLINE X86_INLINE(TARGETS)
#define TARGET __attribute__((target(TARGETS)))

enum {
    VECTOR = 64,          /* bytes of a register */
    FEW = 4 * VECTOR,     /* bytes of the 16 blocks of the form for short messages */
    BATCH = 16 * VECTOR,  /* bytes of the 64 blocks of the form for long ones */
    FEW_BLOCKS = 16,
    BATCH_BLOCKS = 64,
};

#define XOR3(a, b, c) _mm512_ternarylogic_epi32((a), (b), (c), 0x96)

INLINE __m512i load(const void *bytes)
{
    return _mm512_loadu_si512(bytes);
}

INLINE __mmask64 first_bytes(size_t size)
{
    return size >= VECTOR ? ~(__mmask64)0 : _cvtu64_mask64(_bzhi_u64(~0ull, (unsigned)size));
}

INLINE __m512i map_into(__m512i bytes)
{
    return _mm512_gf2p8affine_epi64_epi8(bytes, _mm512_set1_epi64((long long)SM4_GFNI_INTO), 0);
}

INLINE __m512i map_out_of(__m512i bytes)
{
    return _mm512_gf2p8affine_epi64_epi8(bytes, _mm512_set1_epi64((long long)SM4_GFNI_OUT_OF), 0);
}

INLINE __m512i sbox_own(__m512i bytes)
{
    return _mm512_gf2p8affineinv_epi64_epi8(bytes, _mm512_set1_epi64((long long)SM4_GFNI_OWN), SM4_GFNI_OWN_CONSTANT);
}

INLINE __m512i sbox_next(__m512i bytes)
{
    return _mm512_gf2p8affineinv_epi64_epi8(bytes, _mm512_set1_epi64((long long)SM4_GFNI_NEXT), SM4_GFNI_NEXT_CONSTANT);
}

INLINE __m512i end_whitening(const x86_key *key)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)key->end));
}

/* The three words of a nonce in the basis N, whitened. */
typedef struct {
    uint32_t words[3];
    uint32_t planes[12]; /* each byte four times */
} mapped_nonce;

INLINE mapped_nonce map_nonce(const x86_key *key, const uint8_t nonce[SM4_NONCE_SIZE])
{
    mapped_nonce mapped;
    for (int w = 0; w < 3; w++) {
        const __m128i word = _mm_cvtsi32_si128((int)load_word(nonce + 4 * w));
        const __m128i into = _mm_gf2p8affine_epi64_epi8(word, _mm_set1_epi64x((long long)SM4_GFNI_INTO), 0);
        mapped.words[w] = (uint32_t)_mm_cvtsi128_si32(into) ^ key->start[w];
        for (int j = 0; j < 4; j++) {
            mapped.planes[4 * w + j] = (mapped.words[w] >> (8 * j) & 255) * 0x01010101u;
        }
    }
    return mapped;
}

/* ---- up to 16 blocks ---- */

/* Key stream of 16 blocks from `counter` on. Word w of all blocks is in register w, bytes in memory order, so that what goes
 * to the next byte of a word moves 8 bits to the left. After the rounds four 32-bit transpositions give whole blocks; the
 * counters are laid out so that these come in order. */
INLINE void few_blocks(const x86_key *key, const mapped_nonce *nonce, uint32_t counter, __m512i stream[4])
{
    const __m512i offsets = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i big_endian = _mm512_broadcast_i32x4(
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    const __m512i counters = _mm512_add_epi32(_mm512_set1_epi32((int)counter), offsets);
    __m512i words[4];
    for (int w = 0; w < 3; w++) {
        words[w] = _mm512_set1_epi32((int)nonce->words[w]);
    }
    words[3] = _mm512_xor_si512(map_into(_mm512_shuffle_epi8(counters, big_endian)), _mm512_set1_epi32((int)key->start[3]));
    for (int i = 0; i < SM4_ROUNDS; i += 4) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const __m512i input = XOR3(words[(j + 1) & 3], words[(j + 2) & 3], words[(j + 3) & 3]);
            const __m512i sum = XOR3(sbox_own(input), _mm512_rol_epi32(sbox_next(input), 8),
                                     _mm512_set1_epi32((int)key->words[i + j]));
            /* sum ^ (sum of its bytes in each byte) = the other three rotations */
            words[j] = XOR3(_mm512_xor_si512(words[j], _mm512_rol_epi32(sum, 16)), _mm512_rol_epi32(sum, 8),
                            _mm512_rol_epi32(sum, 24));
        }
    }
    const __m512i end = end_whitening(key);
    const __m512i low32 = _mm512_unpacklo_epi32(words[3], words[2]), high32 = _mm512_unpackhi_epi32(words[3], words[2]);
    const __m512i low10 = _mm512_unpacklo_epi32(words[1], words[0]), high10 = _mm512_unpackhi_epi32(words[1], words[0]);
    stream[0] = _mm512_unpacklo_epi64(low32, low10);
    stream[1] = _mm512_unpackhi_epi64(low32, low10);
    stream[2] = _mm512_unpacklo_epi64(high32, high10);
    stream[3] = _mm512_unpackhi_epi64(high32, high10);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        stream[i] = _mm512_xor_si512(map_out_of(stream[i]), end);
    }
}

/* ---- GHASH ---- */

/* Sums of products that are not reduced yet, lane by lane: low + middle x^64 + high x^128. */
typedef struct {
    __m512i low, middle, high;
} ghash_sum;

INLINE ghash_sum ghash_empty(void)
{
    const __m512i zero = _mm512_setzero_si512();
    return (ghash_sum){zero, zero, zero};
}

INLINE void ghash_add(ghash_sum *sum, __m512i blocks, __m512i powers)
{
    sum->low = _mm512_xor_si512(sum->low, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
    sum->high = _mm512_xor_si512(sum->high, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
    sum->middle = XOR3(sum->middle, _mm512_clmulepi64_epi128(blocks, powers, 0x10),
                       _mm512_clmulepi64_epi128(blocks, powers, 0x01));
}

INLINE __m128i sum_of_lanes(__m512i lanes)
{
    const __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE __m128i ghash_end(const ghash_sum *sum)
{
    return ghash_reduce(sum_of_lanes(sum->low), sum_of_lanes(sum->middle), sum_of_lanes(sum->high));
}

INLINE __m512i reverse_blocks(__m512i blocks)
{
    return _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(REVERSE_BYTES));
}

/* Adds `size` bytes, the last block padded with zeros, to the sum. `hash` is what came before, and `power` the power of H for
 * the first block. */
INLINE void ghash_add_bytes(const x86_key *key, ghash_sum *sum, __m128i hash, size_t power, const uint8_t *bytes,
                            size_t size)
{
    const uint8_t *powers = key->powers[SM4_POWERS - power];
    __m512i before = _mm512_zextsi128_si512(hash);
    for (size_t start = 0; start < size; start += VECTOR) {
        const __m512i blocks = reverse_blocks(_mm512_maskz_loadu_epi8(first_bytes(size - start), bytes + start));
        ghash_add(sum, _mm512_xor_si512(blocks, before), load(powers + start));
        before = _mm512_setzero_si512();
    }
}

INLINE __m128i ghash_batch(const x86_key *key, __m128i hash, const uint8_t *bytes)
{
    ghash_sum sum = ghash_empty();
    __m512i before = _mm512_zextsi128_si512(hash);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        const __m512i blocks = reverse_blocks(load(bytes + VECTOR * i));
        ghash_add(&sum, i == 0 ? _mm512_xor_si512(blocks, before) : blocks, load(key->powers[4 * i]));
    }
    return ghash_end(&sum);
}

INLINE size_t blocks_of(size_t size)
{
    return size / SM4_BLOCK_SIZE + (size % SM4_BLOCK_SIZE != 0);
}

TARGET static __m128i ghash_bytes(const x86_key *key, __m128i hash, const uint8_t *bytes, size_t size)
{
    for (; size >= BATCH; bytes += BATCH, size -= BATCH) {
        hash = ghash_batch(key, hash, bytes);
    }
    if (size > 0) {
        ghash_sum sum = ghash_empty();
        ghash_add_bytes(key, &sum, hash, blocks_of(size), bytes, size);
        hash = ghash_end(&sum);
    }
    return hash;
}

/* ---- 64 blocks as byte planes ---- */

/* One round on planes a (the word that is replaced) from the planes b, c and d of the other words. */
#define ROUND(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, correction)                             \
    do {                                                                                                              \
        const __m512i in0 = XOR3(b0, c0, d0), in1 = XOR3(b1, c1, d1), in2 = XOR3(b2, c2, d2), in3 = XOR3(b3, c3, d3); \
        const __m512i sum0 = XOR3(sbox_own(in0), sbox_next(in3), _mm512_set1_epi32((int)(correction)[0]));            \
        const __m512i sum1 = XOR3(sbox_own(in1), sbox_next(in0), _mm512_set1_epi32((int)(correction)[1]));            \
        const __m512i sum2 = XOR3(sbox_own(in2), sbox_next(in1), _mm512_set1_epi32((int)(correction)[2]));            \
        const __m512i sum3 = XOR3(sbox_own(in3), sbox_next(in2), _mm512_set1_epi32((int)(correction)[3]));            \
        const __m512i all = _mm512_xor_si512(XOR3(sum0, sum1, sum2), sum3);                                           \
        a0 = XOR3(a0, sum0, all);                                                                                     \
        a1 = XOR3(a1, sum1, all);                                                                                     \
        a2 = XOR3(a2, sum2, all);                                                                                     \
        a3 = XOR3(a3, sum3, all);                                                                                     \
    } while (0)

/* The round that replaces word 0, 1, 2 or 3, on the 16 planes x ## 0 .. x ## f. */
#define ROUND_OF_0(x, k)                                                                                            \
    ROUND(x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7, x##8, x##9, x##a, x##b, x##c, x##d, x##e, x##f, k)
#define ROUND_OF_1(x, k)                                                                                            \
    ROUND(x##4, x##5, x##6, x##7, x##8, x##9, x##a, x##b, x##c, x##d, x##e, x##f, x##0, x##1, x##2, x##3, k)
#define ROUND_OF_2(x, k)                                                                                            \
    ROUND(x##8, x##9, x##a, x##b, x##c, x##d, x##e, x##f, x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7, k)
#define ROUND_OF_3(x, k)                                                                                            \
    ROUND(x##c, x##d, x##e, x##f, x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7, x##8, x##9, x##a, x##b, k)
#define PLANES_FROM(x, p)                                                                                              \
    __m512i x##0 = p[0], x##1 = p[1], x##2 = p[2], x##3 = p[3], x##4 = p[4], x##5 = p[5], x##6 = p[6], x##7 = p[7],    \
            x##8 = p[8], x##9 = p[9], x##a = p[10], x##b = p[11], x##c = p[12], x##d = p[13], x##e = p[14],            \
            x##f = p[15]
/* The output is X_35, X_34, X_33, X_32 (GB/T 32907-2016 s.7.1): the words in reverse. */
#define PLANES_TO(x, p)                                                                                                \
    (p[0] = x##c, p[1] = x##d, p[2] = x##e, p[3] = x##f, p[4] = x##8, p[5] = x##9, p[6] = x##a, p[7] = x##b,           \
     p[8] = x##4, p[9] = x##5, p[10] = x##6, p[11] = x##7, p[12] = x##0, p[13] = x##1, p[14] = x##2, p[15] = x##3)

INLINE void rounds_of_one(const x86_key *key, __m512i planes[16])
{
    PLANES_FROM(x, planes);
    for (int i = 0; i < SM4_ROUNDS; i += 4) {
        ROUND_OF_0(x, key->planes[i]);
        ROUND_OF_1(x, key->planes[i + 1]);
        ROUND_OF_2(x, key->planes[i + 2]);
        ROUND_OF_3(x, key->planes[i + 3]);
    }
    PLANES_TO(x, planes);
}

/* All rounds of two batches, with GHASH of BATCH bytes in the gaps that the rounds leave, if `hashing`: two registers of
 * blocks in each four rounds, since more makes the compiler move planes in and out of memory for longer than it saves. */
INLINE __m128i rounds_of_two(const x86_key *key, __m512i first[16], __m512i second[16], bool hashing, __m128i hash,
                             const uint8_t *hashed)
{
    PLANES_FROM(x, first);
    PLANES_FROM(y, second);
    ghash_sum sum = ghash_empty();
    __m512i before = _mm512_zextsi128_si512(hash);
#pragma GCC unroll 1
    for (int i = 0; i < SM4_ROUNDS; i += 4) {
        ROUND_OF_0(x, key->planes[i]);
        ROUND_OF_0(y, key->planes[i]);
        if (hashing) {
            const __m512i blocks = reverse_blocks(load(hashed + VECTOR * (i / 2)));
            ghash_add(&sum, _mm512_xor_si512(before, blocks), load(key->powers[2 * i]));
            before = _mm512_setzero_si512();
        }
        ROUND_OF_1(x, key->planes[i + 1]);
        ROUND_OF_1(y, key->planes[i + 1]);
        ROUND_OF_2(x, key->planes[i + 2]);
        ROUND_OF_2(y, key->planes[i + 2]);
        if (hashing) {
            ghash_add(&sum, reverse_blocks(load(hashed + VECTOR * (i / 2 + 1))), load(key->powers[2 * i + 4]));
        }
        ROUND_OF_3(x, key->planes[i + 3]);
        ROUND_OF_3(y, key->planes[i + 3]);
    }
    PLANES_TO(x, first);
    PLANES_TO(y, second);
    return hashing ? ghash_end(&sum) : hash;
}

/* Planes of the counter blocks from `counter` on. Byte c of 128-bit lane l belongs to block 4 c + l, so that after the
 * transposition register c holds blocks 4 c .. 4 c + 3. */
INLINE void counter_planes(const x86_key *key, const mapped_nonce *nonce, uint32_t counter, __m512i planes[16])
{
    static const _Alignas(VECTOR) uint8_t offsets[VECTOR] = {
        0, 4, 8,  12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 1, 5, 9,  13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61,
        2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 62, 3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63,
    };
    for (int i = 0; i < 12; i++) {
        planes[i] = _mm512_set1_epi32((int)nonce->planes[i]);
    }
    __m512i bytes[4];
    for (int j = 0; j < 4; j++) {
        bytes[j] = _mm512_set1_epi8((char)(counter >> (24 - 8 * j)));
    }
    const __m512i base = bytes[3];
    bytes[3] = _mm512_add_epi8(base, load(offsets));
    if (__builtin_expect((counter & 255) > 256 - BATCH_BLOCKS, 0)) { /* a carry runs through some of the blocks */
        __mmask64 carry = _mm512_cmplt_epu8_mask(bytes[3], base);
        for (int j = 2; j >= 0; j--) {
            bytes[j] = _mm512_mask_add_epi8(bytes[j], carry, bytes[j], _mm512_set1_epi8(1));
            carry = _mm512_mask_cmpeq_epi8_mask(carry, bytes[j], _mm512_setzero_si512());
        }
    }
    for (int j = 0; j < 4; j++) {
        planes[12 + j] = _mm512_xor_si512(map_into(bytes[j]), _mm512_set1_epi8((char)(key->start[3] >> (8 * j))));
    }
}

/* Turns planes into blocks: a 16 x 16 transposition of bytes in each lane by four perfect shuffles, then out of the basis N
 * (the whitening is left to the caller, who adds it together with the text). */
INLINE void blocks_of_planes(__m512i planes[16])
{
    __m512i shuffled[16];
    for (int step = 0; step < 2; step++) {
        for (int i = 0; i < 8; i++) {
            shuffled[2 * i] = _mm512_unpacklo_epi8(planes[i], planes[i + 8]);
            shuffled[2 * i + 1] = _mm512_unpackhi_epi8(planes[i], planes[i + 8]);
        }
        for (int i = 0; i < 8; i++) {
            planes[2 * i] = _mm512_unpacklo_epi8(shuffled[i], shuffled[i + 8]);
            planes[2 * i + 1] = _mm512_unpackhi_epi8(shuffled[i], shuffled[i + 8]);
        }
    }
    for (int i = 0; i < 16; i++) {
        planes[i] = map_out_of(planes[i]);
    }
}

INLINE void add_text(const x86_key *key, const __m512i stream[16], const uint8_t *in, uint8_t *out)
{
    const __m512i end = end_whitening(key);
    for (int i = 0; i < 16; i++) {
        _mm512_storeu_si512(out + VECTOR * i, XOR3(stream[i], end, load(in + VECTOR * i)));
    }
}

/* Two batches of counter mode, and GHASH of 2 BATCH bytes from `hashed` if `hashing`. */
INLINE __m128i crypt_two(const x86_key *key, const mapped_nonce *nonce, uint32_t counter, const uint8_t *in, uint8_t *out,
                         bool hashing, __m128i hash, const uint8_t *hashed)
{
    __m512i first[16], second[16];
    counter_planes(key, nonce, counter, first);
    counter_planes(key, nonce, counter + BATCH_BLOCKS, second);
    hash = rounds_of_two(key, first, second, hashing, hash, hashed);
    if (hashing) {
        hash = ghash_batch(key, hash, hashed + BATCH);
    }
    blocks_of_planes(first);
    add_text(key, first, in, out);
    blocks_of_planes(second);
    add_text(key, second, in + BATCH, out + BATCH);
    return hash;
}

TARGET __attribute__((noinline)) static __m128i crypt_and_hash_two(const x86_key *key, const mapped_nonce *nonce,
                                                                   uint32_t counter, const uint8_t *in, uint8_t *out,
                                                                   __m128i hash, const uint8_t *hashed)
{
    return crypt_two(key, nonce, counter, in, out, true, hash, hashed);
}

TARGET __attribute__((noinline)) static void crypt_only_two(const x86_key *key, const mapped_nonce *nonce, uint32_t counter,
                                                            const uint8_t *in, uint8_t *out)
{
    crypt_two(key, nonce, counter, in, out, false, _mm_setzero_si128(), NULL);
}

TARGET __attribute__((noinline)) static void crypt_one(const x86_key *key, const mapped_nonce *nonce, uint32_t counter,
                                                       const uint8_t *in, size_t size, uint8_t *out)
{
    __m512i stream[16];
    counter_planes(key, nonce, counter, stream);
    rounds_of_one(key, stream);
    blocks_of_planes(stream);
    if (size == BATCH) {
        add_text(key, stream, in, out);
        return;
    }
    const __m512i end = end_whitening(key);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        const size_t start = (size_t)VECTOR * (size_t)i;
        if (start < size) {
            const __mmask64 mask = first_bytes(size - start);
            const __m512i text = _mm512_maskz_loadu_epi8(mask, in + start);
            _mm512_mask_storeu_epi8(out + start, mask, XOR3(stream[i], end, text));
        }
    }
}

/* ---- the kernel ---- */

/* Counter mode and GHASH of any size; returns the new hash. When sealing, GHASH runs one step behind, on the ciphertext of the
 * step before. */
INLINE __m128i crypt_bytes(const x86_key *key, bool sealing, const mapped_nonce *nonce, uint32_t counter, __m128i hash,
                           const uint8_t *in, size_t size, uint8_t *out)
{
    const uint8_t *behind = NULL;
    for (; size >= 2 * BATCH; in += 2 * BATCH, out += 2 * BATCH, size -= 2 * BATCH, counter += 2 * BATCH_BLOCKS) {
        if (sealing && behind == NULL) {
            crypt_only_two(key, nonce, counter, in, out);
        } else {
            hash = crypt_and_hash_two(key, nonce, counter, in, out, hash, sealing ? behind : in);
        }
        behind = out;
    }
    if (sealing && behind != NULL) {
        hash = ghash_bytes(key, hash, behind, 2 * BATCH);
    }
    while (size > 0) {
        const size_t taken = size < BATCH ? size : BATCH;
        if (!sealing) {
            hash = ghash_bytes(key, hash, in, taken);
        }
        crypt_one(key, nonce, counter, in, taken, out);
        if (sealing) {
            hash = ghash_bytes(key, hash, out, taken);
        }
        in += taken;
        out += taken;
        size -= taken;
        counter += BATCH_BLOCKS;
    }
    return hash;
}

TARGET static void part(const sm4_key *key_room, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                        uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *in, size_t size, uint8_t *out)
{
    const x86_key *key = x86_key_of(key_room);
    const mapped_nonce mapped = map_nonce(key, nonce);
    store_reversed(hash, crypt_bytes(key, sealing, &mapped, counter, load_reversed(hash), in, size, out));
}

TARGET static void authenticate(const sm4_key *key, uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *bytes, size_t size)
{
    store_reversed(hash, ghash_bytes(x86_key_of(key), load_reversed(hash), bytes, size));
}

/* The counter block of the tag (1) and the text fit 16 blocks: one pass of the cipher, and one reduction unless the AAD is
 * long. */
INLINE void short_message(const x86_key *key, bool sealing, const mapped_nonce *nonce, const uint8_t *aad, size_t aad_size,
                          const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE])
{
    __m512i stream[4];
    few_blocks(key, nonce, 1, stream);
    const __m128i tag_mask = _mm512_castsi512_si128(stream[0]);
    const size_t text_blocks = blocks_of(size);
    __m128i hash = _mm_setzero_si128();
    ghash_sum sum = ghash_empty();
    if (aad_size > (SM4_POWERS - FEW_BLOCKS) * SM4_BLOCK_SIZE) {
        hash = ghash_bytes(key, hash, aad, aad_size);
    } else if (aad_size > 0) {
        ghash_add_bytes(key, &sum, hash, blocks_of(aad_size) + text_blocks + 1, aad, aad_size);
    }
    const uint8_t *powers = key->powers[SM4_POWERS - text_blocks - 1];
    __m512i before = _mm512_zextsi128_si512(hash);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const size_t start = (size_t)VECTOR * (size_t)i;
        if (start >= size) {
            break;
        }
        /* block 0 of the stream masks the tag: the text begins at the next one */
        const __m512i shifted = _mm512_alignr_epi64(i < 3 ? stream[(i + 1) & 3] : _mm512_setzero_si512(), stream[i], 2);
        const __mmask64 mask = first_bytes(size - start);
        const __m512i text = _mm512_maskz_loadu_epi8(mask, in + start);
        const __m512i other = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(text, shifted));
        _mm512_mask_storeu_epi8(out + start, mask, other);
        const __m512i blocks = reverse_blocks(sealing ? other : text);
        ghash_add(&sum, _mm512_xor_si512(blocks, before), load(powers + start));
        before = _mm512_setzero_si512();
    }
    __m128i sizes = ghash_sizes(aad_size, size);
    if (size == 0) {
        sizes = _mm_xor_si128(sizes, hash);
    }
    ghash_add(&sum, _mm512_zextsi128_si512(sizes), load(key->powers[SM4_POWERS - 1]));
    store_reversed(tag, _mm_xor_si128(ghash_end(&sum), _mm_shuffle_epi8(tag_mask, REVERSE_BYTES)));
}

TARGET static void message(const sm4_key *key_room, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad,
                           size_t aad_size, const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE])
{
    const x86_key *key = x86_key_of(key_room);
    const mapped_nonce mapped = map_nonce(key, nonce);
    if (size <= FEW - SM4_BLOCK_SIZE) {
        short_message(key, sealing, &mapped, aad, aad_size, in, size, out, tag);
        return;
    }
    __m512i stream[4];
    few_blocks(key, &mapped, 1, stream);
    const __m128i tag_mask = _mm_shuffle_epi8(_mm512_castsi512_si128(stream[0]), REVERSE_BYTES);
    __m128i hash = ghash_bytes(key, _mm_setzero_si128(), aad, aad_size);
    hash = crypt_bytes(key, sealing, &mapped, 2, hash, in, size, out);
    hash = _mm_xor_si128(hash, ghash_sizes(aad_size, size));
    hash = ghash_multiply(hash, _mm_load_si128((const __m128i *)(const void *)key->powers[SM4_POWERS - 1]));
    store_reversed(tag, _mm_xor_si128(hash, tag_mask));
    wipe(stream, sizeof stream);
}

INLINE __m512i ghash_multiply_lanes(__m512i first, __m512i second)
{
    const __m512i polynomial = _mm512_broadcast_i32x4(GHASH_POLYNOMIAL);
    ghash_sum sum = ghash_empty();
    ghash_add(&sum, first, second);
    __m512i low = _mm512_xor_si512(sum.low, _mm512_bslli_epi128(sum.middle, 8));
    const __m512i high = _mm512_xor_si512(sum.high, _mm512_bsrli_epi128(sum.middle, 8));
    for (int step = 0; step < 2; step++) {
        const __m512i folded = _mm512_clmulepi64_epi128(low, polynomial, 0x10);
        low = _mm512_xor_si512(_mm512_shuffle_epi32(low, 0x4e), folded);
    }
    return _mm512_xor_si512(high, low);
}

/* Fills in H^64 .. H^1; `power` is H^1 reversed, times x. */
INLINE void expand_powers(x86_key *key, __m128i power)
{
    const __m128i second = ghash_multiply(power, power);
    const __m128i third = ghash_multiply(second, power), fourth = ghash_multiply(second, second);
    __m512i quads[16];
    quads[15] = _mm512_inserti32x4(_mm512_castsi128_si512(fourth), third, 1);
    quads[15] = _mm512_inserti32x4(_mm512_inserti32x4(quads[15], second, 2), power, 3);
    for (int known = 1; known < 16; known *= 2) {
        /* the first lane of quad 16 - known is H^(4 known) */
        const __m512i highest = quads[16 - known];
        const __m512i step = _mm512_shuffle_i64x2(highest, highest, 0);
        for (int i = 1; i <= known; i++) {
            quads[16 - known - i] = ghash_multiply_lanes(quads[16 - i], step);
        }
    }
    for (int i = 0; i < 16; i++) {
        _mm512_store_si512(key->powers[4 * i], quads[i]);
    }
    wipe(quads, sizeof quads);
    memset(key->powers[SM4_POWERS], 0, sizeof key->powers - (size_t)SM4_POWERS * SM4_BLOCK_SIZE);
}

/* One vector register per word keeps the S-box of the key schedule free of table look-ups (GB/T 32907-2016 s.7.3). */
INLINE void map_round_keys(const uint8_t bytes[SM4_KEY_SIZE], uint32_t mapped[SM4_ROUNDS])
{
    static const uint32_t family_key[4] = {0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc}; /* FK, s.7.3 */
    const __m128i into = _mm_set1_epi64x((long long)SM4_GFNI_INTO), back = _mm_set1_epi64x((long long)SM4_GFNI_BACK);
    __m128i words[4];
    for (int i = 0; i < 4; i++) {
        words[i] = _mm_cvtsi32_si128((int)(__builtin_bswap32(load_word(bytes + 4 * i)) ^ family_key[i]));
    }
    for (int i = 0; i < SM4_ROUNDS; i++) {
        __m128i word = _mm_xor_si128(words[(i + 1) & 3], _mm_cvtsi32_si128((int)key_constant(i)));
        word = _mm_ternarylogic_epi32(word, words[(i + 2) & 3], words[(i + 3) & 3], 0x96);
        word = _mm_gf2p8affine_epi64_epi8(word, into, SM4_GFNI_INTO_CONSTANT);
        word = _mm_gf2p8affineinv_epi64_epi8(word, back, SM4_GFNI_BACK_CONSTANT);
        word = _mm_ternarylogic_epi32(word, _mm_rol_epi32(word, 13), _mm_rol_epi32(word, 23), 0x96);
        words[i & 3] = _mm_xor_si128(words[i & 3], word);
        const __m128i round_key = _mm_gf2p8affine_epi64_epi8(words[i & 3], into, SM4_GFNI_INTO_CONSTANT);
        mapped[i] = (uint32_t)_mm_cvtsi128_si32(round_key);
    }
}

TARGET static void expand(sm4_key *key_room, const uint8_t bytes[SM4_KEY_SIZE])
{
    x86_key *key = (x86_key *)(void *)key_room->room;
    uint32_t mapped[SM4_ROUNDS], end[4];
    map_round_keys(bytes, mapped);
    whiten_key(key, mapped, end);
    const __m128i out_of = _mm_set1_epi64x((long long)SM4_GFNI_OUT_OF);
    const __m128i end_words = _mm_loadu_si128((const __m128i *)(const void *)end);
    _mm_storeu_si128((__m128i *)(void *)key->end, _mm_gf2p8affine_epi64_epi8(end_words, out_of, 0));
    wipe(mapped, sizeof mapped);
    wipe(end, sizeof end);
    /* H is the encrypted block of zeros: nonce 0, counter 0 */
    static const uint8_t zero_nonce[SM4_NONCE_SIZE];
    const mapped_nonce nonce = map_nonce(key, zero_nonce);
    __m512i stream[4];
    few_blocks(key, &nonce, 0, stream);
    expand_powers(key, ghash_times_x(_mm_shuffle_epi8(_mm512_castsi512_si128(stream[0]), REVERSE_BYTES)));
}

const sm4_kernel sm4_gfni512 = {CPU_GFNI512, expand, message, part, authenticate};

#endif
