/* median.h - the middle of some measurements. */
#ifndef HOULE_BASE_MEDIAN_H
#define HOULE_BASE_MEDIAN_H

#include <stdlib.h>

static inline int median_order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of n > 0 numbers, which it puts in order; between the middle two where n is even. */
static inline double median_of(double *numbers, int n) {
    qsort(numbers, (size_t)n, sizeof *numbers, median_order);
    return (numbers[(n - 1) / 2] + numbers[n / 2]) / 2;
}

#endif
