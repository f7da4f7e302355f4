/* The compression function of SM3 (GB/T 32905-2016 5.3) for any kind of word: one uint32_t, or a vector with one word for each
 * lane. Included once by each implementation, which defines before:
 *
 *   word                      the type
 *   SM3_INLINE                "static inline" and what else its functions need
 *   ADD(x, y), XOR(x, y), XOR3(x, y, z), ROTATE(x, n)
 *   MAJORITY(x, y, z), CHOOSE(x, y, z)
 *   EVERY(table, j)           table[j] in every lane; the table is one of the three below
 *   ROTATE_BYTE(x)            only where rotation by 8 takes fewer instructions than other rotations
 */

extern const uint32_t sm3_constants[64], sm3_padding_words[64], sm3_padding_mixed[64];

/* P0 and P1 (GB/T 32905 4.4). Both rotations of each differ by 8. */
#if defined(ROTATE_BYTE)
#define PERMUTE(x, less) XOR(x, ROTATE(XOR(x, ROTATE_BYTE(x)), less))
#else
#define PERMUTE(x, less) XOR3(x, ROTATE(x, less), ROTATE(x, (less) + 8))
#endif

/* One round (GB/T 32905 5.3.3). Instead of moving the eight registers on, the caller renames them. */
#define ROUND(a, b, c, d, e, f, g, h, boolean_a, boolean_e, constant, message, mixed)                                         \
    do {                                                                                                                      \
        const word turned = ROTATE(a, 12);                                                                                    \
        const word first = ROTATE(ADD(ADD(e, constant), turned), 7);                                                          \
        const word second = XOR(first, turned);                                                                               \
        const word upper = ADD(ADD(boolean_a(a, b, c), ADD(d, mixed)), second);                                               \
        const word lower = ADD(ADD(boolean_e(e, f, g), ADD(h, message)), first);                                              \
        b = ROTATE(b, 9);                                                                                                     \
        d = upper;                                                                                                            \
        f = ROTATE(f, 19);                                                                                                    \
        h = PERMUTE(lower, 9);                                                                                                \
    } while (0)

/* Four rounds; `MESSAGE(j)` and `MIXED(j)` are W_j and W'_j, and `NEXT(j)` runs after round j. */
#define FOUR_ROUNDS(j, boolean_a, boolean_e, MESSAGE, MIXED, NEXT)                                                            \
    ROUND(a, b, c, d, e, f, g, h, boolean_a, boolean_e, EVERY(sm3_constants, (j)), MESSAGE(j), MIXED(j));                     \
    NEXT(j);                                                                                                                  \
    ROUND(d, a, b, c, h, e, f, g, boolean_a, boolean_e, EVERY(sm3_constants, (j) + 1), MESSAGE((j) + 1), MIXED((j) + 1));     \
    NEXT((j) + 1);                                                                                                            \
    ROUND(c, d, a, b, g, h, e, f, boolean_a, boolean_e, EVERY(sm3_constants, (j) + 2), MESSAGE((j) + 2), MIXED((j) + 2));     \
    NEXT((j) + 2);                                                                                                            \
    ROUND(b, c, d, a, f, g, h, e, boolean_a, boolean_e, EVERY(sm3_constants, (j) + 3), MESSAGE((j) + 3), MIXED((j) + 3));     \
    NEXT((j) + 3)

/* The Boolean functions are XOR in rounds 0 to 15, majority and choice after (GB/T 32905 4.3). */
#define ALL_ROUNDS(MESSAGE, MIXED, NEXT)                                                                                      \
    FOUR_ROUNDS(0, XOR3, XOR3, MESSAGE, MIXED, NEXT);                                                                         \
    FOUR_ROUNDS(4, XOR3, XOR3, MESSAGE, MIXED, NEXT);                                                                         \
    FOUR_ROUNDS(8, XOR3, XOR3, MESSAGE, MIXED, NEXT);                                                                         \
    FOUR_ROUNDS(12, XOR3, XOR3, MESSAGE, MIXED, NEXT);                                                                        \
    FOUR_ROUNDS(16, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(20, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(24, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(28, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(32, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(36, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(40, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(44, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(48, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(52, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(56, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT);                                                                  \
    FOUR_ROUNDS(60, MAJORITY, CHOOSE, MESSAGE, MIXED, NEXT)

/* The words of the message are a ring of 16: round j needs W_j and W_(j+4), and what expands them reaches back 16. */
#define RING_MESSAGE(j) words[(j) & 15]
#define RING_MIXED(j) XOR(words[(j) & 15], words[((j) + 4) & 15])

/* W_(j+16) takes the place of W_j (GB/T 32905 5.3.2). Round 63 needs W_67, the last. */
#if defined(ROTATE_BYTE)
/* W_(j+13) <<< 15 here is W_(j+3) <<< 7 ten steps on, but for one byte: rotated once, kept in `sevens`. */
#define RING_NEXT(j)                                                                                                          \
    do {                                                                                                                      \
        if ((j) < 52) {                                                                                                       \
            const word seven = ROTATE(words[((j) + 13) & 15], 7);                                                             \
            const word older = (j) < 10 ? ROTATE(words[((j) + 3) & 15], 7) : sevens[((j) + 3) & 15];                          \
            const word inner = XOR3(words[(j) & 15], words[((j) + 7) & 15], ROTATE_BYTE(seven));                              \
            sevens[((j) + 13) & 15] = seven;                                                                                  \
            words[(j) & 15] = XOR3(PERMUTE(inner, 15), older, words[((j) + 10) & 15]);                                        \
        }                                                                                                                     \
    } while (0)
#else
#define RING_NEXT(j)                                                                                                          \
    do {                                                                                                                      \
        if ((j) < 52) {                                                                                                       \
            const word inner = XOR3(words[(j) & 15], words[((j) + 7) & 15], ROTATE(words[((j) + 13) & 15], 15));              \
            words[(j) & 15] = XOR3(PERMUTE(inner, 15), ROTATE(words[((j) + 3) & 15], 7), words[((j) + 10) & 15]);             \
        }                                                                                                                     \
    } while (0)
#endif

#define TABLE_MESSAGE(j) EVERY(sm3_padding_words, j)
#define TABLE_MIXED(j) EVERY(sm3_padding_mixed, j)
#define TABLE_NEXT(j) (void)0

#define START_ROUNDS                                                                                                          \
    word a = state[0], b = state[1], c = state[2], d = state[3];                                                              \
    word e = state[4], f = state[5], g = state[6], h = state[7]

/* GB/T 32905 5.3.1: V(i+1) is the result of the rounds XOR V(i). */
#define END_ROUNDS                                                                                                            \
    do {                                                                                                                      \
        state[0] = XOR(state[0], a);                                                                                          \
        state[1] = XOR(state[1], b);                                                                                          \
        state[2] = XOR(state[2], c);                                                                                          \
        state[3] = XOR(state[3], d);                                                                                          \
        state[4] = XOR(state[4], e);                                                                                          \
        state[5] = XOR(state[5], f);                                                                                          \
        state[6] = XOR(state[6], g);                                                                                          \
        state[7] = XOR(state[7], h);                                                                                          \
    } while (0)

/* Compresses the block `words`, which is used up. */
SM3_INLINE void compress_words(word state[8], word words[16])
{
#if defined(ROTATE_BYTE)
    word sevens[16];
#endif
    START_ROUNDS;
    ALL_ROUNDS(RING_MESSAGE, RING_MIXED, RING_NEXT);
    END_ROUNDS;
}

/* Compresses the block that pads a message of 128 bytes: nothing of it is to be expanded. */
SM3_INLINE void compress_padding(word state[8])
{
    START_ROUNDS;
    ALL_ROUNDS(TABLE_MESSAGE, TABLE_MIXED, TABLE_NEXT);
    END_ROUNDS;
}
