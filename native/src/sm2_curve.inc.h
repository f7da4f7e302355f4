/* Point arithmetic on y^2 = x^3 - 3 x + b over the field of p, in terms of what the including file defines before:
 *
 *   field_multiply, field_square, field_add, field_subtract, field_halve   on elements below p, results below p
 *   choose_affine(entry, row, index), choose_entry(entry, table, index)    copies of a table entry, reading all of them
 *   forget_vectors()                                                       clears what these left in registers
 *
 * A point is (X : Y : Z) with x = X / Z^2, y = Y / Z^3 (Jacobian); Z = 0 is infinity. Functions that handle secrets have
 * no branches but on public counters. The group has prime order n, so only infinity has another order; that is why the
 * exceptional cases of additions can be counted out below.
 */
#include "sm2_curve.h"
#include "sm2_table.h"
#include "wipe.h"

typedef struct {
    number x, y, z;
} jacobian_point;

/* A summand that is used more than once: with Z^2 and Z^3. */
typedef struct {
    number x, y, z, zz, zzz;
} table_point;

#define WINDOW 5
#define WINDOWS 52
#define WINDOW_ENTRIES 16

static void field_square_times(number result, const number a, int times)
{
    field_square(result, a);
    for (int i = 1; i < times; i++) {
        field_square(result, result);
    }
}

static void to_field(number element, const number plain)
{
    field_multiply(element, plain, sm2_to_field);
}

static void from_field(number plain, const number element)
{
    const number one = {1};
    field_multiply(plain, element, one);
}

/* a^(2^32 - 1) */
static void field_power_of_ones(number ones32, const number a)
{
    number ones, t;
    memcpy(ones, a, sizeof ones);
    for (int count = 1; count < 32; count *= 2) {
        field_square_times(t, ones, count);
        field_multiply(ones, t, ones);
    }
    memcpy(ones32, ones, sizeof ones);
}

/* a^((p+1)/4), a square root of a if there is one, as p = 3 mod 4. The exponent is (2^32 - 1) (2^160 - 1) 2^62... */
static void field_root(number root, const number a)
{
    number b, run, t;
    field_power_of_ones(b, a);
    /* ... and b^(2^160 - 1) is built of runs of 2, 4, 8, 16, 32 and five times 32 ones. */
    field_power_of_ones(run, b);
    memcpy(t, run, sizeof t);
    for (int i = 0; i < 4; i++) {
        field_square_times(t, t, 32);
        field_multiply(t, t, run);
    }
    field_square_times(root, t, 62);
}

static void curve_right_side(number result, const number x)
{
    number triple;
    field_add(triple, x, x);
    field_add(triple, triple, x);
    field_square(result, x);
    field_multiply(result, result, x);
    field_subtract(result, result, triple);
    field_add(result, result, sm2_b);
}

static bool element_on_curve(const number x, const number y)
{
    number left, right;
    field_square(left, y);
    curve_right_side(right, x);
    return mask_if_equal(left, right) != 0;
}

/* 4 M + 4 S. With m = 3/2 (X^2 - Z^4), which is 3/2 (X - Z^2)(X + Z^2) as a = -3, and Z3 = Y Z, half of the usual Z3:
 * X3 = m^2 - 2 X Y^2, Y3 = m (X Y^2 - X3) - Y^4. Right for infinity too; no point has order 2.
 *
 * Here and in additions the order of the lines matters: what the longest chain needs comes first, as the processor looks
 * ahead a few multiplications only (measured: the best order takes 15 % less time than the worst). */
static void point_double(jacobian_point *sum, const jacobian_point *a)
{
    number slope, square, beta, fourth, t;
    field_square(t, a->z);
    field_add(slope, a->x, t);
    field_subtract(t, a->x, t);
    field_square(square, a->y);
    field_multiply(slope, slope, t);
    field_multiply(beta, a->x, square);
    field_square(fourth, square);
    field_halve(t, slope);
    field_add(slope, slope, t);
    field_multiply(sum->z, a->y, a->z);
    field_square(t, slope);
    field_subtract(t, t, beta);
    field_subtract(sum->x, t, beta);
    field_subtract(beta, beta, sum->x);
    field_multiply(beta, slope, beta);
    field_subtract(sum->y, beta, fourth);
}

/* The common end of additions: h = difference of the x, r = difference of the y, x and y those of the first summand, all
 * over one denominator z^3. X3 = r^2 - h^3 - 2 x h^2, Y3 = r (x h^2 - X3) - y h^3 (Cohen, Miyaji and Ono, Efficient elliptic
 * curve exponentiation using mixed coordinates, Asiacrypt 1998). */
static void finish_addition(jacobian_point *sum, const number x, const number y, const number z, const number h,
                            const number r)
{
    number square, cube, v, t;
    field_square(square, h);
    field_multiply(v, x, square);
    field_square(t, r);
    field_multiply(cube, square, h);
    field_subtract(t, t, cube);
    field_subtract(t, t, v);
    field_multiply(cube, cube, y);
    field_multiply(sum->z, z, h);
    field_subtract(sum->x, t, v);
    field_subtract(v, v, sum->x);
    field_multiply(v, v, r);
    field_subtract(sum->y, v, cube);
}

/* What was equal in an addition: both coordinates (the sum must be doubled instead) or x only (the sum is infinity). */
typedef struct {
    uint64_t same_x, same_y; /* masks */
} coincidence;

/* 8 M + 3 S. Wrong if a is infinity or equal to b; gives infinity for a = -b. */
static coincidence point_add_affine(jacobian_point *sum, const jacobian_point *a, const affine_point *b)
{
    number h, r, t;
    field_square(t, a->z);
    field_multiply(r, t, a->z);
    field_multiply(h, b->x, t);
    field_subtract(h, h, a->x);
    field_multiply(r, b->y, r);
    field_subtract(r, r, a->y);
    finish_addition(sum, a->x, a->y, a->z, h, r);
    return (coincidence){mask_if_number_zero(h), mask_if_number_zero(r)};
}

/* 11 M + 3 S. As above; b is not infinity. */
static coincidence point_add(jacobian_point *sum, const jacobian_point *a, const table_point *b)
{
    number x, y, z, h, r, t;
    field_multiply(z, a->z, b->z);
    field_square(t, a->z);
    field_multiply(x, a->x, b->zz);
    field_multiply(y, a->y, b->zzz);
    field_multiply(r, t, a->z);
    field_multiply(h, b->x, t);
    field_subtract(h, h, x);
    field_multiply(r, b->y, r);
    field_subtract(r, r, y);
    finish_addition(sum, x, y, z, h, r);
    return (coincidence){mask_if_number_zero(h), mask_if_number_zero(r)};
}

/* (1, 3, ... 2 count - 1) times a point. The step 2 P is kept over the same Z as the last multiple, so that an addition
 * takes 5 M + 2 S (Meloni, New point addition formulae for ECC applications, WAIFI 2007): with h and r the differences of
 * x and y, X3 = r^2 - x h^2 - x' h^2, Z3 = Z h, and (x h^2, y h^3) is the step over Z3. As the point has order n, summands
 * are never equal or opposite. */
static void odd_multiples(table_point *multiples, int count, const affine_point *point)
{
    jacobian_point sum, step;
    number h, r, square, t;
    memcpy(multiples[0].x, point->x, sizeof(number));
    memcpy(multiples[0].y, point->y, sizeof(number));
    memcpy(multiples[0].z, sm2_one, sizeof(number));
    memcpy(multiples[0].zz, sm2_one, sizeof(number));
    memcpy(multiples[0].zzz, sm2_one, sizeof(number));
    memcpy(sum.x, point->x, sizeof(number));
    memcpy(sum.y, point->y, sizeof(number));
    memcpy(sum.z, sm2_one, sizeof(number));
    /* Doubling makes Z = y; over that, P is (x y^2, y y^3). */
    point_double(&step, &sum);
    field_square(square, point->y);
    field_multiply(sum.x, point->x, square);
    field_square(sum.y, square);
    memcpy(sum.z, point->y, sizeof(number));
    for (int i = 1; i < count; i++) {
        field_subtract(h, step.x, sum.x);
        field_square(square, h);
        field_subtract(r, step.y, sum.y);
        field_multiply(step.x, step.x, square);
        field_multiply(t, sum.x, square);
        field_multiply(sum.z, sum.z, h);
        field_square(sum.x, r);
        field_subtract(sum.x, sum.x, step.x);
        field_subtract(sum.x, sum.x, t);
        field_subtract(t, step.x, t);
        field_multiply(step.y, step.y, t);
        field_subtract(t, step.x, sum.x);
        field_multiply(t, t, r);
        field_subtract(sum.y, t, step.y);
        memcpy(multiples[i].x, sum.x, sizeof(number));
        memcpy(multiples[i].y, sum.y, sizeof(number));
        memcpy(multiples[i].z, sum.z, sizeof(number));
        field_square(multiples[i].zz, sum.z);
        field_multiply(multiples[i].zzz, multiples[i].zz, sum.z);
    }
}

/* Regular digits of secrets (after Joye and Tunstall, Exponent recoding and regular exponentiation algorithms, Africacrypt
 * 2009). An odd k < 2^m is the sum of 2^j or -2^j for j < m: plus for the highest, and where bit j + 1 of k is set. A
 * window of `width` such signs is an odd digit, never zero, so that every window costs the same addition.
 *
 * An even k is replaced by n - k, which is odd, and the result by its opposite. */
typedef struct {
    uint64_t words[5]; /* with bit m set, which stands for the highest sign */
    uint64_t opposite; /* mask: k was even */
} regular_scalar;

static void make_regular(regular_scalar *regular, const number k, unsigned m)
{
    number negated;
    subtract_words(negated, sm2_n, k);
    regular->opposite = mask_of(1 ^ (k[0] & 1));
    memcpy(regular->words, k, sizeof(number));
    copy_if(regular->opposite, regular->words, negated);
    regular->words[4] = UINT64_C(1) << (m - 256);
}

typedef struct {
    uint64_t index;    /* (|digit| - 1) / 2 */
    uint64_t negative; /* mask */
} odd_digit;

static odd_digit regular_digit(const regular_scalar *regular, unsigned window, unsigned width)
{
    uint64_t signs = bits_of(regular->words, window * width + 1, width);
    uint64_t negative = mask_of(1 ^ (signs >> (width - 1)));
    uint64_t highest = UINT64_C(1) << (width - 1);
    return (odd_digit){(signs ^ negative) & (highest - 1), negative};
}

static void negate_if(uint64_t mask, number a)
{
    number negated;
    subtract_words(negated, sm2_p, a); /* a is the y of a point, which is never zero */
    copy_if(mask, a, negated);
}

static void to_affine(number x, number y, const jacobian_point *point)
{
    number inverse, square;
    sm2_divide(inverse, point->z, &sm2_modulo_p);
    field_square(square, inverse);
    field_multiply(x, point->x, square);
    from_field(x, x);
    if (y != NULL) {
        field_multiply(square, square, inverse);
        field_multiply(y, point->y, square);
        from_field(y, y);
    }
    wipe(inverse, sizeof inverse);
    wipe(square, sizeof square);
}

/* The sum a + b was made by a formula that is wrong for a = b: puts 2 a in its place there. */
static void double_if_same(jacobian_point *sum, const jacobian_point *a, coincidence same)
{
    jacobian_point twice;
    uint64_t mask = same.same_x & same.same_y;
    point_double(&twice, a);
    copy_if(mask, sum->x, twice.x);
    copy_if(mask, sum->y, twice.y);
    copy_if(mask, sum->z, twice.z);
    wipe(&twice, sizeof twice);
}

/* One digit for each row of the table, from the lowest. Before row i the sum is an odd multiple of G below 2^(6 i), and the
 * entry at least 2^(6 i): they are never equal or opposite, also not modulo n before the last row. In the last one the
 * total is k, so they are not opposite, but they are equal for k = 30 2^252 - n. */
static void multiply_generator(const number k, number x, number y)
{
    regular_scalar regular;
    odd_digit digit;
    affine_point entry;
    jacobian_point sum, before;
    coincidence same = {0, 0};
    make_regular(&regular, k, SM2_TABLE_WIDTH * SM2_TABLE_ROWS);
    for (unsigned row = 0; row < SM2_TABLE_ROWS; row++) {
        digit = regular_digit(&regular, row, SM2_TABLE_WIDTH);
        choose_affine(&entry, sm2_table[row], digit.index);
        negate_if(digit.negative, entry.y);
        if (row == 0) {
            memcpy(sum.x, entry.x, sizeof(number));
            memcpy(sum.y, entry.y, sizeof(number));
            memcpy(sum.z, sm2_one, sizeof(number));
        } else {
            before = sum;
            same = point_add_affine(&sum, &before, &entry);
        }
    }
    double_if_same(&sum, &before, same);
    negate_if(regular.opposite, sum.y);
    to_affine(x, y, &sum);
    forget_vectors();
    wipe(&regular, sizeof regular);
    wipe(&digit, sizeof digit);
    wipe(&entry, sizeof entry);
    wipe(&sum, sizeof sum);
    wipe(&before, sizeof before);
}

/* Fixed windows from the highest. Before an addition the sum is 32 m P with m >= 1 and the entry an odd digit d P, |d| < 32:
 * they are not equal or opposite as integers, and modulo n only in the last window, where the total is k: not opposite,
 * but equal for k = n - 6. The sign of the result does not matter for its x. */
static bool multiply_point(const number k, const number x, const number y, number product_x)
{
    affine_point point;
    to_field(point.x, x);
    to_field(point.y, y);
    if (!element_on_curve(point.x, point.y)) {
        return false;
    }
    regular_scalar regular;
    odd_digit digit;
    table_point multiples[WINDOW_ENTRIES], entry;
    jacobian_point sum, before;
    coincidence same = {0, 0};
    odd_multiples(multiples, WINDOW_ENTRIES, &point);
    make_regular(&regular, k, WINDOW * WINDOWS);
    /* As k < 2^256, the highest window has signs 10000, the digit 1. */
    memcpy(sum.x, point.x, sizeof(number));
    memcpy(sum.y, point.y, sizeof(number));
    memcpy(sum.z, sm2_one, sizeof(number));
    for (unsigned window = WINDOWS - 1; window-- > 0;) {
        for (int i = 0; i < WINDOW; i++) {
            point_double(&sum, &sum);
        }
        digit = regular_digit(&regular, window, WINDOW);
        choose_entry(&entry, multiples, digit.index);
        negate_if(digit.negative, entry.y);
        before = sum;
        same = point_add(&sum, &before, &entry);
    }
    double_if_same(&sum, &before, same);
    to_affine(product_x, NULL, &sum);
    forget_vectors();
    wipe(&regular, sizeof regular);
    wipe(&digit, sizeof digit);
    wipe(&entry, sizeof entry);
    wipe(&sum, sizeof sum);
    wipe(&before, sizeof before);
    return true;
}

/* From here on: public values only. */

#define POINT_NAF 5     /* odd multiples up to 15, made for each call */
#define GENERATOR_NAF 7 /* odd multiples up to 63, the first row of the table */
#define NAF_SIZE 257

/* Non-adjacent form of a width (Solinas, Efficient arithmetic on Koblitz curves, 2000): digits are zero or odd and below
 * 2^(width-1), and of `width` neighbours at most one is not zero. */
static void make_naf(int8_t naf[NAF_SIZE], const number k, unsigned width)
{
    const uint64_t words[5] = {k[0], k[1], k[2], k[3], 0};
    int64_t carry = 0;
    memset(naf, 0, NAF_SIZE);
    for (unsigned position = 0; position < NAF_SIZE;) {
        if ((int64_t)bits_of(words, position, 1) == carry) {
            position++;
            continue;
        }
        int64_t digit = (int64_t)bits_of(words, position, width) + carry;
        carry = digit >> (width - 1);
        naf[position] = (int8_t)(digit - carry * (INT64_C(1) << width));
        position += width;
    }
}

static bool is_infinity(const jacobian_point *point)
{
    return mask_if_number_zero(point->z) != 0;
}

/* Puts right a sum whose summands were equal; opposite ones gave Z = 0 by themselves. */
static void settle(jacobian_point *sum, const jacobian_point *a, coincidence same)
{
    if ((same.same_x & same.same_y) != 0) {
        point_double(sum, a);
    }
}

static void accumulate(jacobian_point *sum, const table_point *multiples, int digit)
{
    table_point entry = multiples[(digit < 0 ? -digit : digit) / 2];
    negate_if(mask_of(digit < 0), entry.y);
    if (is_infinity(sum)) {
        memcpy(sum->x, entry.x, sizeof(number));
        memcpy(sum->y, entry.y, sizeof(number));
        memcpy(sum->z, entry.z, sizeof(number));
        return;
    }
    jacobian_point before = *sum;
    settle(sum, &before, point_add(sum, &before, &entry));
}

static void accumulate_generator(jacobian_point *sum, int digit)
{
    affine_point entry = sm2_table[0][(digit < 0 ? -digit : digit) / 2];
    negate_if(mask_of(digit < 0), entry.y);
    if (is_infinity(sum)) {
        memcpy(sum->x, entry.x, sizeof(number));
        memcpy(sum->y, entry.y, sizeof(number));
        memcpy(sum->z, sm2_one, sizeof(number));
        return;
    }
    jacobian_point before = *sum;
    settle(sum, &before, point_add_affine(sum, &before, &entry));
}

/* True if x = X / Z^2 is u modulo n, without an inversion. As n < p < 2 n, x is u or u + n. */
static bool has_x(const jacobian_point *point, const number u)
{
    number square, candidate, element;
    field_square(square, point->z);
    to_field(element, u);
    field_multiply(element, element, square);
    if (mask_if_equal(element, point->x) != 0) {
        return true;
    }
    if (add_words(candidate, u, sm2_n) != 0 || mask_if_below(candidate, sm2_p) == 0) {
        return false;
    }
    to_field(element, candidate);
    field_multiply(element, element, square);
    return mask_if_equal(element, point->x) != 0;
}

/* One chain of doublings for both multiples (Straus, Addition chains of vectors, Amer. Math. Monthly 71, 1964). */
static bool check_sum(const number s, const number t, const number x, const number y, const number u)
{
    affine_point point;
    to_field(point.x, x);
    to_field(point.y, y);
    if (!element_on_curve(point.x, point.y)) {
        return false;
    }
    table_point multiples[1 << (POINT_NAF - 2)];
    int8_t of_generator[NAF_SIZE], of_point[NAF_SIZE];
    odd_multiples(multiples, 1 << (POINT_NAF - 2), &point);
    make_naf(of_generator, s, GENERATOR_NAF);
    make_naf(of_point, t, POINT_NAF);
    jacobian_point sum = {{1}, {1}, {0}};
    for (int position = NAF_SIZE - 1; position >= 0; position--) {
        if (!is_infinity(&sum)) {
            point_double(&sum, &sum);
        }
        if (of_point[position] != 0) {
            accumulate(&sum, multiples, of_point[position]);
        }
        if (of_generator[position] != 0) {
            accumulate_generator(&sum, of_generator[position]);
        }
    }
    return !is_infinity(&sum) && has_x(&sum, u);
}

static bool on_curve(const number x, const number y)
{
    number element_x, element_y;
    to_field(element_x, x);
    to_field(element_y, y);
    return element_on_curve(element_x, element_y);
}

static bool find_y(const number x, unsigned parity, number y)
{
    number element, square, root, check;
    to_field(element, x);
    curve_right_side(square, element);
    field_root(root, square);
    field_square(check, root);
    if (mask_if_equal(check, square) == 0) {
        return false;
    }
    from_field(y, root);
    if ((y[0] & 1) != parity) {
        /* y is not zero: that would be a point of order 2 in a group of odd order. */
        subtract_words(y, sm2_p, y);
    }
    return true;
}
