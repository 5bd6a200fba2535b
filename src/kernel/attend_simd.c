/* attend_simd.c - attention over a range of cache entries; compiled once per level.
 *
 * Entries are taken in tiles of 64: scores of a tile, softmax online (a new maximum rescales what was summed before;
 * Milakov & Gimelshein 2018), weighted sum of the values. Scores in two ways to the same bits:
 *
 *   many rows   the tile's keys are converted to floats and turned round once, so that lanes are entries
 *   few rows    keys are used as they lie, lanes along the head
 *
 * A score is the sum of 16 partial sums: number j of them runs over d = j, j + 16, j + 32, ... in ascending order, and
 * they are added from the first to the last. Values are summed over entries in ascending order. */
#include "kernel/attend_walk.h"

typedef struct Scratch {
    float *keys;   /* [16][key_width padded / 16][64]: number d of the head is row (d % 16, d / 16), as it is summed */
    float *values; /* [64][value_width padded to 16] */
    float *scores; /* [BLOCK_ROWS][64] */
    float *query;  /* [ATTEND_MAX_ROWS][key_width padded] */
} Scratch;

static Scratch scratch_of(const AttendJob *job) {
    Scratch s;
    const size_t kp = (size_t)padded(job->key_width), vp = (size_t)padded(job->value_width);
    s.keys = job->scratch;
    s.values = s.keys + kp * TILE;
    s.scores = s.values + vp * TILE;
    s.query = s.scores + BLOCK_ROWS * TILE;
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

/* Scores of up to 16 rows to weights, with the new maxima; entries outside [low, high) are masked. What was summed before
 * has to be multiplied by `scale`. One pass over the rows finds the maxima and one the weights, so that the long chains
 * of several rows overlap. */
static void soften(const AttendJob *job, float *scores, const int *low, const int *high, int row0, int n_row, float *scale) {
    float now[16] = {0}, added[16] = {0};
    find_tops(job, scores, low, high, row0, n_row, now);
    for (int r = 0; r < n_row; r++) {
        float *row = scores + r * TILE;
        if (low[r] >= high[r] || now[r] == -INFINITY) { /* the row sees none of the tile */
            memset(row, 0, TILE * sizeof *row);
            continue;
        }
        VF total = vf_set(0);
        for (int v = 0; v < 4; v++) {
            const VF e = vf_exp(vf_load(row + 16 * v) - vf_set(now[r]));
            vf_store(row + 16 * v, e);
            total += e;
        }
        added[r] = vf_sum(total);
    }
    keep_sums(job, row0, n_row, now, added, scale);
}

/* ---- scores: keys as they lie -------------------------------------------------------------------------------------- */

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

/* Scores of up to 16 entries for n_row rows. `known`: the width is a constant, that of the values too, and at most
 * 16 MOST_VECTORS. */
static ALWAYS_INLINE void score_16(CacheType type, const uint8_t *const *keys, int n, const float *query, int width,
                                   int query_stride, int n_row, bool known, float *scores, const Ahead *ahead, int entry) {
    VF part[FEW_ROWS][16];
    for (int e = 0; e < 16; e++) {
        if (known)
            ask_entry(ahead, entry + e, known_bytes(type, width), known_bytes(type, width));
        else
            ask_entry(ahead, entry + e, ahead->key_bytes, ahead->value_bytes);
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

/* Heads of 64 and 128 numbers, the usual ones, have code of their own: nothing in it depends on a width. */
static ALWAYS_INLINE void few_scores(CacheType type, const AttendJob *job, const float *query, int n_row, const uint8_t *const *keys,
                                     int n, float *scores, const Ahead *next) {
    const int width = job->key_width, kp = padded(width);
    for (int e = 0; e < n; e += 16) {
        const int some = n - e < 16 ? n - e : 16;
        if (width == 128 && job->value_width == 128)
            FOR_FEW(n_row, score_16(type, keys + e, some, query, 128, 128, R, true, scores + e, next, e));
        else if (type != CACHE_Q8_0 && width == 64 && job->value_width == 64)
            FOR_FEW(n_row, score_16(type, keys + e, some, query, 64, 64, R, true, scores + e, next, e));
        else
            FOR_FEW(n_row, score_16(type, keys + e, some, query, width, kp, R, false, scores + e, next, e));
    }
}

/* ---- scores: a tile of keys turned round ----------------------------------------------------------------------------- */

/* Rows of the tile for numbers d .. d + 15 of the head: those of the same d % 16 follow each other. */
static ALWAYS_INLINE float *turned_row(float *tile, int padded_width, int d) {
    return tile + ((size_t)(d % 16) * (size_t)(padded_width / 16) + (size_t)(d / 16)) * TILE;
}

static ALWAYS_INLINE void turn_keys(CacheType type, const uint8_t *const *keys, int width, float *tile) {
    const int kp = padded(width);
    if (HAS_TURN_F16 && type == CACHE_F16 && width == kp) {
        for (int d = 0; d < width; d += 16)
            for (int e = 0; e < TILE; e += 32)
                vf_turn_f16(keys + e, (size_t)d * 2, turned_row(tile, kp, d) + e, (size_t)(kp / 16) * TILE);
        return;
    }
    for (int e = 0; e < TILE; e += 16)
        for (int d = 0; d < kp; d += 16) {
            VF v[16];
            UNROLL
            for (int i = 0; i < 16; i++)
                v[i] = load_16(type, keys[e + i], d, width);
            vf_transpose(v);
            UNROLL
            for (int i = 0; i < 16; i++)
                vf_store(turned_row(tile, kp, d + i) + e, v[i]);
        }
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
                k[v] = vf_keep(vf_load(keys + 16 * v));
            keys += TILE;
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

static NOINLINE void score_tile(const float *keys, const float *query, int padded_width, int n_row, float *scores) {
    switch (n_row) {
    case 1: score_rows(keys, query, padded_width, 1, scores); break;
    case 2: score_rows(keys, query, padded_width, 2, scores); break;
    default: score_rows(keys, query, padded_width, SCORE_ROWS, scores); break;
    }
}

/* ---- weighted values ---------------------------------------------------------------------------------------------- */

/* Multiplies rows of the output by `scale` and adds the weighted values of n entries: `vectors` vectors from number `at`
 * on, or the `part` of one that is left. */
static ALWAYS_INLINE void value_rows(CacheType type, const uint8_t *const *values, int n, const float *weights,
                                     const float *scale, int width, int n_row, float *out, int at, int vectors, bool part) {
    VF acc[VALUE_ROWS][4];
    const int left = width - at;
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const float *from = out + (size_t)r * (size_t)width + at + 16 * v;
            acc[r][v] = (part ? vf_load_part(from, left, 0) : vf_load(from)) * vf_set(scale[r]);
        }
    NO_UNROLL
    for (int e = 0; e < n; e++) {
        VF x[4];
        UNROLL
        for (int v = 0; v < vectors; v++)
            x[v] = vf_keep(part ? load_16(type, values[e], at, width) : load_all_16(type, values[e], at + 16 * v, width));
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const VF w = vf_set(weights[r * TILE + e]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(x[v], w, acc[r][v]);
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

static ALWAYS_INLINE void values_whole(CacheType type, const uint8_t *const *values, int n, const float *weights,
                                       const float *scale, int width, int n_row, float *out) {
    VF acc[WHOLE_ROWS][MOST_VECTORS];
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int v = 0; v < width / 16; v++)
            acc[r][v] = vf_load(out + r * width + 16 * v) * vf_set(scale[r]);
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


static ALWAYS_INLINE void add_values(CacheType type, const uint8_t *const *values, int n, const float *weights, const float *scale,
                                     int width, int n_row, float *out) {
    if (width == 128 && n_row == 1) {
        values_whole(type, values, n, weights, scale, 128, 1, out);
        return;
    }
    if (width == 128 && n_row == 2) {
        values_whole(type, values, n, weights, scale, 128, 2, out);
        return;
    }
    for (int r = 0, rows; r < n_row; r += rows) {
        rows = next_part(n_row - r, VALUE_ROWS);
        const float *w = weights + r * TILE;
        float *y = out + (size_t)r * (size_t)width;
        int at = 0;
        for (; at + 64 <= width; at += 64)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, width, R, y, at, 4, false));
        for (; at + 16 <= width; at += 16)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, width, R, y, at, 1, false));
        if (at < width)
            FOR_VALUES(rows, value_rows(type, values, n, w, scale + r, width, R, y, at, 1, true));
    }
}

/* Turning a tile round costs as much as this number of rows saves: of halves, quickly done, 1 for 16 numbers of the head
 * (Zen 5: 64 numbers, 4 rows 10.4 us for 1,024 entries as they lie and 10.0 turned round; 128 numbers, 8 rows 28.1 and
 * 28.5). */
static inline int few_rows_of(CacheType type, int key_width) {
    return HAS_TURN_F16 && type == CACHE_F16 && key_width < 16 * FEW_ROWS ? key_width / 16 : FEW_ROWS;
}

/* ---- tiles ---------------------------------------------------------------------------------------------------------- */

static ALWAYS_INLINE void one_tile_of(CacheType type, const AttendJob *job, const Scratch *s, int row0, int n_row,
                                      const uint8_t *const *keys, const uint8_t *const *values, const int *low,
                                      const int *high, int n, const Ahead *next) {
    const int vw = job->value_width, kp = padded(job->key_width);
    const bool few = n_row <= few_rows_of(type, job->key_width);
    const uint8_t *floats[TILE];
    if (!few) {
        turn_keys(type, keys, job->key_width, s->keys);
        for (int e = 0; type == CACHE_Q8_0 && e < n; e++) {
            float *to = s->values + (size_t)e * (size_t)padded(vw);
            for (int d = 0; d < vw; d += 16)
                vf_store(to + d, load_16(type, values[e], d, vw));
            floats[e] = (const uint8_t *)to;
        }
    }
    float scale[16];
    int asked = 0;
    for (int r = row0, end = row0 + n_row, rows; r < end; r += rows) {
        rows = next_part(end - r, BLOCK_ROWS);
        const float *query = s->query + (size_t)r * (size_t)kp;
        float *out = job->out + (size_t)r * (size_t)vw;
        if (few) {
            few_scores(type, job, query, rows, keys, n, s->scores, next);
        } else {
            /* The next tile's lines are asked for a few at a time: those that come too fast are dropped. */
            for (int i = 0, some; i < rows; i += some) {
                some = next_part(rows - i, SCORE_ROWS);
                for (const int until = TILE * (r - row0 + i + some) / n_row; asked < until; asked++)
                    ask_entry(next, asked, next->key_bytes, next->value_bytes);
                score_tile(s->keys, query + (size_t)i * (size_t)kp, kp, some, s->scores + i * TILE);
            }
        }
        soften(job, s->scores, low + r, high + r, r, rows, scale);
        if (type == CACHE_Q8_0 && !few)
            add_values(CACHE_F32, floats, n, s->scores, scale, vw, rows, out);
        else
            add_values(type, values, n, s->scores, scale, vw, rows, out);
    }
}

static void one_tile(const AttendJob *job, const void *scratch, int row0, int n_row, const uint8_t *const *keys,
                     const uint8_t *const *values, const int *low, const int *high, int n, const Ahead *next) {
    const Scratch *s = scratch;
    if (job->type == CACHE_F16)
        one_tile_of(CACHE_F16, job, s, row0, n_row, keys, values, low, high, n, next);
    else if (job->type == CACHE_Q8_0)
        one_tile_of(CACHE_Q8_0, job, s, row0, n_row, keys, values, low, high, n, next);
    else
        one_tile_of(CACHE_F32, job, s, row0, n_row, keys, values, low, high, n, next);
}

void K(attend_floats)(const AttendJob *job) {
    const Scratch s = scratch_of(job);
    const int kw = job->key_width, kp = padded(kw);
    for (int r = 0; r < job->n_row; r++) {
        memcpy(s.query + (size_t)r * (size_t)kp, job->query + (size_t)r * (size_t)kw, (size_t)kw * sizeof(float));
        for (int d = kw; d < kp; d++)
            s.query[(size_t)r * (size_t)kp + (size_t)d] = 0;
    }
    attend_walk(job, &s, one_tile);
}

void K(kernels_fill_attend)(Kernels *k) {
    k->attend[PRECISION_F32] = k->attend[PRECISION_FAST] = K(attend_floats);
    k->cache_store = store_entry;
    k->cache_load = load_entry;
}
