/* SM3 (GB/T 32905-2016): messages and their padding, the schedule of lanes, trees, HMAC and HKDF.
 *
 * What compresses blocks is a kernel (sm3_scalar.c, sm3_avx2.c, sm3_avx512.c, sm3_armce.c); nothing here knows the rounds.
 * Only counts and sizes decide what is done next, never what is hashed.
 */
#include "sm3.h"

#include <string.h>

#include "wipe.h"

/* Padding takes at most two blocks (GB/T 32905 5.2). */
#define TAIL_SIZE (2 * SM3_BLOCK_SIZE)

/* The initial value (GB/T 32905 4.1). */
static const uint32_t initial_state[8] = {
    0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
};

static const sm3_kernel *kernel_used(void)
{
    switch (cpu_used()) {
#if defined(__x86_64__)
    case CPU_AESNI:
    case CPU_GFNI256:
        return &sm3_avx2;
    case CPU_GFNI512:
        return &sm3_avx512;
#elif defined(__aarch64__)
    case CPU_ARMCE:
        return &sm3_armce;
#endif
    default:
        return &sm3_portable;
    }
}

static void store_state(const uint32_t state[8], uint8_t digest[SM3_DIGEST_SIZE])
{
    for (int i = 0; i < 8; i++) {
        digest[4 * i] = (uint8_t)(state[i] >> 24);
        digest[4 * i + 1] = (uint8_t)(state[i] >> 16);
        digest[4 * i + 2] = (uint8_t)(state[i] >> 8);
        digest[4 * i + 3] = (uint8_t)state[i];
    }
}

/* Writes the end of a message of `size` bytes, padded, and returns its number of blocks: the bytes after the last whole
 * block, one bit, zeros, and the number of bits of the message (GB/T 32905 5.2). */
static size_t pad(uint8_t tail[TAIL_SIZE], const uint8_t *rest, uint64_t size)
{
    const size_t left = size % SM3_BLOCK_SIZE;
    const size_t end = left < SM3_BLOCK_SIZE - 8 ? SM3_BLOCK_SIZE : TAIL_SIZE;
    if (left > 0) { /* memcpy must not get NULL, which an empty message may be */
        memcpy(tail, rest, left);
    }
    tail[left] = 0x80;
    memset(tail + left + 1, 0, end - left - 1);
    for (size_t i = 0; i < 8; i++) {
        tail[end - 1 - i] = (uint8_t)((8 * size) >> (8 * i));
    }
    return end / SM3_BLOCK_SIZE;
}

/* --- one message --- */

void sm3_start(sm3_hash *hash)
{
    memcpy(hash->state, initial_state, sizeof initial_state);
    hash->size = 0;
}

void sm3_update(sm3_hash *hash, const uint8_t *bytes, size_t size)
{
    const sm3_kernel *kernel = kernel_used();
    const size_t held = hash->size % SM3_BLOCK_SIZE;
    if (size == 0) {
        return;
    }
    hash->size += size;
    if (held > 0) {
        const size_t room = SM3_BLOCK_SIZE - held;
        const size_t taken = size < room ? size : room;
        memcpy(hash->block + held, bytes, taken);
        bytes += taken;
        size -= taken;
        if (taken < room) {
            return;
        }
        kernel->stream(hash->state, hash->block, 1);
    }
    if (size >= SM3_BLOCK_SIZE) {
        kernel->stream(hash->state, bytes, size / SM3_BLOCK_SIZE);
    }
    memcpy(hash->block, bytes + size - size % SM3_BLOCK_SIZE, size % SM3_BLOCK_SIZE);
}

/* Compresses the end of a message and writes its digest. */
static void finish(const sm3_kernel *kernel, uint32_t state[8], const uint8_t *rest, uint64_t size,
                   uint8_t digest[SM3_DIGEST_SIZE])
{
    uint8_t tail[TAIL_SIZE];
    kernel->stream(state, tail, pad(tail, rest, size));
    store_state(state, digest);
    wipe(tail, sizeof tail);
}

void sm3_digest(const sm3_hash *hash, uint8_t digest[SM3_DIGEST_SIZE])
{
    uint32_t state[8];
    memcpy(state, hash->state, sizeof state);
    finish(kernel_used(), state, hash->block, hash->size, digest);
    wipe(state, sizeof state);
}

/* --- many messages --- */

/* The messages of one call. With `messages` NULL they lie one after the other from `bytes`. */
typedef struct {
    size_t count;
    const uint8_t *heads;
    const uint8_t *const *messages;
    const size_t *sizes;
    const uint8_t *bytes;
    size_t stride;
    size_t last;
    uint8_t (*digests)[SM3_DIGEST_SIZE];
} batch;

static const uint8_t *message_of(const batch *all, size_t index)
{
    return all->messages != NULL ? all->messages[index] : all->bytes + index * all->stride;
}

static size_t size_of(const batch *all, size_t index)
{
    if (all->messages != NULL) {
        return all->sizes[index];
    }
    return index + 1 < all->count ? all->stride : all->last;
}

/* A message is at most three pieces of whole blocks, each in one place. */
typedef enum { HEAD, BODY, TAIL, DONE } piece;

/* The lanes of a kernel. A lane is busy from the start of a message to its digest, then takes the next message. */
typedef struct {
    uint32_t states[SM3_LANES_MAX][8];
    const uint8_t *bytes[SM3_LANES_MAX]; /* what is left of the piece */
    size_t blocks[SM3_LANES_MAX];        /* how much that is; 0 in an idle lane */
    piece pieces[SM3_LANES_MAX];
    size_t messages[SM3_LANES_MAX];
    uint8_t tails[SM3_LANES_MAX][TAIL_SIZE];
} lane_set;

/* Puts a lane at the start of message `index`. */
static void start_lane(lane_set *lanes, size_t lane, const batch *all, size_t index)
{
    memcpy(lanes->states[lane], initial_state, sizeof initial_state);
    lanes->messages[lane] = index;
    lanes->pieces[lane] = HEAD;
    lanes->blocks[lane] = 0;
    if (all->heads != NULL) {
        lanes->bytes[lane] = all->heads + SM3_BLOCK_SIZE * index;
        lanes->blocks[lane] = 1;
    }
}

/* Moves a lane to its next piece of at least one block; returns false if there is none, and the digest is written. */
static bool next_piece(lane_set *lanes, size_t lane, const batch *all)
{
    const size_t index = lanes->messages[lane];
    const size_t size = size_of(all, index);
    while (lanes->blocks[lane] == 0) {
        lanes->pieces[lane]++;
        if (lanes->pieces[lane] == BODY) {
            lanes->bytes[lane] = message_of(all, index);
            lanes->blocks[lane] = size / SM3_BLOCK_SIZE;
        } else if (lanes->pieces[lane] == TAIL) {
            const uint64_t head_size = all->heads != NULL ? SM3_BLOCK_SIZE : 0;
            /* an empty body leaves no address to go on from */
            const uint8_t *rest = size > 0 ? message_of(all, index) + size - size % SM3_BLOCK_SIZE : NULL;
            lanes->blocks[lane] = pad(lanes->tails[lane], rest, head_size + size);
            lanes->bytes[lane] = lanes->tails[lane];
        } else {
            store_state(lanes->states[lane], all->digests[index]);
            return false;
        }
    }
    return true;
}

/* Runs the message in one lane to its end. */
static void finish_lane(const sm3_kernel *kernel, lane_set *lanes, size_t lane, const batch *all)
{
    while (next_piece(lanes, lane, all)) {
        kernel->stream(lanes->states[lane], lanes->bytes[lane], lanes->blocks[lane]);
        lanes->blocks[lane] = 0;
    }
}

/* The kernel for `count` lanes. */
static const sm3_kernel *kernel_for(const sm3_kernel *kernel, size_t count)
{
    return kernel->narrow != NULL && count <= kernel->narrow->lanes ? kernel->narrow : kernel;
}

/* Compresses as many blocks as every busy lane has. */
static void step(const sm3_kernel *widest, lane_set *lanes)
{
    size_t common = SIZE_MAX, reach = 0;
    const uint8_t *any = NULL;
    for (size_t lane = 0; lane < widest->lanes; lane++) {
        if (lanes->blocks[lane] > 0) {
            reach = lane + 1;
            any = lanes->bytes[lane];
            common = lanes->blocks[lane] < common ? lanes->blocks[lane] : common;
        }
    }
    const sm3_kernel *kernel = kernel_for(widest, reach);
    for (size_t lane = 0; lane < kernel->lanes; lane++) {
        if (lanes->blocks[lane] == 0) {
            lanes->bytes[lane] = any; /* an idle lane has to read something; its state is never looked at */
        }
    }
    kernel->compress(lanes->states, lanes->bytes, common);
    for (size_t lane = 0; lane < kernel->lanes; lane++) {
        if (lanes->blocks[lane] > 0) {
            lanes->bytes[lane] += SM3_BLOCK_SIZE * common;
            lanes->blocks[lane] -= common;
        }
    }
}

static void hash_batch(const batch *all)
{
    const sm3_kernel *kernel = kernel_used();
    lane_set lanes;
    bool busy[SM3_LANES_MAX] = {false};
    size_t started = 0, busy_count = 0;
    memset(lanes.states, 0, sizeof lanes.states);
    memset(lanes.blocks, 0, sizeof lanes.blocks);
    do {
        for (size_t lane = 0; lane < kernel->lanes; lane++) {
            if (busy[lane] && !next_piece(&lanes, lane, all)) {
                busy[lane] = false;
                busy_count--;
            }
            while (!busy[lane] && started < all->count) {
                start_lane(&lanes, lane, all, started++);
                busy[lane] = next_piece(&lanes, lane, all);
                busy_count += busy[lane];
            }
        }
        if (busy_count >= kernel->enough) {
            step(kernel, &lanes);
        }
    } while (busy_count >= kernel->enough);
    for (size_t lane = 0; lane < kernel->lanes; lane++) {
        if (busy[lane]) {
            finish_lane(kernel, &lanes, lane, all);
        }
    }
    wipe(&lanes, sizeof lanes); /* salts and ends of secret messages */
}

void sm3_many(size_t count, const uint8_t *heads, const uint8_t *const *messages, const size_t *sizes,
              uint8_t (*digests)[SM3_DIGEST_SIZE])
{
    const batch all = {.count = count, .heads = heads, .messages = messages, .sizes = sizes, .digests = digests};
    if (count > 0) {
        hash_batch(&all);
    }
}

void sm3_strided(size_t count, const uint8_t *heads, const uint8_t *bytes, size_t stride, size_t last,
                 uint8_t (*digests)[SM3_DIGEST_SIZE])
{
    const batch all = {
        .count = count, .heads = heads, .bytes = bytes, .stride = stride, .last = last, .digests = digests};
    if (count > 0) {
        hash_batch(&all);
    }
}

/* --- trees --- */

/* Each group is read whole before its parents are written, and parents lie below what is still to be read: so `parents` may
 * be where `pairs` are. */
static void hash_parents(const sm3_kernel *kernel, const uint32_t start[8], size_t count,
                         const uint8_t (*pairs)[SM3_DIGEST_SIZE], uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    size_t done = 0;
    for (; count - done >= kernel->lanes; done += kernel->lanes) {
        kernel->parents(start, pairs + 2 * done, parents + done);
    }
    kernel = kernel_for(kernel, count - done);
    if (count - done >= kernel->enough) {
        uint8_t padded[2 * SM3_LANES_MAX][SM3_DIGEST_SIZE] = {{0}};
        memcpy(padded, pairs + 2 * done, 2 * (count - done) * SM3_DIGEST_SIZE);
        kernel->parents(start, (const uint8_t(*)[SM3_DIGEST_SIZE])padded, padded);
        memcpy(parents + done, padded, (count - done) * SM3_DIGEST_SIZE);
        return;
    }
    for (; done < count; done++) {
        sm3_portable.parents(start, pairs + 2 * done, parents + done);
    }
}

void sm3_parents(const uint8_t prefix[SM3_BLOCK_SIZE], size_t count, const uint8_t (*pairs)[SM3_DIGEST_SIZE],
                 uint8_t (*parents)[SM3_DIGEST_SIZE])
{
    const sm3_kernel *kernel = kernel_used();
    uint32_t start[8];
    memcpy(start, initial_state, sizeof start);
    kernel->stream(start, prefix, 1);
    hash_parents(kernel, start, count, pairs, parents);
}

void sm3_root(const uint8_t prefix[SM3_BLOCK_SIZE], size_t count, uint8_t (*leaves)[SM3_DIGEST_SIZE],
              uint8_t root[SM3_DIGEST_SIZE])
{
    const sm3_kernel *kernel = kernel_used();
    uint32_t start[8];
    memcpy(start, initial_state, sizeof start);
    kernel->stream(start, prefix, 1);
    /* Pairing level by level gives the shape of RFC 9162 2.1.1: its largest power of two below the count is what the levels
     * above an odd last node leave to the left of it. */
    while (count > 1) {
        hash_parents(kernel, start, count / 2, (const uint8_t(*)[SM3_DIGEST_SIZE])leaves, leaves);
        if (count % 2 == 1) {
            memcpy(leaves[count / 2], leaves[count - 1], SM3_DIGEST_SIZE);
        }
        count = count / 2 + count % 2;
    }
    memcpy(root, leaves[0], SM3_DIGEST_SIZE);
}

/* --- keys --- */

/* The states after the key blocks of HMAC, from which any number of messages is authenticated. */
typedef struct {
    uint32_t inner[8];
    uint32_t outer[8];
} hmac_key;

static void expand_key(hmac_key *expanded, const uint8_t *key, size_t key_size)
{
    const sm3_kernel *kernel = kernel_used();
    uint8_t block[SM3_BLOCK_SIZE] = {0};
    if (key_size > SM3_BLOCK_SIZE) { /* RFC 2104 s.2: a longer key is hashed first */
        sm3_hash hash;
        sm3_start(&hash);
        sm3_update(&hash, key, key_size);
        sm3_digest(&hash, block);
        wipe(&hash, sizeof hash);
    } else if (key_size > 0) {
        memcpy(block, key, key_size);
    }
    for (size_t i = 0; i < SM3_BLOCK_SIZE; i++) {
        block[i] ^= 0x36;
    }
    memcpy(expanded->inner, initial_state, sizeof initial_state);
    kernel->stream(expanded->inner, block, 1);
    for (size_t i = 0; i < SM3_BLOCK_SIZE; i++) {
        block[i] ^= 0x36 ^ 0x5c;
    }
    memcpy(expanded->outer, initial_state, sizeof initial_state);
    kernel->stream(expanded->outer, block, 1);
    wipe(block, sizeof block);
}

static void start_mac(sm3_hash *hash, const hmac_key *key)
{
    memcpy(hash->state, key->inner, sizeof key->inner);
    hash->size = SM3_BLOCK_SIZE;
}

/* Wipes `hash`, which the key went into. */
static void finish_mac(sm3_hash *hash, const hmac_key *key, uint8_t mac[SM3_DIGEST_SIZE])
{
    sm3_digest(hash, mac);
    memcpy(hash->state, key->outer, sizeof key->outer);
    hash->size = SM3_BLOCK_SIZE;
    sm3_update(hash, mac, SM3_DIGEST_SIZE);
    sm3_digest(hash, mac);
    wipe(hash, sizeof *hash);
}

void sm3_hmac(const uint8_t *key, size_t key_size, const uint8_t *message, size_t size, uint8_t mac[SM3_DIGEST_SIZE])
{
    hmac_key expanded;
    sm3_hash hash;
    expand_key(&expanded, key, key_size);
    start_mac(&hash, &expanded);
    sm3_update(&hash, message, size);
    finish_mac(&hash, &expanded, mac);
    wipe(&expanded, sizeof expanded);
}

void sm3_hkdf_expand(const uint8_t prk[SM3_DIGEST_SIZE], const uint8_t *info, size_t info_size, uint8_t *out, size_t size)
{
    hmac_key key;
    sm3_hash hash;
    uint8_t block[SM3_DIGEST_SIZE];
    expand_key(&key, prk, SM3_DIGEST_SIZE);
    /* RFC 5869 s.2.3: T(i) = HMAC(prk, T(i-1) || info || i), and T(0) is empty */
    for (uint8_t number = 1; size > 0; number++) {
        const size_t taken = size < sizeof block ? size : sizeof block;
        start_mac(&hash, &key);
        sm3_update(&hash, block, number > 1 ? sizeof block : 0);
        sm3_update(&hash, info, info_size);
        sm3_update(&hash, &number, 1);
        finish_mac(&hash, &key, block);
        memcpy(out, block, taken);
        out += taken;
        size -= taken;
    }
    wipe(&key, sizeof key);
    wipe(block, sizeof block);
}
