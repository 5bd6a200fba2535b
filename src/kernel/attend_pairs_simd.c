/* attend_pairs_simd.c - attention by dot products of pairs of bf16, for precision `fast` on CPUs that have them.
 *
 * As attend_simd.c, with queries, keys, weights of the softmax and values rounded to bf16 before they are multiplied; products are
 * summed up in floats, the softmax is computed in floats and divides by the sum of the rounded weights. A cache of floats was
 * asked for by somebody who wants floats: attend_simd.c keeps it.
 *
 * A lane takes two products at a time: in scores the numbers 2 j and 2 j + 1 of a head, in weighted values the entries 2 m and
 * 2 m + 1. A score is the sum of 16 partial sums: number j of them runs over the pairs (2 j, 2 j + 1) + 0, 32, 64, ... in ascending
 * order, and they are added from the first to the last. Both ways to compute it do so:
 *
 *   many rows   the tile's keys are rounded and turned round once (lanes are entries), its values paired once
 *   few rows    keys and values are used as they lie, lanes along the head */
#include "kernel/attend_walk.h"

enum { PAIRS = TILE / 2 };

typedef struct Scratch {
    uint32_t *keys;    /* [16][key_width padded / 32][64]: pair j of the 32 numbers i is row (j, i), as it is summed */
    uint32_t *values;  /* [32][value_width padded]: two entries each */
    float *scores;     /* [BLOCK_ROWS][64] */
    uint32_t *weights; /* [BLOCK_ROWS][32] */
    uint32_t *query;   /* [ATTEND_MAX_ROWS][key_width padded / 2] */
} Scratch;

static inline int padded_32(int width) {
    return (width + 31) & ~31;
}

/* No more than attend_scratch_bytes(), which counts floats. */
static Scratch scratch_of(const AttendJob *job) {
    Scratch s;
    s.scores = job->scratch;
    s.weights = (uint32_t *)(void *)(s.scores + BLOCK_ROWS * TILE);
    s.keys = s.weights + BLOCK_ROWS * PAIRS;
    s.values = s.keys + (size_t)padded_32(job->key_width) / 2 * TILE;
    s.query = s.values + (size_t)padded(job->value_width) * PAIRS;
    return s;
}

/* ---- pairs -------------------------------------------------------------------------------------------------------- */

static ALWAYS_INLINE VI load_pairs(const uint32_t *p) {
    VI v;
    memcpy(&v, p, sizeof v);
    return v;
}

static ALWAYS_INLINE void store_pairs(uint32_t *p, VI v) {
    memcpy(p, &v, sizeof v);
}

/* 32 numbers rounded, to nearest even: `low` in the lower half. */
static ALWAYS_INLINE VI round_32(VF low, VF high) {
    return (VI)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

/* Number i of both halves in lane i. */
static ALWAYS_INLINE VI interleave(VI v) {
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (VI)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)v);
}

/* Numbers at .. at + 31 of an entry; beyond `width` zeros. */
static ALWAYS_INLINE VI entry_32(CacheType type, const uint8_t *entry, int at, int width) {
    if (at + 32 > width)
        return round_32(load_16(type, entry, at, width), load_16(type, entry, at + 16, width));
    if (type != CACHE_Q8_0)
        return round_32(load_all_16(type, entry, at, width), load_all_16(type, entry, at + 16, width));
    const VF scale = vf_set(f16_value(entry + width + 2 * (at / 32)));
    const int8_t *q = (const int8_t *)entry + at;
    return round_32(vf_load_i8(q) * scale, vf_load_i8(q + 16) * scale);
}

/* An entry of a width that is known where this is inlined: 64, or of q8_0 128, as scales are converted four at a time. */
enum { MOST_VECTORS = 8 };

static ALWAYS_INLINE void load_whole(CacheType type, VF *x, const uint8_t *entry, int width) {
    if (type != CACHE_Q8_0) {
        UNROLL
        for (int i = 0; i < width / 16; i++)
            x[i] = load_all_16(type, entry, 16 * i, width);
        return;
    }
    float scales[MOST_VECTORS / 2];
    UNROLL
    for (int i = 0; i < width / 32; i += 4)
        load_four_f16(scales + i, entry + width + 2 * i);
    UNROLL
    for (int i = 0; i < width / 16; i++)
        x[i] = vf_load_i8((const int8_t *)entry + 16 * i) * vf_set(scales[i / 2]);
}

static inline bool known_width(CacheType type, const AttendJob *job, int width) {
    return job->key_width == width && job->value_width == width && (width == 128 || type != CACHE_Q8_0);
}

/* ---- softmax ------------------------------------------------------------------------------------------------------ */

/* e^x for x <= 0, to 18 bits (bf16 keeps 8): 2^n times a polynomial for 2^f, |f| <= 1/2 (least relative error). */
static ALWAYS_INLINE VF exp_18(VF x) {
    /* Of (limit, x) the instruction gives x when that is a NaN. */
    x = (VF)_mm512_max_ps(_mm512_set1_ps(-104.0f), (__m512)x) * vf_set(1.44269504f);
    const VF n = vf_round(x), f = x - n;
    VF p = vf_fma(vf_set(0x1.3a02ccp-7f), f, vf_set(0x1.c9fc46p-5f));
    p = vf_fma(p, f, vf_set(0x1.ec0378p-3f));
    p = vf_fma(p, f, vf_set(0x1.62e12cp-1f));
    p = vf_fma(p, f, vf_set(1.0f));
    return (VF)_mm512_scalef_ps((__m512)p, (__m512)n);
}

/* Scores of up to 16 rows to rounded weights, with the new maxima; what was summed before has to be multiplied by `scale`. */
static void soften(const AttendJob *job, float *scores, uint32_t *weights, const int *low, const int *high, int row0, int n_row,
                   float *scale) {
    const VI ones = vi_set(0x3F803F80);
    float now[16] = {0}, added[16] = {0};
    find_tops(job, scores, low, high, row0, n_row, now);
    for (int r = 0; r < n_row; r++) {
        const float *row = scores + r * TILE;
        uint32_t *to = weights + r * PAIRS;
        if (low[r] >= high[r] || now[r] == -INFINITY) { /* the row sees none of the tile */
            memset(to, 0, PAIRS * sizeof *to);
            continue;
        }
        const VF top = vf_set(now[r]);
        const VI a = round_32(exp_18(vf_load(row) - top), exp_18(vf_load(row + 16) - top));
        const VI b = round_32(exp_18(vf_load(row + 32) - top), exp_18(vf_load(row + 48) - top));
        store_pairs(to, a);
        store_pairs(to + 16, b);
        added[r] = vf_sum(dot_pairs(dot_pairs(vf_set(0), a, ones), b, ones));
    }
    keep_sums(job, row0, n_row, now, added, scale);
}

/* ---- scores: keys as they lie --------------------------------------------------------------------------------------- */

/* Scores of up to 16 entries for n_row rows. `known`: the width is a constant, that of the values too, and at most
 * 16 MOST_VECTORS. */
static ALWAYS_INLINE void score_16(CacheType type, const uint8_t *const *keys, int n, const uint32_t *query, int width, int n_row,
                                   bool known, float *scores, const Ahead *ahead, int entry) {
    const int stride = padded_32(width) / 2;
    VF part[FEW_ROWS][16];
    for (int e = 0; e < 16; e++) {
        const int bytes = known ? known_bytes(type, width) : 0;
        ask_entry(ahead, entry + e, known ? bytes : ahead->key_bytes, known ? bytes : ahead->value_bytes);
        VF acc[FEW_ROWS];
        for (int r = 0; r < n_row; r++)
            acc[r] = vf_set(0);
        if (known && e < n) {
            VF x[MOST_VECTORS];
            load_whole(type, x, keys[e], width);
            UNROLL
            for (int i = 0; i < width / 32; i++) {
                const VI k = round_32(x[2 * i], x[2 * i + 1]);
                UNROLL
                for (int r = 0; r < n_row; r++)
                    acc[r] = dot_pairs(acc[r], k, load_pairs(query + r * stride + 16 * i));
            }
        } else if (e < n) {
            for (int d = 0; d < width; d += 32) {
                const VI k = entry_32(type, keys[e], d, width);
                for (int r = 0; r < n_row; r++)
                    acc[r] = dot_pairs(acc[r], k, load_pairs(query + r * stride + d / 2));
            }
        }
        for (int r = 0; r < n_row; r++)
            part[r][e] = acc[r];
    }
    for (int r = 0; r < n_row; r++)
        vf_store(scores + r * TILE, sum_lanes(part[r]));
}

/* Heads of 64 and 128 numbers, the usual ones, have code of their own: nothing in it depends on a width. */
static ALWAYS_INLINE void few_scores(CacheType type, const AttendJob *job, const uint32_t *query, int n_row,
                                     const uint8_t *const *keys, int n, float *scores, const Ahead *next) {
    for (int e = 0; e < n; e += 16) {
        const int some = n - e < 16 ? n - e : 16;
        if (known_width(type, job, 128))
            FOR_FEW(n_row, score_16(type, keys + e, some, query, 128, R, true, scores + e, next, e));
        else if (known_width(type, job, 64))
            FOR_FEW(n_row, score_16(type, keys + e, some, query, 64, R, true, scores + e, next, e));
        else
            FOR_FEW(n_row, score_16(type, keys + e, some, query, job->key_width, R, false, scores + e, next, e));
    }
}

/* ---- scores: a tile of keys turned round ------------------------------------------------------------------------------ */

static ALWAYS_INLINE void turn_keys(CacheType type, const uint8_t *const *keys, int width, uint32_t *tile) {
    const int parts = padded_32(width) / 32;
    for (int e = 0; e < TILE; e += 16)
        for (int i = 0; i < parts; i++) {
            VF v[16];
            UNROLL
            for (int k = 0; k < 16; k++)
                v[k] = (VF)entry_32(type, keys[e + k], 32 * i, width);
            vf_transpose(v);
            UNROLL
            for (int j = 0; j < 16; j++)
                store_pairs(tile + (size_t)(j * parts + i) * TILE + e, (VI)v[j]);
        }
}

/* Partial sum j of 16, then their sum: the order of sum_lanes. */
static ALWAYS_INLINE void score_rows(const uint32_t *keys, const uint32_t *query, int parts, int n_row, float *scores) {
    VF total[SCORE_ROWS][4];
    for (int j = 0; j < 16; j++) {
        VF part[SCORE_ROWS][4];
        for (int r = 0; r < n_row; r++)
            for (int v = 0; v < 4; v++)
                part[r][v] = vf_set(0);
        for (int i = 0; i < parts; i++) {
            VI k[4];
            for (int v = 0; v < 4; v++)
                k[v] = (VI)vf_keep((VF)load_pairs(keys + 16 * v));
            keys += TILE;
            for (int r = 0; r < n_row; r++) {
                const VI q = vi_set((int32_t)query[r * 16 * parts + 16 * i + j]);
                for (int v = 0; v < 4; v++)
                    part[r][v] = dot_pairs(part[r][v], k[v], q);
            }
        }
        for (int r = 0; r < n_row; r++)
            for (int v = 0; v < 4; v++)
                total[r][v] = j == 0 ? part[r][v] : total[r][v] + part[r][v];
    }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < 4; v++)
            vf_store(scores + r * TILE + 16 * v, total[r][v]);
}

static NOINLINE void score_tile(const uint32_t *keys, const uint32_t *query, int parts, int n_row, float *scores) {
    switch (n_row) {
    case 1: score_rows(keys, query, parts, 1, scores); break;
    case 2: score_rows(keys, query, parts, 2, scores); break;
    default: score_rows(keys, query, parts, SCORE_ROWS, scores); break;
    }
}

/* ---- weighted values ---------------------------------------------------------------------------------------------- */

/* Where values are: entries, or a tile of pairs made of them. */
typedef struct ValuesAt {
    const uint8_t *const *entries;
    const uint32_t *pairs; /* NULL: the entries are used as they lie */
    int width;
} ValuesAt;

/* `part`: fewer than 16 are left. */
static ALWAYS_INLINE VI pair_16(CacheType type, const uint8_t *const *entries, int at, int width, bool part) {
    if (part)
        return interleave(round_32(load_16(type, entries[0], at, width), load_16(type, entries[1], at, width)));
    return interleave(round_32(load_all_16(type, entries[0], at, width), load_all_16(type, entries[1], at, width)));
}

static ALWAYS_INLINE void pair_values(CacheType type, const uint8_t *const *values, int n, int width, uint32_t *tile) {
    for (int e = 0; e < n; e += 2, tile += padded(width)) {
        int d = 0;
        for (; d + 64 <= width; d += 64)
            UNROLL
            for (int v = 0; v < 64; v += 16)
                store_pairs(tile + d + v, pair_16(type, values + e, d + v, width, false));
        for (; d < width; d += 16)
            store_pairs(tile + d, pair_16(type, values + e, d, width, d + 16 > width));
    }
}

/* Multiplies rows of the output by `scale` and adds the weighted values of n entries: `vectors` vectors from number `at`
 * on, or the `part` of one that is left. */
static ALWAYS_INLINE void value_rows(CacheType type, const ValuesAt *values, int n, const uint32_t *weights, const float *scale,
                                     int n_row, float *out, int at, int vectors, bool paired, bool part) {
    VF acc[VALUE_ROWS][4];
    const int width = values->width, left = width - at;
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const float *from = out + (size_t)r * (size_t)width + at + 16 * v;
            acc[r][v] = (part ? vf_load_part(from, left, 0) : vf_load(from)) * vf_set(scale[r]);
        }
    const uint32_t *tile = paired ? values->pairs + at : NULL;
    NO_UNROLL
    for (int m = 0; m < (n + 1) / 2; m++) {
        VI x[4];
        UNROLL
        for (int v = 0; v < vectors; v++)
            x[v] = (VI)vf_keep((VF)(paired ? load_pairs(tile + (size_t)m * (size_t)padded(width) + 16 * v)
                                           : pair_16(type, values->entries + 2 * m, at + 16 * v, width, part)));
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const VI w = vi_set((int32_t)weights[r * PAIRS + m]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                acc[r][v] = dot_pairs(acc[r][v], x[v], w);
        }
    }
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = out + (size_t)r * (size_t)width + at + 16 * v;
            if (part)
                vf_store_part(to, acc[r][v], left);
            else
                vf_store(to, acc[r][v]);
        }
}

/* Whole entries of a known width, for as many rows as there are registers for: each entry is read once, in order. */
enum { WHOLE_ROWS = 2 };

static ALWAYS_INLINE void values_whole(CacheType type, const uint8_t *const *values, int n, const uint32_t *weights,
                                       const float *scale, int width, int n_row, float *out) {
    VF acc[WHOLE_ROWS][MOST_VECTORS];
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < width / 16; v++)
            acc[r][v] = vf_load(out + r * width + 16 * v) * vf_set(scale[r]);
    NO_UNROLL
    for (int e = 0; e < n; e += 2) {
        VF x[MOST_VECTORS], y[MOST_VECTORS];
        load_whole(type, x, values[e], width);
        load_whole(type, y, values[e + 1], width);
        UNROLL
        for (int v = 0; v < width / 16; v++) {
            const VI both = interleave(round_32(x[v], y[v]));
            UNROLL
            for (int r = 0; r < n_row; r++)
                acc[r][v] = dot_pairs(acc[r][v], both, vi_set((int32_t)weights[r * PAIRS + e / 2]));
        }
    }
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < width / 16; v++)
            vf_store(out + r * width + 16 * v, acc[r][v]);
}

static ALWAYS_INLINE void add_values(CacheType type, const ValuesAt *values, int n, const uint32_t *weights, const float *scale,
                                     int n_row, float *out, bool paired) {
    const int width = values->width;
    if (!paired && width == 128 && n_row == 1) {
        values_whole(type, values->entries, n, weights, scale, 128, 1, out);
        return;
    }
    if (!paired && width == 128 && n_row == 2) {
        values_whole(type, values->entries, n, weights, scale, 128, 2, out);
        return;
    }
    for (int r = 0, rows; r < n_row; r += rows) {
        rows = next_part(n_row - r, VALUE_ROWS);
        const uint32_t *w = weights + r * PAIRS;
        float *y = out + (size_t)r * (size_t)width;
        int at = 0;
        for (; at + 64 <= width; at += 64)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, R, y, at, 4, paired, false));
        for (; at + 16 <= width; at += 16)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, R, y, at, 1, paired, false));
        if (at < width)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, R, y, at, 1, paired, true));
    }
}

/* ---- tiles ---------------------------------------------------------------------------------------------------------- */

static NOINLINE void few_rows(CacheType type, const AttendJob *job, const Scratch *s, int row0, int n_row,
                              const uint8_t *const *keys, const uint8_t *const *values, const int *low, const int *high, int n,
                              const Ahead *next) {
    float scale[16];
    const ValuesAt at = {.entries = values, .width = job->value_width};
    const uint32_t *query = s->query + (size_t)row0 * (size_t)padded_32(job->key_width) / 2;
    float *out = job->out + (size_t)row0 * (size_t)job->value_width;
    switch (type) { /* known in what is inlined */
    case CACHE_F16: few_scores(CACHE_F16, job, query, n_row, keys, n, s->scores, next); break;
    default: few_scores(CACHE_Q8_0, job, query, n_row, keys, n, s->scores, next); break;
    }
    soften(job, s->scores, s->weights, low + row0, high + row0, row0, n_row, scale);
    switch (type) {
    case CACHE_F16: add_values(CACHE_F16, &at, n, s->weights, scale, n_row, out, false); break;
    default: add_values(CACHE_Q8_0, &at, n, s->weights, scale, n_row, out, false); break;
    }
}

static NOINLINE void make_tile(CacheType type, const AttendJob *job, const Scratch *s, const uint8_t *const *keys,
                               const uint8_t *const *values, int n) {
    if (type == CACHE_F16) {
        turn_keys(CACHE_F16, keys, job->key_width, s->keys);
        pair_values(CACHE_F16, values, n, job->value_width, s->values);
    } else {
        turn_keys(CACHE_Q8_0, keys, job->key_width, s->keys);
        pair_values(CACHE_Q8_0, values, n, job->value_width, s->values);
    }
}

/* Entries up to the last that one of the rows sees: 0 when there is none. */
static int last_seen(const int *low, const int *high, int n_row) {
    int last = 0;
    for (int r = 0; r < n_row; r++)
        if (low[r] < high[r] && high[r] > last)
            last = high[r];
    return last;
}

static NOINLINE void many_rows(const AttendJob *job, const Scratch *s, int row0, int n_row, const int *low, const int *high,
                               const Ahead *next) {
    const int vw = job->value_width, kp = padded_32(job->key_width);
    const ValuesAt at = {.pairs = s->values, .width = vw};
    float scale[16];
    int asked = 0;
    for (int r = row0, end = row0 + n_row, rows; r < end; r += rows) {
        rows = next_part(end - r, BLOCK_ROWS);
        const int seen = last_seen(low + r, high + r, rows);
        if (seen == 0)
            continue;
        /* The next tile's lines are asked for a few at a time: those that come too fast are dropped. */
        for (int i = 0, some; i < rows; i += some) {
            some = next_part(rows - i, SCORE_ROWS);
            for (const int until = TILE * (r - row0 + i + some) / n_row; asked < until; asked++)
                ask_entry(next, asked, next->key_bytes, next->value_bytes);
            score_tile(s->keys, s->query + (size_t)(r + i) * (size_t)kp / 2, kp / 32, some, s->scores + i * TILE);
        }
        soften(job, s->scores, s->weights, low + r, high + r, r, rows, scale);
        add_values(CACHE_F16, &at, seen, s->weights, scale, rows, job->out + (size_t)r * (size_t)vw, true);
    }
}

/* Up to as many rows it costs less to use entries as they lie: making a tile of them costs as much as this number of rows saves. (Zen 5,
 * 1,024 entries, as they lie and as tiles: f16, 64 numbers, 4 rows 8.4 and 8.7 us, 6 rows 11.0 and 10.2; 128 numbers, 6 rows 15.4 and
 * 18.3, 8 rows 20.6 and 21.2; q8_0, 128 numbers, 6 rows 17.8 and 20.2, 7 rows 23.6 and 21.4; 64 numbers, 3 rows 10.7 and 9.7.) */
static int few_rows_of(CacheType type, int key_width) {
    if (type == CACHE_Q8_0)
        return key_width == 128 ? FEW_ROWS - 2 : MIN(key_width / 32, FEW_ROWS - 2);
    return MIN(key_width / 16, FEW_ROWS);
}

static void one_tile(const AttendJob *job, const void *scratch, int row0, int n_row, const uint8_t *const *keys,
                     const uint8_t *const *values, const int *low, const int *high, int n, const Ahead *next) {
    if (n_row <= few_rows_of(job->type, job->key_width)) {
        few_rows(job->type, job, scratch, row0, n_row, keys, values, low, high, n, next);
        return;
    }
    make_tile(job->type, job, scratch, keys, values, n);
    many_rows(job, scratch, row0, n_row, low, high, next);
}

static void attend_pairs(const AttendJob *job) {
    if (job->type == CACHE_F32) {
        attend_floats_avx512(job);
        return;
    }
    const Scratch s = scratch_of(job);
    const int kw = job->key_width, kp = padded_32(kw);
    for (int r = 0; r < job->n_row; r++)
        for (int d = 0; d < kp; d += 32)
            store_pairs(s.query + (size_t)r * (size_t)kp / 2 + d / 2,
                        entry_32(CACHE_F32, (const uint8_t *)(job->query + (size_t)r * (size_t)kw), d, kw));
    attend_walk(job, &s, one_tile);
}

void K(kernels_fill_attend)(Kernels *k) {
    k->attend[PRECISION_FAST] = attend_pairs;
}
