/* See sm2_table.h. */
#include "sm2_table.h"

_Alignas(64) const affine_point sm2_table[SM2_TABLE_ROWS][SM2_TABLE_ENTRIES] = {
#include "sm2_table.inc"
};
