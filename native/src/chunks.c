#include "chunks.h"

#include <string.h>

#include "wipe.h"

/* Chunks per step: one for each lane of the widest SM3, and 16 chunks of 64 KiB stay in a second-level cache of 2 MiB
 * until they are hashed. */
#define STEP 16

static void nonce_of(const chunk_run *run, uint64_t index, uint8_t nonce[SM4_NONCE_SIZE])
{
    memcpy(nonce, run->base_nonce, SM4_NONCE_SIZE);
    for (int i = 0; i < 8; i++) {
        nonce[SM4_NONCE_SIZE - 1 - i] ^= (uint8_t)(index >> (8 * i));
    }
}

static size_t plain_size(const chunk_run *run, size_t position)
{
    return position == run->count - 1 ? run->last_size : run->chunk_size;
}

/* Hashes the chunks from `start` to `stop`, which lie `stride` bytes apart and have `extra` bytes beside the plain ones. */
static void hash_step(const chunk_run *run, const chunk_leaves *leaves, const uint8_t *chunks, size_t extra, size_t start,
                      size_t stop)
{
    if (leaves->heads != NULL) {
        const size_t stride = run->chunk_size + extra;
        sm3_strided(stop - start, leaves->heads + SM3_BLOCK_SIZE * start, chunks + stride * start, stride,
                    plain_size(run, stop - 1) + extra, leaves->digests + start);
    }
}

void chunks_seal(const chunk_run *run, const uint8_t *plain, uint8_t *sealed)
{
    for (size_t start = 0; start < run->count; start += STEP) {
        const size_t stop = run->count - start < STEP ? run->count : start + STEP;
        for (size_t i = start; i < stop; i++) {
            const size_t size = plain_size(run, i);
            uint8_t *const chunk = sealed + (run->chunk_size + SM4_TAG_SIZE) * i;
            uint8_t nonce[SM4_NONCE_SIZE];
            nonce_of(run, run->first + i, nonce);
            sm4_seal(run->key, nonce, NULL, 0, plain + run->chunk_size * i, size, chunk, chunk + size);
        }
        hash_step(run, &run->plain, plain, 0, start, stop);
        hash_step(run, &run->sealed, sealed, SM4_TAG_SIZE, start, stop);
    }
}

size_t chunks_open(const chunk_run *run, const uint8_t *sealed, uint8_t *plain)
{
    for (size_t start = 0; start < run->count; start += STEP) {
        const size_t stop = run->count - start < STEP ? run->count : start + STEP;
        for (size_t i = start; i < stop; i++) {
            const size_t size = plain_size(run, i);
            const uint8_t *const chunk = sealed + (run->chunk_size + SM4_TAG_SIZE) * i;
            uint8_t nonce[SM4_NONCE_SIZE];
            nonce_of(run, run->first + i, nonce);
            if (!sm4_open(run->key, nonce, NULL, 0, chunk, size, plain + run->chunk_size * i, chunk + size)) {
                wipe(plain, run->chunk_size * (run->count - 1) + run->last_size);
                return i;
            }
        }
        hash_step(run, &run->sealed, sealed, SM4_TAG_SIZE, start, stop);
        hash_step(run, &run->plain, plain, 0, start, stop);
    }
    return run->count;
}
