/* See cpu.h. */
#include "cpu.h"

#include <stdint.h>

#if defined(__x86_64__) && !defined(CHECK_CONSTANT_TIME)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(CHECK_CONSTANT_TIME)

/* What valgrind runs: it knows AVX2, AES, MULX and ADX, whatever its CPUID says. */
static cpu_level detect(void)
{
    return CPU_AESNI;
}

#elif defined(__x86_64__)

static bool has(uint32_t flags, uint32_t wanted)
{
    return (flags & wanted) == wanted;
}

/* Intel SDM vol. 1 s.14.3 and s.15.2: a wide instruction may be used only if the operating system saves its registers. */
static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static cpu_level detect(void)
{
    const uint32_t ymm_saved = 0x06, zmm_saved = 0xe6;
    const uint32_t leaf1_ecx = 1u << 1 /* PCLMULQDQ */ | 1u << 25 /* AES */ | 1u << 27 /* OSXSAVE */;
    const uint32_t avx2_ebx = 1u << 3 /* BMI1 */ | 1u << 5 /* AVX2 */ | 1u << 8 /* BMI2 */ | 1u << 19 /* ADX */;
    const uint32_t gfni_ecx = 1u << 8 /* GFNI */ | 1u << 10 /* VPCLMULQDQ */;
    const uint32_t avx512_ebx = 1u << 16 /* F */ | 1u << 17 /* DQ */ | 1u << 21 /* IFMA */ | 1u << 30 /* BW */ | 1u << 31 /* VL */;
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, leaf1_ecx)) {
        return CPU_PORTABLE;
    }
    uint32_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has(ebx, avx2_ebx) || !has(saved, ymm_saved)) {
        return CPU_PORTABLE;
    }
    if (!has(ecx, gfni_ecx)) {
        return CPU_AESNI;
    }
    return has(ebx, avx512_ebx) && has(saved, zmm_saved) ? CPU_GFNI512 : CPU_GFNI256;
}

#elif defined(__aarch64__) && defined(__linux__)

static cpu_level detect(void)
{
    /* arch/arm64/include/uapi/asm/hwcap.h of Linux: PMULL, SM3, SM4; written out, as old headers lack the last two. */
    const unsigned long wanted = 1ul << 4 | 1ul << 18 | 1ul << 19;
    return (getauxval(AT_HWCAP) & wanted) == wanted ? CPU_ARMCE : CPU_PORTABLE;
}

#else

static cpu_level detect(void)
{
    return CPU_PORTABLE;
}

#endif

/* Detected on first use; threads that race here write the same value. CPU_LEVELS means "not yet". */
static cpu_level best = CPU_LEVELS, limit = CPU_LEVELS;

cpu_level cpu_best(void)
{
    cpu_level level = __atomic_load_n(&best, __ATOMIC_RELAXED);
    if (level == CPU_LEVELS) {
        level = detect();
        __atomic_store_n(&best, level, __ATOMIC_RELAXED);
    }
    return level;
}

cpu_level cpu_used(void)
{
    cpu_level most = __atomic_load_n(&limit, __ATOMIC_RELAXED);
    return most == CPU_LEVELS ? cpu_best() : most;
}

bool cpu_limit(cpu_level level)
{
    /* The levels of the other architecture lie above or below in number, but no processor has both kinds. */
    bool same_kind = level == CPU_PORTABLE || (level == CPU_ARMCE) == (cpu_best() == CPU_ARMCE);
    if (level >= CPU_LEVELS || level > cpu_best() || !same_kind) {
        return false;
    }
    __atomic_store_n(&limit, level, __ATOMIC_RELAXED);
    return true;
}

const char *cpu_name(cpu_level level)
{
    static const char *const names[CPU_LEVELS] = {"portable", "aesni", "gfni256", "gfni512", "armce"};
    return level < CPU_LEVELS ? names[level] : "unknown";
}
