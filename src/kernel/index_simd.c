/* index_simd.c - scores of cache entries by narrow index keys; compiled once per level.
 *
 * Up to 64 entries are turned round into a tile, so that lanes are entries; each product of a head runs over the numbers of
 * a key in ascending order, and heads are added in ascending order: a score's bits depend on the token and the entry alone. */
#include "kernel/entries_simd.h"
#include "kernel/kernel_parts.h"

enum { TILE = CACHE_BLOCK, ROWS = 3 };

static ALWAYS_INLINE void load_keys_of(CacheType type, const IndexJob *job, float *tile) {
    for (int e = 0; e < TILE; e += 16)
        for (int d = 0; d < job->dim; d += 16) {
            VF v[16];
            for (int i = 0; i < 16; i++)
                v[i] = e + i < job->n ? load_16(type, job->keys[e + i], d, job->dim) : vf_set(0);
            vf_transpose(v);
            for (int i = 0; i < 16; i++)
                vf_store(tile + (d + i) * TILE + e, v[i]);
        }
}

static void load_keys(const IndexJob *job, float *tile) {
    if (job->type == CACHE_F16)
        load_keys_of(CACHE_F16, job, tile);
    else if (job->type == CACHE_Q8_0)
        load_keys_of(CACHE_Q8_0, job, tile);
    else
        load_keys_of(CACHE_F32, job, tile);
}

/* Adds the scores of n_head heads to those of their group. */
static ALWAYS_INLINE void add_heads(const IndexJob *job, const float *tile, const float *query, const float *weights, int n_head,
                                    float *out) {
    VF part[ROWS][4];
    for (int h = 0; h < n_head; h++)
        for (int v = 0; v < 4; v++)
            part[h][v] = vf_set(0);
    for (int d = 0; d < job->dim; d++) {
        VF k[4];
        for (int v = 0; v < 4; v++)
            k[v] = vf_load(tile + d * TILE + 16 * v);
        for (int h = 0; h < n_head; h++) {
            const VF q = vf_set(query[h * job->dim + d]);
            for (int v = 0; v < 4; v++)
                part[h][v] = vf_fma(k[v], q, part[h][v]);
        }
    }
    for (int v = 0; v < 4; v++) {
        VF sum = vf_load(out + 16 * v);
        for (int h = 0; h < n_head; h++) {
            const VF dot = part[h][v] * vf_set(job->scale);
            sum = vf_fma(job->plain ? dot : vf_max(dot, vf_set(0)), vf_set(weights != NULL ? weights[h] : 1.0f), sum);
        }
        vf_store(out + 16 * v, sum);
    }
}

static NOINLINE void add_few(const IndexJob *job, const float *tile, const float *query, const float *weights, int n_head,
                             float *out) {
    switch (n_head) {
    case 1: add_heads(job, tile, query, weights, 1, out); break;
    case 2: add_heads(job, tile, query, weights, 2, out); break;
    default: add_heads(job, tile, query, weights, 3, out); break;
    }
}

static void index_scores(const IndexJob *job) {
    float *tile = job->scratch;
    load_keys(job, tile);
    const int group = job->heads / job->groups;
    memset(job->out, 0, (size_t)job->n_token * (size_t)job->groups * TILE * sizeof *job->out);
    for (int t = 0; t < job->n_token; t++)
        for (int g = 0; g < job->groups; g++) {
            float *out = job->out + (size_t)(t * job->groups + g) * TILE;
            for (int h = g * group; h < (g + 1) * group; h += ROWS) {
                const int n = (g + 1) * group - h < ROWS ? (g + 1) * group - h : ROWS;
                const float *query = job->query + (size_t)t * job->query_stride + (size_t)h * (size_t)job->dim;
                const float *weights = job->weights != NULL ? job->weights + (size_t)t * job->weight_stride + h : NULL;
                add_few(job, tile, query, weights, n, out);
            }
        }
}

void K(kernels_fill_index)(Kernels *k) {
    k->index_scores = index_scores;
}
