/* op_recur.c - see op_recur.h. Written to be read; speed lives in src/kernel. */
#include "op/op_recur.h"

#include <stddef.h>

void op_recur(float *out, float *state, const float *query, const float *key, const float *value, const float *decay,
              float strength, bool delta, int key_width, int value_width) {
    for (int j = 0; j < value_width; j++) {
        float *s = state + j; /* column j: its rows are value_width apart */
        float known = 0;
        for (int i = 0; i < key_width; i++) {
            s[i * value_width] *= decay[i];
            known += key[i] * s[i * value_width];
        }
        const float u = strength * (delta ? value[j] - known : value[j]);
        out[j] = 0;
        for (int i = 0; i < key_width; i++) {
            s[i * value_width] += key[i] * u;
            out[j] += query[i] * s[i * value_width];
        }
    }
}

void op_conv(float *y, const float *const *x, const float *weight, int stride, const float *bias, int taps, int n) {
    for (int c = 0; c < n; c++) {
        y[c] = bias != NULL ? bias[c] : 0;
        for (int j = 0; j < taps; j++)
            y[c] += weight[j * stride + c] * x[j][c];
    }
}
