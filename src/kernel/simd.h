/* simd.h - sixteen floats at a time, whatever the level this file is compiled for.
 *
 * The kernels that do not need a level's special instructions are written once with these, and compiled once per
 * level (see src/meson.build: -DLEVEL=avx2 and the level's flags). VF is a vector of 16 floats, VI of 16 int32. */
#ifndef HOULE_KERNEL_SIMD_H
#define HOULE_KERNEL_SIMD_H

#include "base/compiler.h"
#include "base/half.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float VF __attribute__((vector_size(64)));
typedef int32_t VI __attribute__((vector_size(64)));

/* The level's name at the end of every function that leaves a file: act_avx2. */
#define KERNEL_JOIN(name, level) name##_##level
#define KERNEL_NAME(name, level) KERNEL_JOIN(name, level)
#define K(name) KERNEL_NAME(name, LEVEL)

static inline VF vf_load(const float *p) {
    VF v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vf_store(float *p, VF v) {
    memcpy(p, &v, sizeof v);
}

static inline VF vf_set(float x) {
    return (VF){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

static inline VI vi_set(int32_t x) {
    return (VI){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

/* The first n < 16 numbers; the rest are `fill`. */
static inline VF vf_load_part(const float *p, int n, float fill) {
    VF v = vf_set(fill);
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}

static inline void vf_store_part(float *p, VF v, int n) {
    memcpy(p, &v, (size_t)n * sizeof(float));
}

/* Where the mask (of a comparison: all ones or all zeros) is set a, elsewhere b. */
static inline VF vf_pick(VI mask, VF a, VF b) {
    return (VF)((mask & (VI)a) | (~mask & (VI)b));
}

/* a * b + c, rounded once where the level has the instruction. */
static inline VF vf_fma(VF a, VF b, VF c) {
#if defined(__AVX512F__)
    return (VF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    __m256 x[2], y[2], z[2];
    memcpy(x, &a, 64), memcpy(y, &b, 64), memcpy(z, &c, 64);
    z[0] = _mm256_fmadd_ps(x[0], y[0], z[0]);
    z[1] = _mm256_fmadd_ps(x[1], y[1], z[1]);
    memcpy(&c, z, 64);
    return c;
#else
    return a * b + c;
#endif
}

/* The same, in a register: gcc reads a vector again for each product that it is used in, though loads bound such loops. */
static inline VF vf_keep(VF v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#endif
    return v;
}

static inline VF vf_max(VF a, VF b) {
#if defined(__AVX512F__)
    return (VF)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return vf_pick(a > b, a, b);
#endif
}

static inline VF vf_min(VF a, VF b) {
#if defined(__AVX512F__)
    return (VF)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return vf_pick(a < b, a, b);
#endif
}

static inline VF vf_abs(VF a) {
    return (VF)((VI)a & vi_set(0x7FFFFFFF));
}

static inline VF vf_of_vi(VI a) {
    return __builtin_convertvector(a, VF);
}

/* Sums and maxima over the lanes, by halves: a fixed shape. By hand where it counts, because gcc keeps the halves in memory
 * (which took a third of the softmax of attention). */
static inline float vf_sum(VF v) {
#if defined(__AVX512F__)
    const __m512 turned = _mm512_shuffle_f32x4((__m512)v, (__m512)v, 0x4E);
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_castps512_ps256(turned));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 two = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    float x[16];
    memcpy(x, &v, sizeof x);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            x[i] += x[i + width];
    return x[0];
#endif
}

static inline float vf_top(VF v) {
#if defined(__AVX512F__)
    const __m512 turned = _mm512_shuffle_f32x4((__m512)v, (__m512)v, 0x4E);
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256((__m512)v), _mm512_castps512_ps256(turned));
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 two = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
    float x[16];
    memcpy(x, &v, sizeof x);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
    return x[0];
#endif
}

static inline VF vf_round(VF x) { /* to nearest, ties to even, for |x| < 2^22 */
    const VF magic = vf_set(0x1.8p23f);
    return (x + magic) - magic;
}

/* e^x by 2^n * e^r with |r| <= ln 2 / 2 and a polynomial for e^r (coefficients: Taylor, adjusted by Remez); within
 * 2 units in the last place. Below -87.3 the result is 0, above 88.7 infinity. */
static inline VF vf_exp(VF x) {
#if defined(__AVX512F__)
    /* Of (limit, x) the instruction gives x when that is a NaN. Beyond the limits the results are 0 and infinity. */
    x = (VF)_mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), (__m512)x));
#endif
    const VF n = vf_round(x * vf_set(1.44269504f));
    VF r = vf_fma(n, vf_set(-0.693359375f), x);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    VF p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_fma(p, r * r, r + vf_set(1.0f));
#if defined(__AVX512F__)
    return (VF)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* 2^n in two halves, so that n = 128 and n = -126 do not leave the range of exponents on the way */
    const VI whole = __builtin_convertvector(n, VI);
    const VI half = whole >> 1;
    const VF up = (VF)((half + vi_set(127)) << 23), down = (VF)((whole - half + vi_set(127)) << 23);
    VF y = p * up * down;
    y = vf_pick(x < vf_set(-87.3f), vf_set(0), y);
    y = vf_pick(x > vf_set(88.72f), vf_set(INFINITY), y);
    return vf_pick(x == x, y, x); /* a NaN stays one */
#endif
}

static inline VF vf_sigmoid(VF x) {
    return vf_set(1.0f) / (vf_set(1.0f) + vf_exp(-x));
}

/* tanh x = 1 - 2 / (e^2x + 1); for small |x| the odd polynomial, where that loses digits. */
static inline VF vf_tanh(VF x) {
    const VF a = vf_abs(x);
    const VF e = vf_exp(a + a);
    const VF large = vf_set(1.0f) - vf_set(2.0f) / (e + vf_set(1.0f));
    const VF z = x * x;
    VF p = vf_set(-5.70498872745e-3f);
    p = vf_fma(p, z, vf_set(2.06390887954e-2f));
    p = vf_fma(p, z, vf_set(-5.37397155531e-2f));
    p = vf_fma(p, z, vf_set(1.33314422036e-1f));
    p = vf_fma(p, z, vf_set(-3.33332819422e-1f));
    const VF small = vf_fma(p * z, x, x);
    const VI sign = (VI)x & vi_set((int32_t)0x80000000u);
    const VF signed_large = (VF)((VI)large | sign);
    const VF y = vf_pick(a < vf_set(0.625f), small, signed_large);
    return vf_pick(x == x, y, x);
}

/* log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|; log(1 + z) = 2 atanh(z / (2 + z)), whose argument is at most 1/3. */
static inline VF vf_softplus(VF x) {
    const VF z = vf_exp(-vf_abs(x));
    const VF s = z / (z + vf_set(2.0f)), t = s * s;
    VF p = vf_set(1.0f / 15);
    p = vf_fma(p, t, vf_set(1.0f / 13));
    p = vf_fma(p, t, vf_set(1.0f / 11));
    p = vf_fma(p, t, vf_set(1.0f / 9));
    p = vf_fma(p, t, vf_set(1.0f / 7));
    p = vf_fma(p, t, vf_set(1.0f / 5));
    p = vf_fma(p, t, vf_set(1.0f / 3));
    p = vf_fma(p, t, vf_set(1.0f));
    return vf_fma(s + s, p, vf_pick(x < vf_set(0), vf_set(0), x)); /* a NaN stays one */
}

/* Sixteen halves to floats and back. */
static inline VF vf_load_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    __m256i h;
    memcpy(&h, p, sizeof h);
    return (VF)_mm512_cvtph_ps(h);
#elif defined(__F16C__)
    __m128i h[2];
    memcpy(h, p, sizeof h);
    const __m256 f[2] = {_mm256_cvtph_ps(h[0]), _mm256_cvtph_ps(h[1])};
    VF v;
    memcpy(&v, f, sizeof v);
    return v;
#else
    float f[16];
    for (int i = 0; i < 16; i++)
        f[i] = float_of_f16(p[i]);
    return vf_load(f);
#endif
}

static inline void vf_store_f16(uint16_t *p, VF v) {
#if defined(__AVX512F__)
    const __m256i h = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    memcpy(p, &h, sizeof h);
#elif defined(__F16C__)
    __m256 f[2];
    memcpy(f, &v, sizeof f);
    const __m128i h[2] = {_mm256_cvtps_ph(f[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                          _mm256_cvtps_ph(f[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
    memcpy(p, h, sizeof h);
#else
    float f[16];
    vf_store(f, v);
    for (int i = 0; i < 16; i++)
        p[i] = f16_of_float(f[i]);
#endif
}

static inline VF vf_load_bf16(const uint16_t *p) {
#if defined(__AVX512F__)
    __m256i h;
    memcpy(&h, p, sizeof h);
    return (VF)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
#else
    VI v;
    for (int i = 0; i < 16; i++)
        v[i] = (int32_t)((uint32_t)p[i] << 16);
    return (VF)v;
#endif
}

/* One half. */
static inline float f16_value(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return float_of_f16(h);
#endif
}

/* Four halves, anywhere in memory. */
static inline void load_four_f16(float *x, const void *p) {
#if defined(__F16C__)
    _mm_storeu_ps(x, _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)p)));
#else
    for (int i = 0; i < 4; i++)
        x[i] = f16_value((const uint8_t *)p + 2 * i);
#endif
}

/* Turns 16 vectors round: afterwards v[i] holds what was lane i of each. */
static inline void vf_transpose(VF v[16]) {
#if defined(__AVX512F__)
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps((__m512)v[i], (__m512)v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps((__m512)v[i], (__m512)v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        b[i] = (__m512)_mm512_unpacklo_pd((__m512d)a[i], (__m512d)a[i + 2]);
        b[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)a[i], (__m512d)a[i + 2]);
        b[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)a[i + 1], (__m512d)a[i + 3]);
        b[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)a[i + 1], (__m512d)a[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
        a[i + 8] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = (VF)_mm512_shuffle_f32x4(a[i], a[i + 8], 0x88);
        v[i + 8] = (VF)_mm512_shuffle_f32x4(a[i], a[i + 8], 0xDD);
        v[i + 4] = (VF)_mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0x88);
        v[i + 12] = (VF)_mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0xDD);
    }
#else
    float x[16][16];
    memcpy(x, v, sizeof x);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < i; j++) {
            const float swap = x[i][j];
            x[i][j] = x[j][i];
            x[j][i] = swap;
        }
    memcpy(v, x, sizeof x);
#endif
}

/* Turns 32 runs of sixteen halves round and makes them floats: number i of run k goes to out[i * stride + k]. */
#if defined(__AVX512BW__)
enum { HAS_TURN_F16 = 1 };

/* Eight numbers: quarter k of runs[i] has those of run 8 k + i. */
static ALWAYS_INLINE void turn_eight_f16(__m512i runs[8], float *out, size_t stride) {
    __m512i a[8], b[8];
    for (int i = 0; i < 4; i++) { /* a[0 .. 3]: numbers 0 to 3 of two runs each, a[4 .. 7]: numbers 4 to 7 */
        a[i] = _mm512_unpacklo_epi16(runs[2 * i], runs[2 * i + 1]);
        a[4 + i] = _mm512_unpackhi_epi16(runs[2 * i], runs[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 2) { /* two numbers of four runs each */
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* one number of eight runs in each quarter */
        const __m512i *from = &b[i / 2 * 4 + i % 2];
        a[2 * i] = _mm512_unpacklo_epi64(from[0], from[2]);
        a[2 * i + 1] = _mm512_unpackhi_epi64(from[0], from[2]);
    }
    for (int i = 0; i < 8; i++) {
        vf_store(out + (size_t)i * stride, (VF)_mm512_cvtph_ps(_mm512_castsi512_si256(a[i])));
        vf_store(out + (size_t)i * stride + 16, (VF)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(a[i], 1)));
    }
}

static ALWAYS_INLINE void vf_turn_f16(const uint8_t *const *runs, size_t at, float *out, size_t stride) {
    __m512i low[8], high[8];
    for (int i = 0; i < 8; i++) {
        __m256i q[4];
        for (int k = 0; k < 4; k++)
            memcpy(&q[k], runs[8 * k + i] + at, sizeof q[k]);
        const __m512i a = _mm512_inserti64x4(_mm512_castsi256_si512(q[0]), q[1], 1);
        const __m512i b = _mm512_inserti64x4(_mm512_castsi256_si512(q[2]), q[3], 1);
        low[i] = _mm512_shuffle_i64x2(a, b, 0x88);
        high[i] = _mm512_shuffle_i64x2(a, b, 0xDD);
    }
    turn_eight_f16(low, out, stride);
    turn_eight_f16(high, out + 8 * stride, stride);
}
#else
enum { HAS_TURN_F16 = 0 };
static inline void vf_turn_f16(const uint8_t *const *runs, size_t at, float *out, size_t stride) {
    (void)runs, (void)at, (void)out, (void)stride;
}
#endif

/* ---- one register ----------------------------------------------------------------------------------------------------
 *
 * VR is as wide as the level's registers. Loops that keep many sums at once are written with it: compilers keep a VF
 * that is wider than a register in memory. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
#if defined(__AVX512F__)
typedef float VR __attribute__((vector_size(64)));
#elif defined(__AVX2__)
typedef float VR __attribute__((vector_size(32)));
#else
typedef float VR __attribute__((vector_size(16)));
#endif

static inline VR vr_load(const float *p) {
    VR v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vr_store(float *p, VR v) {
    memcpy(p, &v, sizeof v);
}

static inline VR vr_set(float x) {
#if defined(__AVX512F__)
    return (VR)_mm512_set1_ps(x);
#elif defined(__AVX2__)
    return (VR)_mm256_set1_ps(x);
#else
    return (VR){x, x, x, x};
#endif
}

/* As vf_fma. */
static inline VR vr_fma(VR a, VR b, VR c) {
#if defined(__AVX512F__)
    return (VR)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (VR)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* By halves, as vf_sum. */
static inline float vr_sum(VR v) {
    float x[LANES];
    memcpy(x, &v, sizeof x);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            x[i] += x[i + width];
    return x[0];
}

static inline VF vf_load_i8(const int8_t *p) {
#if defined(__AVX512F__)
    __m128i q;
    memcpy(&q, p, sizeof q);
    return (VF)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
#elif defined(__AVX2__)
    const __m256 f[2] = {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))),
                         _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8))))};
    VF v;
    memcpy(&v, f, sizeof v);
    return v;
#else
    VF v;
    for (int i = 0; i < 16; i++)
        v[i] = (float)p[i];
    return v;
#endif
}

#if defined(__AVX512BF16__)
/* sum + the products of two pairs of bf16 in each lane. */
static ALWAYS_INLINE VF dot_pairs(VF sum, VI a, VI b) {
#if defined(__clang_major__) && __clang_major__ < 17
    /* Clang 16 runs out of stack over vectors of __bf16 (16.0.6, -O1 and more). */
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return (VF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
}
#endif

#endif
