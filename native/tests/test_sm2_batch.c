/* sm2_verify_8 against signatures made with OpenSSL's arithmetic, and against crafted ones.
 *
 * test_sm2_batch [signatures]   tests, with 100000 signatures unless told; exit code 0 if all is well
 * test_sm2_batch --bench        prints verifications per second
 */
#define _POSIX_C_SOURCE 200809L
#undef NDEBUG
#define OPENSSL_API_COMPAT 0x10100000L
#include <assert.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"
#include "sm2_batch.h"

typedef struct {
    uint8_t point[64], e[32], signature[64];
    int expected;
    const char *what;
} test_case;

static EC_GROUP *group;
static BN_CTX *context;
static BIGNUM *order, *prime;
static uint64_t random_state = 0x5DEECE66D;

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014): the same cases in every run */
static uint64_t random_word(void)
{
    uint64_t z = (random_state += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

static void random_bytes(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)random_word();
    }
}

static BIGNUM *number(long value)
{
    BIGNUM *result = BN_new();
    assert(result && BN_set_word(result, (BN_ULONG)labs(value)));
    BN_set_negative(result, value < 0);
    return result;
}

static BIGNUM *random_scalar(void)
{
    uint8_t bytes[32];
    BIGNUM *result = BN_new();
    do {
        random_bytes(bytes, sizeof bytes);
        BN_bin2bn(bytes, sizeof bytes, result);
    } while (BN_is_zero(result) || BN_cmp(result, order) >= 0);
    return result;
}

static void write_number(uint8_t bytes[32], const BIGNUM *value)
{
    assert(BN_bn2binpad(value, bytes, 32) == 32);
}

static void write_point(uint8_t bytes[64], const EC_POINT *point)
{
    uint8_t form[65];
    assert(EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, form, 65, context) == 65);
    memcpy(bytes, form + 1, 64);
}

/* Signs with private key d: what GB/T 32918.2 s.6.1 says, with a random nonce and digest. */
static test_case signed_case(const BIGNUM *d, const uint8_t point[64])
{
    test_case result = {.expected = 1, .what = "signature"};
    memcpy(result.point, point, 64);
    random_bytes(result.e, 32);
    BIGNUM *k = random_scalar(), *x = BN_new(), *r = BN_new(), *s = BN_new(), *inverse = BN_new(), *e = BN_new();
    EC_POINT *nonce_point = EC_POINT_new(group);
    assert(EC_POINT_mul(group, nonce_point, k, NULL, NULL, context));
    assert(EC_POINT_get_affine_coordinates(group, nonce_point, x, NULL, context));
    BN_bin2bn(result.e, 32, e);
    BN_mod_add(r, e, x, order, context);
    BN_copy(inverse, d);
    BN_add_word(inverse, 1);
    assert(BN_mod_inverse(inverse, inverse, order, context));
    BN_mod_mul(s, r, d, order, context);
    BN_mod_sub(s, k, s, order, context);
    BN_mod_mul(s, s, inverse, order, context);
    write_number(result.signature, r);
    write_number(result.signature + 32, s);
    BN_free(k), BN_free(x), BN_free(r), BN_free(s), BN_free(inverse), BN_free(e);
    EC_POINT_free(nonce_point);
    return result;
}

/* A signature whose verification computes exactly s*G + t*P: r = t - s, and e = r - x1. Where the sum is empty or r is
 * zero there is none, and the case expects refusal. */
static test_case crafted_case(const BIGNUM *s, const BIGNUM *t, const EC_POINT *point, const char *what)
{
    test_case result = {.expected = 1, .what = what};
    BIGNUM *r = BN_new(), *x = number(1), *e = BN_new();
    EC_POINT *sum = EC_POINT_new(group);
    write_point(result.point, point);
    BN_mod_sub(r, t, s, order, context);
    assert(EC_POINT_mul(group, sum, s, point, t, context));
    if (EC_POINT_is_at_infinity(group, sum) || BN_is_zero(r)) {
        result.expected = 0;
    }
    if (!EC_POINT_is_at_infinity(group, sum)) {
        assert(EC_POINT_get_affine_coordinates(group, sum, x, NULL, context));
    }
    BN_mod_sub(e, r, x, order, context);
    write_number(result.e, e);
    write_number(result.signature, r);
    write_number(result.signature + 32, s);
    BN_free(r), BN_free(x), BN_free(e);
    EC_POINT_free(sum);
    return result;
}

static void corrupt(test_case *it)
{
    int bit = (int)(random_word() % 8), byte = (int)(random_word() % 32);
    BIGNUM *value = BN_new();
    it->expected = 0;
    switch (random_word() % 9) {
    case 0:
        it->signature[byte] ^= (uint8_t)(1 << bit), it->what = "bit of r";
        break;
    case 1:
        it->signature[32 + byte] ^= (uint8_t)(1 << bit), it->what = "bit of s";
        break;
    case 2:
        it->e[byte] ^= (uint8_t)(1 << bit), it->what = "bit of e";
        break;
    case 3:
        it->point[byte] ^= (uint8_t)(1 << bit), it->what = "bit of x";
        break;
    case 4:
        it->point[32 + byte] ^= (uint8_t)(1 << bit), it->what = "bit of y";
        break;
    case 5: /* r or s out of range */
    {
        uint8_t *half = it->signature + 32 * (random_word() % 2);
        switch (random_word() % 4) {
        case 0:
            memset(half, 0, 32), it->what = "zero";
            break;
        case 1:
            write_number(half, order), it->what = "n";
            break;
        case 2:
            memset(half, 0xFF, 32), it->what = "2^256 - 1";
            break;
        default:
            BN_bin2bn(half, 32, value), BN_add(value, value, order), it->what = "n more";
            if (BN_num_bits(value) <= 256) {
                write_number(half, value);
            } else {
                memset(half, 0, 32);
            }
        }
        break;
    }
    case 6: /* r + s = n */
        BN_bin2bn(it->signature, 32, value);
        BN_sub(value, order, value);
        write_number(it->signature + 32, value), it->what = "r + s = n";
        break;
    case 7:
        random_bytes(it->point, 64), it->what = "random point";
        break;
    default: /* a coordinate p more, or not below p */
    {
        uint8_t *half = it->point + 32 * (random_word() % 2);
        BN_bin2bn(half, 32, value), BN_add(value, value, prime), it->what = "coordinate not below p";
        if (BN_num_bits(value) <= 256) {
            write_number(half, value);
        } else {
            memset(half, random_word() % 2 ? 0xFF : 0, 32);
        }
    }
    }
    BN_free(value);
}

static long failures;

static void run_batch(const test_case *cases[SM2_BATCH])
{
    uint8_t points[SM2_BATCH][64], es[SM2_BATCH][32], signatures[SM2_BATCH][64], results[SM2_BATCH];
    for (int lane = 0; lane < SM2_BATCH; lane++) {
        memcpy(points[lane], cases[lane]->point, 64);
        memcpy(es[lane], cases[lane]->e, 32);
        memcpy(signatures[lane], cases[lane]->signature, 64);
        results[lane] = 2;
    }
    sm2_verify_8((const uint8_t(*)[64])points, (const uint8_t(*)[32])es, (const uint8_t(*)[64])signatures, results);
    for (int lane = 0; lane < SM2_BATCH; lane++) {
        if (results[lane] != cases[lane]->expected) {
            failures++;
            printf("lane %d, %s: %d, expected %d\n", lane, cases[lane]->what, results[lane], cases[lane]->expected);
        }
    }
}

/* Runs every case in batches of random composition. */
static void run_shuffled(const test_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const test_case *batch[SM2_BATCH];
        for (int lane = 0; lane < SM2_BATCH; lane++) {
            batch[lane] = &cases[random_word() % count];
        }
        batch[random_word() % SM2_BATCH] = &cases[i];
        run_batch(batch);
    }
}

#define KEYS 256

static void test_random(size_t count)
{
    BIGNUM *keys[KEYS];
    uint8_t points[KEYS][64];
    EC_POINT *point = EC_POINT_new(group);
    for (int i = 0; i < KEYS; i++) {
        keys[i] = random_scalar();
        assert(EC_POINT_mul(group, point, keys[i], NULL, NULL, context));
        write_point(points[i], point);
    }
    test_case batch[SM2_BATCH];
    const test_case *pointers[SM2_BATCH];
    for (size_t done = 0; done < count; done += SM2_BATCH) {
        for (int lane = 0; lane < SM2_BATCH; lane++) {
            size_t key = random_word() % KEYS;
            batch[lane] = signed_case(keys[key], points[key]);
            pointers[lane] = &batch[lane];
        }
        run_batch(pointers);
        for (int round = 0; round < 2; round++) {
            test_case mixed[SM2_BATCH];
            for (int lane = 0; lane < SM2_BATCH; lane++) {
                mixed[lane] = batch[(lane + 3 * round) % SM2_BATCH];
                if (random_word() % 2) {
                    corrupt(&mixed[lane]);
                }
                pointers[lane] = &mixed[lane];
            }
            run_batch(pointers);
        }
    }
    EC_POINT_free(point);
    for (int i = 0; i < KEYS; i++) {
        BN_free(keys[i]);
    }
}

/* Scalars near the ends, near multiples of windows, and random, times keys that are small multiples of G: sums that are
 * empty or need a doubling, in the middle and at the end. */
static void test_exceptional(bool is_short)
{
    unsigned spread = is_short ? 64 : 8;
    static const long small[] = {1,  2,  3,  4,  5,  6,  7,  8,  15,   16,   17,   30,   31,
                                 32, 33, 34, 62, 63, 64, 65, 96, 1023, 4095, 8191, 8192, 8193};
    static const long key_multiples[] = {1, -1, 2,  -2, 3,  -3, 4,   5,   6,    7,    8,     15,
                                         16, 17, 31, 32, -5, -31, -32, 8192, 8191, 4096, -8192, 64};
    static const int shifts[] = {5, 13, 64, 65, 130, 247, 250, 255};
    enum { SMALL = sizeof small / sizeof small[0], SCALARS = 2 * SMALL + 12 };
    BIGNUM *scalars[SCALARS];
    int count = 0;
    for (int i = 0; i < SMALL; i++) {
        scalars[count++] = number(small[i]);
        scalars[count] = number(-small[i]);
        BN_add(scalars[count], scalars[count], order);
        count++;
    }
    for (int i = 0; i < 8; i++) {
        scalars[count] = number(1);
        BN_lshift(scalars[count], scalars[count], shifts[i]);
        count++;
    }
    for (int i = 0; i < 4; i++) {
        scalars[count++] = random_scalar();
    }
    assert(count == SCALARS);

    test_case *cases = malloc(sizeof *cases * 40000);
    size_t made = 0;
    EC_POINT *point = EC_POINT_new(group);
    for (int k = 0; k < 28; k += is_short ? 9 : 1) {
        BIGNUM *key = k < 24 ? number(key_multiples[k]) : random_scalar();
        BIGNUM *inverse = BN_new();
        BN_nnmod(key, key, order, context);
        if (k >= 26) { /* 1/2, 1/3 .. of G */
            BN_set_word(key, k == 26 ? 2 : 3);
            assert(BN_mod_inverse(key, key, order, context));
        }
        assert(BN_mod_inverse(inverse, key, order, context));
        assert(EC_POINT_mul(group, point, key, NULL, NULL, context));
        for (int i = 0; i < SCALARS; i++) {
            for (int j = 0; j < SCALARS; j += 1 + (int)(random_word() % spread)) {
                cases[made++] = crafted_case(scalars[i], scalars[j], point, "crafted");
            }
            /* t * key = s, -s, 2 s and s + 1 */
            BIGNUM *t = BN_new();
            BN_mod_mul(t, scalars[i], inverse, order, context);
            cases[made++] = crafted_case(scalars[i], t, point, "sG = tP");
            BN_sub(t, order, t);
            cases[made++] = crafted_case(scalars[i], t, point, "sG = -tP");
            BN_mod_lshift1(t, t, order, context);
            cases[made++] = crafted_case(scalars[i], t, point, "2sG = -tP");
            BN_free(t);
        }
        BN_free(key), BN_free(inverse);
    }
    assert(made < 40000);
    run_shuffled(cases, made);
    printf("%zu crafted cases\n", made);
    free(cases);
    EC_POINT_free(point);
    for (int i = 0; i < SCALARS; i++) {
        BN_free(scalars[i]);
    }
}

/* Sums with x1 from n to p-1, whose residue is small, and with x1 small, where n more would also be below p; each also
 * with the wrong one of the two. */
static void test_wrapped_x(void)
{
    enum { CASES = 64 };
    test_case cases[2 * CASES];
    EC_POINT *sum = EC_POINT_new(group), *point = EC_POINT_new(group), *part = EC_POINT_new(group);
    BIGNUM *x = BN_new(), *e = BN_new(), *r = BN_new(), *inverse = BN_new();
    size_t made = 0;
    for (unsigned long offset = 0; made < CASES; offset++) {
        int above = (int)(made % 2);
        BN_set_word(x, offset);
        if (above) {
            BN_add(x, x, order);
        }
        if (EC_POINT_set_compressed_coordinates(group, sum, x, (int)(offset & 1), context) != 1) {
            continue;
        }
        BIGNUM *s = random_scalar(), *t = random_scalar();
        assert(EC_POINT_mul(group, part, s, NULL, NULL, context) && EC_POINT_invert(group, part, context));
        assert(EC_POINT_add(group, point, sum, part, context));
        assert(BN_mod_inverse(inverse, t, order, context));
        assert(EC_POINT_mul(group, point, NULL, point, inverse, context));
        cases[made] = crafted_case(s, t, point, above ? "x1 >= n" : "x1 small");
        BN_mod_sub(r, t, s, order, context);
        BN_mod_sub(e, r, x, order, context);
        BN_add(inverse, e, order);
        if (BN_num_bits(inverse) <= 256) { /* e may be above n */
            cases[made].what = "e >= n";
            write_number(cases[made].e, inverse);
        }
        cases[CASES + made] = cases[made];
        cases[CASES + made].e[31] ^= 1;
        cases[CASES + made].expected = 0;
        cases[CASES + made].what = "x1 off by one";
        made++;
        BN_free(s), BN_free(t);
    }
    run_shuffled(cases, 2 * CASES);
    EC_POINT_free(sum), EC_POINT_free(point), EC_POINT_free(part);
    BN_free(x), BN_free(e), BN_free(r), BN_free(inverse);
}

/* GB/T 32918.5 Annex A.2, as in GM/T 0003.5: the example signature. */
static void test_standard(void)
{
    static const char *const hex[] = {
        "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020",
        "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13",
        "F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640",
        "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3",
        "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"};
    test_case it = {.expected = 1, .what = "example of the standard"};
    uint8_t *const parts[] = {it.point, it.point + 32, it.e, it.signature, it.signature + 32};
    for (int i = 0; i < 5; i++) {
        BIGNUM *value = NULL;
        assert(BN_hex2bn(&value, hex[i]) == 64);
        write_number(parts[i], value);
        BN_free(value);
    }
    const test_case *batch[SM2_BATCH] = {&it, &it, &it, &it, &it, &it, &it, &it};
    run_batch(batch);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Best of many short windows: others use the machine. */
static void bench(void)
{
    enum { BATCHES = 16, WINDOWS = 400 };
    static uint8_t points[BATCHES][SM2_BATCH][64], es[BATCHES][SM2_BATCH][32], signatures[BATCHES][SM2_BATCH][64];
    uint8_t results[SM2_BATCH];
    EC_POINT *point = EC_POINT_new(group);
    for (int i = 0; i < BATCHES * SM2_BATCH; i++) {
        uint8_t bytes[64];
        BIGNUM *key = random_scalar();
        assert(EC_POINT_mul(group, point, key, NULL, NULL, context));
        write_point(bytes, point);
        test_case it = signed_case(key, bytes);
        memcpy(points[i / SM2_BATCH][i % SM2_BATCH], it.point, 64);
        memcpy(es[i / SM2_BATCH][i % SM2_BATCH], it.e, 32);
        memcpy(signatures[i / SM2_BATCH][i % SM2_BATCH], it.signature, 64);
        BN_free(key);
    }
    EC_POINT_free(point);
    double first = now(), best = 1e9, all_windows[WINDOWS];
    sm2_verify_8((const uint8_t(*)[64])points[0], (const uint8_t(*)[32])es[0], (const uint8_t(*)[64])signatures[0],
                 results);
    first = now() - first;
    for (int window = 0; window < WINDOWS; window++) {
        double start = now();
        for (int i = 0; i < BATCHES; i++) {
            sm2_verify_8((const uint8_t(*)[64])points[i], (const uint8_t(*)[32])es[i],
                         (const uint8_t(*)[64])signatures[i], results);
            assert(memcmp(results, "\1\1\1\1\1\1\1\1", SM2_BATCH) == 0);
        }
        all_windows[window] = now() - start;
        best = all_windows[window] < best ? all_windows[window] : best;
    }
    double sum = 0;
    for (int window = 0; window < WINDOWS; window++) {
        sum += all_windows[window];
    }
    printf("first call %.2f ms; verifications per second: best %.0f, mean %.0f\n", first * 1e3,
           BATCHES * SM2_BATCH / best, BATCHES * SM2_BATCH * WINDOWS / sum);
}

int main(int count, char **arguments)
{
    if (!sm2_batch_supported()) {
        puts("skipped: no AVX-512 IFMA");
        return 0;
    }
    group = EC_GROUP_new_by_curve_name(NID_sm2);
    context = BN_CTX_new();
    order = BN_new(), prime = BN_new();
    assert(group && context && EC_GROUP_get_order(group, order, context));
    assert(EC_GROUP_get_curve(group, prime, NULL, NULL, context));
    if (count > 1 && strcmp(arguments[1], "--bench") == 0) {
        bench();
    } else {
        test_standard();
        test_wrapped_x();
        size_t signatures = count > 1 ? strtoul(arguments[1], NULL, 10) : 100000;
        test_exceptional(signatures < 10000); /* fewer for short runs, as with sanitizers */
        test_random(signatures);
        printf("%ld failures\n", failures);
    }
    BN_free(order), BN_free(prime);
    BN_CTX_free(context);
    EC_GROUP_free(group);
    return failures == 0 ? 0 : 1;
}
