/* SM4-GCM over the kernel in use: sealing and opening of whole messages, and of messages in parts. */
#include "sm4.h"

#include "public.h"
#include "wipe.h"

static const sm4_kernel *const kernels[CPU_LEVELS] = {
    [CPU_PORTABLE] = &sm4_portable,
#if defined(__x86_64__)
    [CPU_AESNI] = &sm4_aesni,
    [CPU_GFNI256] = &sm4_gfni256,
    [CPU_GFNI512] = &sm4_gfni512,
#elif defined(__aarch64__)
    [CPU_ARMCE] = &sm4_armce,
#endif
};

void sm4_expand(sm4_key *key, const uint8_t bytes[SM4_KEY_SIZE])
{
    key->kernel = kernels[cpu_used()];
    key->kernel->expand(key, bytes);
}

void sm4_seal(const sm4_key *key, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad, size_t aad_size,
              const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[SM4_TAG_SIZE])
{
    key->kernel->message(key, true, nonce, aad, aad_size, in, size, out, tag);
}

/* Overwrites the stack below the caller, where the kernel kept its variables: crypt_long of the portable one with what it
 * calls takes less than 15 KB (gcc -fstack-usage). */
static __attribute__((noinline)) void wipe_stack(void)
{
    uint8_t below[16384];
    wipe(below, sizeof below);
}

bool sm4_open(const sm4_key *key, const uint8_t nonce[SM4_NONCE_SIZE], const uint8_t *aad, size_t aad_size,
              const uint8_t *in, size_t size, uint8_t *out, const uint8_t tag[SM4_TAG_SIZE])
{
    uint8_t expected[SM4_TAG_SIZE];
    key->kernel->message(key, false, nonce, aad, aad_size, in, size, out, expected);
    const bool right = equal_in_constant_time(expected, tag, SM4_TAG_SIZE) == 1;
    /* The right tag of a forged message is a secret: it would make the forgery succeed. */
    wipe(expected, sizeof expected);
    MARK_PUBLIC(&right, sizeof right);
    if (!right) {
        wipe_stack();
    }
    if (!right && size > 0) {
        wipe(out, size);
    }
    return right;
}

/* SP 800-38D s.7.1: J_0 is nonce || 1, and the first block of text is encrypted with inc32(J_0). */
enum { COUNTER_OF_TAG = 1, FIRST_COUNTER = 2 };

void sm4_stream_start(sm4_stream *stream, const sm4_key *key, bool sealing, const uint8_t nonce[SM4_NONCE_SIZE],
                      const uint8_t *aad, size_t aad_size)
{
    memset(stream, 0, sizeof *stream);
    stream->key = key;
    stream->aad_size = aad_size;
    stream->counter = FIRST_COUNTER;
    stream->sealing = sealing;
    memcpy(stream->nonce, nonce, SM4_NONCE_SIZE);
    key->kernel->authenticate(key, stream->hash, aad, aad_size);
}

/* Key stream of one block. GHASH of the zeros that are encrypted for it goes nowhere. */
static void key_stream_block(const sm4_stream *stream, uint32_t counter, uint8_t block[SM4_BLOCK_SIZE])
{
    static const uint8_t zeros[SM4_BLOCK_SIZE];
    uint8_t unused[SM4_BLOCK_SIZE] = {0};
    stream->key->kernel->part(stream->key, true, stream->nonce, counter, unused, zeros, SM4_BLOCK_SIZE, block);
    wipe(unused, sizeof unused);
}

/* Bytes of a block that an earlier part began, or that this part cannot end. A block goes into the hash when it is full. */
static void update_within_block(sm4_stream *stream, const uint8_t *in, size_t size, uint8_t *out)
{
    size_t used = stream->size % SM4_BLOCK_SIZE;
    if (used == 0 && size > 0) {
        key_stream_block(stream, stream->counter, stream->mask);
        stream->counter++; /* wraps as inc32 */
    }
    for (size_t i = 0; i < size; i++, used++) {
        const uint8_t byte = in[i];
        out[i] = byte ^ stream->mask[used];
        stream->block[used] = stream->sealing ? out[i] : byte;
    }
    stream->size += size;
    if (used == SM4_BLOCK_SIZE) {
        stream->key->kernel->authenticate(stream->key, stream->hash, stream->block, SM4_BLOCK_SIZE);
    }
}

void sm4_stream_update(sm4_stream *stream, const uint8_t *in, size_t size, uint8_t *out)
{
    const size_t used = stream->size % SM4_BLOCK_SIZE;
    if (used > 0) {
        const size_t missing = SM4_BLOCK_SIZE - used;
        const size_t taken = size < missing ? size : missing;
        update_within_block(stream, in, taken, out);
        in += taken;
        out += taken;
        size -= taken;
    }
    const size_t whole = size - size % SM4_BLOCK_SIZE;
    if (whole > 0) {
        stream->key->kernel->part(stream->key, stream->sealing, stream->nonce, stream->counter, stream->hash, in, whole,
                                  out);
        stream->counter += (uint32_t)(whole / SM4_BLOCK_SIZE);
        stream->size += whole;
    }
    if (size > whole) {
        update_within_block(stream, in + whole, size - whole, out + whole);
    }
}

static void store_big_endian(uint8_t bytes[8], uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

void sm4_stream_finish(sm4_stream *stream, uint8_t tag[SM4_TAG_SIZE])
{
    const sm4_kernel *kernel = stream->key->kernel;
    const size_t used = stream->size % SM4_BLOCK_SIZE;
    if (used > 0) {
        kernel->authenticate(stream->key, stream->hash, stream->block, used);
    }
    uint8_t sizes[SM4_BLOCK_SIZE];
    store_big_endian(sizes, stream->aad_size * 8);
    store_big_endian(sizes + 8, stream->size * 8);
    kernel->authenticate(stream->key, stream->hash, sizes, sizeof sizes);
    key_stream_block(stream, COUNTER_OF_TAG, stream->mask);
    for (int i = 0; i < SM4_TAG_SIZE; i++) {
        tag[i] = stream->hash[i] ^ stream->mask[i];
    }
    wipe(stream, sizeof *stream);
}
