/* Tests of SM4-GCM on every kernel of this machine; `--bench` measures them instead. */
#undef NDEBUG
#define _POSIX_C_SOURCE 200809L
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sm4.h"
#include "sm4_reference.h"

enum { LONGEST = 4096, LONGEST_AAD = 2100, SLACK = 64 };

/* A random stream that is the same in every run (Marsaglia, "Xorshift RNGs", 2003). */
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t random_below(size_t bound)
{
    return (size_t)(random_word() >> 11) % bound;
}

static void random_bytes(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(random_word() >> 32);
    }
}

static void from_hex(const char *hex, uint8_t *bytes)
{
    for (size_t i = 0; hex[2 * i] != 0; i++) {
        unsigned byte;
        assert(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        bytes[i] = (uint8_t)byte;
    }
}

/* One block through a kernel: the first 12 bytes are the nonce, the last four the counter. */
static void encrypt_block(const sm4_key *key, uint8_t block[16])
{
    static const uint8_t zeros[16];
    uint8_t hash[16] = {0}, nonce[12];
    memcpy(nonce, block, 12);
    key->kernel->part(key, true, nonce, reference_load(block + 12), hash, zeros, 16, block);
}

/* GB/T 32907-2016 annex A: one encryption, and a million of them. */
static void test_standard_examples(void)
{
    uint8_t bytes[16], block[16], expected[16];
    sm4_key key;
    from_hex("0123456789abcdeffedcba9876543210", bytes);
    memcpy(block, bytes, 16);
    sm4_expand(&key, bytes);
    from_hex("681edf34d206965e86b3e94f536e4246", expected);
    encrypt_block(&key, block);
    assert(memcmp(block, expected, 16) == 0);
    for (int i = 1; i < 1000000; i++) {
        encrypt_block(&key, block);
    }
    from_hex("595298c7c6fd271f0402f804c33d3f66", expected);
    assert(memcmp(block, expected, 16) == 0);
}

static void test_rfc_8998(void) /* appendix A.1 */
{
    uint8_t bytes[16], nonce[12], aad[20], text[64], expected[64], expected_tag[16], out[64], tag[16];
    sm4_key key;
    from_hex("0123456789abcdeffedcba9876543210", bytes);
    from_hex("00001234567800000000abcd", nonce);
    from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    from_hex("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
             "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa", text);
    from_hex("17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
             "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d", expected);
    from_hex("83de3541e4c2b58177e065a9bf7b62ec", expected_tag);
    sm4_expand(&key, bytes);
    sm4_seal(&key, nonce, aad, sizeof aad, text, sizeof text, out, tag);
    assert(memcmp(out, expected, sizeof out) == 0 && memcmp(tag, expected_tag, 16) == 0);
    assert(sm4_open(&key, nonce, aad, sizeof aad, out, sizeof out, out, tag));
    assert(memcmp(out, text, sizeof out) == 0);
}

/* A message and what the reference makes of it. */
typedef struct {
    uint8_t key[16], nonce[12], tag[16];
    uint8_t aad[LONGEST_AAD], text[LONGEST], sealed[LONGEST];
    size_t aad_size, size;
} example;

static void make_example(example *made, size_t size)
{
    made->size = size;
    made->aad_size = random_below(4) == 0 ? random_below(LONGEST_AAD + 1) : random_below(64);
    random_bytes(made->key, 16);
    random_bytes(made->nonce, 12);
    random_bytes(made->aad, made->aad_size);
    random_bytes(made->text, size);
    reference_seal(made->key, made->nonce, made->aad, made->aad_size, made->text, size, made->sealed, made->tag);
}

/* Memory with a known pattern around the bytes that a function may write. */
typedef struct {
    _Alignas(64) uint8_t room[LONGEST + 2 * SLACK + 64];
    uint8_t *bytes;
    size_t size;
} guarded;

static void guard(guarded *memory, size_t size)
{
    memset(memory->room, 0xa5, sizeof memory->room);
    memory->bytes = memory->room + SLACK + random_below(64);
    memory->size = size;
}

static void check_guard(const guarded *memory)
{
    for (const uint8_t *byte = memory->room; byte < memory->room + sizeof memory->room; byte++) {
        assert((byte >= memory->bytes && byte < memory->bytes + memory->size) || *byte == 0xa5);
    }
}

static void check_zeros(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        assert(bytes[i] == 0);
    }
}

static void check_whole(const sm4_key *key, const example *e)
{
    guarded first, second;
    uint8_t tag[16];
    guard(&first, e->size);
    guard(&second, e->size);
    memcpy(first.bytes, e->text, e->size);
    sm4_seal(key, e->nonce, e->aad, e->aad_size, first.bytes, e->size, second.bytes, tag);
    assert(memcmp(second.bytes, e->sealed, e->size) == 0 && memcmp(tag, e->tag, 16) == 0);
    assert(memcmp(first.bytes, e->text, e->size) == 0);
    assert(sm4_open(key, e->nonce, e->aad, e->aad_size, second.bytes, e->size, first.bytes, tag));
    assert(memcmp(first.bytes, e->text, e->size) == 0);
    /* in place */
    sm4_seal(key, e->nonce, e->aad, e->aad_size, first.bytes, e->size, first.bytes, tag);
    assert(memcmp(first.bytes, e->sealed, e->size) == 0 && memcmp(tag, e->tag, 16) == 0);
    assert(sm4_open(key, e->nonce, e->aad, e->aad_size, second.bytes, e->size, second.bytes, tag));
    assert(memcmp(second.bytes, e->text, e->size) == 0);
    check_guard(&first);
    check_guard(&second);
}

static void check_stream(const sm4_key *key, const example *e, bool sealing)
{
    guarded memory;
    guard(&memory, e->size);
    memcpy(memory.bytes, sealing ? e->text : e->sealed, e->size);
    sm4_stream stream;
    uint8_t tag[16];
    sm4_stream_start(&stream, key, sealing, e->nonce, e->aad, e->aad_size);
    const size_t bound = (size_t[]){4, 40, 700, 5000}[random_below(4)];
    for (size_t start = 0; start < e->size;) {
        const size_t left = e->size - start, wished = random_below(bound);
        const size_t size = wished < left ? wished : left;
        sm4_stream_update(&stream, memory.bytes + start, size, memory.bytes + start);
        start += size;
    }
    sm4_stream_finish(&stream, tag);
    assert(memcmp(memory.bytes, sealing ? e->sealed : e->text, e->size) == 0 && memcmp(tag, e->tag, 16) == 0);
    check_guard(&memory);
    check_zeros((const uint8_t *)&stream, sizeof stream);
}

/* One bit changed anywhere: refused, and nothing but zeros comes out. */
static void check_tampered(const sm4_key *key, const example *e)
{
    example copy;
    for (int where = 0; where < 4; where++) {
        memcpy(&copy, e, sizeof copy);
        uint8_t *const places[4] = {copy.tag, copy.nonce, copy.sealed, copy.aad};
        const size_t sizes[4] = {16, 12, copy.size, copy.aad_size};
        if (sizes[where] == 0) {
            continue;
        }
        places[where][random_below(sizes[where])] ^= (uint8_t)(1u << random_below(8));
        guarded out;
        guard(&out, e->size);
        assert(!sm4_open(key, copy.nonce, copy.aad, copy.aad_size, copy.sealed, copy.size, out.bytes, copy.tag));
        check_zeros(out.bytes, out.size);
        check_guard(&out);
    }
    /* a shorter or longer message with the same tag */
    if (e->size > 0) {
        memcpy(&copy, e, sizeof copy);
        assert(!sm4_open(key, copy.nonce, copy.aad, copy.aad_size, copy.sealed, copy.size - 1, copy.sealed, copy.tag));
        check_zeros(copy.sealed, copy.size - 1);
    }
}

/* The counter carries from byte to byte up to a border, and at the last one, 2^32, it wraps to 0 and leaves the nonce
 * alone (inc32, SP 800-38D s.6.2). */
static void check_counter(const sm4_key *key, const example *e, uint64_t border)
{
    const uint32_t counter = (uint32_t)(border - random_below(e->size / 16 + 2));
    uint32_t round_keys[32];
    uint8_t expected[LONGEST], hash[16], expected_hash[16], subkey[16] = {0}, out[LONGEST];
    reference_expand(e->key, round_keys);
    reference_encrypt(round_keys, subkey, subkey);
    reference_counter_mode(round_keys, e->nonce, counter, e->text, e->size, expected);
    random_bytes(hash, 16);
    memcpy(expected_hash, hash, 16);
    reference_hash(expected_hash, subkey, expected, e->size);
    key->kernel->part(key, true, e->nonce, counter, hash, e->text, e->size, out);
    assert(memcmp(out, expected, e->size) == 0 && memcmp(hash, expected_hash, 16) == 0);
}

static cpu_level levels[CPU_LEVELS];
static int level_count;

static void test_against_reference(void)
{
    static example made;
    for (size_t size = 0; size <= LONGEST; size++) {
        make_example(&made, size);
        for (int i = 0; i < level_count; i++) {
            sm4_key key;
            cpu_limit(levels[i]);
            sm4_expand(&key, made.key);
            check_whole(&key, &made);
            check_stream(&key, &made, true);
            check_stream(&key, &made, false);
            check_tampered(&key, &made);
            for (int bits = 8; size % 16 == 3 && bits <= 32; bits += 8) {
                check_counter(&key, &made, UINT64_C(1) << bits);
            }
        }
    }
}

/* Long messages and long AAD, kernel against kernel. */
static void test_against_each_other(void)
{
    enum { LONG = 300000 };
    uint8_t *text = malloc(LONG), *aad = malloc(LONG), *out = malloc(LONG), *first = malloc(LONG);
    assert(text && aad && out && first);
    random_bytes(text, LONG);
    random_bytes(aad, LONG);
    for (int round = 0; round < 40; round++) {
        const size_t size = random_below(LONG), aad_size = random_below(LONG);
        uint8_t bytes[16], nonce[12], tag[16], first_tag[16];
        random_bytes(bytes, 16);
        random_bytes(nonce, 12);
        for (int i = 0; i < level_count; i++) {
            sm4_key key;
            cpu_limit(levels[i]);
            sm4_expand(&key, bytes);
            sm4_seal(&key, nonce, aad, aad_size, text, size, i == 0 ? first : out, i == 0 ? first_tag : tag);
            if (i > 0) {
                assert(memcmp(out, first, size) == 0 && memcmp(tag, first_tag, 16) == 0);
            }
            assert(sm4_open(&key, nonce, aad, aad_size, first, size, out, first_tag));
            assert(memcmp(out, text, size) == 0);
        }
    }
    free(text);
    free(aad);
    free(out);
    free(first);
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The best of many short windows: the machine is shared. */
static double best_seconds(const sm4_key *key, bool sealing, uint8_t *in, size_t size, uint8_t *out)
{
    static const uint8_t nonce[12], aad[13];
    uint8_t tag[16];
    const size_t calls = 1 + 400000 / (size + 200);
    double best = 1e9;
    for (int window = 0; window < 300; window++) {
        const double start = seconds();
        for (size_t call = 0; call < calls; call++) {
            key->kernel->message(key, sealing, nonce, aad, sizeof aad, in, size, out, tag);
        }
        const double taken = (seconds() - start) / (double)calls;
        best = taken < best ? taken : best;
    }
    return best;
}

static void bench(void)
{
    static const size_t sizes[] = {16, 1024, 1 << 16, 1 << 20};
    uint8_t *in = aligned_alloc(64, 1 << 20), *out = aligned_alloc(64, 1 << 20);
    assert(in && out);
    memset(in, 1, 1 << 20);
    memset(out, 2, 1 << 20);
    for (int i = 0; i < level_count; i++) {
        sm4_key key;
        const uint8_t bytes[16] = {1};
        double expand = 1e9;
        cpu_limit(levels[i]);
        for (int window = 0; window < 100; window++) {
            const double start = seconds();
            for (int call = 0; call < 100; call++) {
                sm4_expand(&key, bytes);
            }
            const double taken = (seconds() - start) / 100;
            expand = taken < expand ? taken : expand;
        }
        printf("%-9s expand %.0f ns\n", cpu_name(levels[i]), expand * 1e9);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const double seal = best_seconds(&key, true, in, sizes[s], out);
            const double open = best_seconds(&key, false, in, sizes[s], out);
            printf("%9zu B  seal %7.3f GB/s (%.0f ns)  open %7.3f GB/s\n", sizes[s], (double)sizes[s] / seal / 1e9, seal * 1e9,
                   (double)sizes[s] / open / 1e9);
        }
    }
    free(in);
    free(out);
}

int main(int argc, char **argv)
{
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (cpu_limit((cpu_level)level)) {
            levels[level_count++] = (cpu_level)level;
        }
    }
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    for (int i = 0; i < level_count; i++) {
        cpu_limit(levels[i]);
        test_standard_examples();
        test_rfc_8998();
        printf("%s: examples of the standards\n", cpu_name(levels[i]));
    }
    test_against_reference();
    test_against_each_other();
    puts("sm4: all tests passed");
    return 0;
}
