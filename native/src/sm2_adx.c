/* The point arithmetic of SM2 for x86-64 with BMI2, ADX and AVX2. */
#if defined(__x86_64__)

#include <immintrin.h>

#include "sm2_field.h"
#include "sm2_table.h"

/* The instructions below are written out because compilers keep only one carry chain: MULX leaves the flags alone, ADCX
 * and ADOX carry in two different ones (Ozturk et al., New instructions supporting large integer arithmetic on Intel
 * architecture processors, 2012). What limits them are the two ports that add with carry, so those are what is saved. */

/* (low, high) += rdx * word, on the two chains. */
#define MULTIPLY_ADD(word, low, high) \
    "mulxq " word ", %[l], %[h]\n\t" \
    "adcxq %[l], " low "\n\t" \
    "adoxq %[h], " high "\n\t"

/* Two words of Montgomery reduction, as reduce_two_words in sm2_portable.c, but the two parts of the quotient go straight
 * into r0..r3: W is subtracted, m is added. m0 and t1 are used up; z gets the carry out of r3. MULX shifts, as the ports of
 * shifts are those of the carries. Then h = W1,
 * l = W0 + W2, y = W2, rdx = m1 and x = m0 - W0. */
#define REDUCE_TWO_WORDS(m0, t1, r0, r1, r2, r3) \
    "movq " m0 ", %%rdx\n\t" \
    "movq " m0 ", %[x]\n\t" \
    "mulxq %[shift], %[l], %[h]\n\t" \
    "subq %[l], %[x]\n\t" \
    "leaq (" t1 ", %[x]), %%rdx\n\t" \
    "mulxq %[shift], %[z], %[y]\n\t" \
    "addq %[z], %[h]\n\t" \
    "cmpq %[l], " m0 "\n\t" /* the borrow of m0 - W0 again */ \
    "leaq (%[l], %[y]), %[l]\n\t" \
    "sbbq %[h], " r0 "\n\t" \
    "sbbq %[l], " r1 "\n\t" \
    "sbbq %[h], " r2 "\n\t" \
    "sbbq %[y], " r3 "\n\t" \
    "sbbq %[z], %[z]\n\t" \
    "addq %[x], " t1 "\n\t" /* the carry of m1 = t1 + m0 - W0 */ \
    "adcq %%rdx, " r0 "\n\t" \
    "adcq $0, " r1 "\n\t" \
    "adcq " m0 ", " r2 "\n\t" \
    "adcq %%rdx, " r3 "\n\t" \
    "adcq $0, %[z]\n\t"

/* (l, h, x, y) = (r0, r1, r2, r3) + top 2^256, less p unless that is negative. */
#define REDUCE_ONCE(r0, r1, r2, r3, top) \
    "movq " r0 ", %[l]\n\t" \
    "movq " r1 ", %[h]\n\t" \
    "movq " r2 ", %[x]\n\t" \
    "movq " r3 ", %[y]\n\t" \
    "subq $-1, %[l]\n\t" \
    "sbbq %[p1], %[h]\n\t" \
    "sbbq $-1, %[x]\n\t" \
    "sbbq %[p3], %[y]\n\t" \
    "sbbq $0, " top "\n\t" \
    "cmovcq " r0 ", %[l]\n\t" \
    "cmovcq " r1 ", %[h]\n\t" \
    "cmovcq " r2 ", %[x]\n\t" \
    "cmovcq " r3 ", %[y]\n\t"

#define P_WORDS [p1] "m"(sm2_p[1]), [p3] "m"(sm2_p[3])

/* Both functions take all registers but the stack and frame pointers. That is why the factors are not memory operands,
 * which might need registers of their own, and why nothing is inlined. */
static const uint64_t two_to_32 = UINT64_C(1) << 32;

static __attribute__((noinline)) void field_multiply(number product, const number a, const number b)
{
    uint64_t t0, t1, t2, t3, t4, t5, l, h, x, y, z;
    __asm__(
        /* a0 b */
        "movq 0(%[a]), %%rdx\n\t"
        "mulxq 0(%[b]), %[t0], %[t1]\n\t"
        "mulxq 8(%[b]), %[l], %[t2]\n\t"
        "addq %[l], %[t1]\n\t"
        "mulxq 16(%[b]), %[l], %[t3]\n\t"
        "adcq %[l], %[t2]\n\t"
        "mulxq 24(%[b]), %[l], %[t4]\n\t"
        "adcq %[l], %[t3]\n\t"
        "adcq $0, %[t4]\n\t"
        /* a1 b 2^64 */
        "movq 8(%[a]), %%rdx\n\t"
        "xorl %k[z], %k[z]\n\t"
        MULTIPLY_ADD("0(%[b])", "%[t1]", "%[t2]")
        MULTIPLY_ADD("8(%[b])", "%[t2]", "%[t3]")
        MULTIPLY_ADD("16(%[b])", "%[t3]", "%[t4]")
        "mulxq 24(%[b]), %[l], %[t5]\n\t"
        "adcxq %[l], %[t4]\n\t"
        "adoxq %[z], %[t5]\n\t"
        "adcxq %[z], %[t5]\n\t"
        REDUCE_TWO_WORDS("%[t0]", "%[t1]", "%[t2]", "%[t3]", "%[t4]", "%[t5]")
        /* a2 b, on t2, t3, t4, t5 and x, the carry */
        "movq %[z], %[t0]\n\t"
        "movq 16(%[a]), %%rdx\n\t"
        "xorl %k[z], %k[z]\n\t"
        MULTIPLY_ADD("0(%[b])", "%[t2]", "%[t3]")
        MULTIPLY_ADD("8(%[b])", "%[t3]", "%[t4]")
        MULTIPLY_ADD("16(%[b])", "%[t4]", "%[t5]")
        MULTIPLY_ADD("24(%[b])", "%[t5]", "%[t0]")
        "adcxq %[z], %[t0]\n\t"
        /* a3 b 2^64, on t3, t4, t5, t0 and t1 */
        "movq 24(%[a]), %%rdx\n\t"
        "xorl %k[z], %k[z]\n\t"
        MULTIPLY_ADD("0(%[b])", "%[t3]", "%[t4]")
        MULTIPLY_ADD("8(%[b])", "%[t4]", "%[t5]")
        MULTIPLY_ADD("16(%[b])", "%[t5]", "%[t0]")
        "mulxq 24(%[b]), %[l], %[t1]\n\t"
        "adcxq %[l], %[t0]\n\t"
        "adoxq %[z], %[t1]\n\t"
        "adcxq %[z], %[t1]\n\t"
        REDUCE_TWO_WORDS("%[t2]", "%[t3]", "%[t4]", "%[t5]", "%[t0]", "%[t1]")
        REDUCE_ONCE("%[t4]", "%[t5]", "%[t0]", "%[t1]", "%[z]")
        : [t0] "=&r"(t0), [t1] "=&r"(t1), [t2] "=&r"(t2), [t3] "=&r"(t3), [t4] "=&r"(t4), [t5] "=&r"(t5), [l] "=&r"(l),
          [h] "=&r"(h), [x] "=&r"(x), [y] "=&r"(y), [z] "=&r"(z)
        : [a] "r"(a), [b] "r"(b), P_WORDS, [shift] "m"(two_to_32)
        : "rdx", "cc", "memory");
    product[0] = l;
    product[1] = h;
    product[2] = x;
    product[3] = y;
}

static __attribute__((noinline)) void field_square(number square, const number a)
{
    uint64_t t0, t1, t2, t3, t4, t5, t6, t7, l, h, x, z, y;
    y = (uint64_t)(uintptr_t)a; /* y holds the address until the last word is loaded */
    __asm__(
        /* The products of two different words ... */
        "movq 0(%[y]), %%rdx\n\t"
        "mulxq 8(%[y]), %[t1], %[t2]\n\t"
        "mulxq 16(%[y]), %[l], %[t3]\n\t"
        "addq %[l], %[t2]\n\t"
        "mulxq 24(%[y]), %[l], %[t4]\n\t"
        "adcq %[l], %[t3]\n\t"
        "adcq $0, %[t4]\n\t"
        "movq 8(%[y]), %%rdx\n\t"
        "xorl %k[z], %k[z]\n\t"
        MULTIPLY_ADD("16(%[y])", "%[t3]", "%[t4]")
        "mulxq 24(%[y]), %[l], %[t5]\n\t"
        "adcxq %[l], %[t4]\n\t"
        "adoxq %[z], %[t5]\n\t"
        "movq 16(%[y]), %%rdx\n\t"
        "mulxq 24(%[y]), %[l], %[t6]\n\t"
        "adcxq %[l], %[t5]\n\t"
        "adcxq %[z], %[t6]\n\t"
        /* ... twice on one chain, and the squares on the other. */
        "movq 0(%[y]), %%rdx\n\t"
        "xorl %k[z], %k[z]\n\t"
        "mulxq %%rdx, %[t0], %[h]\n\t"
        "adcxq %[t1], %[t1]\n\t"
        "adoxq %[h], %[t1]\n\t"
        "movq 8(%[y]), %%rdx\n\t"
        "mulxq %%rdx, %[l], %[h]\n\t"
        "adcxq %[t2], %[t2]\n\t"
        "adoxq %[l], %[t2]\n\t"
        "adcxq %[t3], %[t3]\n\t"
        "adoxq %[h], %[t3]\n\t"
        "movq 16(%[y]), %%rdx\n\t"
        "mulxq %%rdx, %[l], %[h]\n\t"
        "adcxq %[t4], %[t4]\n\t"
        "adoxq %[l], %[t4]\n\t"
        "adcxq %[t5], %[t5]\n\t"
        "adoxq %[h], %[t5]\n\t"
        "movq 24(%[y]), %%rdx\n\t"
        "mulxq %%rdx, %[l], %[t7]\n\t"
        "adcxq %[t6], %[t6]\n\t"
        "adoxq %[l], %[t6]\n\t"
        "adcxq %[z], %[t7]\n\t"
        "adoxq %[z], %[t7]\n\t"
        REDUCE_TWO_WORDS("%[t0]", "%[t1]", "%[t2]", "%[t3]", "%[t4]", "%[t5]")
        "addq %[z], %[t6]\n\t"
        "adcq $0, %[t7]\n\t" /* no carry: (a^2 + m p) / 2^128 < 2^384 */
        REDUCE_TWO_WORDS("%[t2]", "%[t3]", "%[t4]", "%[t5]", "%[t6]", "%[t7]")
        REDUCE_ONCE("%[t4]", "%[t5]", "%[t6]", "%[t7]", "%[z]")
        : [t0] "=&r"(t0), [t1] "=&r"(t1), [t2] "=&r"(t2), [t3] "=&r"(t3), [t4] "=&r"(t4), [t5] "=&r"(t5), [t6] "=&r"(t6),
          [t7] "=&r"(t7), [l] "=&r"(l), [h] "=&r"(h), [x] "=&r"(x), [z] "=&r"(z), [y] "+&r"(y)
        : P_WORDS, [shift] "m"(two_to_32)
        : "rdx", "cc", "memory");
    square[0] = l;
    square[1] = h;
    square[2] = x;
    square[3] = y;
}

static inline void field_add(number sum, const number a, const number b)
{
    uint64_t t0 = a[0], t1 = a[1], t2 = a[2], t3 = a[3], l, h, x, y, z = 0;
    __asm__("addq %[b0], %[t0]\n\t"
            "adcq %[b1], %[t1]\n\t"
            "adcq %[b2], %[t2]\n\t"
            "adcq %[b3], %[t3]\n\t"
            "adcq $0, %[z]\n\t"
            REDUCE_ONCE("%[t0]", "%[t1]", "%[t2]", "%[t3]", "%[z]")
            : [t0] "+&r"(t0), [t1] "+&r"(t1), [t2] "+&r"(t2), [t3] "+&r"(t3), [z] "+&r"(z), [l] "=&r"(l), [h] "=&r"(h),
              [x] "=&r"(x), [y] "=&r"(y)
            : [b0] "m"(b[0]), [b1] "m"(b[1]), [b2] "m"(b[2]), [b3] "m"(b[3]), P_WORDS
            : "cc");
    sum[0] = l;
    sum[1] = h;
    sum[2] = x;
    sum[3] = y;
}

/* a - b, and p if that is negative. */
static inline void field_subtract(number difference, const number a, const number b)
{
    uint64_t t0 = a[0], t1 = a[1], t2 = a[2], t3 = a[3], m, m1, m3;
    __asm__("subq %[b0], %[t0]\n\t"
            "sbbq %[b1], %[t1]\n\t"
            "sbbq %[b2], %[t2]\n\t"
            "sbbq %[b3], %[t3]\n\t"
            "sbbq %[m], %[m]\n\t"
            "movq %[p1], %[m1]\n\t"
            "movq %[p3], %[m3]\n\t"
            "andq %[m], %[m1]\n\t"
            "andq %[m], %[m3]\n\t"
            "addq %[m], %[t0]\n\t"
            "adcq %[m1], %[t1]\n\t"
            "adcq %[m], %[t2]\n\t"
            "adcq %[m3], %[t3]\n\t"
            : [t0] "+&r"(t0), [t1] "+&r"(t1), [t2] "+&r"(t2), [t3] "+&r"(t3), [m] "=&r"(m), [m1] "=&r"(m1), [m3] "=&r"(m3)
            : [b0] "m"(b[0]), [b1] "m"(b[1]), [b2] "m"(b[2]), [b3] "m"(b[3]), P_WORDS
            : "cc");
    difference[0] = t0;
    difference[1] = t1;
    difference[2] = t2;
    difference[3] = t3;
}

/* a / 2: of a and a + p one is even. */
static inline void field_halve(number half, const number a)
{
    uint64_t t0 = a[0], t1 = a[1], t2 = a[2], t3 = a[3], m = 0 - (a[0] & 1), m1 = m & SM2_P_1, m3 = m & SM2_P_3;
    __asm__("addq %[m], %[t0]\n\t"
            "adcq %[m1], %[t1]\n\t"
            "adcq %[m], %[t2]\n\t"
            "adcq %[m3], %[t3]\n\t"
            "sbbq %[m], %[m]\n\t"
            "shrdq $1, %[t1], %[t0]\n\t"
            "shrdq $1, %[t2], %[t1]\n\t"
            "shrdq $1, %[t3], %[t2]\n\t"
            "shrdq $1, %[m], %[t3]\n\t"
            : [t0] "+&r"(t0), [t1] "+&r"(t1), [t2] "+&r"(t2), [t3] "+&r"(t3), [m] "+&r"(m)
            : [m1] "r"(m1), [m3] "r"(m3)
            : "cc");
    half[0] = t0;
    half[1] = t1;
    half[2] = t2;
    half[3] = t3;
}

/* result = entries[index] of `count` entries of `vectors` <= 5 times 32 bytes. All are read: which lines of the cache were
 * used tells nothing. The loops over vectors must be unrolled, or the compiler keeps `chosen` in memory. */
static inline __attribute__((target("avx2"), always_inline)) void choose(void *result, const void *entries,
                                                                         unsigned vectors, unsigned count, uint64_t index)
{
    const __m256i *from = entries, one = _mm256_set1_epi64x(1);
    __m256i chosen[5], number_of_entry = _mm256_setzero_si256(), wanted = _mm256_set1_epi64x((long long)index);
#pragma GCC unroll 5
    for (unsigned j = 0; j < vectors; j++) {
        chosen[j] = _mm256_setzero_si256();
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < count; i++) {
        __m256i mask = _mm256_cmpeq_epi64(number_of_entry, wanted);
        number_of_entry = _mm256_add_epi64(number_of_entry, one);
#pragma GCC unroll 5
        for (unsigned j = 0; j < vectors; j++) {
            __m256i word = _mm256_loadu_si256(from + i * vectors + j);
            chosen[j] = _mm256_or_si256(chosen[j], _mm256_and_si256(word, mask));
        }
    }
#pragma GCC unroll 5
    for (unsigned j = 0; j < vectors; j++) {
        _mm256_storeu_si256((__m256i *)result + j, chosen[j]);
    }
}

/* The vector registers held secret entries. */
static __attribute__((target("avx2"), noinline)) void forget_vectors(void)
{
    _mm256_zeroall();
}

static __attribute__((target("avx2"), noinline)) void choose_affine(affine_point *entry, const affine_point *row,
                                                                    uint64_t index)
{
    choose(entry, row, 2, SM2_TABLE_ENTRIES, index);
}

static __attribute__((target("avx2"), noinline)) void choose_large(void *entry, const void *table, uint64_t index)
{
    choose(entry, table, 5, 16, index);
}

#define choose_entry(entry, table, index) choose_large(entry, table, index)

#include "sm2_curve.inc.h"

_Static_assert(sizeof(table_point) == 5 * 32 && WINDOW_ENTRIES == 16, "as choose_large takes it");

const sm2_kernel sm2_adx = {CPU_AESNI, multiply_generator, multiply_point, check_sum, on_curve, find_y};

#endif
