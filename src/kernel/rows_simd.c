/* rows_simd.c - the operations of op_row.h, sixteen floats at a time; compiled once per level. */
#include "kernel/kernel_parts.h"
#include "kernel/native.h"
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

#if defined(NATIVE_X86)

/* Eight or sixteen floats; those from the n-th on are zero. */
static ALWAYS_INLINE NF load_some(const float *x, int n) {
    if (n >= NI_LANES)
        return nf_load(x);
    float part[NI_LANES] = {0};
    if (n > 0)
        memcpy(part, x, (size_t)n * sizeof *x);
    return nf_load(part);
}

/* The bits of the largest magnitude of some vectors: as integers, what is not finite is larger than all that is. */
static ALWAYS_INLINE uint32_t top_bits(const NF *x, int count) {
#if defined(NATIVE_512)
    __m512i top = _mm512_setzero_si512();
    for (int i = 0; i < count; i++)
        top = _mm512_max_epu32(top, ni_and(_mm512_castps_si512(x[i]), ni_set(0x7FFFFFFF)));
    const __m256i half = _mm256_max_epu32(_mm512_castsi512_si256(top), _mm512_extracti64x4_epi64(top, 1));
#else
    __m256i half = _mm256_setzero_si256();
    for (int i = 0; i < count; i++)
        half = _mm256_max_epu32(half, ni_and(_mm256_castps_si256(x[i]), ni_set(0x7FFFFFFF)));
#endif
    __m128i part = _mm_max_epu32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    part = _mm_max_epu32(part, _mm_shuffle_epi32(part, 0x4E));
    part = _mm_max_epu32(part, _mm_shuffle_epi32(part, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(part);
}

/* Quantises `count` vectors; returns the scale. */
static ALWAYS_INLINE float quantise_vectors(int8_t *q, const NF *x, int count) {
    const uint32_t bits = top_bits(x, count);
    const float top = bits >= 0x7F800000 ? NAN : float_of_bits(bits) >= ACT_TINY ? float_of_bits(bits) : 0;
    const float inverse = top > 0 ? 127.0f / top : 0;
    if (isnan(top)) {
        memset(q, 0, (size_t)(count * NI_LANES));
        return top;
    }
#if defined(NATIVE_512)
    for (int i = 0; i < count; i++) {
        const __m512i whole = _mm512_cvtps_epi32(nf_mul(x[i], nf_set(inverse)));
        _mm_storeu_si128((__m128i *)(void *)(q + 16 * i), _mm512_cvtepi32_epi8(whole));
    }
#else
    for (int i = 0; i < count; i += 4) {
        NI v[4];
        for (int j = 0; j < 4; j++)
            v[j] = _mm256_cvtps_epi32(nf_mul(x[i + j], nf_set(inverse)));
        const NI packed = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        ni_store(q + 8 * i, _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
#endif
    return top / 127.0f;
}

/* The sums of 16 times 16 bytes. */
static ALWAYS_INLINE __m256i sums_of_16(const int8_t *q) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    __m256i four[8];
    for (int i = 0; i < 8; i++) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(q + 32 * i));
        four[i] = _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, bytes), ones16); /* 4 lanes for each 16 bytes */
    }
    __m256i all[2];
    for (int i = 0; i < 2; i++) {
        const __m256i a = _mm256_hadd_epi32(four[4 * i], four[4 * i + 1]);
        const __m256i b = _mm256_hadd_epi32(four[4 * i + 2], four[4 * i + 3]);
        all[i] = _mm256_hadd_epi32(a, b); /* low half: the even sums, high half: the odd ones */
    }
    const __m256i packed = _mm256_packs_epi32(all[0], all[1]); /* 0 2 4 ... 14, 1 3 5 ... 15 */
    const __m128i even = _mm256_castsi256_si128(packed), odd = _mm256_extracti128_si256(packed, 1);
    return _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
}

static void quantise_q8_32(void *row, const float *x, int n) {
    enum { VECTORS = 32 / NI_LANES };
    ActBlock32 *block = row;
    for (int at = 0; at < n; at += 256, block++) {
        for (int g = 0; g < 8; g++) {
            NF v[VECTORS];
            const int first = at + 32 * g;
            for (int i = 0; i < VECTORS; i++)
                v[i] = load_some(x + first + i * NI_LANES, n - first - i * NI_LANES);
            block->d[g] = quantise_vectors(block->q + 32 * g, v, VECTORS);
        }
        const __m256i counts = sums_of_16(block->q);
        _mm256_storeu_si256((__m256i *)(void *)block->counts, counts);
        const __m256 whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(counts, _mm256_set1_epi16(1)));
        _mm256_storeu_ps(block->s, _mm256_mul_ps(_mm256_loadu_ps(block->d), whole));
    }
}

static void quantise_q8_256(void *row, const float *x, int n) {
    enum { VECTORS = 256 / NI_LANES };
    ActBlock256 *block = row;
    for (int at = 0; at < n; at += 256, block++) {
        NF v[VECTORS];
        for (int i = 0; i < VECTORS; i++)
            v[i] = load_some(x + at + i * NI_LANES, n - at - i * NI_LANES);
        block->d = quantise_vectors(block->q, v, VECTORS);
        const __m256i counts = sums_of_16(block->q);
        _mm256_storeu_si256((__m256i *)(void *)block->counts, counts);
        const __m256i pairs = _mm256_madd_epi16(counts, _mm256_set1_epi16(1));
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(pairs, pairs), 0x08);
        _mm_storeu_si128((__m128i *)(void *)block->counts32, _mm256_castsi256_si128(packed));
        memset(block->unused, 0, sizeof block->unused);
    }
}

#endif

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
#if defined(NATIVE_X86)
    k->quantise_q8_32 = quantise_q8_32;
    k->quantise_q8_256 = quantise_q8_256;
#else
    k->quantise_q8_32 = op_quantise_q8_32;
    k->quantise_q8_256 = op_quantise_q8_256;
#endif
    k->round_bf16 = round_bf16;
}
