/* native.h - the widest vectors of the level this file is compiled for: NI_LANES 32-bit lanes, 16 with AVX-512, 8 with
 * AVX2. What is written with these (the unpackers, the dot products of linear_simd.c) is written once for all levels.
 *
 * NI holds integers: NI_LANES of 32 bits, or four bytes in each of them. NF holds NI_LANES floats. On machines without either
 * instruction set only what the plain kernels need is defined, by the compiler's own vectors. */
#ifndef HOULE_KERNEL_NATIVE_H
#define HOULE_KERNEL_NATIVE_H

#include "base/compiler.h"
#include "kernel/simd.h"

#if defined(__AVX512BW__)
#define NATIVE_512 1
#define NATIVE_X86 1
#elif defined(__AVX2__)
#define NATIVE_256 1
#define NATIVE_X86 1
#endif

/* The dot product of four unsigned with four signed bytes is one instruction. */
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define NATIVE_DOT4 1
#endif

#if defined(NATIVE_512)

#define LANES_ARE_16 1
enum { NI_LANES = 16 };
typedef __m512i NI;
typedef __m512 NF;

static ALWAYS_INLINE NI ni_zero(void) { return _mm512_setzero_si512(); }
static ALWAYS_INLINE NI ni_set(int32_t x) { return _mm512_set1_epi32(x); }
static ALWAYS_INLINE NI ni_set8(int x) { return _mm512_set1_epi8((char)x); }
static ALWAYS_INLINE NI ni_load(const void *p) { return _mm512_loadu_si512(p); }
static ALWAYS_INLINE void ni_store(void *p, NI a) { _mm512_storeu_si512(p, a); }
static ALWAYS_INLINE NI ni_and(NI a, NI b) { return _mm512_and_si512(a, b); }
static ALWAYS_INLINE NI ni_or(NI a, NI b) { return _mm512_or_si512(a, b); }
static ALWAYS_INLINE NI ni_xor(NI a, NI b) { return _mm512_xor_si512(a, b); }
static ALWAYS_INLINE NI ni_add(NI a, NI b) { return _mm512_add_epi32(a, b); }
static ALWAYS_INLINE NI ni_sub(NI a, NI b) { return _mm512_sub_epi32(a, b); }
static ALWAYS_INLINE NI ni_mul(NI a, NI b) { return _mm512_mullo_epi32(a, b); }
static ALWAYS_INLINE NI ni_add8(NI a, NI b) { return _mm512_add_epi8(a, b); }
static ALWAYS_INLINE NI ni_sub8(NI a, NI b) { return _mm512_sub_epi8(a, b); }
static ALWAYS_INLINE NI ni_add16(NI a, NI b) { return _mm512_add_epi16(a, b); }
static ALWAYS_INLINE NI ni_mul16(NI a, NI b) { return _mm512_mullo_epi16(a, b); }
static ALWAYS_INLINE NI ni_maddubs(NI a, NI b) { return _mm512_maddubs_epi16(a, b); }
static ALWAYS_INLINE NI ni_madd(NI a, NI b) { return _mm512_madd_epi16(a, b); }
static ALWAYS_INLINE NI ni_abs8(NI a) { return _mm512_abs_epi8(a); }
/* a, negated where s is negative (s = 0 does not matter: it is multiplied by nothing). */
static ALWAYS_INLINE NI ni_sign8(NI a, NI s) {
    return _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(s), _mm512_setzero_si512(), a);
}
static ALWAYS_INLINE NI ni_srl(NI a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
static ALWAYS_INLINE NI ni_sll(NI a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
static ALWAYS_INLINE NI ni_sra(NI a, int n) { return _mm512_srai_epi32(a, (unsigned)n); }
/* Bytes of a 16-byte lane chosen by the low 4 bits of each index byte; bit 7 set gives 0. */
static ALWAYS_INLINE NI ni_shuffle8(NI table, NI index) { return _mm512_shuffle_epi8(table, index); }
/* The same 16 bytes in each 16-byte lane. */
static ALWAYS_INLINE NI ni_set16(__m128i x) { return _mm512_broadcast_i32x4(x); }
/* Bits of a where the mask is set, of b elsewhere. */
static ALWAYS_INLINE NI ni_pick(NI mask, NI a, NI b) { return _mm512_ternarylogic_epi32(mask, a, b, 0xCA); }

#if defined(NATIVE_DOT4)
/* acc + four unsigned bytes of w times four signed bytes of a; acc + two products of 16 bits */
static ALWAYS_INLINE NI ni_dot4(NI acc, NI w, NI a) { return _mm512_dpbusd_epi32(acc, w, a); }
static ALWAYS_INLINE NI ni_dot2(NI acc, NI w, NI a) { return _mm512_dpwssd_epi32(acc, w, a); }
#else
static ALWAYS_INLINE NI ni_dot2(NI acc, NI w, NI a) { return ni_add(acc, ni_madd(w, a)); }
#endif

static ALWAYS_INLINE NF nf_zero(void) { return _mm512_setzero_ps(); }
static ALWAYS_INLINE NF nf_set(float x) { return _mm512_set1_ps(x); }
static ALWAYS_INLINE NF nf_load(const float *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE void nf_store(float *p, NF a) { _mm512_storeu_ps(p, a); }
static ALWAYS_INLINE NF nf_add(NF a, NF b) { return _mm512_add_ps(a, b); }
static ALWAYS_INLINE NF nf_sub(NF a, NF b) { return _mm512_sub_ps(a, b); }
static ALWAYS_INLINE NF nf_mul(NF a, NF b) { return _mm512_mul_ps(a, b); }
static ALWAYS_INLINE NF nf_fma(NF a, NF b, NF c) { return _mm512_fmadd_ps(a, b, c); }
static ALWAYS_INLINE NF nf_fnma(NF a, NF b, NF c) { return _mm512_fnmadd_ps(a, b, c); }
static ALWAYS_INLINE NF nf_of_ni(NI a) { return _mm512_cvtepi32_ps(a); }
static ALWAYS_INLINE NF nf_bits(NI a) { return _mm512_castsi512_ps(a); }
/* The low half of each lane as binary16. */
static ALWAYS_INLINE NF nf_of_f16_lanes(NI a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
static ALWAYS_INLINE NF nf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }

#elif defined(NATIVE_256)

#define LANES_ARE_16 0
enum { NI_LANES = 8 };
typedef __m256i NI;
typedef __m256 NF;

static ALWAYS_INLINE NI ni_zero(void) { return _mm256_setzero_si256(); }
static ALWAYS_INLINE NI ni_set(int32_t x) { return _mm256_set1_epi32(x); }
static ALWAYS_INLINE NI ni_set8(int x) { return _mm256_set1_epi8((char)x); }
static ALWAYS_INLINE NI ni_load(const void *p) { return _mm256_loadu_si256(p); }
static ALWAYS_INLINE void ni_store(void *p, NI a) { _mm256_storeu_si256(p, a); }
static ALWAYS_INLINE NI ni_and(NI a, NI b) { return _mm256_and_si256(a, b); }
static ALWAYS_INLINE NI ni_or(NI a, NI b) { return _mm256_or_si256(a, b); }
static ALWAYS_INLINE NI ni_xor(NI a, NI b) { return _mm256_xor_si256(a, b); }
static ALWAYS_INLINE NI ni_add(NI a, NI b) { return _mm256_add_epi32(a, b); }
static ALWAYS_INLINE NI ni_sub(NI a, NI b) { return _mm256_sub_epi32(a, b); }
static ALWAYS_INLINE NI ni_mul(NI a, NI b) { return _mm256_mullo_epi32(a, b); }
static ALWAYS_INLINE NI ni_add8(NI a, NI b) { return _mm256_add_epi8(a, b); }
static ALWAYS_INLINE NI ni_sub8(NI a, NI b) { return _mm256_sub_epi8(a, b); }
static ALWAYS_INLINE NI ni_add16(NI a, NI b) { return _mm256_add_epi16(a, b); }
static ALWAYS_INLINE NI ni_mul16(NI a, NI b) { return _mm256_mullo_epi16(a, b); }
static ALWAYS_INLINE NI ni_maddubs(NI a, NI b) { return _mm256_maddubs_epi16(a, b); }
static ALWAYS_INLINE NI ni_madd(NI a, NI b) { return _mm256_madd_epi16(a, b); }
static ALWAYS_INLINE NI ni_abs8(NI a) { return _mm256_abs_epi8(a); }
static ALWAYS_INLINE NI ni_sign8(NI a, NI s) { return _mm256_sign_epi8(a, s); }
static ALWAYS_INLINE NI ni_srl(NI a, int n) { return _mm256_srli_epi32(a, n); }
static ALWAYS_INLINE NI ni_sll(NI a, int n) { return _mm256_slli_epi32(a, n); }
static ALWAYS_INLINE NI ni_sra(NI a, int n) { return _mm256_srai_epi32(a, n); }
static ALWAYS_INLINE NI ni_shuffle8(NI table, NI index) { return _mm256_shuffle_epi8(table, index); }
static ALWAYS_INLINE NI ni_set16(__m128i x) { return _mm256_broadcastsi128_si256(x); }
static ALWAYS_INLINE NI ni_pick(NI mask, NI a, NI b) {
    return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
}

#if defined(NATIVE_DOT4)
static ALWAYS_INLINE NI ni_dot4(NI acc, NI w, NI a) { return _mm256_dpbusd_avx_epi32(acc, w, a); }
static ALWAYS_INLINE NI ni_dot2(NI acc, NI w, NI a) { return _mm256_dpwssd_avx_epi32(acc, w, a); }
#else
static ALWAYS_INLINE NI ni_dot2(NI acc, NI w, NI a) { return ni_add(acc, ni_madd(w, a)); }
#endif

static ALWAYS_INLINE NF nf_zero(void) { return _mm256_setzero_ps(); }
static ALWAYS_INLINE NF nf_set(float x) { return _mm256_set1_ps(x); }
static ALWAYS_INLINE NF nf_load(const float *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE void nf_store(float *p, NF a) { _mm256_storeu_ps(p, a); }
static ALWAYS_INLINE NF nf_add(NF a, NF b) { return _mm256_add_ps(a, b); }
static ALWAYS_INLINE NF nf_sub(NF a, NF b) { return _mm256_sub_ps(a, b); }
static ALWAYS_INLINE NF nf_mul(NF a, NF b) { return _mm256_mul_ps(a, b); }
static ALWAYS_INLINE NF nf_fma(NF a, NF b, NF c) { return _mm256_fmadd_ps(a, b, c); }
static ALWAYS_INLINE NF nf_fnma(NF a, NF b, NF c) { return _mm256_fnmadd_ps(a, b, c); }
static ALWAYS_INLINE NF nf_of_ni(NI a) { return _mm256_cvtepi32_ps(a); }
static ALWAYS_INLINE NF nf_bits(NI a) { return _mm256_castsi256_ps(a); }
static ALWAYS_INLINE NF nf_of_f16_lanes(NI a) {
    const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)), _mm256_setzero_si256());
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}
static ALWAYS_INLINE NF nf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }

#else

#define LANES_ARE_16 1
enum { NI_LANES = 16 };
typedef VI NI;
typedef VF NF;

static ALWAYS_INLINE NI ni_zero(void) { return vi_set(0); }
static ALWAYS_INLINE NI ni_set(int32_t x) { return vi_set(x); }
static ALWAYS_INLINE NI ni_load(const void *p) { NI v; memcpy(&v, p, sizeof v); return v; }
static ALWAYS_INLINE void ni_store(void *p, NI a) { memcpy(p, &a, sizeof a); }
static ALWAYS_INLINE NI ni_add(NI a, NI b) { return a + b; }
static ALWAYS_INLINE NI ni_mul(NI a, NI b) { return a * b; }
static ALWAYS_INLINE NF nf_zero(void) { return vf_set(0); }
static ALWAYS_INLINE NF nf_set(float x) { return vf_set(x); }
static ALWAYS_INLINE NF nf_load(const float *p) { return vf_load(p); }
static ALWAYS_INLINE void nf_store(float *p, NF a) { vf_store(p, a); }
static ALWAYS_INLINE NF nf_mul(NF a, NF b) { return a * b; }
static ALWAYS_INLINE NF nf_fma(NF a, NF b, NF c) { return vf_fma(a, b, c); }
static ALWAYS_INLINE NF nf_fnma(NF a, NF b, NF c) { return vf_fma(-a, b, c); }
static ALWAYS_INLINE NF nf_of_ni(NI a) { return vf_of_vi(a); }

#endif

/* ---- turning rows into lanes ------------------------------------------------------------------------------------- */

#if defined(NATIVE_X86)

#define PART(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define HALF(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))

static ALWAYS_INLINE NI ni_unpack32_low(NI a, NI b) {
#if defined(NATIVE_512)
    return _mm512_unpacklo_epi32(a, b);
#else
    return _mm256_unpacklo_epi32(a, b);
#endif
}

static ALWAYS_INLINE NI ni_unpack32_high(NI a, NI b) {
#if defined(NATIVE_512)
    return _mm512_unpackhi_epi32(a, b);
#else
    return _mm256_unpackhi_epi32(a, b);
#endif
}

static ALWAYS_INLINE NI ni_unpack64_low(NI a, NI b) {
#if defined(NATIVE_512)
    return _mm512_unpacklo_epi64(a, b);
#else
    return _mm256_unpacklo_epi64(a, b);
#endif
}

static ALWAYS_INLINE NI ni_unpack64_high(NI a, NI b) {
#if defined(NATIVE_512)
    return _mm512_unpackhi_epi64(a, b);
#else
    return _mm256_unpackhi_epi64(a, b);
#endif
}

/* 16 bytes of each of the rows r, r + 4, r + 8 ... in the 16-byte lanes. */
static ALWAYS_INLINE NI parts_of_rows(const uint8_t *p, size_t stride) {
#if defined(NATIVE_512)
    NI v = _mm512_castsi128_si512(PART(p));
    v = _mm512_inserti32x4(v, PART(p + 4 * stride), 1);
    v = _mm512_inserti32x4(v, PART(p + 8 * stride), 2);
    return _mm512_inserti32x4(v, PART(p + 12 * stride), 3);
#else
    return _mm256_inserti128_si256(_mm256_castsi128_si256(PART(p)), PART(p + 4 * stride), 1);
#endif
}

/* Turns a 4 x 4 square of 32-bit numbers in each 16-byte lane. */
static ALWAYS_INLINE void turn_4x4(NI v[4]) {
    const NI a = ni_unpack32_low(v[0], v[1]), b = ni_unpack32_low(v[2], v[3]);
    const NI c = ni_unpack32_high(v[0], v[1]), d = ni_unpack32_high(v[2], v[3]);
    v[0] = ni_unpack64_low(a, b);
    v[1] = ni_unpack64_high(a, b);
    v[2] = ni_unpack64_low(c, d);
    v[3] = ni_unpack64_high(c, d);
}

/* 16 bytes of each of NI_LANES rows: v[i] has bytes 4 i .. 4 i + 3 of row l in lane l. */
static ALWAYS_INLINE void turn_rows_16(NI v[4], const uint8_t *p, size_t stride) {
    UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = parts_of_rows(p + (size_t)i * stride, stride);
    turn_4x4(v);
}

/* 32 bytes of each of NI_LANES rows. */
static ALWAYS_INLINE void turn_rows_32(NI v[8], const uint8_t *p, size_t stride) {
#if defined(NATIVE_512)
    /* Rows i and i + 4 (low), i + 8 and i + 12 (high) as halves; after turning the squares inside the 16-byte lanes,
     * one exchange of those lanes is left. */
    NI low[4], high[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        const uint8_t *q = p + (size_t)i * stride;
        low[i] = _mm512_inserti64x4(_mm512_castsi256_si512(HALF(q)), HALF(q + 4 * stride), 1);
        high[i] = _mm512_inserti64x4(_mm512_castsi256_si512(HALF(q + 8 * stride)), HALF(q + 12 * stride), 1);
    }
    turn_4x4(low);
    turn_4x4(high);
    UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_shuffle_i32x4(low[i], high[i], 0x88);
        v[4 + i] = _mm512_shuffle_i32x4(low[i], high[i], 0xDD);
    }
#else
    turn_rows_16(v, p, stride);
    turn_rows_16(v + 4, p + 16, stride);
#endif
}

/* Four bytes of each row. */
static ALWAYS_INLINE NI gather_32(const uint8_t *p, size_t stride) {
    NI v;
    __m128i x[NI_LANES / 4];
    UNROLL
    for (int i = 0; i < NI_LANES / 4; i++) {
        int32_t a[4];
        UNROLL
        for (int j = 0; j < 4; j++)
            memcpy(&a[j], p + (size_t)(4 * i + j) * stride, 4);
        x[i] = _mm_insert_epi32(
            _mm_insert_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(a[0]), a[1], 1), a[2], 2), a[3], 3);
    }
#if defined(NATIVE_512)
    v = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(x[1], x[0])), _mm256_set_m128i(x[3], x[2]), 1);
#else
    v = _mm256_set_m128i(x[1], x[0]);
#endif
    return v;
}

/* Two bytes of each row, as binary16. */
static ALWAYS_INLINE NF gather_f16(const uint8_t *p, size_t stride) {
    __m128i x[NI_LANES / 8];
    UNROLL
    for (int i = 0; i < NI_LANES / 8; i++) {
        uint16_t a[8];
        UNROLL
        for (int j = 0; j < 8; j++)
            memcpy(&a[j], p + (size_t)(8 * i + j) * stride, 2);
        x[i] = _mm_cvtsi32_si128(a[0]);
        x[i] = _mm_insert_epi16(x[i], a[1], 1);
        x[i] = _mm_insert_epi16(x[i], a[2], 2);
        x[i] = _mm_insert_epi16(x[i], a[3], 3);
        x[i] = _mm_insert_epi16(x[i], a[4], 4);
        x[i] = _mm_insert_epi16(x[i], a[5], 5);
        x[i] = _mm_insert_epi16(x[i], a[6], 6);
        x[i] = _mm_insert_epi16(x[i], a[7], 7);
    }
#if defined(NATIVE_512)
    return _mm512_cvtph_ps(_mm256_set_m128i(x[1], x[0]));
#else
    return _mm256_cvtph_ps(x[0]);
#endif
}

/* One byte of each row, in 32 bits. */
static ALWAYS_INLINE NI gather_8(const uint8_t *p, size_t stride) {
    __m128i x = _mm_cvtsi32_si128(p[0]);
    x = _mm_insert_epi8(x, p[1 * stride], 1);
    x = _mm_insert_epi8(x, p[2 * stride], 2);
    x = _mm_insert_epi8(x, p[3 * stride], 3);
    x = _mm_insert_epi8(x, p[4 * stride], 4);
    x = _mm_insert_epi8(x, p[5 * stride], 5);
    x = _mm_insert_epi8(x, p[6 * stride], 6);
    x = _mm_insert_epi8(x, p[7 * stride], 7);
#if defined(NATIVE_512)
    x = _mm_insert_epi8(x, p[8 * stride], 8);
    x = _mm_insert_epi8(x, p[9 * stride], 9);
    x = _mm_insert_epi8(x, p[10 * stride], 10);
    x = _mm_insert_epi8(x, p[11 * stride], 11);
    x = _mm_insert_epi8(x, p[12 * stride], 12);
    x = _mm_insert_epi8(x, p[13 * stride], 13);
    x = _mm_insert_epi8(x, p[14 * stride], 14);
    x = _mm_insert_epi8(x, p[15 * stride], 15);
    return _mm512_cvtepu8_epi32(x);
#else
    return _mm256_cvtepu8_epi32(x);
#endif
}

#endif

#endif
