/* What this processor can do, and which of it is used.
 *
 * A kernel is one implementation of a primitive for one kind of processor. All kernels are in every build: each function
 * carries its own target attribute, and the fastest kernel that the processor supports is chosen when it is first needed.
 */
#ifndef DDTP_CPU_H
#define DDTP_CPU_H

#include <stdbool.h>

/* From slow to fast; a processor that has one has all before it of the same architecture. */
typedef enum {
    CPU_PORTABLE, /* plain C of any processor, constant-time, no table look-ups on secrets */
    CPU_AESNI,    /* x86-64: AVX2, AES-NI, PCLMULQDQ, BMI2, ADX */
    CPU_GFNI256,  /* x86-64: and GFNI, VPCLMULQDQ on 256 bits */
    CPU_GFNI512,  /* x86-64: and AVX-512 F, BW, DQ, VL, IFMA */
    CPU_ARMCE,    /* aarch64: SM3 and SM4 instructions, PMULL */
    CPU_LEVELS
} cpu_level;

/* The best level of this processor and its operating system (which must save the wide registers). */
cpu_level cpu_best(void);

/* The level in use: the best one, unless `cpu_limit` set a lower one. */
cpu_level cpu_used(void);

/* Uses at most `level` from now on, for tests and benchmarks; returns false if the processor lacks it. Not while other
 * threads compute. */
bool cpu_limit(cpu_level level);

/* "portable", "aesni", "gfni256", "gfni512", "armce". */
const char *cpu_name(cpu_level level);

#endif
