/* Runs SM4-GCM with key and plaintext marked as undefined: valgrind reports every branch and address that depends on them.
 * Built with -DCHECK_CONSTANT_TIME; `valgrind --error-exitcode=1 ct_sm4`. Kernels with instructions that valgrind does not
 * know (GFNI, AVX-512) are left out. With `--leak` it looks at a secret on purpose, to show that the check works. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "sm4.h"

enum { LONGEST = 5000 };

static uint8_t text[LONGEST], sealed[LONGEST], opened[LONGEST];

/* What a caller may know: the result of a seal or open is public to the test that compares it. */
static void check_size(const uint8_t bytes[SM4_KEY_SIZE], size_t size)
{
    static const uint8_t nonce[SM4_NONCE_SIZE] = {7}, aad[100] = {9};
    sm4_key key;
    sm4_stream stream;
    uint8_t tag[SM4_TAG_SIZE], stream_tag[SM4_TAG_SIZE];
    const size_t aad_size = size % sizeof aad;
    VALGRIND_MAKE_MEM_UNDEFINED(text, sizeof text);
    sm4_expand(&key, bytes);
    sm4_seal(&key, nonce, aad, aad_size, text, size, sealed, tag);
    VALGRIND_MAKE_MEM_DEFINED(sealed, size);
    VALGRIND_MAKE_MEM_DEFINED(tag, sizeof tag);
    assert(sm4_open(&key, nonce, aad, aad_size, sealed, size, opened, tag));
    sm4_stream_start(&stream, &key, true, nonce, aad, aad_size);
    sm4_stream_update(&stream, text, size / 3, opened);
    sm4_stream_update(&stream, text + size / 3, size - size / 3, opened + size / 3);
    sm4_stream_finish(&stream, stream_tag);
    VALGRIND_MAKE_MEM_DEFINED(stream_tag, sizeof stream_tag);
    assert(memcmp(tag, stream_tag, sizeof tag) == 0);
    tag[3] ^= 1;
    assert(!sm4_open(&key, nonce, aad, aad_size, sealed, size, opened, tag));
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 48, 100, 239, 240, 241, 500, 767, 768, 1024, 2048, 2049, LONGEST};
    uint8_t bytes[SM4_KEY_SIZE] = {1, 2, 3};
    if (!RUNNING_ON_VALGRIND) {
        fputs("run me under valgrind\n", stderr);
        return 1;
    }
    VALGRIND_MAKE_MEM_UNDEFINED(bytes, sizeof bytes);
    if (argc > 1 && strcmp(argv[1], "--leak") == 0) {
        return bytes[0] == 1 ? 2 : 3;
    }
    for (int level = CPU_PORTABLE; level < CPU_LEVELS; level++) {
        if (level == CPU_GFNI256 || level == CPU_GFNI512 || !cpu_limit((cpu_level)level)) {
            continue;
        }
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            check_size(bytes, sizes[i]);
        }
        printf("%s: constant-time\n", cpu_name((cpu_level)level));
    }
    return 0;
}
