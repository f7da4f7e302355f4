/* SM4-GCM with nonces of 12 bytes and tags of 16 (GB/T 32907-2016, NIST SP 800-38D, RFC 8998). */
#ifndef DDTP_SM4_H
#define DDTP_SM4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#define SM4_KEY_SIZE 16
#define SM4_NONCE_SIZE 12
#define SM4_TAG_SIZE 16
#define SM4_BLOCK_SIZE 16

struct sm4_kernel;

/* A key, expanded for one kernel; wipe it after use. */
typedef struct {
    _Alignas(64) uint8_t room[2560]; /* round keys and powers of H, in the layout of the kernel */
    const struct sm4_kernel *kernel;
} sm4_key;

/* One implementation. `in` and `out` may be the same address, or not overlap. */
typedef struct sm4_kernel {
    cpu_level level;
    void (*expand)(sm4_key *key, const uint8_t bytes[SM4_KEY_SIZE]);
    /* A whole message: `sealing` encrypts, otherwise decrypts; `tag` is computed, never compared here. */
    void (*message)(const sm4_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad,
                    size_t aad_size, const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE]);
    /* A part of a message: counter mode from block `counter` (the first block of a message is 2), and the ciphertext goes
     * into the running GHASH `hash` (big-endian as in the standard). Only the last part of a message may end within a
     * block; the missing bytes count as zeros in the hash. */
    void (*part)(const sm4_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE], uint32_t counter,
                 uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *in, size_t size, uint8_t *out);
    /* Bytes that are authenticated only, zero-padded to whole blocks. */
    void (*authenticate)(const sm4_key *key, uint8_t hash[SM4_BLOCK_SIZE], const uint8_t *bytes, size_t size);
} sm4_kernel;

/* The kernels of this build, each in a file of its own; NULL entries are for other architectures. */
extern const sm4_kernel sm4_portable;
#if defined(__x86_64__)
extern const sm4_kernel sm4_aesni, sm4_gfni256, sm4_gfni512;
#elif defined(__aarch64__)
extern const sm4_kernel sm4_armce;
#endif

/* Expands a key for the kernel in use. */
void sm4_expand(sm4_key *key, const uint8_t bytes[SM4_KEY_SIZE]);

/* Encrypts `size` bytes to `out` and writes the tag. */
void sm4_seal(const sm4_key *key, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad, size_t aad_size,
              const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE]);

/* Decrypts to `out` and returns true if the tag is right; otherwise `out` holds zeros. */
bool sm4_open(const sm4_key *key, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad, size_t aad_size,
              const uint8_t *in, size_t size, uint8_t *out, const uint8_t tag[SM4_TAG_SIZE]);

/* A message that comes in parts of any size. */
typedef struct {
    const sm4_key *key; /* must outlive the stream */
    uint64_t aad_size, size;
    uint32_t counter;
    bool sealing;
    uint8_t nonce[SM4_NONCE_SIZE], hash[SM4_BLOCK_SIZE];
    uint8_t mask[SM4_BLOCK_SIZE], block[SM4_BLOCK_SIZE]; /* key stream and ciphertext of the block that is under way */
} sm4_stream;

void sm4_stream_start(sm4_stream *stream, const sm4_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE],
                      const uint8_t *aad, size_t aad_size);
void sm4_stream_update(sm4_stream *stream, const uint8_t *in, size_t size, uint8_t *out);
/* Writes the tag of all that came, and wipes the stream. */
void sm4_stream_finish(sm4_stream *stream, uint8_t tag[SM4_TAG_SIZE]);

#endif
