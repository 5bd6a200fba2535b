/* attend_simd.c - attention over a range of cache entries; compiled once per level.
 *
 * Entries are taken in tiles of 64: scores of a tile, softmax online (a new maximum rescales what was summed before;
 * Milakov & Gimelshein 2018), weighted sum of the values. Two ways to the same bits:
 *
 *   many rows   the tile's keys are converted to floats and turned round once, so that lanes are entries
 *   few rows    keys are used as they lie, lanes along the head; no tile is made
 *
 * A score is the sum of 16 partial sums: number j of them runs over d = j, j + 16, j + 32, ... in ascending order, and
 * they are added from the first to the last. Values are summed over entries in ascending order. */
#include "kernel/entries_simd.h"
#include "kernel/kernel_parts.h"

enum { TILE = CACHE_BLOCK, SCORE_ROWS = 3, VALUE_ROWS = 6, FEW_ROWS = 8 };

typedef struct Scratch {
    float *keys;   /* [key_width padded][64] */
    float *values; /* [64][value_width padded to 16] */
    float *scores; /* [ATTEND_MAX_ROWS][64] */
    float *query;  /* [ATTEND_MAX_ROWS][key_width padded] */
} Scratch;

static Scratch scratch_of(const AttendJob *job) {
    Scratch s;
    const size_t kp = (size_t)padded(job->key_width), vp = (size_t)padded(job->value_width);
    s.keys = job->scratch;
    s.values = s.keys + kp * TILE;
    s.scores = s.values + vp * TILE;
    s.query = s.scores + ATTEND_MAX_ROWS * TILE;
    return s;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

static void load_entry(CacheType type, float *x, const void *entry, int width) {
    for (int i = 0; i < width; i += 16) {
        const VF v = load_16(type, entry, i, width);
        if (i + 16 <= width)
            vf_store(x + i, v);
        else
            vf_store_part(x + i, v, width - i);
    }
}

static void store_q8(uint8_t *entry, const float *x, int width) {
    int8_t *q = (int8_t *)entry;
    for (int b = 0; b < width; b += 32) {
        const int n = width - b < 32 ? width - b : 32;
        float top = 0;
        bool finite = true;
        for (int i = 0; i < n; i++) {
            top = fabsf(x[b + i]) > top ? fabsf(x[b + i]) : top;
            finite = finite && isfinite(x[b + i]);
        }
        const uint16_t d = f16_of_float(finite ? top / 127.0f : NAN);
        const float rounded = float_of_f16(d);
        for (int i = 0; i < n; i++) {
            const float v = finite && rounded > 0 ? nearbyintf(x[b + i] / rounded) : 0;
            q[b + i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
        }
        memcpy(entry + width + 2 * (b / 32), &d, 2);
    }
}

static void store_entry(CacheType type, void *entry, const float *x, int width) {
    if (type == CACHE_F32) {
        memcpy(entry, x, (size_t)width * sizeof *x);
    } else if (type == CACHE_F16) {
        uint16_t *h = entry;
        int i = 0;
        for (; i + 16 <= width; i += 16)
            vf_store_f16(h + i, vf_load(x + i));
        for (; i < width; i++)
            h[i] = f16_of_float(x[i]);
    } else {
        store_q8(entry, x, width);
    }
}

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

/* Scores of one row to weights, with the new maximum; entries outside [low, high) are masked. What was summed before is
 * rescaled. False: the row sees none of the tile. */
static bool soften(const AttendJob *job, float *scores, int low, int high, int r) {
    if (low >= high) {
        memset(scores, 0, TILE * sizeof *scores);
        return false;
    }
    float *out = job->out + (size_t)r * (size_t)job->value_width;
    VF s[4], best = vf_set(-INFINITY);
    for (int v = 0; v < 4; v++) {
        s[v] = vf_load(scores + 16 * v);
        if (job->softcap > 0)
            s[v] = vf_set(job->softcap) * vf_tanh(s[v] * vf_set(1.0f / job->softcap));
        if (low > 0 || high < TILE) {
            VI index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
            index += vi_set(16 * v);
            const VI seen = (index >= vi_set(low)) & (index < vi_set(high));
            s[v] = vf_pick(seen, s[v], vf_set(-INFINITY));
        }
        best = vf_max(s[v], best);
    }
    const float old = job->top[r], tile_top = vf_top(best), now = tile_top > old ? tile_top : old;
    if (now == -INFINITY) {
        memset(scores, 0, TILE * sizeof *scores);
        return false;
    }
    VF total = vf_set(0);
    for (int v = 0; v < 4; v++) {
        const VF e = vf_exp(s[v] - vf_set(now));
        vf_store(scores + 16 * v, e);
        total += e;
    }
    if (now > old) {
        float x[16];
        vf_store(x, vf_exp(vf_set(old - now))); /* 0 when nothing came before */
        for (int d = 0; d < job->value_width; d++)
            out[d] *= x[0];
        job->sum[r] *= x[0];
    }
    job->sum[r] += vf_sum(total);
    job->top[r] = now;
    return true;
}

/* ---- few rows: entries as they lie ------------------------------------------------------------------------------- */

/* Sums the lanes of 16 vectors, each from the first lane to the last: lane i of the result is the sum of v[i]. */
static ALWAYS_INLINE VF sum_lanes(VF v[16]) {
    vf_transpose(v);
    VF sum = v[0];
    for (int i = 1; i < 16; i++)
        sum += v[i];
    return sum;
}

/* The tile after this one: its lines are asked for while this one is computed, because the pages of a cache lie too far
 * apart for the hardware to see what comes next. */
typedef struct Ahead {
    const uint8_t *keys, *values; /* NULL: nothing is ahead */
    size_t key_stride, value_stride;
    int key_bytes, value_bytes;
} Ahead;

static ALWAYS_INLINE void ask_ahead(const Ahead *ahead, int entry) {
    if (ahead->keys == NULL)
        return;
    for (int i = 0; i < ahead->key_bytes; i += 64)
        PREFETCH(ahead->keys + (size_t)entry * ahead->key_stride + i);
    for (int i = 0; i < ahead->value_bytes; i += 64)
        PREFETCH(ahead->values + (size_t)entry * ahead->value_stride + i);
}

/* An entry of a width that is known where this is inlined, a multiple of 128: scales are converted four at a time. */
enum { MOST_VECTORS = 8 };

static ALWAYS_INLINE void load_whole(CacheType type, VF *x, const uint8_t *entry, int width) {
    if (type != CACHE_Q8_0) {
        UNROLL
        for (int i = 0; i < width / 16; i++)
            x[i] = load_16(type, entry, 16 * i, width);
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

/* Scores of up to 16 entries for n_row rows. `known`: the width is a constant, and at most 16 MOST_VECTORS. */
static ALWAYS_INLINE void score_16(CacheType type, const uint8_t *const *keys, int n, const float *query, int width,
                                   int query_stride, int n_row, bool known, float *scores, const Ahead *ahead, int entry) {
    VF part[FEW_ROWS][16];
    for (int e = 0; e < 16; e++) {
        ask_ahead(ahead, entry + e);
        if (e >= n) {
            for (int r = 0; r < n_row; r++)
                part[r][e] = vf_set(0);
            continue;
        }
        VF acc[FEW_ROWS];
        for (int r = 0; r < n_row; r++)
            acc[r] = vf_set(0);
        if (known) {
            VF k[MOST_VECTORS];
            load_whole(type, k, keys[e], width);
            UNROLL
            for (int i = 0; i < width / 16; i++)
                UNROLL
                for (int r = 0; r < n_row; r++)
                    acc[r] = vf_fma(k[i], vf_load(query + r * query_stride + 16 * i), acc[r]);
        } else {
            for (int d = 0; d < width; d += 16) {
                const VF k = load_16(type, keys[e], d, width);
                for (int r = 0; r < n_row; r++)
                    acc[r] = vf_fma(k, vf_load(query + r * query_stride + d), acc[r]);
            }
        }
        for (int r = 0; r < n_row; r++)
            part[r][e] = acc[r];
    }
    for (int r = 0; r < n_row; r++)
        vf_store(scores + r * TILE, sum_lanes(part[r]));
}

/* Adds the weighted values of n entries: `vectors` vectors of the output from number `at` on. */
static ALWAYS_INLINE void values_direct(CacheType type, const uint8_t *const *values, int n, const float *weights, int width,
                                        int n_row, float *out, int at, int vectors) {
    VF acc[FEW_ROWS][4];
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vf_load(out + (size_t)r * width + at + 16 * v);
    for (int e = 0; e < n; e++) {
        VF x[4];
        for (int v = 0; v < vectors; v++)
            x[v] = load_16(type, values[e], at + 16 * v, width);
        for (int r = 0; r < n_row; r++) {
            const VF w = vf_set(weights[r * TILE + e]);
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(x[v], w, acc[r][v]);
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            vf_store(out + (size_t)r * width + at + 16 * v, acc[r][v]);
}

/* Whole entries of a known width, for as many rows as there are registers for: each entry is read once, in order. */
enum { WHOLE_ROWS = 2 };

static ALWAYS_INLINE void values_whole(CacheType type, const uint8_t *const *values, int n, const float *weights, int width,
                                       int n_row, float *out) {
    VF acc[WHOLE_ROWS][MOST_VECTORS];
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < width / 16; v++)
            acc[r][v] = vf_load(out + r * width + 16 * v);
    NO_UNROLL
    for (int e = 0; e < n; e++) {
        VF x[MOST_VECTORS];
        load_whole(type, x, values[e], width);
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const VF w = vf_set(weights[r * TILE + e]);
            UNROLL
            for (int v = 0; v < width / 16; v++)
                acc[r][v] = vf_fma(x[v], w, acc[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < width / 16; v++)
            vf_store(out + r * width + 16 * v, acc[r][v]);
}

#define FOR_FEW(n_row, call)                                                                                           \
    do {                                                                                                               \
        switch (n_row) {                                                                                               \
        case 1: { enum { R = 1 }; call; break; }                                                                       \
        case 2: { enum { R = 2 }; call; break; }                                                                       \
        case 3: { enum { R = 3 }; call; break; }                                                                       \
        case 4: { enum { R = 4 }; call; break; }                                                                       \
        case 5: { enum { R = 5 }; call; break; }                                                                       \
        case 6: { enum { R = 6 }; call; break; }                                                                       \
        case 7: { enum { R = 7 }; call; break; }                                                                       \
        default: { enum { R = 8 }; call; break; }                                                                      \
        }                                                                                                              \
    } while (0)

static ALWAYS_INLINE void few_scores(CacheType type, int width, bool known, const Scratch *s, int row0, int n_row,
                                     const uint8_t *const *keys, int n, const Ahead *next) {
    const int kp = padded(width);
    for (int e = 0; e < n; e += 16)
        FOR_FEW(n_row, score_16(type, keys + e, n - e < 16 ? n - e : 16, s->query + (size_t)row0 * (size_t)kp, width, kp, R,
                                known, s->scores + row0 * TILE + e, next, e));
}

static ALWAYS_INLINE void few_values(CacheType type, const AttendJob *job, const Scratch *s, int row0, int n_row,
                                     const uint8_t *const *values, int n) {
    const int vw = job->value_width;
    float *scores = s->scores + row0 * TILE, *out = job->out + (size_t)row0 * (size_t)vw;
    int at = 0;
    if (n_row <= 4)
        for (; at + 64 <= vw; at += 64)
            FOR_FEW(n_row, values_direct(type, values, n, scores, vw, R, out, at, 4));
    else
        for (; at + 32 <= vw; at += 32)
            FOR_FEW(n_row, values_direct(type, values, n, scores, vw, R, out, at, 2));
    for (; at + 16 <= vw; at += 16)
        FOR_FEW(n_row, values_direct(type, values, n, scores, vw, R, out, at, 1));
    for (int i = 0; i < n_row; i++)
        for (int d = at; d < vw; d++)
            for (int e = 0; e < n; e++) {
                float x[16];
                vf_store(x, load_16(type, values[e], d, vw));
                out[(size_t)i * (size_t)vw + (size_t)d] += x[0] * scores[i * TILE + e];
            }
}

/* Heads of 128 numbers, the usual ones, have code of their own: nothing in it depends on a width. */
static ALWAYS_INLINE void few_rows_of(CacheType type, const AttendJob *job, const Scratch *s, int row0, int n_row,
                                      const uint8_t *const *keys, const uint8_t *const *values, const int *low,
                                      const int *high, int n, const Ahead *next) {
    if (job->key_width == 128)
        few_scores(type, 128, true, s, row0, n_row, keys, n, next);
    else
        few_scores(type, job->key_width, false, s, row0, n_row, keys, n, next);
    for (int r = row0; r < row0 + n_row; r++)
        soften(job, s->scores + r * TILE, low[r], high[r], r);
    float *scores = s->scores + row0 * TILE, *out = job->out + (size_t)row0 * (size_t)job->value_width;
    if (job->value_width == 128 && n_row == 1)
        values_whole(type, values, n, scores, 128, 1, out);
    else if (job->value_width == 128 && n_row == 2)
        values_whole(type, values, n, scores, 128, 2, out);
    else
        few_values(type, job, s, row0, n_row, values, n);
}

static void few_rows(const AttendJob *job, const Scratch *s, int row0, int n_row, const uint8_t *const *keys,
                     const uint8_t *const *values, const int *low, const int *high, int n, const Ahead *next) {
    if (job->type == CACHE_F16)
        few_rows_of(CACHE_F16, job, s, row0, n_row, keys, values, low, high, n, next);
    else if (job->type == CACHE_Q8_0)
        few_rows_of(CACHE_Q8_0, job, s, row0, n_row, keys, values, low, high, n, next);
    else
        few_rows_of(CACHE_F32, job, s, row0, n_row, keys, values, low, high, n, next);
}

/* ---- many rows: a tile of floats ---------------------------------------------------------------------------------- */

static ALWAYS_INLINE void load_tile_of(CacheType type, const AttendJob *job, const Scratch *s, const uint8_t *const *keys,
                                       const uint8_t *const *values, int n) {
    const int kw = job->key_width, vw = job->value_width, vp = padded(vw);
    for (int e = 0; e < TILE; e += 16) {
        for (int d = 0; d < kw; d += 16) {
            VF v[16];
            for (int i = 0; i < 16; i++)
                v[i] = e + i < n ? load_16(type, keys[e + i], d, kw) : vf_set(0);
            vf_transpose(v);
            for (int i = 0; i < 16; i++)
                vf_store(s->keys + (d + i) * TILE + e, v[i]);
        }
    }
    for (int e = 0; e < n; e++)
        for (int d = 0; d < vw; d += 16)
            vf_store(s->values + (size_t)e * (size_t)vp + d, load_16(type, values[e], d, vw));
}

static void load_tile(const AttendJob *job, const Scratch *s, const uint8_t *const *keys, const uint8_t *const *values,
                      int n) {
    if (job->type == CACHE_F16)
        load_tile_of(CACHE_F16, job, s, keys, values, n);
    else if (job->type == CACHE_Q8_0)
        load_tile_of(CACHE_Q8_0, job, s, keys, values, n);
    else
        load_tile_of(CACHE_F32, job, s, keys, values, n);
}

/* Partial sum j of 16, then their sum: the order of sum_lanes. */
static ALWAYS_INLINE void score_rows(const float *keys, const float *query, int padded_width, int n_row, float *scores) {
    VF total[SCORE_ROWS][4];
    for (int j = 0; j < 16; j++) {
        VF part[SCORE_ROWS][4];
        for (int r = 0; r < n_row; r++)
            for (int v = 0; v < 4; v++)
                part[r][v] = vf_set(0);
        for (int d = j; d < padded_width; d += 16) {
            VF k[4];
            for (int v = 0; v < 4; v++)
                k[v] = vf_load(keys + d * TILE + 16 * v);
            for (int r = 0; r < n_row; r++) {
                const VF q = vf_set(query[(size_t)r * (size_t)padded_width + (size_t)d]);
                for (int v = 0; v < 4; v++)
                    part[r][v] = vf_fma(k[v], q, part[r][v]);
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

static ALWAYS_INLINE void value_rows(const float *values, int padded_width, const float *p, int n, int n_row,
                                     float *out, int width, int at, int vectors) {
    VF acc[VALUE_ROWS][4];
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vf_load(out + (size_t)r * (size_t)width + at + 16 * v);
    for (int e = 0; e < n; e++) {
        VF x[4];
        for (int v = 0; v < vectors; v++)
            x[v] = vf_load(values + (size_t)e * (size_t)padded_width + at + 16 * v);
        for (int r = 0; r < n_row; r++) {
            const VF w = vf_set(p[r * TILE + e]);
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(x[v], w, acc[r][v]);
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            vf_store(out + (size_t)r * (size_t)width + at + 16 * v, acc[r][v]);
}

static NOINLINE void score_tile(const float *keys, const float *query, int padded_width, int n_row, float *scores) {
    switch (n_row) {
    case 1: score_rows(keys, query, padded_width, 1, scores); break;
    case 2: score_rows(keys, query, padded_width, 2, scores); break;
    default: score_rows(keys, query, padded_width, 3, scores); break;
    }
}

static NOINLINE void value_tile(const float *values, int padded_width, const float *p, int n, int n_row, float *out,
                                int width) {
    int at = 0;
    for (; at + 64 <= width; at += 64)
        switch (n_row) {
        case 1: value_rows(values, padded_width, p, n, 1, out, width, at, 4); break;
        case 2: value_rows(values, padded_width, p, n, 2, out, width, at, 4); break;
        case 3: value_rows(values, padded_width, p, n, 3, out, width, at, 4); break;
        case 4: value_rows(values, padded_width, p, n, 4, out, width, at, 4); break;
        case 5: value_rows(values, padded_width, p, n, 5, out, width, at, 4); break;
        default: value_rows(values, padded_width, p, n, VALUE_ROWS, out, width, at, 4); break;
        }
    for (; at + 16 <= width; at += 16)
        for (int r = 0; r < n_row; r++)
            value_rows(values, padded_width, p + r * TILE, n, 1, out + (size_t)r * (size_t)width, width, at, 1);
    for (int r = 0; r < n_row; r++)
        for (int d = at; d < width; d++)
            for (int e = 0; e < n; e++)
                out[(size_t)r * (size_t)width + (size_t)d] += values[(size_t)e * (size_t)padded_width + (size_t)d] * p[r * TILE + e];
}

/* The next tile's lines are asked for a few at a time, between the scores of some rows and those of the next. */
static void many_rows(const AttendJob *job, const Scratch *s, int row0, int n_row, const int *low, const int *high, int n,
                      const Ahead *next) {
    const int kp = padded(job->key_width), vw = job->value_width, end = row0 + n_row;
    const int share = (TILE * SCORE_ROWS + n_row - 1) / n_row;
    int asked = 0;
    for (int r = row0; r < end; r += SCORE_ROWS) {
        for (int i = 0; i < share && asked < TILE; i++)
            ask_ahead(next, asked++);
        score_tile(s->keys, s->query + (size_t)r * (size_t)kp, kp, end - r < SCORE_ROWS ? end - r : SCORE_ROWS, s->scores + r * TILE);
    }
    for (int r = row0; r < end; r++)
        soften(job, s->scores + r * TILE, low[r], high[r], r);
    for (int r = row0; r < end; r += VALUE_ROWS)
        value_tile(s->values, padded(vw), s->scores + r * TILE, n, end - r < VALUE_ROWS ? end - r : VALUE_ROWS,
                   job->out + (size_t)r * (size_t)vw, vw);
}

/* ---- ranges and lists of entries ---------------------------------------------------------------------------------- */

static void one_tile(const AttendJob *job, const Scratch *s, int row0, int n_row, const uint8_t *const *keys,
                     const uint8_t *const *values, const int *low, const int *high, int n, const Ahead *next) {
    if (n_row <= FEW_ROWS) {
        few_rows(job, s, row0, n_row, keys, values, low, high, n, next);
    } else {
        load_tile(job, s, keys, values, n);
        many_rows(job, s, row0, n_row, low, high, n, next);
    }
}

static void attend_range(const AttendJob *job, const Scratch *s) {
    int low[ATTEND_MAX_ROWS], high[ATTEND_MAX_ROWS];
    for (int b = job->begin; b < job->end; b += TILE) {
        const int n = job->end - b < TILE ? job->end - b : TILE;
        bool any = false;
        for (int r = 0; r < job->n_row; r++) {
            const int t = r / job->group;
            low[r] = job->first[t] > b ? job->first[t] - b : 0;
            high[r] = job->last[t] + 1 - b < n ? job->last[t] + 1 - b : n;
            any = any || low[r] < high[r];
        }
        if (!any)
            continue;
        const uint8_t *keys[TILE], *values[TILE];
        for (int e = 0; e < n; e++) {
            keys[e] = job->key_blocks[b / TILE] + (size_t)e * job->key_stride;
            values[e] = job->value_blocks[b / TILE] + (size_t)e * job->value_stride;
        }
        Ahead next = {0};
        if (b + TILE < job->end)
            next = (Ahead){.keys = job->key_blocks[b / TILE + 1], .values = job->value_blocks[b / TILE + 1],
                           .key_stride = job->key_stride, .value_stride = job->value_stride,
                           .key_bytes = (int)cache_entry_bytes(job->type, job->key_width),
                           .value_bytes = (int)cache_entry_bytes(job->type, job->value_width)};
        one_tile(job, s, 0, job->n_row, keys, values, low, high, n, &next);
    }
}

static void attend_chosen(const AttendJob *job, const Scratch *s) {
    int low[ATTEND_MAX_ROWS], high[ATTEND_MAX_ROWS];
    for (int t = 0; t * job->group < job->n_row; t++) {
        const int32_t *list = job->chosen[t];
        for (int at = 0; at < job->n_chosen[t]; at += TILE) {
            const int n = job->n_chosen[t] - at < TILE ? job->n_chosen[t] - at : TILE;
            const uint8_t *keys[TILE], *values[TILE];
            for (int e = 0; e < n; e++) {
                const int entry = list[at + e];
                keys[e] = job->key_blocks[entry / TILE] + (size_t)(entry % TILE) * job->key_stride;
                values[e] = job->value_blocks[entry / TILE] + (size_t)(entry % TILE) * job->value_stride;
            }
            for (int r = t * job->group; r < (t + 1) * job->group; r++) {
                low[r] = 0;
                high[r] = n;
            }
            static const Ahead nothing = {0};
            one_tile(job, s, t * job->group, job->group, keys, values, low, high, n, &nothing);
        }
    }
}

static void attend(const AttendJob *job) {
    const Scratch s = scratch_of(job);
    const int kw = job->key_width, kp = padded(kw);
    for (int r = 0; r < job->n_row; r++) {
        job->top[r] = -INFINITY;
        job->sum[r] = 0;
        memcpy(s.query + (size_t)r * (size_t)kp, job->query + (size_t)r * (size_t)kw, (size_t)kw * sizeof(float));
        for (int d = kw; d < kp; d++)
            s.query[(size_t)r * (size_t)kp + (size_t)d] = 0;
    }
    memset(job->out, 0, (size_t)job->n_row * (size_t)job->value_width * sizeof *job->out);
    if (job->chosen != NULL)
        attend_chosen(job, &s);
    else
        attend_range(job, &s);
}

void K(kernels_fill_attend)(Kernels *k) {
    k->attend = attend;
    k->cache_store = store_entry;
    k->cache_load = load_entry;
}
