/* attend_simd.c - attention over a range of cache entries; compiled once per level.
 *
 * Entries are taken in tiles of 64. A tile's keys are converted to floats and turned round, so that lanes are entries:
 *
 *     scores  S[row][64 entries]  = sum over d of q[row][d] * keys[d][64]
 *     softmax online: a new maximum rescales what was summed before (Milakov & Gimelshein 2018)
 *     out     O[row][value width] += sum over entries of p[row][entry] * values[entry][]
 *
 * Every sum runs over d or over entries in ascending order, whatever the number of rows. */
#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

enum { TILE = CACHE_BLOCK, ROWS = 6 };

typedef struct Scratch {
    float *keys;   /* [key_width][64] */
    float *values; /* [64][value_width padded to 16] */
    float *scores; /* [ATTEND_MAX_ROWS][64] */
    float *row;    /* one entry as floats, padded */
} Scratch;

static int padded(int width) {
    return (width + 15) & ~15;
}

static Scratch scratch_of(const AttendJob *job) {
    Scratch s;
    s.keys = job->scratch;
    s.values = s.keys + (size_t)padded(job->key_width) * TILE;
    s.scores = s.values + (size_t)padded(job->value_width) * TILE;
    s.row = s.scores + ATTEND_MAX_ROWS * TILE;
    return s;
}

/* ---- entries ---- */

static void load_entry(CacheType type, float *x, const void *entry, int width) {
    int i = 0;
    if (type == CACHE_F32) {
        memcpy(x, entry, (size_t)width * sizeof *x);
    } else if (type == CACHE_F16) {
        const uint16_t *h = entry;
        for (; i + 16 <= width; i += 16)
            vf_store(x + i, vf_load_f16(h + i));
        for (; i < width; i++)
            x[i] = float_of_f16(h[i]);
    } else {
        const int8_t *q = entry;
        const uint8_t *scales = (const uint8_t *)entry + width;
        for (; i < width; i++) {
            uint16_t d;
            memcpy(&d, scales + 2 * (i / 32), 2);
            x[i] = float_of_f16(d) * (float)q[i];
        }
    }
}

static void store_entry(CacheType type, void *entry, const float *x, int width) {
    int i = 0;
    if (type == CACHE_F32) {
        memcpy(entry, x, (size_t)width * sizeof *x);
    } else if (type == CACHE_F16) {
        uint16_t *h = entry;
        for (; i + 16 <= width; i += 16)
            vf_store_f16(h + i, vf_load(x + i));
        for (; i < width; i++)
            h[i] = f16_of_float(x[i]);
    } else {
        int8_t *q = entry;
        uint8_t *scales = (uint8_t *)entry + width;
        for (int b = 0; b < width; b += 32) {
            const int n = width - b < 32 ? width - b : 32;
            float top = 0;
            bool finite = true;
            for (i = 0; i < n; i++) {
                top = fabsf(x[b + i]) > top ? fabsf(x[b + i]) : top;
                finite = finite && isfinite(x[b + i]);
            }
            const uint16_t d = f16_of_float(finite ? top / 127.0f : NAN);
            const float rounded = float_of_f16(d);
            for (i = 0; i < n; i++) {
                const float v = finite && rounded > 0 ? nearbyintf(x[b + i] / rounded) : 0;
                q[b + i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
            }
            memcpy(scales + 2 * (b / 32), &d, 2);
        }
    }
}

static void load_tile(const AttendJob *job, const Scratch *s, const uint8_t *const *keys, const uint8_t *const *values,
                      int n) {
    const int kw = job->key_width, vw = job->value_width, vp = padded(vw);
    for (int e = 0; e < TILE; e++) {
        if (e < n)
            load_entry(job->type, s->row, keys[e], kw);
        for (int d = 0; d < kw; d++)
            s->keys[d * TILE + e] = e < n ? s->row[d] : 0;
    }
    for (int e = 0; e < n; e++) {
        load_entry(job->type, s->values + (size_t)e * vp, values[e], vw);
        for (int d = vw; d < vp; d++)
            s->values[(size_t)e * vp + d] = 0;
    }
}

/* ---- scores and sums ---- */

static ALWAYS_INLINE void score_rows(const float *keys, const float *query, int width, int n_row, float *scores) {
    VF acc[ROWS][4];
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < 4; v++)
            acc[r][v] = vf_set(0);
    for (int d = 0; d < width; d++) {
        VF k[4];
        for (int v = 0; v < 4; v++)
            k[v] = vf_load(keys + d * TILE + 16 * v);
        for (int r = 0; r < n_row; r++) {
            const VF q = vf_set(query[(size_t)r * width + d]);
            for (int v = 0; v < 4; v++)
                acc[r][v] = vf_fma(k[v], q, acc[r][v]);
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < 4; v++)
            vf_store(scores + r * TILE + 16 * v, acc[r][v]);
}

static ALWAYS_INLINE void value_rows(const float *values, int padded_width, const float *p, int n, int n_row,
                                     float *out, int width, int at, int vectors) {
    VF acc[ROWS][4];
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vf_load(out + (size_t)r * width + at + 16 * v);
    for (int e = 0; e < n; e++) {
        VF x[4];
        for (int v = 0; v < vectors; v++)
            x[v] = vf_load(values + (size_t)e * padded_width + at + 16 * v);
        for (int r = 0; r < n_row; r++) {
            const VF w = vf_set(p[r * TILE + e]);
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(x[v], w, acc[r][v]);
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < vectors; v++)
            vf_store(out + (size_t)r * width + at + 16 * v, acc[r][v]);
}

#define FOR_ROWS(n_row, call)                                                                                          \
    do {                                                                                                               \
        switch (n_row) {                                                                                               \
        case 1: { enum { R = 1 }; call; break; }                                                                       \
        case 2: { enum { R = 2 }; call; break; }                                                                       \
        case 3: { enum { R = 3 }; call; break; }                                                                       \
        case 4: { enum { R = 4 }; call; break; }                                                                       \
        case 5: { enum { R = 5 }; call; break; }                                                                       \
        default: { enum { R = 6 }; call; break; }                                                                      \
        }                                                                                                              \
    } while (0)

static NOINLINE void score_tile(const float *keys, const float *query, int width, int n_row, float *scores) {
    FOR_ROWS(n_row, score_rows(keys, query, width, R, scores));
}

static NOINLINE void value_tile(const float *values, int padded_width, const float *p, int n, int n_row, float *out,
                                int width) {
    int at = 0;
    for (; at + 64 <= width; at += 64)
        FOR_ROWS(n_row, value_rows(values, padded_width, p, n, R, out, width, at, 4));
    for (; at + 16 <= width; at += 16)
        FOR_ROWS(n_row, value_rows(values, padded_width, p, n, R, out, width, at, 1));
    for (int r = 0; r < n_row; r++)
        for (int d = at; d < width; d++) {
            float sum = out[(size_t)r * width + d];
            for (int e = 0; e < n; e++)
                sum += values[(size_t)e * padded_width + d] * p[r * TILE + e];
            out[(size_t)r * width + d] = sum;
        }
}

/* Scores of one row to weights, with the new maximum; entries outside [low, high) are masked. False: none is left. */
static bool soften(const AttendJob *job, float *scores, int low, int high, float *top, float *sum, float *out) {
    if (low >= high)
        return false;
    VF s[4], best = vf_set(-INFINITY);
    for (int v = 0; v < 4; v++) {
        s[v] = vf_load(scores + 16 * v);
        if (job->softcap > 0)
            s[v] = vf_set(job->softcap) * vf_tanh(s[v] * vf_set(1.0f / job->softcap));
        VI index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        index += vi_set(16 * v);
        const VI seen = (index >= vi_set(low)) & (index < vi_set(high));
        s[v] = vf_pick(seen, s[v], vf_set(-INFINITY));
        best = vf_max(s[v], best);
    }
    const float old = *top, now = vf_top(best) > old ? vf_top(best) : old;
    if (now == -INFINITY)
        return false;
    VF total = vf_set(0);
    for (int v = 0; v < 4; v++) {
        const VF e = vf_exp(s[v] - vf_set(now));
        vf_store(scores + 16 * v, e);
        total += e;
    }
    float x[16], factor = 1;
    if (now > old) {
        vf_store(x, vf_exp(vf_set(old - now))); /* 0 when nothing came before */
        factor = x[0];
        for (int d = 0; d < job->value_width; d++)
            out[d] *= factor;
    }
    *sum = *sum * factor + vf_sum(total);
    *top = now;
    return true;
}

/* One tile for rows [row0, row1); row r sees entries [low[r], high[r]) of it. */
static void attend_tile(const AttendJob *job, const Scratch *s, int row0, int row1, const int *low, const int *high,
                        int n) {
    const int kw = job->key_width, vw = job->value_width;
    for (int r = row0; r < row1; r += ROWS) {
        const int rows = row1 - r < ROWS ? row1 - r : ROWS;
        float *scores = s->scores + r * TILE;
        score_tile(s->keys, job->query + (size_t)r * kw, kw, rows, scores);
        for (int i = 0; i < rows; i++)
            if (!soften(job, scores + i * TILE, low[r + i], high[r + i], &job->top[r + i], &job->sum[r + i],
                        job->out + (size_t)(r + i) * vw))
                memset(scores + i * TILE, 0, TILE * sizeof *scores);
        value_tile(s->values, padded(vw), scores, n, rows, job->out + (size_t)r * vw, vw);
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
        load_tile(job, s, keys, values, n);
        attend_tile(job, s, 0, job->n_row, low, high, n);
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
            load_tile(job, s, keys, values, n);
            for (int r = t * job->group; r < (t + 1) * job->group; r++) {
                low[r] = 0;
                high[r] = n;
            }
            attend_tile(job, s, t * job->group, (t + 1) * job->group, low, high, n);
        }
    }
}

static void attend(const AttendJob *job) {
    for (int r = 0; r < job->n_row; r++) {
        job->top[r] = -INFINITY;
        job->sum[r] = 0;
    }
    memset(job->out, 0, (size_t)job->n_row * (size_t)job->value_width * sizeof *job->out);
    const Scratch s = scratch_of(job);
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
