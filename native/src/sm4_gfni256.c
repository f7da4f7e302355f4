/* SM4-GCM with GFNI, AVX2 and VPCLMULQDQ: see sm4_avx2.inc. */
#if defined(__x86_64__)
#define USE_GFNI 1
#include "sm4_avx2.inc"
#endif
