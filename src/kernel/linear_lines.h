/* linear_lines.h - linear_lines_simd.c's door: rows times a matrix of plain numbers. */
#ifndef HOULE_KERNEL_LINEAR_LINES_H
#define HOULE_KERNEL_LINEAR_LINES_H

#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

/* Multiplies, if the matrix holds F32, F16 or BF16 row by row and this level has a way for it; false: nothing was done. */
bool K(linear_lines)(const LinearJob *job, Precision precision);

#endif
