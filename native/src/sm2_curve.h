/* The point arithmetic of SM2, compiled once for each kind of processor from sm2_curve.inc.h.
 *
 * Numbers that go in and out are in plain form and below p or n. Points given as x, y are checked here to be on the curve.
 */
#ifndef DDTP_SM2_CURVE_H
#define DDTP_SM2_CURVE_H

#include "cpu.h"
#include "sm2_field.h"

typedef struct {
    cpu_level level;
    /* (x, y) = k G in constant time, for k in [1, n-1]. */
    void (*multiply_generator)(const number k, number x, number y);
    /* x of k (x, y), for k in [1, n-1], in constant time for k. False if the point is not on the curve. */
    bool (*multiply_point)(const number k, const number x, const number y, number product_x);
    /* True if s G + t (x, y) has an x coordinate that is u modulo n. Public values: takes a time that depends on them. */
    bool (*check_sum)(const number s, const number t, const number x, const number y, const number u);
    bool (*on_curve)(const number x, const number y);
    /* The y of this parity; false if no point has this x. */
    bool (*find_y)(const number x, unsigned parity, number y);
} sm2_kernel;

extern const sm2_kernel sm2_portable;
#if defined(__x86_64__)
extern const sm2_kernel sm2_adx; /* level CPU_AESNI */
#endif

#endif
