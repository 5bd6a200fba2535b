/* op_hyper.c - see op_hyper.h. */
#include "op/op_hyper.h"

#include <math.h>
#include <stddef.h>

enum { STREAMS = 16 };

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

static void softmax(float *x, int n) {
    float top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        top = fmaxf(top, x[i]);
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - top);
        sum += x[i];
    }
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

/* Divides the n numbers x[0], x[step], ... by their sum. */
static void normalise(float *x, int n, int step, float eps) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i * step];
    for (int i = 0; i < n; i++)
        x[i * step] /= sum + eps;
}

void op_hyper_weights(float *weights, const float *mixed, const float *base, const float *scale, int n, int iterations, float eps) {
    for (int i = 0; i < n; i++)
        weights[i] = sigmoid(mixed[i] * scale[0] + base[i]) + eps;
    for (int i = n; i < 2 * n; i++)
        weights[i] = 2.0f * sigmoid(mixed[i] * scale[1] + base[i]);
    float *comb = weights + 2 * n;
    for (int i = 0; i < n * n; i++)
        comb[i] = mixed[2 * n + i] * scale[2] + base[2 * n + i];
    for (int row = 0; row < n; row++)
        softmax(comb + row * n, n);
    for (int i = 0; i < n * n; i++)
        comb[i] += eps;
    for (int turn = 0; turn < iterations; turn++) {
        for (int row = 0; turn > 0 && row < n; row++)
            normalise(comb + row * n, n, 1, eps);
        for (int column = 0; column < n; column++)
            normalise(comb + column, n, n, eps);
    }
}

void op_hyper_end_weights(float *weights, const float *mixed, const float *base, const float *scale, int n, float eps) {
    for (int i = 0; i < n; i++)
        weights[i] = sigmoid(mixed[i] * scale[0] + base[i]) + eps;
}

void op_hyper_collapse(float *y, const float *x, const float *pre, int n, int width) {
    for (int d = 0; d < width; d++) {
        float sum = 0;
        for (int s = 0; s < n; s++)
            sum += pre[s] * x[(size_t)s * (size_t)width + (size_t)d];
        y[d] = sum;
    }
}

void op_hyper_expand(float *out, const float *x, const float *y, const float *post, const float *comb, int n, int width) {
    for (int d = 0; d < width; d++) {
        float old[STREAMS];
        for (int j = 0; j < n; j++)
            old[j] = x[(size_t)j * (size_t)width + (size_t)d];
        for (int k = 0; k < n; k++) {
            float sum = post[k] * y[d];
            for (int j = 0; j < n; j++)
                sum += comb[j * n + k] * old[j];
            out[(size_t)k * (size_t)width + (size_t)d] = sum;
        }
    }
}
