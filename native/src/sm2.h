/* SM2 on the recommended curve (GB/T 32918.1-5): signatures over a digest, key agreement, keys.
 *
 * Scalars and coordinates are 32 bytes, big-endian; a point is x || y (64 bytes), or 33 bytes compressed. What depends on
 * a private key or nonce takes a time that does not depend on it: no secret branches, addresses or variable-time
 * instructions. Verification works on public values and may be faster for some of them.
 */
#ifndef DDTP_SM2_H
#define DDTP_SM2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SM2_SCALAR_SIZE 32
#define SM2_POINT_SIZE 64
#define SM2_COMPRESSED_SIZE 33
#define SM2_SIGNATURE_SIZE 64
#define SM2_DIGEST_SIZE 32

/* A private key made ready for signing; wipe it after use. */
typedef struct {
    uint8_t private_key[SM2_SCALAR_SIZE];
    uint8_t inverse[SM2_SCALAR_SIZE]; /* (1 + d)^-1 mod n, in the form that signing needs */
    uint8_t point[SM2_POINT_SIZE];    /* public key */
    uint8_t identity[SM2_DIGEST_SIZE]; /* Z, for user id 1234567812345678 */
} sm2_signer;

/* Prepares a key; false if it is not in [1, n-2]. */
bool sm2_signer_init(sm2_signer *signer, const uint8_t private_key[SM2_SCALAR_SIZE]);

/* Z of a public key for user id 1234567812345678 (GB/T 32918.2 s.5.5). */
void sm2_identity(const uint8_t point[SM2_POINT_SIZE], uint8_t identity[SM2_DIGEST_SIZE]);

/* Signs e, the SM3 digest of Z || message. The nonce is HMAC-SM3 over private key, e and `fresh` (32 random bytes), with
 * rejection: even a broken random source never repeats a nonce for two messages. */
void sm2_sign(const sm2_signer *signer, const uint8_t e[SM2_DIGEST_SIZE], const uint8_t fresh[32],
              uint8_t signature[SM2_SIGNATURE_SIZE]);

/* The same with a given nonce, for the examples of the standard; false if the nonce does not lead to a signature. */
bool sm2_sign_with_nonce(const sm2_signer *signer, const uint8_t e[SM2_DIGEST_SIZE],
                         const uint8_t nonce[SM2_SCALAR_SIZE], uint8_t signature[SM2_SIGNATURE_SIZE]);

/* True if the signature r || s over e is that of a valid public key; refuses r, s outside [1, n-1] and r + s = n. */
bool sm2_verify(const uint8_t point[SM2_POINT_SIZE], const uint8_t e[SM2_DIGEST_SIZE],
                const uint8_t signature[SM2_SIGNATURE_SIZE]);

/* Verifies `count` signatures; results[i] is 1 or 0. Faster than one by one from 8 on where the processor has IFMA. */
void sm2_verify_many(size_t count, const uint8_t (*points)[SM2_POINT_SIZE], const uint8_t (*es)[SM2_DIGEST_SIZE],
                     const uint8_t (*signatures)[SM2_SIGNATURE_SIZE], uint8_t *results);

/* The x coordinate of d * P; false if d is not in [1, n-2] or P is no point of the curve. */
bool sm2_agree(const uint8_t private_key[SM2_SCALAR_SIZE], const uint8_t point[SM2_POINT_SIZE],
               uint8_t shared[SM2_SCALAR_SIZE]);

/* The public key of d; false if d is not in [1, n-2]. */
bool sm2_public(const uint8_t private_key[SM2_SCALAR_SIZE], uint8_t point[SM2_POINT_SIZE]);

/* Opens the form 02/03 || x; false if it is another form, x >= p, or no point has this x. */
bool sm2_decompress(const uint8_t compressed[SM2_COMPRESSED_SIZE], uint8_t point[SM2_POINT_SIZE]);
void sm2_compress(const uint8_t point[SM2_POINT_SIZE], uint8_t compressed[SM2_COMPRESSED_SIZE]);

/* True if x, y < p and the point is on the curve. */
bool sm2_on_curve(const uint8_t point[SM2_POINT_SIZE]);

#endif
