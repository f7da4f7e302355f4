/* Content sealed chunk by chunk, with the Merkle leaves of what goes in or comes out, in one pass over the cache.
 *
 * Chunk i is one SM4-GCM message without additional data under the nonce base XOR i (as a big-endian number of 96 bits).
 * Chunks lie one after the other: plain ones of `chunk_size` bytes, sealed ones of 16 more, the last one shorter.
 */
#ifndef DDTP_CHUNKS_H
#define DDTP_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sm3.h"
#include "sm4.h"

/* Leaves to compute: SM3 of heads[64 i] and chunk i. Both NULL for none. */
typedef struct {
    const uint8_t *heads;
    uint8_t (*digests)[SM3_DIGEST_SIZE];
} chunk_leaves;

typedef struct {
    const sm4_key *key;
    uint8_t base_nonce[SM4_NONCE_SIZE];
    uint64_t first;    /* index of the first chunk */
    size_t count;      /* number of chunks, at least 1 */
    size_t chunk_size; /* plain bytes in every chunk but the last */
    size_t last_size;  /* plain bytes in the last one, at most chunk_size */
    chunk_leaves plain, sealed;
} chunk_run;

/* Seals `plain` into `sealed`; they must not overlap. */
void chunks_seal(const chunk_run *run, const uint8_t *plain, uint8_t *sealed);

/* Opens `sealed` into `plain`; they must not overlap. Returns the number of chunks that opened: less than `count` if the
 * tag of that chunk does not match, and then `plain` holds zeros only. */
size_t chunks_open(const chunk_run *run, const uint8_t *sealed, uint8_t *plain);

#endif
