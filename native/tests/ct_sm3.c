/* Shows that no branch and no address depends on a key or on what is hashed: valgrind's memcheck reports every jump and every
 * address that comes from bytes marked as undefined.
 *
 * Valgrind knows no AVX-512, and hides it from the program: levels up to aesni are shown.
 */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "../src/sm3.h"

static uint8_t secret[4096], heads[20 * SM3_BLOCK_SIZE], out[8160];
static uint8_t digests[20][SM3_DIGEST_SIZE];

static void hash_secrets(void)
{
    static const uint8_t info[10];
    const uint8_t *messages[20];
    size_t sizes[20];
    VALGRIND_MAKE_MEM_UNDEFINED(secret, sizeof secret);
    VALGRIND_MAKE_MEM_UNDEFINED(heads, sizeof heads);
    for (size_t key_size = 0; key_size <= 130; key_size += 13) {
        sm3_hmac(secret, key_size, secret + 200, 7 * key_size, digests[0]);
    }
    sm3_hkdf_expand(secret, info, sizeof info, out, 1000);
    for (size_t i = 0; i < 20; i++) {
        messages[i] = secret + 7 * i;
        sizes[i] = 100 * i;
    }
    sm3_many(20, heads, messages, sizes, digests);
    sm3_strided(9, heads, secret, 400, 37, digests);
    sm3_root(secret, 19, digests, out);
}

/* With --leak it branches on a secret, and valgrind must report it. */
int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "--leak") == 0) {
        VALGRIND_MAKE_MEM_UNDEFINED(secret, 1);
        if (secret[0] == 1) {
            puts("a branch on a secret");
        }
    }
    for (cpu_level level = CPU_PORTABLE; level <= CPU_AESNI; level++) {
        if (cpu_limit(level)) {
            hash_secrets();
            printf("sm3: %s leaks nothing\n", cpu_name(level));
        }
    }
    return 0;
}
