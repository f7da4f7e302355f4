/* SM3 of 8 messages side by side with the instructions of AVX-512 on registers of 256 bits, of which a core runs three at a
 * time instead of two: for up to 8 messages that is faster than sm3_avx512.c with half of its lanes idle. */
#include "sm3.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,avx512f,avx512vl")))
#define ROTATE(x, n) _mm256_rol_epi32(x, n)
/* The constants are the truth tables of the three functions. */
#define XOR3(x, y, z) _mm256_ternarylogic_epi32(x, y, z, 0x96)
#define MAJORITY(x, y, z) _mm256_ternarylogic_epi32(x, y, z, 0xe8)
#define CHOOSE(x, y, z) _mm256_ternarylogic_epi32(x, y, z, 0xca)

#include "sm3_lanes8.inc"

const sm3_kernel sm3_avx512vl = {
    .level = CPU_GFNI512,
    .lanes = LANES,
    .enough = 2,
    .stream = sm3_stream_bmi2,
    .compress = compress,
    .parents = parents,
};

#else
/* ISO C wants a translation unit to hold something. */
typedef int sm3_avx512vl_is_for_x86_64;
#endif
