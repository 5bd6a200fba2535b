/* linear_few.h - linear_few_simd.c's door: a few rows times a matrix. */
#ifndef HOULE_KERNEL_LINEAR_FEW_H
#define HOULE_KERNEL_LINEAR_FEW_H

#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

/* Multiplies in 8 bits, if this level and form have a way for few rows; false: nothing was done. */
bool K(linear_few)(const LinearJob *job);

#endif
