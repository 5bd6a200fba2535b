/* linear_one.h - one row times a matrix, weights going from the file's bytes through registers into the sums.
 *
 * What generation does. The numbers are those of linear_simd.c's tiles, in the same order, so the bits are the same; what
 * is saved is writing tiles and reading them again:
 *
 *     for each NI_LANES outputs
 *         for each block of inputs: groups_ggml.h turns the rows into lanes, put() multiplies at once
 *
 * The weights of some outputs are one run of bytes. While one run is used, the next is fetched line by line between the
 * products, in the order of the file: in bursts most prefetches are dropped. */
#ifndef HOULE_KERNEL_LINEAR_ONE_H
#define HOULE_KERNEL_LINEAR_ONE_H

#include "kernel/linear_dots.h"

#if defined(NATIVE_X86)

/* Sums of the products so far, one for `per_sum` puts each; and what put() needs to know, all of it constant where it is
 * inlined. */
typedef struct Sink {
    NI sum[16];
    const int8_t *a;
    const uint8_t *ahead;  /* lines to fetch while `puts` puts are made */
    int per_sum, puts, lines, top;
} Sink;

static ALWAYS_INLINE void put(Sink *s, int i, NI four) {
    const NI a = four_of(s->a + 4 * i);
    NI *sum = &s->sum[i / s->per_sum];
#if defined(NATIVE_DOT4)
    *sum = ni_dot4(*sum, four, a);
#else
    const NI ones = ni_set(0x00010001);
    if (s->top <= 127) {
        *sum = ni_add(*sum, ni_madd(ni_maddubs(four, a), ones));
    } else {
        const NI w = ni_xor(four, ni_set8(0x80));
        *sum = ni_add(*sum, ni_madd(ni_maddubs(ni_abs8(w), ni_sign8(a, w)), ones));
    }
#endif
    /* The compiler's scheduler must not gather these (-fno-schedule-insns2 in meson.build): Q6_K 18 -> 29 GB/s. */
    UNROLL
    for (int line = i * s->lines / s->puts; line < (i + 1) * s->lines / s->puts; line++)
        PREFETCH(s->ahead + 64 * line);
}

#include "kernel/groups_ggml.h"

#if defined(NATIVE_DOT4)
#define SUMS_NEED_START(top) true
#else
#define SUMS_NEED_START(top) ((top) <= 127)
#endif

/* NI_LANES outputs from row0 on. `ahead`: as many bytes as those outputs' weights, to fetch. */
typedef struct One {
    void (*run)(const Matrix *m, int row0, const void *acts, const uint8_t *ahead, float *out);
    int multiple; /* of this many inputs */
} One;

#define ONE_BLOCK(name, bytes, has_min, offset, most)                                                                  \
    static void one_##name(const Matrix *m, int row0, const void *acts, const uint8_t *ahead, float *out) {            \
        enum { LINES = (NI_LANES * bytes + 63) / 64 };                                                                 \
        const uint8_t *p = m->data + (size_t)row0 * m->row_bytes;                                                      \
        const ActBlock32 *a = acts;                                                                                    \
        NF acc = nf_zero();                                                                                            \
        for (int g = 0; g < m->cols / 32; g++, p += bytes, ahead += NI_LANES * bytes) {                                \
            const int at = g % 8;                                                                                      \
            Sink s = {.a = a[g / 8].q + 32 * at, .ahead = ahead, .per_sum = 8, .puts = 8, .lines = LINES,              \
                      .top = most};                                                                                    \
            const int16_t *counts = a[g / 8].counts + 2 * at;                                                          \
            s.sum[0] = offset > 0 && SUMS_NEED_START(most) ? ni_set(-offset * (counts[0] + counts[1])) : ni_zero();    \
            GroupScale scale;                                                                                          \
            load_##name(&s, &scale, p, m->row_bytes);                                                                  \
            acc = nf_fma(nf_of_ni(s.sum[0]), nf_mul(scale.d[0], nf_set(a[g / 8].d[at])), acc);                         \
            if (has_min)                                                                                               \
                acc = nf_fma(scale.m, nf_set(a[g / 8].s[at]), acc);                                                    \
        }                                                                                                              \
        nf_store(out, acc);                                                                                            \
    }

ONE_BLOCK(q4_0, 18, false, 8, 15)
ONE_BLOCK(q4_1, 20, true, 0, 15)
ONE_BLOCK(q5_0, 22, false, 16, 31)
ONE_BLOCK(q5_1, 24, true, 0, 31)
ONE_BLOCK(q8_0, 34, false, 128, 255)
ONE_BLOCK(iq4_nl, 18, false, 128, 255)
ONE_BLOCK(mxfp4, 17, false, 16, 31)

#define ONE_SUPER(name, bytes, group, has_min, offset, most)                                                           \
    static void one_##name(const Matrix *m, int row0, const void *acts, const uint8_t *ahead, float *out) {            \
        enum { LINES = (NI_LANES * bytes + 63) / 64, GROUPS = 256 / group };                                           \
        const uint8_t *p = m->data + (size_t)row0 * m->row_bytes;                                                      \
        const ActBlock256 *a = acts;                                                                                   \
        NF acc = nf_zero();                                                                                            \
        for (int col = 0; col < m->cols; col += 256, p += bytes, ahead += NI_LANES * bytes, a++) {                     \
            Sink s = {.a = a->q, .ahead = ahead, .per_sum = group / 4, .puts = 64, .lines = LINES, .top = most};       \
            _Alignas(64) int32_t start[16];                                                                            \
            if (offset > 0 && SUMS_NEED_START(most))                                                                   \
                start_of_sums(start, a->counts, group, offset);                                                        \
            UNROLL                                                                                                     \
            for (int g = 0; g < GROUPS; g++)                                                                           \
                s.sum[g] = offset > 0 && SUMS_NEED_START(most) ? ni_set(start[g]) : ni_zero();                         \
            load_##name(&s, p, m->row_bytes);                                                                          \
            SuperScale scale;                                                                                          \
            scales_##name(&scale, p, m->row_bytes);                                                                    \
            NI total = ni_mul(s.sum[0], scale.sc[0]);                                                                  \
            UNROLL                                                                                                     \
            for (int g = 1; g < GROUPS; g++)                                                                           \
                total = ni_add(total, ni_mul(s.sum[g], scale.sc[g]));                                                  \
            acc = nf_fma(nf_of_ni(total), nf_mul(scale.d, nf_set(a->d)), acc);                                         \
            if (has_min) {                                                                                             \
                NI less = ni_zero();                                                                                   \
                UNROLL                                                                                                 \
                for (int g = 0; g < GROUPS / 2; g++)                                                                   \
                    less = dot2(less, scale.mn[g], (group == 16 ? a->counts : a->counts32) + 2 * g);                   \
                acc = nf_fnma(nf_of_ni(less), nf_mul(scale.dm, nf_set(a->d)), acc);                                    \
            }                                                                                                          \
        }                                                                                                              \
        nf_store(out, acc);                                                                                            \
    }

#define scales_q5_k scales_q4_k

ONE_SUPER(q2_k, 84, 16, true, 0, 15)
ONE_SUPER(q3_k, 110, 16, false, 4, 15)
ONE_SUPER(q4_k, 144, 32, true, 0, 15)
ONE_SUPER(q5_k, 176, 32, true, 0, 31)
ONE_SUPER(q6_k, 210, 16, false, 32, 63)
ONE_SUPER(iq4_xs, 136, 32, false, 128, 255)

#define ONE_32(name) {one_##name, 32}
#define ONE_256(name) {one_##name, 256}

static const One ones[FORM_COUNT] = {
    [FORM_Q4_0] = ONE_32(q4_0),   [FORM_Q4_1] = ONE_32(q4_1),     [FORM_Q5_0] = ONE_32(q5_0),
    [FORM_Q5_1] = ONE_32(q5_1),   [FORM_Q8_0] = ONE_32(q8_0),     [FORM_IQ4_NL] = ONE_32(iq4_nl),
    [FORM_MXFP4] = ONE_32(mxfp4), [FORM_Q2_K] = ONE_256(q2_k),    [FORM_Q3_K] = ONE_256(q3_k),
    [FORM_Q4_K] = ONE_256(q4_k),  [FORM_Q5_K] = ONE_256(q5_k),    [FORM_Q6_K] = ONE_256(q6_k),
    [FORM_IQ4_XS] = ONE_256(iq4_xs),
};

#endif

#endif
