/* attend_walk.h - what the attention kernels share (attend_simd.c with floats, attend_pairs_simd.c with pairs of bf16): the walk
 * over ranges and lists of entries, tile by tile, and the softmax online (a new maximum rescales what was summed before;
 * Milakov & Gimelshein 2018). */
#ifndef HOULE_KERNEL_ATTEND_WALK_H
#define HOULE_KERNEL_ATTEND_WALK_H

#include "kernel/entries_simd.h"
#include "kernel/kernel_parts.h"

/* Of the rows of a job BLOCK_ROWS go through a tile together, so that their scores stay in the first cache. */
enum { TILE = CACHE_BLOCK, BLOCK_ROWS = 12, SCORE_ROWS = 3, VALUE_ROWS = 6, FEW_ROWS = 8 };

/* Rows to take next of those that are left, `most` at once: parts as even as possible. */
static inline int next_part(int left, int most) {
    const int parts = (left + most - 1) / most;
    return (left + parts - 1) / parts;
}

#define FOR_FEW(n_row, call)                                                                                           \
    do {                                                                                                               \
        switch (n_row) {                                                                                               \
            CASES_1_TO_6(call)                                                                                         \
            CASE_ROWS(7, call)                                                                                         \
            CASE_ROWS(8, call)                                                                                         \
        }                                                                                                              \
    } while (0)
_Static_assert(FEW_ROWS == 8, "FOR_FEW has a case for each number of rows");

#define FOR_VALUES(n_row, call)                                                                                        \
    do {                                                                                                               \
        switch (n_row) {                                                                                               \
            CASES_1_TO_6(call)                                                                                         \
        }                                                                                                              \
    } while (0)
_Static_assert(VALUE_ROWS == 6, "FOR_VALUES has a case for each number of rows");

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

/* The largest of a row's scores. */
static ALWAYS_INLINE float top_of(const float *scores) {
    const VF a = vf_max(vf_load(scores), vf_load(scores + 16)), b = vf_max(vf_load(scores + 32), vf_load(scores + 48));
    return vf_top(vf_max(a, b));
}

/* Caps scores; those outside [low, high) become -infinity. */
static void cap_and_mask(const AttendJob *job, float *scores, int low, int high) {
    for (int v = 0; v < 4; v++) {
        VF s = vf_load(scores + 16 * v);
        if (job->softcap > 0)
            s = vf_set(job->softcap) * vf_tanh(s * vf_set(1.0f / job->softcap));
        VI index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        index += vi_set(16 * v);
        const VI seen = (index >= vi_set(low)) & (index < vi_set(high));
        vf_store(scores + 16 * v, vf_pick(seen, s, vf_set(-INFINITY)));
    }
}

/* The first pass of a softmax over up to 16 rows of a tile: entries outside [low, high) are masked, `now` becomes the maxima with
 * what came before. */
static ALWAYS_INLINE void find_tops(const AttendJob *job, float *scores, const int *low, const int *high, int row0, int n_row,
                                    float *now) {
    for (int r = 0; r < n_row; r++) {
        float best = -INFINITY;
        if (low[r] < high[r]) {
            if (low[r] > 0 || high[r] < TILE || job->softcap > 0)
                cap_and_mask(job, scores + r * TILE, low[r], high[r]);
            best = top_of(scores + r * TILE);
        }
        now[r] = best > job->top[row0 + r] ? best : job->top[row0 + r];
    }
}

/* The last: with the tile's sums in `added`, the new maxima and sums are kept; what was summed before has to be multiplied by
 * `scale`. */
static ALWAYS_INLINE void keep_sums(const AttendJob *job, int row0, int n_row, const float *now, const float *added, float *scale) {
    float *top = job->top + row0, *sum = job->sum + row0;
    float old[16] = {0}, before[16] = {0}, sums[16];
    memcpy(old, top, (size_t)n_row * sizeof *old);
    memcpy(before, sum, (size_t)n_row * sizeof *before);
    const VF was = vf_load(old), is = vf_load(now);
    const VF grown = vf_pick(is > was, vf_exp(was - is), vf_set(1)); /* 0 when nothing came before */
    vf_store(scale, grown);
    vf_store(sums, vf_fma(vf_load(before), grown, vf_load(added)));
    memcpy(sum, sums, (size_t)n_row * sizeof *sum);
    memcpy(top, now, (size_t)n_row * sizeof *top);
}

/* The tile after this one: its lines are asked for while this one is computed, because the pages of a cache lie too far
 * apart for the hardware to see what comes next. */
typedef struct Ahead {
    const uint8_t *keys, *values; /* NULL: nothing is ahead */
    size_t key_stride, value_stride;
    int key_bytes, value_bytes;
} Ahead;

static ALWAYS_INLINE void ask_entry(const Ahead *ahead, int entry, int key_bytes, int value_bytes) {
    if (ahead->keys == NULL)
        return;
    for (int i = 0; i < key_bytes; i += 64)
        PREFETCH(ahead->keys + (size_t)entry * ahead->key_stride + i);
    for (int i = 0; i < value_bytes; i += 64)
        PREFETCH(ahead->values + (size_t)entry * ahead->value_stride + i);
}

/* Sums the lanes of 16 vectors, each from the first lane to the last: lane i of the result is the sum of v[i]. */
static ALWAYS_INLINE VF sum_lanes(VF v[16]) {
    vf_transpose(v);
    VF sum = v[0];
    for (int i = 1; i < 16; i++)
        sum += v[i];
    return sum;
}

/* Bytes of an entry, where type and width are known. */
static ALWAYS_INLINE int known_bytes(CacheType type, int width) {
    return type == CACHE_F32 ? 4 * width : type == CACHE_F16 ? 2 * width : width + width / 16;
}

/* Rows row0 .. row0 + n_row - 1 of the job over one tile of n entries, of which each row sees [low, high). There are 64 keys and
 * values, the last one repeated where there are fewer entries. */
typedef void TileFn(const AttendJob *job, const void *scratch, int row0, int n_row, const uint8_t *const *keys,
                    const uint8_t *const *values, const int *low, const int *high, int n, const Ahead *next);

static inline void repeat_last(const uint8_t **keys, const uint8_t **values, int n) {
    for (int e = n; e < TILE; e++) {
        keys[e] = keys[n - 1];
        values[e] = values[n - 1];
    }
}

/* ---- ranges and lists of entries ---------------------------------------------------------------------------------- */

static ALWAYS_INLINE void attend_range(const AttendJob *job, const void *scratch, TileFn *tile) {
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
        repeat_last(keys, values, n);
        tile(job, scratch, 0, job->n_row, keys, values, low, high, n, &next);
    }
}

static ALWAYS_INLINE void attend_chosen(const AttendJob *job, const void *scratch, TileFn *tile) {
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
            repeat_last(keys, values, n);
            tile(job, scratch, t * job->group, job->group, keys, values, low, high, n, &nothing);
        }
    }
}

/* All of a job; its queries are in scratch already. */
static ALWAYS_INLINE void attend_walk(const AttendJob *job, const void *scratch, TileFn *tile) {
    for (int r = 0; r < job->n_row; r++) {
        job->top[r] = -INFINITY;
        job->sum[r] = 0;
    }
    memset(job->out, 0, (size_t)job->n_row * (size_t)job->value_width * sizeof *job->out);
    if (job->chosen != NULL)
        attend_chosen(job, scratch, tile);
    else
        attend_range(job, scratch, tile);
}

#endif
