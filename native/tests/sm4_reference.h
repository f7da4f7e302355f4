/* SM4-GCM as the standards write it, a bit or byte at a time: what the kernels are compared with. Not constant-time. */
#ifndef DDTP_SM4_REFERENCE_H
#define DDTP_SM4_REFERENCE_H

#include <stdint.h>
#include <string.h>

static const uint8_t reference_sbox[256] = { /* GB/T 32907-2016 s.6.2 */
    0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
    0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
    0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
    0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
    0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
    0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
    0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
    0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
    0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
    0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
    0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
    0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
    0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
    0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
    0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
    0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
};

static uint32_t reference_rotate(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

static uint32_t reference_load(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void reference_store(uint8_t *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(word >> (24 - 8 * i));
    }
}

/* The map tau of s.6.2. */
static uint32_t reference_tau(uint32_t word)
{
    uint8_t bytes[4];
    reference_store(bytes, word);
    for (int i = 0; i < 4; i++) {
        bytes[i] = reference_sbox[bytes[i]];
    }
    return reference_load(bytes);
}

/* s.7.3 */
static void reference_expand(const uint8_t key[16], uint32_t round_keys[32])
{
    static const uint32_t family_key[4] = {0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc};
    uint32_t words[36];
    for (int i = 0; i < 4; i++) {
        words[i] = reference_load(key + 4 * i) ^ family_key[i];
    }
    for (int i = 0; i < 32; i++) {
        uint32_t constant = 0;
        for (int j = 0; j < 4; j++) {
            constant = constant << 8 | (uint32_t)((4 * i + j) * 7 % 256);
        }
        const uint32_t t = reference_tau(words[i + 1] ^ words[i + 2] ^ words[i + 3] ^ constant);
        words[i + 4] = words[i] ^ t ^ reference_rotate(t, 13) ^ reference_rotate(t, 23);
        round_keys[i] = words[i + 4];
    }
}

/* s.7.1 */
static void reference_encrypt(const uint32_t round_keys[32], const uint8_t in[16], uint8_t out[16])
{
    uint32_t words[36];
    for (int i = 0; i < 4; i++) {
        words[i] = reference_load(in + 4 * i);
    }
    for (int i = 0; i < 32; i++) {
        const uint32_t t = reference_tau(words[i + 1] ^ words[i + 2] ^ words[i + 3] ^ round_keys[i]);
        words[i + 4] = words[i] ^ t ^ reference_rotate(t, 2) ^ reference_rotate(t, 10) ^ reference_rotate(t, 18) ^
                       reference_rotate(t, 24);
    }
    for (int i = 0; i < 4; i++) {
        reference_store(out + 4 * i, words[35 - i]);
    }
}

/* SP 800-38D s.6.3, algorithm 1: product = product * factor, bit 0 being the highest of byte 0. */
static void reference_multiply(uint8_t product[16], const uint8_t factor[16])
{
    uint8_t sum[16] = {0}, shifted[16];
    memcpy(shifted, factor, 16);
    for (int i = 0; i < 128; i++) {
        if (product[i / 8] >> (7 - i % 8) & 1) {
            for (int j = 0; j < 16; j++) {
                sum[j] ^= shifted[j];
            }
        }
        const int last = shifted[15] & 1;
        for (int j = 15; j > 0; j--) {
            shifted[j] = (uint8_t)(shifted[j] >> 1 | shifted[j - 1] << 7);
        }
        shifted[0] = (uint8_t)(shifted[0] >> 1 ^ (last ? 0xe1 : 0));
    }
    memcpy(product, sum, 16);
}

/* s.6.4, with zeros after the last byte */
static void reference_hash(uint8_t hash[16], const uint8_t subkey[16], const uint8_t *bytes, size_t size)
{
    for (size_t start = 0; start < size; start += 16) {
        for (size_t i = start; i < size && i < start + 16; i++) {
            hash[i - start] ^= bytes[i];
        }
        reference_multiply(hash, subkey);
    }
}

/* s.6.5 */
static void reference_counter_mode(const uint32_t round_keys[32], const uint8_t nonce[12], uint32_t counter,
                                   const uint8_t *in, size_t size, uint8_t *out)
{
    for (size_t start = 0; start < size; start += 16, counter++) {
        uint8_t block[16];
        memcpy(block, nonce, 12);
        reference_store(block + 12, counter);
        reference_encrypt(round_keys, block, block);
        for (size_t i = start; i < size && i < start + 16; i++) {
            out[i] = in[i] ^ block[i - start];
        }
    }
}

/* s.7.1 */
static void reference_seal(const uint8_t key[16], const uint8_t nonce[12], const uint8_t *aad, size_t aad_size,
                           const uint8_t *in, size_t size, uint8_t *out, uint8_t tag[16])
{
    uint32_t round_keys[32];
    uint8_t subkey[16] = {0}, hash[16] = {0}, sizes[16] = {0};
    reference_expand(key, round_keys);
    reference_encrypt(round_keys, subkey, subkey);
    reference_counter_mode(round_keys, nonce, 2, in, size, out);
    reference_hash(hash, subkey, aad, aad_size);
    reference_hash(hash, subkey, out, size);
    for (int i = 0; i < 8; i++) {
        sizes[i] = (uint8_t)((uint64_t)aad_size * 8 >> (56 - 8 * i));
        sizes[8 + i] = (uint8_t)((uint64_t)size * 8 >> (56 - 8 * i));
    }
    reference_hash(hash, subkey, sizes, 16);
    reference_counter_mode(round_keys, nonce, 1, hash, 16, tag);
}

#endif
