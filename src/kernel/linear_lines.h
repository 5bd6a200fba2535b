/* linear_lines.h - linear_lines_simd.c's door: rows times a matrix of bf16. */
#ifndef HOULE_KERNEL_LINEAR_LINES_H
#define HOULE_KERNEL_LINEAR_LINES_H

#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

/* Multiplies pairs of bf16, if this level has a way for them and the matrix holds them row by row; false: nothing was done. */
bool K(linear_lines)(const LinearJob *job);

#endif
