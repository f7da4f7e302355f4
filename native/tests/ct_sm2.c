/* Looks for branches and addresses that depend on secrets: private keys and nonces are marked as undefined memory, and
 * valgrind reports every jump and address that follows from them (Langley, ctgrind, 2010). What may be seen is named in
 * sm2.c by MARK_PUBLIC, and below. SM3 is in the test too.
 *
 * With the argument --leak it branches on a secret, and valgrind must fail. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "../src/cpu.h"
#include "../src/sm2.h"

static void hide(void *secret, size_t size)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(secret, size);
}

/* What is published: signatures, public keys, and whether something was refused. */
static void publish(void *result, size_t size)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(result, size);
}

static void run(cpu_level level, uint8_t first)
{
    uint8_t d[32], e[32], fresh[32], nonce[32], other[64], point[64], shared[32], signature[64];
    sm2_signer signer;
    assert(cpu_limit(level));
    memset(nonce, 0x21, 32);
    memset(d, 0, 32);
    d[31] = 77;
    assert(sm2_public(d, other));
    memset(d, 0x35, 32);
    d[0] = first;
    memset(e, 0x47, 32);
    memset(fresh, 0x53, 32);
    hide(d, 32);
    hide(fresh, 32);
    hide(nonce, 32);
    hide(e, 32); /* the digest of a secret message may be one */

    bool done = sm2_public(d, point);
    publish(&done, sizeof done);
    publish(point, 64);
    assert(done);

    done = sm2_signer_init(&signer, d);
    publish(&done, sizeof done);
    assert(done);
    publish(signer.point, 64);

    sm2_sign(&signer, e, fresh, signature);
    publish(signature, 64);
    publish(e, 32);
    assert(sm2_verify(point, e, signature));

    done = sm2_sign_with_nonce(&signer, e, nonce, signature);
    publish(&done, sizeof done);
    publish(signature, 64);
    assert(done && sm2_verify(point, e, signature));

    done = sm2_agree(d, other, shared);
    publish(&done, sizeof done);
    assert(done);
    publish(shared, 32);
    uint8_t small[32] = {0}, same[32];
    small[31] = 77;
    assert(sm2_agree(small, point, same) && memcmp(shared, same, 32) == 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--leak") == 0) {
        volatile uint8_t secret = 1;
        hide((void *)&secret, 1);
        if (secret == 1) {
            puts("a branch on a secret");
        }
    }
    run(CPU_PORTABLE, 0x35);
    run(CPU_PORTABLE, 0x00); /* leading zeros, and both parities below */
#if defined(__x86_64__)
    run(CPU_AESNI, 0x35);
    run(CPU_AESNI, 0x00);
#endif
    puts("passed");
    return 0;
}
