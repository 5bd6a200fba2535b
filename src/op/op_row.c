/* op_row.c - see op_row.h. Written to be read; speed lives in src/kernel. */
#include "op/op_row.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

void op_rms_norm(float *y, const float *x, const float *weight, int n, float eps, float plus) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    const float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * scale * (weight != NULL ? weight[i] + plus : 1.0f);
}

void op_layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps) {
    float mean = 0;
    for (int i = 0; i < n; i++)
        mean += x[i];
    mean /= (float)n;
    float variance = 0;
    for (int i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(variance / (float)n + eps);
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale * (weight != NULL ? weight[i] : 1.0f) + (bias != NULL ? bias[i] : 0.0f);
}

void op_l2_norm(float *y, const float *x, int n, float eps) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    const float scale = 1.0f / sqrtf(sum + eps);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * scale;
}

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

static float activate(float x, Act act) {
    switch (act) {
    case ACT_NONE: return x;
    case ACT_SILU: return x * sigmoid(x);
    case ACT_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    case ACT_GELU_ERF: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU2: return x > 0 ? x * x : 0;
    case ACT_SIGMOID: return sigmoid(x);
    case ACT_TANH: return tanhf(x);
    case ACT_SOFTPLUS: return x > 20 ? x : log1pf(expf(x)); /* over 20 the difference is below float precision */
    case ACT_EXP: return expf(x);
    }
    return x;
}

void op_act(float *y, const float *x, int n, Act act) {
    for (int i = 0; i < n; i++)
        y[i] = activate(x[i], act);
}

static float clamp(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

void op_glu(float *y, const float *gate, const float *up, int n, Act act, float limit) {
    for (int i = 0; i < n; i++) {
        const float g = limit > 0 && gate[i] > limit ? limit : gate[i];
        const float u = limit > 0 ? clamp(up[i], -limit, limit) : up[i];
        y[i] = activate(g, act) * u;
    }
}

void op_glu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit) {
    for (int i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        y[i] = (clamp(up[i], -limit, limit) + 1.0f) * g * sigmoid(alpha * g);
    }
}

void op_softcap(float *y, const float *x, int n, float cap) {
    for (int i = 0; i < n; i++)
        y[i] = cap * tanhf(x[i] / cap);
}

void op_softmax(float *y, const float *x, int n) {
    float top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (int i = 0; i < n; i++) {
        y[i] = top == -INFINITY ? 0 : expf(x[i] - top);
        sum += y[i];
    }
    for (int i = 0; sum > 0 && i < n; i++)
        y[i] /= sum;
}

void op_add(float *y, const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void op_mul(float *y, const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

void op_affine(float *y, const float *x, int n, float a, float b) {
    for (int i = 0; i < n; i++)
        y[i] = a * x[i] + b;
}

void op_axpy(float *y, const float *x, int n, float a) {
    for (int i = 0; i < n; i++)
        y[i] += a * x[i];
}

void op_rope(float *head, const float *cosine, const float *sine, int dim, bool interleaved) {
    for (int i = 0; i < dim / 2; i++) {
        float *a = &head[interleaved ? 2 * i : i], *b = &head[interleaved ? 2 * i + 1 : i + dim / 2];
        const float x = *a, z = *b;
        *a = x * cosine[i] - z * sine[i];
        *b = z * cosine[i] + x * sine[i];
    }
}

/* The largest magnitude, or NaN when a number is not finite. */
static float max_magnitude(const float *x, int n) {
    float top = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return NAN;
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    return top >= ACT_TINY ? top : 0;
}

/* Quantises n <= length numbers, zeroes the rest, returns the scale. */
static float quantise_group(int8_t *q, const float *x, int n, int length) {
    const float top = max_magnitude(x, n);
    const float inverse = top > 0 ? 127.0f / top : 0; /* 0 for NaN */
    for (int i = 0; i < length; i++)
        q[i] = i < n && inverse > 0 ? (int8_t)nearbyintf(x[i] * inverse) : 0;
    return top / 127.0f;
}

static int16_t sum_of(const int8_t *q, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return (int16_t)sum;
}

static size_t act_blocks(int n) {
    return ((size_t)n + 255) / 256;
}

static int within(int n, int most) {
    return n < 0 ? 0 : n < most ? n : most;
}

size_t act_q8_32_bytes(int n) {
    return (act_blocks(n) * sizeof(ActBlock32) + 63) & ~(size_t)63;
}

size_t act_q8_256_bytes(int n) {
    return act_blocks(n) * sizeof(ActBlock256);
}

void op_quantise_q8_32(void *row, const float *x, int n) {
    ActBlock32 *block = row;
    for (int at = 0; at < n; at += 256, block++)
        for (int g = 0; g < 8; g++) {
            const int first = at + 32 * g;
            block->d[g] = quantise_group(block->q + 32 * g, x + first, within(n - first, 32), 32);
            block->counts[2 * g] = sum_of(block->q + 32 * g, 16);
            block->counts[2 * g + 1] = sum_of(block->q + 32 * g + 16, 16);
            block->s[g] = block->d[g] * (float)(block->counts[2 * g] + block->counts[2 * g + 1]);
        }
}

void op_quantise_q8_256(void *row, const float *x, int n) {
    ActBlock256 *block = row;
    for (int at = 0; at < n; at += 256, block++) {
        block->d = quantise_group(block->q, x + at, within(n - at, 256), 256);
        for (int g = 0; g < 16; g++)
            block->counts[g] = sum_of(block->q + 16 * g, 16);
        for (int g = 0; g < 8; g++)
            block->counts32[g] = (int16_t)(block->counts[2 * g] + block->counts[2 * g + 1]);
        memset(block->unused, 0, sizeof block->unused);
    }
}

size_t act_bf16_bytes(int n) {
    return ((size_t)n * 2 + 63) & ~(size_t)63;
}

void op_round_bf16(uint16_t *row, const float *x, int n) {
    for (int i = 0; i < n; i++)
        row[i] = bf16_of_float(x[i]);
    for (size_t i = (size_t)n; i < act_bf16_bytes(n) / 2; i++)
        row[i] = 0;
}
