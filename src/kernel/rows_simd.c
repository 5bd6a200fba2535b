/* rows_simd.c - the operations of op_row.h, sixteen floats at a time; compiled once per level. */
#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

#include "op/op_row.h"

static void rms_norm(float *y, const float *x, const float *weight, int n, float eps, float plus) {
    VF sum = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const VF v = vf_load(x + i);
        sum = vf_fma(v, v, sum);
    }
    if (i < n) {
        const VF v = vf_load_part(x + i, n - i, 0);
        sum = vf_fma(v, v, sum);
    }
    const float scale = 1.0f / sqrtf(vf_sum(sum) / (float)n + eps);
    const VF s = vf_set(scale), p = vf_set(plus);
    i = 0;
    if (weight != NULL) {
        for (; i + 16 <= n; i += 16)
            vf_store(y + i, vf_load(x + i) * s * (vf_load(weight + i) + p));
        for (; i < n; i++)
            y[i] = x[i] * scale * (weight[i] + plus);
    } else {
        for (; i < n; i++)
            y[i] = x[i] * scale;
    }
}

static float sum_of(const float *x, int n) {
    VF sum = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        sum += vf_load(x + i);
    if (i < n)
        sum += vf_load_part(x + i, n - i, 0);
    return vf_sum(sum);
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps) {
    const float mean = sum_of(x, n) / (float)n;
    VF sum = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const VF v = vf_load(x + i) - vf_set(mean);
        sum = vf_fma(v, v, sum);
    }
    if (i < n) {
        const VF v = vf_load_part(x + i, n - i, mean) - vf_set(mean);
        sum = vf_fma(v, v, sum);
    }
    const float scale = 1.0f / sqrtf(vf_sum(sum) / (float)n + eps);
    for (i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale * (weight != NULL ? weight[i] : 1.0f) + (bias != NULL ? bias[i] : 0.0f);
}

static void l2_norm(float *y, const float *x, int n, float eps) {
    VF sum = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const VF v = vf_load(x + i);
        sum = vf_fma(v, v, sum);
    }
    if (i < n) {
        const VF v = vf_load_part(x + i, n - i, 0);
        sum = vf_fma(v, v, sum);
    }
    const float scale = 1.0f / sqrtf(vf_sum(sum) + eps);
    for (i = 0; i < n; i++)
        y[i] = x[i] * scale;
}

static inline VF activate(VF x, Act act) {
    switch (act) {
    case ACT_SILU: return x * vf_sigmoid(x);
    case ACT_GELU_TANH: {
        const VF inner = vf_set(0.7978845608f) * vf_fma(vf_set(0.044715f) * x * x, x, x);
        return vf_set(0.5f) * x * (vf_set(1.0f) + vf_tanh(inner));
    }
    case ACT_RELU: return vf_pick(x > vf_set(0), x, vf_set(0));
    case ACT_RELU2: return vf_pick(x > vf_set(0), x * x, vf_set(0));
    case ACT_SIGMOID: return vf_sigmoid(x);
    case ACT_TANH: return vf_tanh(x);
    case ACT_SOFTPLUS: return vf_softplus(x);
    case ACT_EXP: return vf_exp(x);
    default: return x;
    }
}

/* Not worth a polynomial: it stands in small vectors only. */
static bool slow_act(Act act) {
    return act == ACT_GELU_ERF;
}

static void act(float *y, const float *x, int n, Act kind) {
    if (slow_act(kind)) {
        op_act(y, x, n, kind);
        return;
    }
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, activate(vf_load(x + i), kind));
    if (i < n)
        vf_store_part(y + i, activate(vf_load_part(x + i, n - i, 0), kind), n - i);
}

static inline VF glu_of(VF g, VF u, Act kind, VF limit, bool limited) {
    if (limited) {
        g = vf_min(g, limit);
        u = vf_max(vf_min(u, limit), -limit);
    }
    return activate(g, kind) * u;
}

static void glu(float *y, const float *gate, const float *up, int n, Act kind, float limit) {
    if (slow_act(kind)) {
        op_glu(y, gate, up, n, kind, limit);
        return;
    }
    const VF l = vf_set(limit);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, glu_of(vf_load(gate + i), vf_load(up + i), kind, l, limit > 0));
    if (i < n)
        vf_store_part(y + i,
                      glu_of(vf_load_part(gate + i, n - i, 0), vf_load_part(up + i, n - i, 0), kind, l, limit > 0),
                      n - i);
}

static inline VF oai_of(VF g, VF u, VF alpha, VF limit) {
    g = vf_min(g, limit);
    u = vf_max(vf_min(u, limit), -limit);
    return (u + vf_set(1.0f)) * g * vf_sigmoid(alpha * g);
}

static void glu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit) {
    const VF a = vf_set(alpha), l = vf_set(limit);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, oai_of(vf_load(gate + i), vf_load(up + i), a, l));
    if (i < n)
        vf_store_part(y + i, oai_of(vf_load_part(gate + i, n - i, 0), vf_load_part(up + i, n - i, 0), a, l), n - i);
}

static void softcap(float *y, const float *x, int n, float cap) {
    const VF c = vf_set(cap), inverse = vf_set(1.0f / cap);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, c * vf_tanh(vf_load(x + i) * inverse));
    if (i < n)
        vf_store_part(y + i, c * vf_tanh(vf_load_part(x + i, n - i, 0) * inverse), n - i);
}

static void softmax(float *y, const float *x, int n) {
    VF top = vf_set(-INFINITY);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        top = vf_max(vf_load(x + i), top);
    if (i < n)
        top = vf_max(vf_load_part(x + i, n - i, -INFINITY), top);
    const float highest = vf_top(top);
    if (highest == -INFINITY) {
        memset(y, 0, (size_t)n * sizeof *y);
        return;
    }
    VF sum = vf_set(0);
    for (i = 0; i + 16 <= n; i += 16) {
        const VF e = vf_exp(vf_load(x + i) - vf_set(highest));
        vf_store(y + i, e);
        sum += e;
    }
    if (i < n) {
        const VF e = vf_exp(vf_load_part(x + i, n - i, -INFINITY) - vf_set(highest));
        vf_store_part(y + i, e, n - i);
        sum += e;
    }
    const float inverse = 1.0f / vf_sum(sum);
    for (i = 0; i < n; i++)
        y[i] *= inverse;
}

static void add(float *y, const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void mul(float *y, const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

static void affine(float *y, const float *x, int n, float a, float b) {
    for (int i = 0; i < n; i++)
        y[i] = a * x[i] + b;
}

static void axpy(float *y, const float *x, int n, float a) {
    for (int i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void rope(float *head, const float *cosine, const float *sine, int dim, bool interleaved) {
    const int half = dim / 2;
    if (interleaved) {
        for (int i = 0; i < half; i++) {
            const float a = head[2 * i], b = head[2 * i + 1];
            head[2 * i] = a * cosine[i] - b * sine[i];
            head[2 * i + 1] = b * cosine[i] + a * sine[i];
        }
        return;
    }
    float *low = head, *high = head + half;
    for (int i = 0; i < half; i++) {
        const float a = low[i], b = high[i];
        low[i] = a * cosine[i] - b * sine[i];
        high[i] = b * cosine[i] + a * sine[i];
    }
}

static float dot(const float *a, const float *b, int n) {
    VF sum = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        sum = vf_fma(vf_load(a + i), vf_load(b + i), sum);
    if (i < n)
        sum = vf_fma(vf_load_part(a + i, n - i, 0), vf_load_part(b + i, n - i, 0), sum);
    return vf_sum(sum);
}

/* ---- activations in 8 bits ---- */

/* The largest magnitude of n numbers; NaN when one of them is not finite. */
static inline float top_of(const float *x, int n) {
    VF top = vf_set(0), probe = vf_set(0);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const VF v = vf_load(x + i);
        top = vf_max(vf_abs(v), top);
        probe = vf_fma(v, vf_set(0), probe);
    }
    if (i < n) {
        const VF v = vf_load_part(x + i, n - i, 0);
        top = vf_max(vf_abs(v), top);
        probe = vf_fma(v, vf_set(0), probe);
    }
    return vf_sum(probe) == 0 ? vf_top(top) : NAN;
}

static inline void quantise_16(int8_t *q, VF x, VF inverse) {
    typedef int8_t V8 __attribute__((vector_size(16)));
    const V8 v = __builtin_convertvector(__builtin_convertvector(vf_round(x * inverse), VI), V8);
    memcpy(q, &v, sizeof v);
}

/* Quantises one block, n <= length of it given; returns its scale. Numbers that are not finite make the scale NaN. */
static inline float quantise_block(int8_t *q, const float *x, int n, int length) {
    const float top = top_of(x, n);
    const VF inverse = vf_set(top > 0 ? 127.0f / top : 0);
    int i = 0;
    if (!isnan(top)) {
        for (; i + 16 <= n; i += 16)
            quantise_16(q + i, vf_load(x + i), inverse);
        if (i < n) {
            quantise_16(q + i, vf_load_part(x + i, n - i, 0), inverse);
            i += 16;
        }
    }
    if (i < length)
        memset(q + i, 0, (size_t)(length - i));
    return top / 127.0f;
}

static inline int sum_bytes(const int8_t *q, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void quantise_q8_32(void *row, const float *x, int n) {
    int8_t *q = row;
    const int blocks = (n + 31) / 32;
    float *d = (float *)(void *)(q + act_q8_padded(n)), *s = d + blocks;
    int32_t *count = (int32_t *)(void *)(s + blocks);
    for (int b = 0; b < blocks; b++) {
        d[b] = quantise_block(q + b * 32, x + b * 32, n - b * 32 < 32 ? n - b * 32 : 32, 32);
        count[b] = sum_bytes(q + b * 32, 32);
        s[b] = d[b] * (float)count[b];
    }
    memset(q + blocks * 32, 0, act_q8_padded(n) - (size_t)blocks * 32);
}

static void quantise_q8_256(void *row, const float *x, int n) {
    int8_t *q = row;
    const int blocks = (n + 255) / 256;
    float *d = (float *)(void *)(q + act_q8_padded(n));
    int16_t *sums16 = (int16_t *)(void *)(d + blocks), *sums32 = sums16 + blocks * 16;
    for (int b = 0; b < blocks; b++) {
        d[b] = quantise_block(q + b * 256, x + b * 256, n - b * 256 < 256 ? n - b * 256 : 256, 256);
        for (int g = 0; g < 16; g++)
            sums16[b * 16 + g] = (int16_t)sum_bytes(q + b * 256 + g * 16, 16);
        for (int g = 0; g < 8; g++)
            sums32[b * 8 + g] = (int16_t)(sums16[b * 16 + 2 * g] + sums16[b * 16 + 2 * g + 1]);
    }
}

static void round_bf16(uint16_t *row, const float *x, int n) {
    for (int i = 0; i < n; i++) {
        const uint32_t bits = bits_of_float(x[i]);
        const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
        row[i] = (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
    }
    for (size_t i = (size_t)n; i < act_bf16_bytes(n) / 2; i++)
        row[i] = 0;
}

void K(kernels_fill_rows)(Kernels *k) {
    k->rms_norm = rms_norm;
    k->layer_norm = layer_norm;
    k->l2_norm = l2_norm;
    k->act = act;
    k->glu = glu;
    k->glu_oai = glu_oai;
    k->softcap = softcap;
    k->softmax = softmax;
    k->add = add;
    k->mul = mul;
    k->affine = affine;
    k->axpy = axpy;
    k->rope = rope;
    k->dot = dot;
    k->quantise_q8_32 = quantise_q8_32;
    k->quantise_q8_256 = quantise_q8_256;
    k->round_bf16 = round_bf16;
}
