/* linear_dots.h - the innermost loops of linear_simd.c: up to ROWS rows times VECTORS vectors of outputs, in registers.
 *
 * Lanes are outputs. A vector of weights (four inputs of each output) is loaded once and multiplied by the four bytes of
 * each row, broadcast:
 *
 *                      vector 0        vector 1
 *     row 0  a[k..k+3]  sum[0][0]       sum[0][1]      12 sums and 12 totals (or float results), two vectors of
 *     row 1             sum[1][0]       sum[1][1]      weights and one broadcast take 27 of AVX-512's 32 registers
 *     ...
 *
 * Integer sums are exact, so their order is free; float operations come once per group (class BLOCK) or per 256 inputs
 * (class SUPER) and follow kernel.h's contract. What an offset adds to a sum is taken away where the sum begins. */
#ifndef HOULE_KERNEL_LINEAR_DOTS_H
#define HOULE_KERNEL_LINEAR_DOTS_H

#include "kernel/kernel_parts.h"
#include "kernel/native.h"

#if LANES_ARE_16
enum { ROWS = 6, VECTORS = 2, PANELS = 2 }; /* two vectors are two panels */
#else
enum { ROWS = 4, VECTORS = 2, PANELS = 1 }; /* two vectors are one panel */
#endif

/* Rows of floats need one register per result. */
#if defined(NATIVE_512)
enum { FLOAT_ROWS = 12 };
#elif defined(NATIVE_256)
enum { FLOAT_ROWS = 6 };
#else
enum { FLOAT_ROWS = 2 };
#endif

/* What a row brings to the 256 inputs of a tile. */
typedef struct RowPart {
    union {
        const int8_t *q;           /* both begin with the 256 bytes */
        const ActBlock32 *block;   /* class BLOCK */
        const ActBlock256 *super;  /* class SUPER */
    } a;
    const float *from;             /* results so far, of PANELS panels */
    float *to;                     /* and where they go */
    _Alignas(64) int32_t start[TILE_COLS / 16]; /* -offset * counts of each group: where its sum begins */
} RowPart;

/* Vector v of a pair: of panel v, or the half v of one panel. */
#if LANES_ARE_16
#define OF_PANEL(tiles, v) (&(tiles)[v])
#define LANE0(v) 0
#else
#define OF_PANEL(tiles, v) (&(tiles)[0])
#define LANE0(v) (8 * (v))
#endif

static ALWAYS_INLINE NI four_of(const int8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    return ni_set(four);
}

/* Rows in registers: sums of `steps` vectors of weights, from `q` on (64 bytes each). `top` is the largest weight. */
typedef NI Sums[ROWS][VECTORS];

static ALWAYS_INLINE void dot_group(Sums sum, const uint8_t *const q[VECTORS], const RowPart *row, int n_row, int at,
                                    int steps, int top) {
#if defined(NATIVE_DOT4)
    (void)top;
    UNROLL
    for (int j = 0; j < steps; j++) {
        NI w[VECTORS];
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            w[v] = ni_load(q[v] + 64 * j);
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NI a = four_of(row[r].a.q + at + 4 * j);
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] = ni_dot4(sum[r][v], w[v], a);
        }
    }
#elif defined(NATIVE_X86)
    const NI ones = ni_set(0x00010001);
    if (top <= 127) {
        /* Products of two stay below 2 * top * 127: this many of them fit 16 bits. */
        const int batch = MIN(steps, top <= 15 ? 8 : top <= 31 ? 4 : top <= 63 ? 2 : 1);
        UNROLL
        for (int j0 = 0; j0 < steps; j0 += batch) {
            Sums part;
            UNROLL
            for (int j = j0; j < j0 + batch; j++)
                UNROLL
                for (int v = 0; v < VECTORS; v++) {
                    const NI w = ni_load(q[v] + 64 * j);
                    UNROLL
                    for (int r = 0; r < n_row; r++) {
                        const NI two = ni_maddubs(w, four_of(row[r].a.q + at + 4 * j));
                        part[r][v] = j == j0 ? two : ni_add16(part[r][v], two);
                    }
                }
            UNROLL
            for (int r = 0; r < n_row; r++)
                UNROLL
                for (int v = 0; v < VECTORS; v++)
                    sum[r][v] = ni_add(sum[r][v], ni_madd(part[r][v], ones));
        }
        return;
    }
    /* Weights of 8 bits less 128: their magnitudes times the inputs with their signs. */
    UNROLL
    for (int j = 0; j < steps; j++)
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const NI w = ni_xor(ni_load(q[v] + 64 * j), ni_set8(0x80)), magnitude = ni_abs8(w);
            UNROLL
            for (int r = 0; r < n_row; r++) {
                const NI two = ni_maddubs(magnitude, ni_sign8(four_of(row[r].a.q + at + 4 * j), w));
                sum[r][v] = ni_add(sum[r][v], ni_madd(two, ones));
            }
        }
#else
    (void)top;
    for (int j = 0; j < steps; j++)
        for (int v = 0; v < VECTORS; v++)
            for (int r = 0; r < n_row; r++)
                for (int o = 0; o < NI_LANES; o++)
                    for (int i = 0; i < 4; i++)
                        sum[r][v][o] += q[v][64 * j + 4 * o + i] * row[r].a.q[at + 4 * j + i];
#endif
}

/* Where sums of group g begin: dot_group's signed way of 8-bit weights needs no correction. */
static ALWAYS_INLINE void start_sums(Sums sum, const RowPart *row, int n_row, int g, bool offset, int top) {
#if defined(NATIVE_X86) && !defined(NATIVE_DOT4)
    offset = offset && top <= 127;
#else
    (void)top;
#endif
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            sum[r][v] = offset ? ni_set(row[r].start[g]) : ni_zero();
}

/* start[i] = -offset * the sum of group i's inputs, from the sums of each 16 */
static ALWAYS_INLINE void start_of_sums(int32_t *start, const int16_t *counts, int group, int offset) {
#if defined(NATIVE_512)
    const __m256i all = _mm256_loadu_si256((const __m256i *)(const void *)counts);
    if (group == 16)
        ni_store(start, ni_mul(_mm512_cvtepi16_epi32(all), ni_set(-offset)));
    else
        _mm256_store_si256((__m256i *)(void *)start, _mm256_madd_epi16(all, _mm256_set1_epi16((int16_t)-offset)));
#elif defined(NATIVE_256)
    const NI all = ni_load(counts);
    if (group == 16) {
        ni_store(start, ni_mul(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(all)), ni_set(-offset)));
        ni_store(start + 8, ni_mul(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(all, 1)), ni_set(-offset)));
    } else {
        ni_store(start, ni_madd(all, _mm256_set1_epi16((int16_t)-offset)));
    }
#else
    for (int i = 0; i < 256 / group; i++)
        start[i] = -offset * (group == 16 ? counts[i] : counts[2 * i] + counts[2 * i + 1]);
#endif
}

/* ---- class BLOCK: n inputs, a multiple of 32 ---- */

static ALWAYS_INLINE void block_rows(const BlockTile *tiles, const RowPart *row, int n_row, int n, int group,
                                     bool has_min, bool offset, int top, bool first) {
    NF acc[ROWS][VECTORS];
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = first ? nf_zero() : nf_load(row[r].from + NI_LANES * v);
    const int steps = group / 4;
    NO_UNROLL
    for (int g = 0; g < n / group; g++) {
        const uint8_t *const q[VECTORS] = {OF_PANEL(tiles, 0)->q[g * steps][LANE0(0)],
                                           OF_PANEL(tiles, 1)->q[g * steps][LANE0(1)]};
        Sums sum;
        start_sums(sum, row, n_row, g, offset, top);
        dot_group(sum, q, row, n_row, g * group, steps, top);
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const NF d = nf_load(OF_PANEL(tiles, v)->d[g] + LANE0(v));
            UNROLL
            for (int r = 0; r < n_row; r++) {
                const NF scale = nf_mul(d, nf_set(row[r].a.block->d[g * group / 32]));
                acc[r][v] = nf_fma(nf_of_ni(sum[r][v]), scale, acc[r][v]);
            }
        }
        if (has_min)
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                const NF m = nf_load(OF_PANEL(tiles, v)->m[g] + LANE0(v));
                UNROLL
                for (int r = 0; r < n_row; r++)
                    acc[r][v] = nf_fma(m, nf_set(row[r].a.block->s[g]), acc[r][v]);
            }
    }
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            nf_store(row[r].to + NI_LANES * v, acc[r][v]);
}

/* ---- class SUPER: 256 inputs ---- */

/* acc[o] += w[o][0] * a[0] + w[o][1] * a[1], numbers of 16 bits */
static ALWAYS_INLINE NI dot2(NI acc, NI w, const int16_t *a) {
#if defined(NATIVE_X86)
    int32_t two;
    memcpy(&two, a, sizeof two);
    return ni_dot2(acc, w, ni_set(two));
#else
    int16_t pairs[NI_LANES][2];
    memcpy(pairs, &w, sizeof pairs);
    for (int o = 0; o < NI_LANES; o++)
        acc[o] += pairs[o][0] * a[0] + pairs[o][1] * a[1];
    return acc;
#endif
}

/* The exact part: total = sum over groups of sc * (sum of q a). */
static ALWAYS_INLINE void super_totals(Sums total, const SuperTile *tiles, const RowPart *row, int n_row, int group,
                                       bool offset, int top) {
    const int steps = group / 4;
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            total[r][v] = ni_zero();
    NO_UNROLL
    for (int g = 0; g < TILE_COLS / group; g++) {
        const uint8_t *const q[VECTORS] = {OF_PANEL(tiles, 0)->q[g * steps][LANE0(0)],
                                           OF_PANEL(tiles, 1)->q[g * steps][LANE0(1)]};
        Sums sum;
        start_sums(sum, row, n_row, g, offset, top);
        dot_group(sum, q, row, n_row, g * group, steps, top);
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const NI sc = ni_load(OF_PANEL(tiles, v)->sc[g] + LANE0(v));
            UNROLL
            for (int r = 0; r < n_row; r++)
                total[r][v] = ni_add(total[r][v], ni_mul(sum[r][v], sc));
        }
    }
}

static ALWAYS_INLINE void super_rows(const SuperTile *tiles, const RowPart *row, int n_row, int group, bool has_min,
                                     bool offset, int top, bool first) {
    Sums total;
    super_totals(total, tiles, row, n_row, group, offset, top);
    UNROLL
    for (int v = 0; v < VECTORS; v++) {
        const NF d = nf_load(OF_PANEL(tiles, v)->d + LANE0(v)), dm = nf_load(OF_PANEL(tiles, v)->dm + LANE0(v));
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NF scale = nf_set(row[r].a.super->d);
            NF acc = first ? nf_zero() : nf_load(row[r].from + NI_LANES * v);
            acc = nf_fma(nf_of_ni(total[r][v]), nf_mul(d, scale), acc);
            if (has_min) {
                NI less = ni_zero();
                UNROLL
                for (int g = 0; g < TILE_COLS / 2 / group; g++)
                    less = dot2(less, ni_load(OF_PANEL(tiles, v)->mn[g][LANE0(v)]),
                                (group == 16 ? row[r].a.super->counts : row[r].a.super->counts32) + 2 * g);
                acc = nf_fnma(nf_of_ni(less), nf_mul(dm, scale), acc);
            }
            nf_store(row[r].to + NI_LANES * v, acc);
        }
    }
}

/* ---- floats: n inputs, in one chain ---- */

typedef struct FloatRow {
    union {
        const float *x;
        const uint16_t *pairs; /* bf16 */
    } a;
    const float *from; /* as in RowPart */
    float *to;
} FloatRow;

typedef NF Results[FLOAT_ROWS][VECTORS];

static ALWAYS_INLINE void load_results(Results acc, const FloatRow *row, int n_row, bool first) {
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = first ? nf_zero() : nf_load(row[r].from + NI_LANES * v);
}

static ALWAYS_INLINE void store_results(Results acc, const FloatRow *row, int n_row) {
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            nf_store(row[r].to + NI_LANES * v, acc[r][v]);
}

static ALWAYS_INLINE void float_rows(const FloatTile *tiles, const FloatRow *row, int n_row, int n, bool first) {
    Results acc;
    load_results(acc, row, n_row, first);
    NO_UNROLL
    for (int k = 0; k < n; k++) {
        NF w[VECTORS];
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            w[v] = nf_load(OF_PANEL(tiles, v)->w[k] + LANE0(v));
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NF a = nf_set(row[r].a.x[k]);
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                acc[r][v] = nf_fma(w[v], a, acc[r][v]);
        }
    }
    store_results(acc, row, n_row);
}

#if defined(__AVX512BF16__)
/* Two inputs at a time; n is even. */
static ALWAYS_INLINE void pair_rows(const PairTile *tiles, const FloatRow *row, int n_row, int n, bool first) {
    Results acc;
    load_results(acc, row, n_row, first);
    NO_UNROLL
    for (int k = 0; k < n / 2; k++) {
        NI w[VECTORS];
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            w[v] = ni_load(OF_PANEL(tiles, v)->w[k] + LANE0(v));
        UNROLL
        for (int r = 0; r < n_row; r++) {
            int32_t two;
            memcpy(&two, row[r].a.pairs + 2 * k, sizeof two);
            const NI a = ni_set(two);
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                acc[r][v] = (NF)dot_pairs((VF)acc[r][v], (VI)w[v], (VI)a);
        }
    }
    store_results(acc, row, n_row);
}
#endif

#endif
