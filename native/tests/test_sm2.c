/* Tests of SM2 against the standard's examples and OpenSSL: test_sm2 [random cases]; `--bench` measures instead. */
#define _GNU_SOURCE
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>

#include "../src/cpu.h"
#include "../src/sm2.h"
#include "../src/sm2_curve.h"
#include "../src/sm3.h"

static EC_GROUP *group;
static BN_CTX *context;
static BIGNUM *order, *prime;

static void from_hex(uint8_t *bytes, const char *hex)
{
    for (size_t i = 0; i < strlen(hex) / 2; i++) {
        unsigned byte;
        assert(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        bytes[i] = (uint8_t)byte;
    }
}

static void random_bytes(void *bytes, size_t size)
{
    assert(getrandom(bytes, size, 0) == (ssize_t)size);
}

static void to_bytes(uint8_t bytes[32], const BIGNUM *value)
{
    assert(BN_bn2binpad(value, bytes, 32) == 32);
}

/* n + offset */
static void near_order(uint8_t bytes[32], int offset)
{
    BIGNUM *value = BN_dup(order);
    if (offset < 0) {
        BN_sub_word(value, (BN_ULONG)-offset);
    } else {
        BN_add_word(value, (BN_ULONG)offset);
    }
    to_bytes(bytes, value);
    BN_free(value);
}

static void small(uint8_t bytes[32], unsigned value)
{
    memset(bytes, 0, 32);
    bytes[30] = (uint8_t)(value >> 8);
    bytes[31] = (uint8_t)value;
}

/* s G + t Q by OpenSSL; Q may be NULL. False for infinity. */
static bool reference(uint8_t result[64], const BIGNUM *s, const uint8_t *q, const BIGNUM *t)
{
    EC_POINT *sum = EC_POINT_new(group), *point = NULL;
    uint8_t octets[65] = {4};
    if (q != NULL) {
        point = EC_POINT_new(group);
        memcpy(octets + 1, q, 64);
        assert(EC_POINT_oct2point(group, point, octets, 65, context));
    }
    assert(EC_POINT_mul(group, sum, s, point, t, context));
    bool finite = !EC_POINT_is_at_infinity(group, sum);
    if (finite) {
        assert(EC_POINT_point2oct(group, sum, POINT_CONVERSION_UNCOMPRESSED, octets, 65, context) == 65);
        memcpy(result, octets + 1, 64);
    }
    EC_POINT_free(sum);
    EC_POINT_free(point);
    return finite;
}

static void random_private_key(uint8_t d[32])
{
    uint8_t point[64];
    do {
        random_bytes(d, 32);
    } while (!sm2_public(d, point));
}

static void message_digest(uint8_t e[32], const uint8_t point[64], const uint8_t *message, size_t size)
{
    uint8_t identity[32];
    sm3_hash hash;
    sm2_identity(point, identity);
    sm3_start(&hash);
    sm3_update(&hash, identity, 32);
    sm3_update(&hash, message, size);
    sm3_digest(&hash, e);
}

/* GM/T 0003.5-2012 annex A.2 and C.2; spec/vectors/00-suite/sm2-verify.json and sm2-agree.json. */
static void test_standard_examples(void)
{
    uint8_t d[32], nonce[32], e[32], expected_e[32], identity[32], point[64], signature[64], expected[64], compressed[33];
    uint8_t shared[32], opened[64];
    sm2_signer signer;
    from_hex(d, "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8");
    from_hex(nonce, "59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21");
    assert(sm2_signer_init(&signer, d));
    from_hex(point, "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
                    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13");
    assert(memcmp(signer.point, point, 64) == 0);
    from_hex(identity, "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3");
    assert(memcmp(signer.identity, identity, 32) == 0);
    message_digest(e, point, (const uint8_t *)"message digest", 14);
    from_hex(expected_e, "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640");
    assert(memcmp(e, expected_e, 32) == 0);
    from_hex(expected, "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
                       "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa");
    assert(sm2_sign_with_nonce(&signer, e, nonce, signature));
    assert(memcmp(signature, expected, 64) == 0);
    assert(sm2_verify(point, e, signature));
    e[31] ^= 1;
    assert(!sm2_verify(point, e, signature));
    assert(sm2_agree(nonce, point, shared));
    from_hex(expected, "335e18d751e51f040e27d468138b7ab1dc86ad7f981d7d416222fd6ab3ed230d");
    assert(memcmp(shared, expected, 32) == 0);
    sm2_compress(point, compressed);
    assert(compressed[0] == 3 && memcmp(compressed + 1, point, 32) == 0);
    assert(sm2_decompress(compressed, opened) && memcmp(opened, point, 64) == 0);
}

static void compare_scalar(const BIGNUM *scalar, const uint8_t other[64])
{
    uint8_t d[32], point[64], expected[64], shared[32];
    to_bytes(d, scalar);
    assert(sm2_public(d, point));
    assert(reference(expected, scalar, NULL, NULL));
    assert(memcmp(point, expected, 64) == 0);
    assert(sm2_agree(d, other, shared));
    assert(reference(expected, NULL, other, scalar));
    assert(memcmp(shared, expected, 32) == 0);
}

/* Scalars around all borders of windows, and those for which the last addition is a doubling (sm2_curve.inc.h). */
static void test_edge_scalars(void)
{
    uint8_t d[32], other[64];
    BIGNUM *scalar = BN_new(), *exceptional = BN_new(), *limit = BN_dup(order);
    BN_sub_word(limit, 1);
    random_private_key(d);
    assert(sm2_public(d, other));
    for (unsigned i = 1; i <= 200; i++) {
        BN_set_word(scalar, i);
        compare_scalar(scalar, other);
        BN_sub(scalar, limit, scalar); /* n - 1 - i */
        compare_scalar(scalar, other);
    }
    for (int bit = 1; bit < 256; bit++) {
        for (int offset = -1; offset <= 1; offset++) {
            BN_zero(scalar);
            BN_set_bit(scalar, bit);
            offset < 0 ? BN_sub_word(scalar, 1) : BN_add_word(scalar, (BN_ULONG)offset);
            assert(BN_cmp(scalar, limit) < 0);
            compare_scalar(scalar, other);
            BN_sub(scalar, order, scalar);
            if (BN_cmp(scalar, limit) < 0) {
                compare_scalar(scalar, other);
            }
        }
    }
    BN_set_word(exceptional, 30);
    BN_lshift(exceptional, exceptional, 252);
    BN_sub(exceptional, exceptional, order);
    compare_scalar(exceptional, other);
    BN_sub(scalar, order, exceptional);
    compare_scalar(scalar, other);
    /* The same with the generator and its opposite as the other point. */
    small(d, 1);
    assert(sm2_public(d, other));
    compare_scalar(exceptional, other);
    near_order(d, -2);
    assert(sm2_public(d, other));
    compare_scalar(exceptional, other);
    BN_free(scalar);
    BN_free(exceptional);
    BN_free(limit);
}

static void test_private_key_range(void)
{
    uint8_t d[32], point[64], other[64], shared[32];
    sm2_signer signer;
    small(d, 7);
    assert(sm2_public(d, other));
    near_order(d, -2);
    assert(sm2_public(d, point) && sm2_signer_init(&signer, d) && sm2_agree(d, other, shared));
    for (int offset = -1; offset <= 5; offset++) {
        near_order(d, offset);
        assert(!sm2_public(d, point) && !sm2_signer_init(&signer, d) && !sm2_agree(d, other, shared));
    }
    memset(d, 0, 32);
    assert(!sm2_public(d, point) && !sm2_signer_init(&signer, d) && !sm2_agree(d, other, shared));
    memset(d, 0xff, 32);
    assert(!sm2_public(d, point) && !sm2_signer_init(&signer, d) && !sm2_agree(d, other, shared));
}

static void refuse_point(const uint8_t point[64])
{
    uint8_t d[32], e[32], shared[32], signature[64];
    small(d, 5);
    small(e, 6);
    memset(signature, 0x11, 64);
    assert(!sm2_on_curve(point));
    assert(!sm2_agree(d, point, shared));
    assert(!sm2_verify(point, e, signature));
}

static void test_points_refused(void)
{
    uint8_t point[64], good[64], compressed[33], d[32];
    BIGNUM *value = BN_new(), *square = BN_new();
    small(d, 9);
    assert(sm2_public(d, good) && sm2_on_curve(good));
    memset(point, 0, 64); /* what infinity might be written as */
    refuse_point(point);
    memset(point, 0xff, 64);
    refuse_point(point);
    for (int i = 0; i < 64; i++) {
        memcpy(point, good, 64);
        point[i] ^= 1;
        refuse_point(point);
    }
    memcpy(point, good + 32, 32);
    memcpy(point + 32, good, 32);
    refuse_point(point);
    to_bytes(point, prime);
    memcpy(point + 32, good + 32, 32);
    refuse_point(point);
    /* x + p and y + p for points with a small x or y: the numbers are right modulo p, but not below it. */
    int found = 0;
    for (unsigned x = 0; x < 64; x++) {
        compressed[0] = 2;
        small(compressed + 1, x);
        if (sm2_decompress(compressed, point)) {
            assert(sm2_on_curve(point));
            BN_set_word(value, x);
            BN_add(value, value, prime);
            to_bytes(point, value);
            refuse_point(point);
            memcpy(compressed + 1, point, 32);
            assert(!sm2_decompress(compressed, point));
            found++;
        }
    }
    assert(found > 10);
    for (unsigned y = 1; y < 64; y++) {
        /* x^3 - 3 x + b = y^2 has an easy solution only sometimes; the range check must refuse without looking. */
        memcpy(point, good, 32);
        BN_set_word(value, y);
        BN_add(value, value, prime);
        to_bytes(point + 32, value);
        refuse_point(point);
    }
    /* Compressed forms: prefixes, and both parities. */
    for (unsigned prefix = 0; prefix < 256; prefix++) {
        compressed[0] = (uint8_t)prefix;
        memcpy(compressed + 1, good, 32);
        bool opened = sm2_decompress(compressed, point);
        assert(opened == (prefix == 2 || prefix == 3));
        if (opened) {
            assert(sm2_on_curve(point) && (point[63] & 1) == (prefix & 1) && memcmp(point, good, 32) == 0);
        }
    }
    BN_free(value);
    BN_free(square);
}

static void test_signatures_refused(void)
{
    uint8_t d[32], e[32], fresh[32], good[64], signature[64];
    uint8_t zero[32] = {0}, values[6][32];
    BIGNUM *r = BN_new(), *s = BN_new();
    sm2_signer signer;
    random_private_key(d);
    random_bytes(e, 32);
    random_bytes(fresh, 32);
    assert(sm2_signer_init(&signer, d));
    sm2_sign(&signer, e, fresh, good);
    assert(sm2_verify(signer.point, e, good));
    memcpy(values[0], zero, 32);
    near_order(values[1], 0);
    near_order(values[2], 1);
    to_bytes(values[3], prime);
    BN_add(r, prime, BN_value_one());
    to_bytes(values[4], r);
    memset(values[5], 0xff, 32);
    for (int i = 0; i < 6; i++) {
        memcpy(signature, good, 64);
        memcpy(signature, values[i], 32);
        assert(!sm2_verify(signer.point, e, signature));
        memcpy(signature, good, 64);
        memcpy(signature + 32, values[i], 32);
        assert(!sm2_verify(signer.point, e, signature));
    }
    /* r + s = n, with e such that the rest would hold for t = 0: x = x(s G). */
    uint8_t point[64];
    BN_bin2bn(good + 32, 32, s);
    BN_sub(r, order, s);
    assert(reference(point, s, NULL, NULL));
    BIGNUM *x = BN_bin2bn(point, 32, NULL);
    BN_mod_sub(x, r, x, order, context);
    memcpy(signature + 32, good + 32, 32);
    to_bytes(signature, r);
    to_bytes(e, x);
    assert(!sm2_verify(signer.point, e, signature));
    for (int i = 0; i < 64; i++) { /* any changed byte */
        memcpy(signature, good, 64);
        signature[i] ^= 0x40;
        assert(!sm2_verify(signer.point, e, signature));
    }
    BN_free(r);
    BN_free(s);
    BN_free(x);
}

static void test_nonces_refused(void)
{
    uint8_t d[32], e[32], nonce[32], signature[64], point[64];
    sm2_signer signer;
    random_private_key(d);
    assert(sm2_signer_init(&signer, d));
    random_bytes(e, 32);
    memset(nonce, 0, 32);
    assert(!sm2_sign_with_nonce(&signer, e, nonce, signature));
    for (int offset = 0; offset < 3; offset++) {
        near_order(nonce, offset);
        assert(!sm2_sign_with_nonce(&signer, e, nonce, signature));
    }
    near_order(nonce, -1);
    assert(sm2_sign_with_nonce(&signer, e, nonce, signature) && sm2_verify(signer.point, e, signature));
    /* e = -x gives r = 0, e = -x - k gives r + k = n. */
    BIGNUM *k = BN_new(), *value = BN_new();
    random_private_key(nonce);
    BN_bin2bn(nonce, 32, k);
    assert(reference(point, k, NULL, NULL));
    BN_bin2bn(point, 32, value);
    BN_mod_sub(value, order, value, order, context);
    to_bytes(e, value);
    assert(!sm2_sign_with_nonce(&signer, e, nonce, signature));
    BN_mod_sub(value, value, k, order, context);
    to_bytes(e, value);
    assert(!sm2_sign_with_nonce(&signer, e, nonce, signature));
    /* s = 0: r d = k. */
    BIGNUM *secret = BN_bin2bn(d, 32, NULL), *r = BN_new();
    BN_mod_inverse(r, secret, order, context);
    BN_mod_mul(r, r, k, order, context);
    BN_bin2bn(point, 32, value);
    BN_mod_sub(value, r, value, order, context);
    to_bytes(e, value);
    assert(!sm2_sign_with_nonce(&signer, e, nonce, signature));
    BN_free(k);
    BN_free(value);
    BN_free(secret);
    BN_free(r);
}

/* The signature over a made-up digest for which s G + t Q is checked; verification must agree with OpenSSL. */
static void compare_sum(const BIGNUM *s, const BIGNUM *t, const uint8_t q[64])
{
    uint8_t signature[64], e[32], sum[64] = {0};
    BIGNUM *r = BN_new(), *value = BN_new();
    BN_mod_sub(r, t, s, order, context);
    if (!BN_is_zero(r)) {
        bool finite = reference(sum, s, q, t); /* an infinite sum must be refused also for x = 0 */
        BN_bin2bn(sum, 32, value);
        BN_mod_sub(value, r, value, order, context);
        to_bytes(e, value);
        to_bytes(signature, r);
        to_bytes(signature + 32, s);
        assert(sm2_verify(q, e, signature) == finite);
        e[31] ^= 1;
        assert(!sm2_verify(q, e, signature));
    }
    BN_free(r);
    BN_free(value);
}

/* Public keys that are small multiples of G, and small or opposite s and t: equal, opposite and infinite partial sums. */
static void test_exceptional_sums(void)
{
    uint8_t q[64];
    BIGNUM *s = BN_new(), *t = BN_new(), *d = BN_new();
    for (int multiple = -4; multiple <= 4; multiple++) {
        if (multiple == 0) {
            continue;
        }
        BN_set_word(d, (BN_ULONG)abs(multiple));
        if (multiple < 0) {
            BN_sub(d, order, d);
        }
        assert(reference(q, d, NULL, NULL));
        for (int i = -12; i <= 12; i++) {
            for (int j = -12; j <= 12; j++) {
                if (i != 0 && j != 0) {
                    BN_set_word(s, (BN_ULONG)abs(i));
                    BN_set_word(t, (BN_ULONG)abs(j));
                    if (i < 0) {
                        BN_sub(s, order, s);
                    }
                    if (j < 0) {
                        BN_sub(t, order, t);
                    }
                    compare_sum(s, t, q);
                }
            }
        }
    }
    for (int i = 0; i < 200; i++) { /* t Q = s G, and t Q = - s G */
        uint8_t secret[32];
        random_private_key(secret);
        BN_bin2bn(secret, 32, d);
        assert(reference(q, d, NULL, NULL));
        random_private_key(secret);
        BN_bin2bn(secret, 32, t);
        BN_mod_mul(s, t, d, order, context);
        compare_sum(s, t, q);
        BN_sub(s, order, s);
        compare_sum(s, t, q);
    }
    BN_free(s);
    BN_free(t);
    BN_free(d);
}

/* x of the sum in [n, p), one in 2^128: built from the sum, as its public key can be computed. */
static void test_x_above_order(void)
{
    uint8_t compressed[33] = {2}, sum[64], q[64], secret[32], signature[64], e[32];
    BIGNUM *s = BN_new(), *t = BN_new(), *r = BN_new(), *x = BN_new();
    int found = 0;
    for (int offset = 0; offset < 40; offset++) {
        near_order(compressed + 1, offset);
        if (!sm2_decompress(compressed, sum)) {
            continue;
        }
        found++;
        random_private_key(secret);
        BN_bin2bn(secret, 32, s);
        random_private_key(secret);
        BN_bin2bn(secret, 32, t);
        /* Q = t^-1 (sum - s G) */
        BN_mod_inverse(r, t, order, context);
        BN_mod_mul(x, s, r, order, context);
        BN_sub(x, order, x);
        assert(reference(q, x, sum, r));
        BN_mod_sub(r, t, s, order, context);
        BN_set_word(x, (BN_ULONG)offset); /* x - n */
        BN_mod_sub(x, r, x, order, context);
        to_bytes(e, x);
        to_bytes(signature, r);
        to_bytes(signature + 32, s);
        assert(sm2_verify(q, e, signature));
    }
    assert(found > 5);
    BN_free(s);
    BN_free(t);
    BN_free(r);
    BN_free(x);
}

static EVP_PKEY *openssl_key(const uint8_t point[64], const uint8_t *d)
{
    uint8_t octets[65] = {4};
    memcpy(octets + 1, point, 64);
    BIGNUM *secret = d == NULL ? NULL : BN_bin2bn(d, 32, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    assert(OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "SM2", 0));
    assert(OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, octets, 65));
    if (secret != NULL) {
        assert(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret));
    }
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *creation = EVP_PKEY_CTX_new_from_name(NULL, "SM2", NULL);
    EVP_PKEY *key = NULL;
    assert(EVP_PKEY_fromdata_init(creation) == 1);
    assert(EVP_PKEY_fromdata(creation, &key, EVP_PKEY_KEYPAIR, params) == 1);
    EVP_PKEY_CTX_free(creation);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(secret);
    return key;
}

static EVP_MD_CTX *openssl_context(EVP_PKEY *key, EVP_PKEY_CTX **of_key)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    *of_key = EVP_PKEY_CTX_new(key, NULL);
    assert(EVP_PKEY_CTX_set1_id(*of_key, "1234567812345678", 16) == 1);
    EVP_MD_CTX_set_pkey_ctx(digest, *of_key);
    return digest;
}

static bool openssl_verify(EVP_PKEY *key, const uint8_t *message, size_t size, const uint8_t signature[64])
{
    EVP_PKEY_CTX *of_key;
    EVP_MD_CTX *digest = openssl_context(key, &of_key);
    ECDSA_SIG *parts = ECDSA_SIG_new();
    ECDSA_SIG_set0(parts, BN_bin2bn(signature, 32, NULL), BN_bin2bn(signature + 32, 32, NULL));
    uint8_t der[80], *end = der;
    int der_size = i2d_ECDSA_SIG(parts, &end);
    assert(EVP_DigestVerifyInit(digest, NULL, EVP_sm3(), NULL, key) == 1);
    bool valid = EVP_DigestVerify(digest, der, (size_t)der_size, message, size) == 1;
    ECDSA_SIG_free(parts);
    EVP_MD_CTX_free(digest);
    EVP_PKEY_CTX_free(of_key);
    return valid;
}

static void openssl_sign(EVP_PKEY *key, const uint8_t *message, size_t size, uint8_t signature[64])
{
    EVP_PKEY_CTX *of_key;
    EVP_MD_CTX *digest = openssl_context(key, &of_key);
    uint8_t der[80];
    const uint8_t *from = der;
    size_t der_size = sizeof der;
    assert(EVP_DigestSignInit(digest, NULL, EVP_sm3(), NULL, key) == 1);
    assert(EVP_DigestSign(digest, der, &der_size, message, size) == 1);
    ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &from, (long)der_size);
    to_bytes(signature, ECDSA_SIG_get0_r(parts));
    to_bytes(signature + 32, ECDSA_SIG_get0_s(parts));
    ECDSA_SIG_free(parts);
    EVP_MD_CTX_free(digest);
    EVP_PKEY_CTX_free(of_key);
}

static void test_random(long cases)
{
    uint8_t other[64];
    BIGNUM *scalar = BN_new();
    BN_set_word(scalar, 12345);
    assert(reference(other, scalar, NULL, NULL));
    for (long i = 0; i < cases; i++) {
        uint8_t d[32], e[32], fresh[32], message[40], signature[64], expected[64], shared[32], compressed[33], opened[64];
        sm2_signer signer;
        random_private_key(d);
        random_bytes(message, sizeof message);
        random_bytes(fresh, 32);
        assert(sm2_signer_init(&signer, d));
        BN_bin2bn(d, 32, scalar);
        assert(reference(expected, scalar, NULL, NULL));
        assert(memcmp(expected, signer.point, 64) == 0);
        sm2_compress(signer.point, compressed);
        assert(sm2_decompress(compressed, opened) && memcmp(opened, expected, 64) == 0);
        assert(reference(expected, NULL, other, scalar));
        assert(sm2_agree(d, other, shared) && memcmp(shared, expected, 32) == 0);

        size_t size = (size_t)i % sizeof message;
        EVP_PKEY *key = openssl_key(signer.point, d);
        message_digest(e, signer.point, message, size);
        sm2_sign(&signer, e, fresh, signature);
        assert(openssl_verify(key, message, size, signature));
        assert(sm2_verify(signer.point, e, signature));
        openssl_sign(key, message, size, signature);
        assert(sm2_verify(signer.point, e, signature));
        signature[i % 64] ^= (uint8_t)(1 << i / 64 % 8);
        assert(!sm2_verify(signer.point, e, signature));
        EVP_PKEY_free(key);
        memcpy(other, signer.point, 64);
    }
    BN_free(scalar);
}

static void test_hedged_nonce(void)
{
    uint8_t d[32], e[32], fresh[32] = {0}, first[64], second[64];
    sm2_signer signer;
    random_private_key(d);
    random_bytes(e, 32);
    assert(sm2_signer_init(&signer, d));
    sm2_sign(&signer, e, fresh, first);
    sm2_sign(&signer, e, fresh, second);
    assert(memcmp(first, second, 64) == 0);
    /* r - e = x(k G) tells nonces apart. */
    BIGNUM *r = BN_bin2bn(first, 32, NULL), *digest = BN_bin2bn(e, 32, NULL), *x = BN_new(), *x2 = BN_new();
    BN_mod_sub(x, r, digest, order, context);
    e[0] ^= 1;
    sm2_sign(&signer, e, fresh, second);
    BN_bin2bn(second, 32, r);
    BN_bin2bn(e, 32, digest);
    BN_mod_sub(x2, r, digest, order, context);
    assert(BN_cmp(x, x2) != 0);
    e[0] ^= 1;
    fresh[31] ^= 1;
    sm2_sign(&signer, e, fresh, second);
    assert(memcmp(first, second, 64) != 0 && sm2_verify(signer.point, e, second));
    BN_free(r);
    BN_free(digest);
    BN_free(x);
    BN_free(x2);
}

static void test_many(void)
{
    enum { COUNT = 37 };
    static uint8_t points[COUNT][64], es[COUNT][32], signatures[COUNT][64], results[COUNT];
    for (size_t count = 0; count <= COUNT; count++) {
        for (size_t i = 0; i < count; i++) {
            uint8_t d[32], fresh[32] = {0};
            sm2_signer signer;
            random_private_key(d);
            random_bytes(es[i], 32);
            assert(sm2_signer_init(&signer, d));
            sm2_sign(&signer, es[i], fresh, signatures[i]);
            memcpy(points[i], signer.point, 64);
            if (i % 5 == 3) {
                signatures[i][i] ^= 1;
            } else if (i % 7 == 4) {
                points[i][i] ^= 1;
            } else if (i % 11 == 6) {
                memset(signatures[i], 0, 32);
            }
        }
        memset(results, 7, sizeof results);
        sm2_verify_many(count, (const uint8_t (*)[64])points, (const uint8_t (*)[32])es,
                        (const uint8_t (*)[64])signatures, results);
        for (size_t i = 0; i < COUNT; i++) {
            assert(results[i] == (i >= count ? 7 : !(i % 5 == 3 || i % 7 == 4 || i % 11 == 6)));
        }
    }
}

/* After signing and agreement, no word of the private key or nonce is left on the stack. */
#define STACK_SIZE (1 << 18)
static uint8_t task_d[32], task_e[32], task_fresh[32], task_point[64];
static sm2_signer task_signer;

static void *secret_task(void *unused)
{
    uint8_t out[64];
    sm2_signer_init(&task_signer, task_d);
    sm2_sign(&task_signer, task_e, task_fresh, out);
    sm2_agree(task_d, task_point, out);
    return unused;
}

static void assert_not_on_stack(const uint8_t *stack, const uint8_t secret[32])
{
    for (int word = 0; word < 4; word++) {
        uint8_t forward[8], backward[8];
        memcpy(forward, secret + 8 * word, 8);
        for (int i = 0; i < 8; i++) {
            backward[i] = forward[7 - i];
        }
        assert(memmem(stack, STACK_SIZE, forward, 8) == NULL);
        assert(memmem(stack, STACK_SIZE, backward, 8) == NULL);
    }
}

static void test_stack_wiped(void)
{
    uint8_t *stack = aligned_alloc(4096, STACK_SIZE), message[65] = {0}, nonce[32];
    pthread_attr_t attributes;
    pthread_t thread;
    memset(stack, 0x5a, STACK_SIZE);
    random_private_key(task_d);
    random_bytes(task_e, 32);
    random_bytes(task_fresh, 32);
    small(nonce, 3);
    assert(sm2_public(nonce, task_point));
    assert(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK_SIZE) == 0);
    assert(pthread_create(&thread, &attributes, secret_task, NULL) == 0 && pthread_join(thread, NULL) == 0);
    memcpy(message, task_e, 32);
    memcpy(message + 32, task_fresh, 32);
    sm3_hmac(task_d, 32, message, sizeof message, nonce);
    assert_not_on_stack(stack, task_d);
    assert_not_on_stack(stack, nonce);
    assert_not_on_stack(stack, task_signer.inverse);
    pthread_attr_destroy(&attributes);
    free(stack);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Operations per second in the best of many short windows: other programs can only make a window slower. */
#define MEASURE(name, operation) \
    do { \
        double best = 1; \
        for (int window = 0; window < 200; window++) { \
            double start = now(); \
            for (int i = 0; i < 40; i++) { \
                operation; \
            } \
            double taken = (now() - start) / 40; \
            best = taken < best ? taken : best; \
        } \
        printf("%-10s %-9s %8.0f /s  %7.2f us\n", cpu_name(cpu_used()), name, 1 / best, best * 1e6); \
    } while (0)

static void bench(void)
{
    enum { COUNT = 8 };
    static uint8_t points[COUNT][64], es[COUNT][32], signatures[COUNT][64], results[COUNT];
    uint8_t d[32], point[64], fresh[32] = {0}, shared[32], compressed[33];
    sm2_signer signer;
    for (int i = 0; i < COUNT; i++) {
        random_private_key(d);
        random_bytes(es[i], 32);
        assert(sm2_signer_init(&signer, d));
        memcpy(points[i], signer.point, 64);
        sm2_sign(&signer, es[i], fresh, signatures[i]);
    }
    sm2_compress(points[0], compressed);
    MEASURE("public", sm2_public(d, point));
    MEASURE("signer", sm2_signer_init(&signer, d));
    MEASURE("sign", sm2_sign(&signer, es[0], fresh, signatures[7]));
    MEASURE("sign k", sm2_sign_with_nonce(&signer, es[0], d, signatures[7]));
    MEASURE("verify", sm2_verify(points[i % 7], es[i % 7], signatures[i % 7]));
    MEASURE("8 verify", sm2_verify_many(8, (const uint8_t (*)[64])points, (const uint8_t (*)[32])es,
                                        (const uint8_t (*)[64])signatures, results));
    MEASURE("agree", sm2_agree(d, points[0], shared));
    MEASURE("open", sm2_decompress(compressed, point));
}

int main(int argc, char **argv)
{
    group = EC_GROUP_new_by_curve_name(NID_sm2);
    context = BN_CTX_new();
    order = BN_dup(EC_GROUP_get0_order(group));
    prime = BN_dup(EC_GROUP_get0_field(group));
    cpu_level best = cpu_best();
    for (cpu_level level = CPU_PORTABLE; level < CPU_LEVELS; level++) {
        if (!cpu_limit(level)) {
            continue;
        }
        if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
            bench();
            continue;
        }
        test_standard_examples();
        test_private_key_range();
        test_points_refused();
        test_signatures_refused();
        test_nonces_refused();
        test_edge_scalars();
        test_exceptional_sums();
        test_x_above_order();
        test_hedged_nonce();
        test_many();
        test_stack_wiped();
        /* The levels between have no kernel of their own. */
        test_random(level != CPU_PORTABLE && level != best ? 50 : argc > 1 ? atol(argv[1]) : 500);
        printf("%s: passed\n", cpu_name(level));
    }
    cpu_limit(best);
    BN_free(order);
    BN_free(prime);
    BN_CTX_free(context);
    EC_GROUP_free(group);
    return 0;
}
