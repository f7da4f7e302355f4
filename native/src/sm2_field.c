/* Scalars modulo n, and inversion modulo n and p; see sm2_field.h. Plain C: a signature needs one of each. */
#include "sm2_field.h"

#include "wipe.h"

void scalar_add(number sum, const number a, const number b)
{
    number total;
    uint64_t carry = add_words(total, a, b);
    reduce_once(sum, total, carry, sm2_n);
}

void scalar_subtract(number difference, const number a, const number b)
{
    number back = {0};
    uint64_t borrow = subtract_words(difference, a, b);
    copy_if(mask_of(borrow), back, sm2_n);
    add_words(difference, difference, back);
}

/* Montgomery, Modular multiplication without trial division, Math. Comp. 44 (1985), word by word. */
void scalar_multiply(number product, const number a, const number b)
{
    const uint64_t minus_inverse_of_n = UINT64_C(0x327F9E8872350975); /* -1/n mod 2^64 */
    uint64_t total[6] = {0};
    for (int i = 0; i < 4; i++) {
        wide carry = 0;
        for (int j = 0; j < 4; j++) {
            carry += (wide)a[i] * b[j] + total[j];
            total[j] = (uint64_t)carry;
            carry >>= 64;
        }
        carry += total[4];
        total[4] = (uint64_t)carry;
        total[5] = (uint64_t)(carry >> 64);

        uint64_t factor = total[0] * minus_inverse_of_n;
        carry = (wide)factor * sm2_n[0] + total[0];
        carry >>= 64;
        for (int j = 1; j < 4; j++) {
            carry += (wide)factor * sm2_n[j] + total[j];
            total[j - 1] = (uint64_t)carry;
            carry >>= 64;
        }
        carry += total[4];
        total[3] = (uint64_t)carry;
        total[4] = total[5] + (uint64_t)(carry >> 64);
    }
    reduce_once(product, total, total[4], sm2_n);
}

/* Inversion by division steps (Bernstein and Yang, Fast constant-time gcd computation and modular inversion, TCHES 2019,
 * eprint 2019/266), in the form with half-integer delta for which 590 steps suffice below 2^256 (Wuille's hull computation,
 * github.com/sipa/safegcd-bounds, formally verified by O'Connor and Poelstra, A formal proof of safegcd bounds, 2021).
 *
 * Numbers are five limbs of 62 bits, of which the last is signed. */
#define LIMBS 5
#define LIMB_BITS 62
#define LIMB_MASK ((INT64_C(1) << LIMB_BITS) - 1)
#define BATCHES 10
#define BATCH_STEPS 59

typedef struct {
    int64_t limb[LIMBS];
} long_number;

struct modulus {
    long_number value;
    int64_t inverse; /* 1 / value mod 2^62 */
    number start;    /* what is divided by the argument */
};

/* As p = -1 mod 2^62, the inverse is -1. 2^512 / (a 2^256) is 1 / a in Montgomery form. */
const struct modulus sm2_modulo_p = {
    {{0x3FFFFFFFFFFFFFFF, 0x3FFFFFFC00000003, 0x3FFFFFFFFFFFFFFF, 0x3FFFFFBFFFFFFFFF, 0x00000000000000FF}},
    LIMB_MASK,
    {0x0000000200000003, 0x00000002FFFFFFFF, 0x0000000100000001, 0x0000000400000002},
};
const struct modulus sm2_modulo_n = {
    {{0x13BBF40939D54123, 0x080F7DAC871814AD, 0x3FFFFFFFFFFFFFF7, 0x3FFFFFBFFFFFFFFF, 0x00000000000000FF}},
    0x0D8061778DCAF68B,
    {0xAC440BF6C62ABEDD, 0x8DFC2094DE39FAD4, 0x0000000000000000, 0x0000000100000000}, /* 2^256 mod n */
};

/* u, v, q, r: a batch of steps takes (f, g) to (u f + v g, q f + r g) / 2^62. */
typedef struct {
    int64_t u, v, q, r;
} step_matrix;

typedef __int128 signed_wide;

/* The steps of a batch need the lowest limbs only. zeta is -(delta + 1/2). One step: if delta > 0 and g is odd,
 * (delta, f, g) becomes (1 - delta, g, (g - f) / 2), else (1 + delta, f, (g + (g mod 2) f) / 2). The matrix starts as 8
 * times the identity, so that 59 steps divide by 2^62, a whole limb. */
static int64_t batch_of_steps(step_matrix *matrix, int64_t zeta, uint64_t f, uint64_t g)
{
    uint64_t u = 8, v = 0, q = 0, r = 8;
    for (int i = 0; i < BATCH_STEPS; i++) {
        uint64_t positive = mask_of((uint64_t)zeta >> 63), odd = mask_of(g & 1);
        /* g, q, r: minus or plus f, u, v where g is odd */
        g += ((f ^ positive) - positive) & odd;
        q += ((u ^ positive) - positive) & odd;
        r += ((v ^ positive) - positive) & odd;
        /* where both hold: f, u, v become what g, q, r were, f + (g - f) */
        uint64_t both = positive & odd;
        zeta = (int64_t)(((uint64_t)zeta ^ both) - 1);
        f += g & both;
        u += q & both;
        v += r & both;
        g >>= 1;
        u <<= 1;
        v <<= 1;
    }
    *matrix = (step_matrix){(int64_t)u, (int64_t)v, (int64_t)q, (int64_t)r};
    return zeta;
}

/* (f, g) = matrix (f, g) / 2^62, which is exact. |u| + |v| and |q| + |r| are at most 2^62, so sums stay below 2^127. */
static void apply_to_values(const step_matrix *m, long_number *f, long_number *g)
{
    signed_wide sum_f = 0, sum_g = 0;
    for (int i = 0; i < LIMBS; i++) {
        sum_f += (signed_wide)m->u * f->limb[i] + (signed_wide)m->v * g->limb[i];
        sum_g += (signed_wide)m->q * f->limb[i] + (signed_wide)m->r * g->limb[i];
        if (i > 0) {
            f->limb[i - 1] = (int64_t)sum_f & LIMB_MASK;
            g->limb[i - 1] = (int64_t)sum_g & LIMB_MASK;
        }
        sum_f >>= LIMB_BITS;
        sum_g >>= LIMB_BITS;
    }
    f->limb[LIMBS - 1] = (int64_t)sum_f;
    g->limb[LIMBS - 1] = (int64_t)sum_g;
}

/* How often the modulus must be added to a d + b e so that 2^62 divides it and the result stays in range: with d and e in
 * (-2 m, m), m is added to negative ones, which gives (-2^62 m, 2^62 m), and then up to 2^62 - 1 times subtracted: after
 * the division that is (-2 m, m) again. */
static int64_t correction(int64_t a, int64_t b, const long_number *d, const long_number *e, int64_t inverse)
{
    uint64_t low = (uint64_t)a * (uint64_t)d->limb[0] + (uint64_t)b * (uint64_t)e->limb[0];
    int64_t times = (a & d->limb[LIMBS - 1] >> 63) + (b & e->limb[LIMBS - 1] >> 63);
    return times - (int64_t)((low * (uint64_t)inverse + (uint64_t)times) & (uint64_t)LIMB_MASK);
}

/* (d, e) = matrix (d, e) / 2^62 modulo m. */
static void apply_to_factors(const step_matrix *m, long_number *d, long_number *e, const struct modulus *modulus)
{
    int64_t times_d = correction(m->u, m->v, d, e, modulus->inverse);
    int64_t times_e = correction(m->q, m->r, d, e, modulus->inverse);
    signed_wide sum_d = 0, sum_e = 0;
    for (int i = 0; i < LIMBS; i++) {
        int64_t limb_d = d->limb[i], limb_e = e->limb[i], limb = modulus->value.limb[i];
        sum_d += (signed_wide)m->u * limb_d + (signed_wide)m->v * limb_e;
        sum_d += (signed_wide)times_d * limb;
        sum_e += (signed_wide)m->q * limb_d + (signed_wide)m->r * limb_e;
        sum_e += (signed_wide)times_e * limb;
        if (i > 0) {
            d->limb[i - 1] = (int64_t)sum_d & LIMB_MASK;
            e->limb[i - 1] = (int64_t)sum_e & LIMB_MASK;
        }
        sum_d >>= LIMB_BITS;
        sum_e >>= LIMB_BITS;
    }
    d->limb[LIMBS - 1] = (int64_t)sum_d;
    e->limb[LIMBS - 1] = (int64_t)sum_e;
}

static void to_long(long_number *a, const number words)
{
    const uint64_t mask = (uint64_t)LIMB_MASK;
    a->limb[0] = (int64_t)(words[0] & mask);
    a->limb[1] = (int64_t)((words[0] >> 62 | words[1] << 2) & mask);
    a->limb[2] = (int64_t)((words[1] >> 60 | words[2] << 4) & mask);
    a->limb[3] = (int64_t)((words[2] >> 58 | words[3] << 6) & mask);
    a->limb[4] = (int64_t)(words[3] >> 56);
}

static void add_if_negative(long_number *a, const long_number *m)
{
    uint64_t negative = mask_of((uint64_t)a->limb[LIMBS - 1] >> 63);
    int64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += a->limb[i] + (m->limb[i] & (int64_t)negative);
        a->limb[i] = i < LIMBS - 1 ? carry & LIMB_MASK : carry;
        carry >>= LIMB_BITS;
    }
}

static void negate_if_set(long_number *a, uint64_t mask)
{
    int64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += (a->limb[i] ^ (int64_t)mask) - (int64_t)mask;
        a->limb[i] = i < LIMBS - 1 ? carry & LIMB_MASK : carry;
        carry >>= LIMB_BITS;
    }
}

void sm2_divide(number quotient, const number divisor, const struct modulus *modulus)
{
    long_number f = modulus->value, g, d = {{0}}, e;
    step_matrix matrix;
    int64_t zeta = -1; /* delta = 1/2 */
    to_long(&g, divisor);
    to_long(&e, modulus->start);
    for (int i = 0; i < BATCHES; i++) {
        zeta = batch_of_steps(&matrix, zeta, (uint64_t)f.limb[0], (uint64_t)g.limb[0]);
        apply_to_values(&matrix, &f, &g);
        apply_to_factors(&matrix, &d, &e, modulus);
    }
    /* Now g = 0 and f = 1 or -1, and f = d divisor / start modulo m: the quotient is d f. (For 0, d is 0.) */
    add_if_negative(&d, &modulus->value);
    negate_if_set(&d, mask_of((uint64_t)f.limb[LIMBS - 1] >> 63));
    add_if_negative(&d, &modulus->value);
    quotient[0] = (uint64_t)d.limb[0] | (uint64_t)d.limb[1] << 62;
    quotient[1] = (uint64_t)d.limb[1] >> 2 | (uint64_t)d.limb[2] << 60;
    quotient[2] = (uint64_t)d.limb[2] >> 4 | (uint64_t)d.limb[3] << 58;
    quotient[3] = (uint64_t)d.limb[3] >> 6 | (uint64_t)d.limb[4] << 56;
    wipe(&f, sizeof f);
    wipe(&g, sizeof g);
    wipe(&d, sizeof d);
    wipe(&e, sizeof e);
    wipe(&matrix, sizeof matrix);
}

void scalar_invert(number inverse, const number a)
{
    sm2_divide(inverse, a, &sm2_modulo_n);
}
