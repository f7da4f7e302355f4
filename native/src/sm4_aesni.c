/* SM4-GCM with AES-NI, AVX2 and PCLMULQDQ: see sm4_avx2.inc. */
#if defined(__x86_64__)
#define USE_GFNI 0
#include "sm4_avx2.inc"
#endif
