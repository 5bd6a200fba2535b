/* op_pool.c - see op_pool.h. */
#include "op/op_pool.h"

#include <math.h>
#include <stddef.h>

static float gate_at(const float *const *gates, const float *const *biases, int i, int c) {
    return gates[i][c] + (biases != NULL ? biases[i][c] : 0.0f);
}

void op_pool(float *y, const float *const *values, const float *const *gates, const float *const *biases, int n, int width) {
    for (int c = 0; c < width; c++) {
        float top = -INFINITY, sum = 0, total = 0;
        for (int i = 0; gates != NULL && i < n; i++)
            top = fmaxf(top, gate_at(gates, biases, i, c));
        for (int i = 0; i < n; i++) {
            const float w = gates != NULL ? expf(gate_at(gates, biases, i, c) - top) : 1.0f;
            sum += w;
            total += w * values[i][c];
        }
        y[c] = total / sum;
    }
}
