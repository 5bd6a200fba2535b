/* peak_simd.c - the loops behind peak.h, compiled once per level. Twelve independent chains hide the latency of every
 * multiply-and-add instruction there is; the empty asm makes the compiler believe that each result is looked at. */
#include "kernel/peak_parts.h"
#include "kernel/simd.h"

enum { CHAINS = 12 };

#if defined(__AVX512F__)
#define KEEP(v) __asm__ volatile("" : "+v"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+x"(v))
#endif
/* One statement for each chain: an index that the compiler sees through keeps all sums in registers. */
#define EACH(do_, ...)                                                                                    \
    do_(0, __VA_ARGS__) do_(1, __VA_ARGS__) do_(2, __VA_ARGS__) do_(3, __VA_ARGS__) do_(4, __VA_ARGS__)   \
    do_(5, __VA_ARGS__) do_(6, __VA_ARGS__) do_(7, __VA_ARGS__) do_(8, __VA_ARGS__) do_(9, __VA_ARGS__)   \
    do_(10, __VA_ARGS__) do_(11, __VA_ARGS__)
#define BEGIN(c, type, set) type s##c = set(c);
/* Every chain c takes step(c, a, b), `rounds` times. */
#define RUN(type, set, step)            \
    EACH(BEGIN, type, set)              \
    for (long r = 0; r < rounds; r++) { \
        EACH(step, a, b)                \
    }

uint64_t K(peak_f32)(long rounds) {
#if defined(__AVX512F__)
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
#define STEP_F32(c, a, b) s##c = _mm512_fmadd_ps(s##c, a, b); KEEP(s##c);
    RUN(__m512, _mm512_set1_ps, STEP_F32)
    return (uint64_t)rounds * CHAINS * 16 * 2;
#elif defined(__FMA__)
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
#define STEP_F32(c, a, b) s##c = _mm256_fmadd_ps(s##c, a, b); KEEP(s##c);
    RUN(__m256, _mm256_set1_ps, STEP_F32)
    return (uint64_t)rounds * CHAINS * 8 * 2;
#elif defined(__x86_64__)
    const __m128 a = _mm_set1_ps(0.999f), b = _mm_set1_ps(0.001f);
#define STEP_F32(c, a, b) s##c = _mm_add_ps(_mm_mul_ps(s##c, a), b); KEEP(s##c);
    RUN(__m128, _mm_set1_ps, STEP_F32)
    return (uint64_t)rounds * CHAINS * 4 * 2;
#else
    volatile float out;
    VF sums[CHAINS];
    const VF a = vf_set(0.999f), b = vf_set(0.001f);
    for (int c = 0; c < CHAINS; c++)
        sums[c] = vf_set((float)c);
    for (long r = 0; r < rounds; r++)
        for (int c = 0; c < CHAINS; c++)
            sums[c] = sums[c] * a + b;
    for (int c = 0; c < CHAINS; c++)
        out = sums[c][c];
    (void)out;
    return (uint64_t)rounds * CHAINS * 16 * 2;
#endif
}

uint64_t K(peak_bf16)(long rounds) {
#if defined(__AVX512BF16__)
    const __m512i a = _mm512_set1_epi16(0x3F7F), b = _mm512_set1_epi16(0x3A83);
/* By hand: clang 16 fails over vectors of __bf16. */
#define STEP_BF16(c, a, b) __asm__ volatile("vdpbf16ps %2, %1, %0" : "+v"(s##c) : "v"(a), "v"(b));
    RUN(__m512, _mm512_set1_ps, STEP_BF16)
    return (uint64_t)rounds * CHAINS * 32 * 2;
#else
    (void)rounds;
    return 0;
#endif
}

uint64_t K(peak_int8)(long rounds) {
#if defined(__AVX512VNNI__)
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
#define STEP_INT8(c, a, b) s##c = _mm512_dpbusd_epi32(s##c, a, b); KEEP(s##c);
    RUN(__m512i, _mm512_set1_epi32, STEP_INT8)
    return (uint64_t)rounds * CHAINS * 64 * 2;
#elif defined(__AVX512BW__)
    __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5), one = _mm512_set1_epi16(1);
#define STEP_INT8(c, a, b) \
    s##c = _mm512_add_epi32(s##c, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), one)); KEEP(s##c); KEEP(a);
    RUN(__m512i, _mm512_set1_epi32, STEP_INT8)
    return (uint64_t)rounds * CHAINS * 64 * 2;
#elif defined(__AVX2__)
    __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
#define STEP_INT8(c, a, b) \
    s##c = _mm256_add_epi32(s##c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one)); KEEP(s##c); KEEP(a);
    RUN(__m256i, _mm256_set1_epi32, STEP_INT8)
    return (uint64_t)rounds * CHAINS * 32 * 2;
#else
    (void)rounds;
    return 0;
#endif
}

uint64_t K(peak_read)(const uint8_t *bytes, size_t n) {
    VI sums[8] = {{0}};
    for (size_t i = 0; i + 512 <= n; i += 512) {
#if defined(__x86_64__)
        _mm_prefetch((const char *)bytes + i + 4096, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 64, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 128, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 192, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 256, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 320, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 384, _MM_HINT_T0);
        _mm_prefetch((const char *)bytes + i + 4096 + 448, _MM_HINT_T0);
#endif
        for (int c = 0; c < 8; c++) {
            VI v;
            memcpy(&v, bytes + i + (size_t)c * 64, sizeof v);
            sums[c] += v;
        }
    }
    uint64_t all = 0;
    for (int c = 0; c < 8; c++)
        for (int i = 0; i < 16; i++)
            all += (uint32_t)sums[c][i];
    return all;
}
