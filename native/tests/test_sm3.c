/* Tests of SM3 on every level of this processor; with --bench, its speed.
 *
 * With -DWITHOUT_OPENSSL the reference is a plain transcription of GB/T 32905 below (which OpenSSL checks otherwise).
 */
#undef NDEBUG
#define _POSIX_C_SOURCE 199309L
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if !defined(WITHOUT_OPENSSL)
#include <openssl/evp.h>
#endif

#include "../src/sm3.h"

typedef uint8_t digest_bytes[SM3_DIGEST_SIZE];

static const uint8_t node_block[SM3_BLOCK_SIZE] = {1}; /* spec/02 s.1 */

/* --- a reference: GB/T 32905-2016 as it is written --- */

static uint32_t turn(uint32_t value, int count)
{
    count %= 32;
    return count == 0 ? value : value << count | value >> (32 - count);
}

static void reference_block(uint32_t v[8], const uint8_t *bytes)
{
    uint32_t w[68], s[8];
    for (int j = 0; j < 16; j++) {
        w[j] = (uint32_t)bytes[4 * j] << 24 | (uint32_t)bytes[4 * j + 1] << 16 | (uint32_t)bytes[4 * j + 2] << 8 |
               bytes[4 * j + 3];
    }
    for (int j = 16; j < 68; j++) {
        const uint32_t x = w[j - 16] ^ w[j - 9] ^ turn(w[j - 3], 15);
        w[j] = x ^ turn(x, 15) ^ turn(x, 23) ^ turn(w[j - 13], 7) ^ w[j - 6];
    }
    memcpy(s, v, sizeof s);
    for (int j = 0; j < 64; j++) {
        const uint32_t ss1 = turn(turn(s[0], 12) + s[4] + turn(j < 16 ? 0x79cc4519 : 0x7a879d8a, j), 7);
        const uint32_t ff = j < 16 ? s[0] ^ s[1] ^ s[2] : (s[0] & s[1]) | (s[0] & s[2]) | (s[1] & s[2]);
        const uint32_t gg = j < 16 ? s[4] ^ s[5] ^ s[6] : (s[4] & s[5]) | (~s[4] & s[6]);
        const uint32_t tt1 = ff + s[3] + (ss1 ^ turn(s[0], 12)) + (w[j] ^ w[j + 4]);
        const uint32_t tt2 = gg + s[7] + ss1 + w[j];
        s[3] = s[2], s[2] = turn(s[1], 9), s[1] = s[0], s[0] = tt1;
        s[7] = s[6], s[6] = turn(s[5], 19), s[5] = s[4], s[4] = tt2 ^ turn(tt2, 9) ^ turn(tt2, 17);
    }
    for (int i = 0; i < 8; i++) {
        v[i] ^= s[i];
    }
}

static void reference(const uint8_t *head, const uint8_t *message, size_t size, digest_bytes digest)
{
    uint32_t v[8] = {0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e};
    const size_t head_size = head != NULL ? SM3_BLOCK_SIZE : 0;
    const size_t padded = (head_size + size + 9 + 63) / 64 * 64;
    uint8_t *bytes = calloc(padded, 1);
    assert(bytes != NULL);
    if (head != NULL) {
        memcpy(bytes, head, head_size);
    }
    if (size > 0) {
        memcpy(bytes + head_size, message, size);
    }
    bytes[head_size + size] = 0x80;
    for (size_t i = 0; i < 8; i++) {
        bytes[padded - 1 - i] = (uint8_t)((uint64_t)(head_size + size) * 8 >> (8 * i));
    }
    for (size_t offset = 0; offset < padded; offset += 64) {
        reference_block(v, bytes + offset);
    }
    for (int i = 0; i < SM3_DIGEST_SIZE; i++) {
        digest[i] = (uint8_t)(v[i / 4] >> (24 - 8 * (i % 4)));
    }
    free(bytes);
}

static void expected(const uint8_t *head, const uint8_t *message, size_t size, digest_bytes digest)
{
#if defined(WITHOUT_OPENSSL)
    reference(head, message, size, digest);
#else
    static EVP_MD_CTX *context;
    if (context == NULL) {
        context = EVP_MD_CTX_new();
    }
    assert(EVP_DigestInit_ex(context, EVP_sm3(), NULL) == 1);
    assert(head == NULL || EVP_DigestUpdate(context, head, SM3_BLOCK_SIZE) == 1);
    assert(EVP_DigestUpdate(context, message, size) == 1);
    assert(EVP_DigestFinal_ex(context, digest, NULL) == 1);
#endif
}

/* --- help --- */

/* xorshift64: the same "random" choices in every run. */
static uint64_t random_state = 88172645463325252u;

static size_t below(size_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % limit);
}

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)below(256);
    }
}

static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        assert(sscanf(text + 2 * i, "%2x", &value) == 1);
        bytes[i] = (uint8_t)value;
    }
    return size;
}

static void assert_hex(const uint8_t *bytes, const char *text)
{
    uint8_t wanted[128];
    assert(memcmp(bytes, wanted, from_hex(text, wanted)) == 0);
}

/* A copy at the end of its own allocation, so that AddressSanitizer sees a read past it. */
static uint8_t *exact_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert(copy != NULL);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

static void hash_at_once(const uint8_t *bytes, size_t size, digest_bytes digest)
{
    sm3_hash hash;
    sm3_start(&hash);
    sm3_update(&hash, bytes, size);
    sm3_digest(&hash, digest);
}

/* --- tests --- */

/* The examples of GB/T 32905-2016 annex A, and the empty message. */
static void test_standard(void)
{
    uint8_t message[64];
    digest_bytes digest;
    hash_at_once((const uint8_t *)"abc", 3, digest);
    assert_hex(digest, "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
    for (int i = 0; i < 64; i++) {
        message[i] = (uint8_t)('a' + i % 4);
    }
    hash_at_once(message, sizeof message, digest);
    assert_hex(digest, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732");
    hash_at_once(NULL, 0, digest);
    assert_hex(digest, "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b");
}

/* spec/vectors/00-suite: hmac-sm3, hmac-sm3-long-key, hkdf-sm3, hkdf-sm3-no-salt. */
static void test_keys(void)
{
    static const char message_hex[] = "6162636462636465636465666465666765666768666768696768696a68696a6b696a6b6c6a6b6c6d6b6c"
                                      "6d6e6c6d6e6f6d6e6f706e6f7071";
    uint8_t key[128], message[64], info[16], out[128], all[8160], part[8160];
    digest_bytes mac;
    size_t size = from_hex(message_hex, message);
    size_t key_size = from_hex("00112233445566778899aabbccddeeff", key);
    sm3_hmac(key, key_size, message, size, mac);
    assert_hex(mac, "dc813339153491ad81477754eb3df00dbb3cc3e6a69f9cacce737db7e61342ff");
    for (int i = 0; i < 100; i++) {
        key[i] = (uint8_t)i;
    }
    sm3_hmac(key, 100, message, size, mac);
    assert_hex(mac, "5db519c58e3e50a38a46a8c420d27f617fc219434597b194283ebdd87a21f944");

    memset(key, 0x0b, 22);
    key_size = from_hex("000102030405060708090a0b0c", message);
    sm3_hmac(message, key_size, key, 22, mac);
    assert_hex(mac, "e0d6f7b0bd056327b7659f1f39ad850561fbcf4fb10fb58e88eafa55cf7cd01e");
    sm3_hkdf_expand(mac, info, from_hex("f0f1f2f3f4f5f6f7f8f9", info), out, 42);
    assert_hex(out, "c69fe91b7aaee2dd5718d72dcaee0cce93f1b8e41f792da51261b6a517e68b36ed2c595572b01dfa359b");
    sm3_hmac(NULL, 0, key, 22, mac);
    assert_hex(mac, "004fc37143377d072d74e82ff480e8d7937ec607411bc1ec65dd34401871ff9c");
    sm3_hkdf_expand(mac, NULL, 0, out, 82);
    assert_hex(out, "c8c91a38ae2fb3b023a7c38ce9f0748f28230d59b6b950ba3ba949bf0d713a5774815778801741cb2034291acb392784c3fe1cd3"
                    "53149e62551c19803bf8beec7f5a0c18d7a17c9dd1a10e6daac5ac1a6a7b");

    /* the largest output, of which all shorter ones are a start */
    sm3_hkdf_expand(mac, info, sizeof info, all, sizeof all);
    for (size_t short_size = 0; short_size < sizeof part; short_size += 1 + below(400)) {
        memset(part, 0, sizeof part);
        sm3_hkdf_expand(mac, info, sizeof info, part, short_size);
        assert(memcmp(part, all, short_size) == 0 && (part[short_size] | part[sizeof part - 1]) == 0);
    }
}

/* Every length, alone and in lanes, with and without a head. */
static void test_lengths(size_t limit)
{
    enum { COUNT = 17 };
    static uint8_t bytes[COUNT * 4200], heads[COUNT * SM3_BLOCK_SIZE];
    digest_bytes digests[COUNT], wanted, other;
    fill(bytes, sizeof bytes);
    fill(heads, sizeof heads);
    for (size_t size = 0; size <= limit; size++) {
        const uint8_t *messages[COUNT];
        size_t sizes[COUNT];
        expected(NULL, bytes, size, wanted);
        reference(NULL, bytes, size, other);
        assert(memcmp(other, wanted, sizeof wanted) == 0);
        hash_at_once(bytes, size, other);
        assert(memcmp(other, wanted, sizeof wanted) == 0);
        for (size_t i = 0; i < COUNT; i++) {
            messages[i] = bytes + 4200 * i + below(64);
            sizes[i] = size;
        }
        for (int headed = 0; headed < 2; headed++) {
            memset(digests, 0, sizeof digests);
            sm3_many(COUNT, headed ? heads : NULL, messages, sizes, digests);
            for (size_t i = 0; i < COUNT; i++) {
                expected(headed ? heads + SM3_BLOCK_SIZE * i : NULL, messages[i], size, wanted);
                assert(memcmp(digests[i], wanted, sizeof wanted) == 0);
            }
        }
    }
}

/* Any number of messages of any sizes, each in an allocation of its own. */
static void test_unequal_sizes(int rounds)
{
    static uint8_t bytes[20000];
    fill(bytes, sizeof bytes);
    for (int round = 0; round < rounds; round++) {
        const size_t count = below(71);
        const size_t limit = (size_t[]){1, 64, 65, 300, 2000, 18000}[below(6)];
        const uint8_t *messages[70];
        uint8_t *copies[70], *heads;
        size_t sizes[70], odd = below(2);
        digest_bytes digests[71], wanted;
        for (size_t i = 0; i < count; i++) {
            const size_t offset = below(64);
            sizes[i] = below(4) == 0 && i > 0 ? sizes[i - 1] : below(limit + 1);
            copies[i] = exact_copy(bytes + below(2000 - 64), offset + sizes[i]);
            messages[i] = copies[i] + offset;
        }
        heads = exact_copy(bytes + below(1000), odd + SM3_BLOCK_SIZE * count);
        for (int headed = 0; headed < 2; headed++) {
            memset(digests, 0xee, sizeof digests);
            sm3_many(count, headed ? heads + odd : NULL, messages, sizes, digests);
            for (size_t i = 0; i < count; i++) {
                expected(headed ? heads + odd + SM3_BLOCK_SIZE * i : NULL, messages[i], sizes[i], wanted);
                assert(memcmp(digests[i], wanted, sizeof wanted) == 0);
            }
            assert(digests[count][0] == 0xee && digests[count][31] == 0xee);
        }
        for (size_t i = 0; i < count; i++) {
            free(copies[i]);
        }
        free(heads);
    }
}

/* Leaves one after the other, the last one of another size. */
static void test_strided(int rounds)
{
    static uint8_t bytes[40 * 5000], heads[40 * SM3_BLOCK_SIZE];
    fill(bytes, sizeof bytes);
    fill(heads, sizeof heads);
    for (int round = 0; round < rounds; round++) {
        const size_t count = below(41);
        const size_t stride = 1 + below(below(2) ? 4999 : 200);
        const size_t last = below(stride + 1);
        const size_t size = count > 0 ? (count - 1) * stride + last : 0;
        const uint8_t *used_heads = below(2) ? heads : NULL;
        uint8_t *leaves = exact_copy(bytes, size);
        digest_bytes digests[40], wanted;
        sm3_strided(count, used_heads, leaves, stride, last, digests);
        for (size_t i = 0; i < count; i++) {
            expected(used_heads != NULL ? heads + SM3_BLOCK_SIZE * i : NULL, leaves + i * stride, i + 1 < count ? stride : last,
                     wanted);
            assert(memcmp(digests[i], wanted, sizeof wanted) == 0);
        }
        free(leaves);
    }
}

/* The same message in pieces; a digest in between changes nothing. */
static void test_updates(int rounds)
{
    static uint8_t bytes[3000];
    fill(bytes, sizeof bytes);
    for (int round = 0; round < rounds; round++) {
        const size_t size = below(sizeof bytes);
        const size_t limit = 1 + below(below(2) ? 10 : 400);
        sm3_hash hash;
        digest_bytes digest, wanted;
        sm3_start(&hash);
        for (size_t done = 0; done < size;) {
            const size_t chosen = below(limit + 1);
            const size_t taken = chosen < size - done ? chosen : size - done;
            sm3_update(&hash, bytes + done, taken);
            done += taken;
            if (below(20) == 0) {
                sm3_digest(&hash, digest);
                expected(NULL, bytes, done, wanted);
                assert(memcmp(digest, wanted, sizeof wanted) == 0);
            }
        }
        sm3_digest(&hash, digest);
        expected(NULL, bytes, size, wanted);
        assert(memcmp(digest, wanted, sizeof wanted) == 0);
    }
}

static void node(const digest_bytes left, const digest_bytes right, digest_bytes parent)
{
    uint8_t pair[2 * SM3_DIGEST_SIZE];
    memcpy(pair, left, SM3_DIGEST_SIZE);
    memcpy(pair + SM3_DIGEST_SIZE, right, SM3_DIGEST_SIZE);
    expected(node_block, pair, sizeof pair, parent);
}

/* RFC 9162 s.2.1.1 as it is written. */
static void naive_root(size_t count, digest_bytes *leaves, digest_bytes root)
{
    digest_bytes left, right;
    size_t split = 1;
    if (count == 1) {
        memcpy(root, leaves[0], SM3_DIGEST_SIZE);
        return;
    }
    while (2 * split < count) {
        split *= 2;
    }
    naive_root(split, leaves, left);
    naive_root(count - split, leaves + split, right);
    node(left, right, root);
}

static void test_trees(size_t limit)
{
    for (size_t count = 0; count <= limit; count++) {
        const size_t size = count * SM3_DIGEST_SIZE;
        digest_bytes *pairs = malloc(2 * size + 1), *parents = malloc(size + 1), root, wanted;
        assert(pairs != NULL && parents != NULL);
        fill((uint8_t *)pairs, 2 * size);
        sm3_parents(node_block, count, (const digest_bytes *)pairs, parents);
        for (size_t i = 0; i < count; i++) {
            node(pairs[2 * i], pairs[2 * i + 1], wanted);
            assert(memcmp(parents[i], wanted, sizeof wanted) == 0);
        }
        sm3_parents(node_block, count, (const digest_bytes *)pairs, pairs);
        assert(memcmp(pairs, parents, size) == 0);
        if (count > 0) {
            naive_root(count, parents, wanted);
            sm3_root(node_block, count, parents, root);
            assert(memcmp(root, wanted, sizeof wanted) == 0);
        }
        free(pairs);
        free(parents);
    }
}

/* --- speed --- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time); /* other programs on this core are not counted */
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The seconds of the best of many windows: what else runs on the machine only ever makes it slower. */
#define BEST(seconds, statement)                                                                                              \
    do {                                                                                                                      \
        (seconds) = 1e9;                                                                                                      \
        for (double first_ = now(); now() - first_ < 0.7;) {                                                                  \
            const double start_ = now();                                                                                      \
            statement;                                                                                                        \
            const double taken_ = now() - start_;                                                                             \
            (seconds) = taken_ < (seconds) ? taken_ : (seconds);                                                              \
        }                                                                                                                     \
    } while (0)

static void bench_level(uint8_t *bytes, size_t size)
{
    static uint8_t heads[32768 * SM3_BLOCK_SIZE];
    static digest_bytes digests[32768], nodes[2000000];
    digest_bytes digest;
    double seconds;
    BEST(seconds, hash_at_once(bytes, 65536, digest));
    printf("  one stream of 64 KiB        %7.3f GB/s\n", 65536 / seconds / 1e9);
    BEST(seconds, for (int i = 0; i < 1000; i++) hash_at_once(bytes, 16, digest));
    printf("  one stream of 16 B          %7.0f ns\n", seconds * 1e6);
    BEST(seconds, for (int i = 0; i < 1000; i++) sm3_hmac(heads, 32, bytes, 32, digest));
    printf("  HMAC of 32 B                %7.0f ns\n", seconds * 1e6);
    for (size_t count = 1; count <= 16; count *= 2) {
        BEST(seconds, sm3_strided(count, heads, bytes, 65536, 65536, digests));
        printf("  %2zu leaves of 64 KiB         %7.3f GB/s\n", count, 65536.0 * (double)count / seconds / 1e9);
    }
    for (size_t leaf = 1024; leaf <= 65536; leaf *= 4) {
        const size_t count = size / leaf;
        BEST(seconds, (sm3_strided(count, heads, bytes, leaf, leaf, digests), sm3_root(node_block, count, digests, digest)));
        printf("  tree of 32 MiB, leaf %5zu  %7.3f GB/s\n", leaf, (double)size / seconds / 1e9);
    }
    memset(nodes, 5, sizeof nodes);
    BEST(seconds, sm3_parents(node_block, 1000000, (const digest_bytes *)nodes, nodes));
    printf("  1000000 parents             %7.2f million/s\n", 1 / seconds);
}

static void bench(void)
{
    const size_t size = (size_t)32 << 20;
    uint8_t *bytes = malloc(size);
    assert(bytes != NULL);
    fill(bytes, size);
    for (cpu_level level = CPU_PORTABLE; level < CPU_LEVELS; level++) {
        if (level != CPU_GFNI256 && cpu_limit(level)) { /* no SM3 of its own */
            printf("%s\n", cpu_name(level));
            bench_level(bytes, size);
        }
    }
    free(bytes);
}

int main(int count, char **arguments)
{
    const bool quick = count > 1 && strcmp(arguments[1], "--quick") == 0; /* for emulators */
    if (count > 1 && strcmp(arguments[1], "--bench") == 0) {
        bench();
        return 0;
    }
    for (cpu_level level = CPU_PORTABLE; level < CPU_LEVELS; level++) {
        if (!cpu_limit(level)) {
            continue;
        }
        test_standard();
        test_keys();
        test_lengths(quick ? 300 : 4096);
        test_unequal_sizes(quick ? 50 : 1500);
        test_strided(quick ? 50 : 1000);
        test_updates(quick ? 50 : 2000);
        test_trees(quick ? 70 : 300);
        printf("sm3: %s passed\n", cpu_name(level));
    }
    return 0;
}
