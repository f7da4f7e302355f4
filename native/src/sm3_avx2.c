/* SM3 of 8 messages side by side with AVX2. */
#include "sm3.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define XOR3(x, y, z) XOR(XOR(x, y), z)
#define ROTATE(x, n) _mm256_or_si256(_mm256_slli_epi32(x, n), _mm256_srli_epi32(x, 32 - (n)))
#define ROTATE_BYTE(x) \
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_set_epi32(0x0e0d0c0f, 0x0a09080b, 0x06050407, 0x02010003)))
#define MAJORITY(x, y, z) XOR(_mm256_and_si256(XOR(x, y), XOR(y, z)), y)
#define CHOOSE(x, y, z) XOR(_mm256_and_si256(XOR(y, z), x), z)

#include "sm3_lanes8.inc"

const sm3_kernel sm3_avx2 = {
    .level = CPU_AESNI,
    .lanes = LANES,
    .enough = 3,
    .stream = sm3_stream_bmi2,
    .compress = compress,
    .parents = parents,
};

#else
/* ISO C wants a translation unit to hold something. */
typedef int sm3_avx2_is_for_x86_64;
#endif
