/* Multiples of the generator for fixed-base multiplication; made by make_sm2_table.py.
 *
 * sm2_table[i][j] is (2 j + 1) 2^(6 i) G: a scalar is a sum of 43 odd digits between -63 and 63, one for each row.
 */
#ifndef DDTP_SM2_TABLE_H
#define DDTP_SM2_TABLE_H

#include "sm2_field.h"

#define SM2_TABLE_WIDTH 6
#define SM2_TABLE_ROWS 43
#define SM2_TABLE_ENTRIES 32

/* A point by its coordinates in Montgomery form; never infinity. */
typedef struct {
    number x, y;
} affine_point;

extern const affine_point sm2_table[SM2_TABLE_ROWS][SM2_TABLE_ENTRIES];

#endif
