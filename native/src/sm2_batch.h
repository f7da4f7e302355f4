/* Verification of 8 SM2 signatures side by side, for processors with AVX-512 IFMA. */
#ifndef DDTP_SM2_BATCH_H
#define DDTP_SM2_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#define SM2_BATCH 8

/* True if this processor has the instructions and their level is in use (cpu.h). */
bool sm2_batch_supported(void);

/* Verifies 8 signatures side by side; results[i] is 1 or 0; inputs as in sm2_verify_many. Only where
 * `sm2_batch_supported`. The first call fills a table of 256 KiB, which takes under a millisecond. */
void sm2_verify_8(const uint8_t (*points)[64], const uint8_t (*es)[32], const uint8_t (*signatures)[64],
                  uint8_t *results);

#endif
