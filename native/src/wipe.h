/* Secrets in memory: wiping, and comparing in constant time. */
#ifndef DDTP_WIPE_H
#define DDTP_WIPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Overwrites `size` bytes with zeros; the compiler cannot leave it out. */
static inline void wipe(void *memory, size_t size)
{
    memset(memory, 0, size);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

/* 1 if `size` bytes are equal, else 0, in a time that depends on `size` only. */
static inline int equal_in_constant_time(const uint8_t *first, const uint8_t *second, size_t size)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++) {
        difference |= (uint8_t)(first[i] ^ second[i]);
    }
    return (int)((((uint32_t)difference) - 1) >> 31);
}

#endif
