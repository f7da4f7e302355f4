/* The public functions of SM2; see sm2.h. They check what comes in and keep secrets from staying on the stack; the points
 * are in sm2_curve.inc.h. */
#include "sm2.h"

#include "cpu.h"
#include "public.h"
#include "sm2_batch.h"
#include "sm2_curve.h"
#include "sm3.h"
#include "wipe.h"

static const sm2_kernel *kernel(void)
{
#if defined(__x86_64__)
    if (cpu_used() >= CPU_AESNI) {
        return &sm2_adx;
    }
#endif
    return &sm2_portable;
}

/* Overwrites the stack below the caller, where the functions that it called kept their variables. The deepest of them,
 * multiply_point with what it calls, takes less than 4.5 KB (gcc -fstack-usage). */
static __attribute__((noinline)) void wipe_stack(void)
{
    uint8_t below[6144];
    wipe(below, sizeof below);
}

static uint64_t mask_if_scalar(const number a)
{
    return mask_if_below(a, sm2_n) & ~mask_if_number_zero(a);
}

/* All ones for a private key in [1, n-2]; with n - 1, 1 + d has no inverse (GB/T 32918.1 s.6.1). */
static uint64_t load_private_key(number d, const uint8_t private_key[SM2_SCALAR_SIZE])
{
    const number n_minus_1 = {sm2_n[0] - 1, sm2_n[1], sm2_n[2], sm2_n[3]};
    load_number(d, private_key);
    return mask_if_below(d, n_minus_1) & ~mask_if_number_zero(d);
}

/* Digests and x coordinates are below 2^256 < 2 n. */
static void load_modulo_n(number a, const uint8_t bytes[32])
{
    load_number(a, bytes);
    reduce_once(a, a, 0, sm2_n);
}

static bool load_point(number x, number y, const uint8_t point[SM2_POINT_SIZE])
{
    load_number(x, point);
    load_number(y, point + SM2_SCALAR_SIZE);
    return (mask_if_below(x, sm2_p) & mask_if_below(y, sm2_p)) != 0;
}

bool sm2_public(const uint8_t private_key[SM2_SCALAR_SIZE], uint8_t point[SM2_POINT_SIZE])
{
    number d, x, y;
    uint64_t valid = load_private_key(d, private_key);
    MARK_PUBLIC(&valid, sizeof valid); /* the caller learns it anyway, and a generated key is always valid */
    if (valid == 0) {
        wipe(d, sizeof d);
        return false;
    }
    kernel()->multiply_generator(d, x, y);
    store_number(point, x);
    store_number(point + SM2_SCALAR_SIZE, y);
    wipe(d, sizeof d);
    wipe_stack();
    return true;
}

void sm2_identity(const uint8_t point[SM2_POINT_SIZE], uint8_t identity[SM2_DIGEST_SIZE])
{
    /* GB/T 32918.2 s.5.5: length of the user id in bits, user id, a, b, G. */
    static const uint8_t constant_part[2 + 16 + 4 * SM2_SCALAR_SIZE] = {
        0x00, 0x80, '1', '2', '3', '4', '5', '6', '7', '8', '1', '2', '3', '4', '5', '6', '7', '8',
        0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFC,
        0x28, 0xE9, 0xFA, 0x9E, 0x9D, 0x9F, 0x5E, 0x34, 0x4D, 0x5A, 0x9E, 0x4B, 0xCF, 0x65, 0x09, 0xA7,
        0xF3, 0x97, 0x89, 0xF5, 0x15, 0xAB, 0x8F, 0x92, 0xDD, 0xBC, 0xBD, 0x41, 0x4D, 0x94, 0x0E, 0x93,
        0x32, 0xC4, 0xAE, 0x2C, 0x1F, 0x19, 0x81, 0x19, 0x5F, 0x99, 0x04, 0x46, 0x6A, 0x39, 0xC9, 0x94,
        0x8F, 0xE3, 0x0B, 0xBF, 0xF2, 0x66, 0x0B, 0xE1, 0x71, 0x5A, 0x45, 0x89, 0x33, 0x4C, 0x74, 0xC7,
        0xBC, 0x37, 0x36, 0xA2, 0xF4, 0xF6, 0x77, 0x9C, 0x59, 0xBD, 0xCE, 0xE3, 0x6B, 0x69, 0x21, 0x53,
        0xD0, 0xA9, 0x87, 0x7C, 0xC6, 0x2A, 0x47, 0x40, 0x02, 0xDF, 0x32, 0xE5, 0x21, 0x39, 0xF0, 0xA0,
    };
    sm3_hash hash;
    sm3_start(&hash);
    sm3_update(&hash, constant_part, sizeof constant_part);
    sm3_update(&hash, point, SM2_POINT_SIZE);
    sm3_digest(&hash, identity);
}

bool sm2_signer_init(sm2_signer *signer, const uint8_t private_key[SM2_SCALAR_SIZE])
{
    const number one = {1};
    number d, inverse;
    if (!sm2_public(private_key, signer->point)) {
        return false;
    }
    load_number(d, private_key);
    scalar_add(inverse, d, one);
    scalar_invert(inverse, inverse);
    memcpy(signer->private_key, private_key, SM2_SCALAR_SIZE);
    store_number(signer->inverse, inverse);
    sm2_identity(signer->point, signer->identity);
    wipe(d, sizeof d);
    wipe(inverse, sizeof inverse);
    wipe_stack();
    return true;
}

/* GB/T 32918.2 s.6.1, steps A3 to A7. False if k is outside [1, n-1], r = 0, r + k = n or s = 0. */
static bool sign_with(const sm2_signer *signer, const uint8_t e[SM2_DIGEST_SIZE], const uint8_t nonce[SM2_SCALAR_SIZE],
                      uint8_t signature[SM2_SIGNATURE_SIZE])
{
    number k, x, y, r, s;
    load_number(k, nonce);
    uint64_t usable = mask_if_scalar(k);
    MARK_PUBLIC(&usable, sizeof usable); /* a refused nonce is never used for anything */
    if (usable != 0) {
        kernel()->multiply_generator(k, x, y);
        reduce_once(x, x, 0, sm2_n);
        load_modulo_n(r, e);
        scalar_add(r, r, x);
        scalar_add(s, r, k);
        usable = ~mask_if_number_zero(r) & ~mask_if_number_zero(s);
        /* s = (1 + d)^-1 (k - r d) = (1 + d)^-1 (k + r) - r: the private key itself is not needed. */
        load_number(x, signer->inverse);
        scalar_multiply(s, s, x);
        scalar_subtract(s, s, r);
        usable &= ~mask_if_number_zero(s);
        MARK_PUBLIC(&usable, sizeof usable); /* never false in practice (2^-255); and no signature comes out of that nonce */
        if (usable != 0) {
            store_number(signature, r);
            store_number(signature + SM2_SCALAR_SIZE, s);
        }
    }
    wipe(k, sizeof k);
    wipe(x, sizeof x);
    wipe(y, sizeof y);
    wipe(r, sizeof r);
    wipe(s, sizeof s);
    return usable != 0;
}

bool sm2_sign_with_nonce(const sm2_signer *signer, const uint8_t e[SM2_DIGEST_SIZE],
                         const uint8_t nonce[SM2_SCALAR_SIZE], uint8_t signature[SM2_SIGNATURE_SIZE])
{
    bool made = sign_with(signer, e, nonce, signature);
    wipe_stack();
    return made;
}

void sm2_sign(const sm2_signer *signer, const uint8_t e[SM2_DIGEST_SIZE], const uint8_t fresh[32],
              uint8_t signature[SM2_SIGNATURE_SIZE])
{
    /* e || fresh || attempt. One attempt in 2^32 is refused, so 256 never are. */
    uint8_t message[SM2_DIGEST_SIZE + 32 + 1], nonce[SM2_SCALAR_SIZE];
    memcpy(message, e, SM2_DIGEST_SIZE);
    memcpy(message + SM2_DIGEST_SIZE, fresh, 32);
    message[sizeof message - 1] = 0;
    do {
        sm3_hmac(signer->private_key, SM2_SCALAR_SIZE, message, sizeof message, nonce);
        message[sizeof message - 1]++;
    } while (!sign_with(signer, e, nonce, signature));
    wipe(message, sizeof message);
    wipe(nonce, sizeof nonce);
    wipe_stack();
}

/* What a signature says about a public key (x, y): s G + t (x, y) has an x coordinate that is u modulo n, with t = r + s
 * and u = r - e (GB/T 32918.2 s.7.1). */
typedef struct {
    number x, y, s, t, u;
} sm2_equation;

/* GB/T 32918.2 s.7.1, steps B1, B2 and B5; the public key is in range, but not yet known to be on the curve. */
static bool load_equation(sm2_equation *equation, const uint8_t point[SM2_POINT_SIZE], const uint8_t e[SM2_DIGEST_SIZE],
                          const uint8_t signature[SM2_SIGNATURE_SIZE])
{
    number r, digest;
    load_number(r, signature);
    load_number(equation->s, signature + SM2_SCALAR_SIZE);
    if ((mask_if_scalar(r) & mask_if_scalar(equation->s)) == 0 || !load_point(equation->x, equation->y, point)) {
        return false;
    }
    scalar_add(equation->t, r, equation->s);
    load_modulo_n(digest, e);
    scalar_subtract(equation->u, r, digest);
    return mask_if_number_zero(equation->t) == 0;
}

static bool check_equation(const sm2_equation *equation)
{
    return kernel()->check_sum(equation->s, equation->t, equation->x, equation->y, equation->u);
}

bool sm2_verify(const uint8_t point[SM2_POINT_SIZE], const uint8_t e[SM2_DIGEST_SIZE],
                const uint8_t signature[SM2_SIGNATURE_SIZE])
{
    sm2_equation equation;
    return load_equation(&equation, point, e, signature) && check_equation(&equation);
}

void sm2_verify_many(size_t count, const uint8_t (*points)[SM2_POINT_SIZE], const uint8_t (*es)[SM2_DIGEST_SIZE],
                     const uint8_t (*signatures)[SM2_SIGNATURE_SIZE], uint8_t *results)
{
    size_t done = 0;
    if (sm2_batch_supported()) {
        for (; count - done >= SM2_BATCH; done += SM2_BATCH) {
            sm2_verify_8(points + done, es + done, signatures + done, results + done);
        }
    }
    for (; done < count; done++) {
        results[done] = sm2_verify(points[done], es[done], signatures[done]);
    }
}

bool sm2_agree(const uint8_t private_key[SM2_SCALAR_SIZE], const uint8_t point[SM2_POINT_SIZE],
               uint8_t shared[SM2_SCALAR_SIZE])
{
    number d, x, y;
    uint64_t valid = load_private_key(d, private_key);
    MARK_PUBLIC(&valid, sizeof valid); /* as in sm2_public */
    bool agreed = valid != 0 && load_point(x, y, point) && kernel()->multiply_point(d, x, y, x);
    if (agreed) {
        store_number(shared, x);
    }
    wipe(d, sizeof d);
    wipe(x, sizeof x);
    wipe_stack();
    return agreed;
}

bool sm2_decompress(const uint8_t compressed[SM2_COMPRESSED_SIZE], uint8_t point[SM2_POINT_SIZE])
{
    number x, y;
    load_number(x, compressed + 1);
    if ((compressed[0] != 2 && compressed[0] != 3) || mask_if_below(x, sm2_p) == 0 ||
        !kernel()->find_y(x, compressed[0] & 1, y)) {
        return false;
    }
    store_number(point, x);
    store_number(point + SM2_SCALAR_SIZE, y);
    return true;
}

void sm2_compress(const uint8_t point[SM2_POINT_SIZE], uint8_t compressed[SM2_COMPRESSED_SIZE])
{
    uint8_t parity = point[SM2_POINT_SIZE - 1] & 1;
    memmove(compressed + 1, point, SM2_SCALAR_SIZE);
    compressed[0] = 2 + parity;
}

bool sm2_on_curve(const uint8_t point[SM2_POINT_SIZE])
{
    number x, y;
    return load_point(x, y, point) && kernel()->on_curve(x, y);
}
