/* SM3 (GB/T 32905-2016): one message, and many messages side by side for Merkle trees. */
#ifndef DDTP_SM3_H
#define DDTP_SM3_H

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#define SM3_DIGEST_SIZE 32
#define SM3_BLOCK_SIZE 64

/* A running hash. */
typedef struct {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[SM3_BLOCK_SIZE];
} sm3_hash;

void sm3_start(sm3_hash *hash);
void sm3_update(sm3_hash *hash, const uint8_t *bytes, size_t size);
/* Leaves `hash` as it was, so that it can go on. */
void sm3_digest(const sm3_hash *hash, uint8_t digest[SM3_DIGEST_SIZE]);

/* Hashes `count` messages. Message i is the 64-byte block heads[64 i] (none if `heads` is NULL), then sizes[i] bytes from
 * messages[i]. Lanes run side by side where neighbours have the same size; any sizes give the right digests. */
void sm3_many(size_t count, const uint8_t *heads, const uint8_t *const *messages, const size_t *sizes,
              uint8_t (*digests)[SM3_DIGEST_SIZE]);

/* The same for leaves that lie one after the other: `count` - 1 of `stride` bytes and the last one of `last` bytes, from
 * `bytes`. */
void sm3_strided(size_t count, const uint8_t *heads, const uint8_t *bytes, size_t stride, size_t last,
                 uint8_t (*digests)[SM3_DIGEST_SIZE]);

/* Hashes `count` pairs of digests into parents: parent i = SM3(prefix block || pairs[2 i] || pairs[2 i + 1]). `parents` may
 * be the same address as `pairs`. */
void sm3_parents(const uint8_t prefix[SM3_BLOCK_SIZE], size_t count, const uint8_t (*pairs)[SM3_DIGEST_SIZE],
                 uint8_t (*parents)[SM3_DIGEST_SIZE]);

/* The root of an RFC 9162 tree over `count` > 0 leaves, which are overwritten; an odd last node rises as it is. */
void sm3_root(const uint8_t prefix[SM3_BLOCK_SIZE], size_t count, uint8_t (*leaves)[SM3_DIGEST_SIZE],
              uint8_t root[SM3_DIGEST_SIZE]);

/* HMAC-SM3 (RFC 2104 with SM3). */
void sm3_hmac(const uint8_t *key, size_t key_size, const uint8_t *message, size_t size, uint8_t mac[SM3_DIGEST_SIZE]);

/* HKDF-Expand (RFC 5869) of `size` <= 8160 bytes. */
void sm3_hkdf_expand(const uint8_t prk[SM3_DIGEST_SIZE], const uint8_t *info, size_t info_size, uint8_t *out, size_t size);

/* One implementation. */
typedef struct sm3_kernel {
    cpu_level level;
    size_t lanes; /* at most SM3_LANES_MAX */
    /* With fewer busy lanes than this, one message after the other by `stream` takes less time. */
    size_t enough;
    /* Compresses `blocks` blocks of one message. */
    void (*stream)(uint32_t state[8], const uint8_t *bytes, size_t blocks);
    /* Compresses `blocks` blocks of each lane: block b of lane l is at bytes[l] + 64 b; states[l] is read and written. */
    void (*compress)(uint32_t (*states)[8], const uint8_t *const *bytes, size_t blocks);
    /* Hashes `lanes` pairs into parents; `start` is the state after the prefix block. `parents` may be the same address as
     * `pairs`. */
    void (*parents)(const uint32_t start[8], const uint8_t (*pairs)[SM3_DIGEST_SIZE], uint8_t (*parents)[SM3_DIGEST_SIZE]);
    /* One with fewer lanes that takes less time if they are enough; NULL if there is none. */
    const struct sm3_kernel *narrow;
} sm3_kernel;

#define SM3_LANES_MAX 16

extern const sm3_kernel sm3_portable;
#if defined(__x86_64__)
extern const sm3_kernel sm3_avx2, sm3_avx512vl, sm3_avx512; /* levels CPU_AESNI, CPU_GFNI512 and CPU_GFNI512 */
void sm3_stream_bmi2(uint32_t state[8], const uint8_t *bytes, size_t blocks);
#elif defined(__aarch64__)
extern const sm3_kernel sm3_armce;
#endif

#endif
