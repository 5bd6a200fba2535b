/* test_sparse.c - choosing entries by an index, pooling rows, mixing residual streams: the fast versions of every level
 * against the plain ones, and the plain ones against what they promise. */
#include "base/half.h"
#include "base/mem.h"
#include "kernel/kernel.h"
#include "op/op_choose.h"
#include "op/op_hyper.h"
#include "op/op_pool.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static uint32_t state = 7;

static uint32_t random_bits(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static float random_number(void) {
    return (float)random_bits() / (float)(1 << 23) - 1.0f;
}

static const Kernels *kernels_at(int level) {
    const Kernels *k = NULL;
    return level_present((Level)level) && kernels_of((Level)level, &k, NULL) == OK ? k : NULL;
}

/* ---- the best of many scores ---- */

enum { MOST = 3000 };

/* The definition read literally: take the best that is left, `top` times; the lowest index among equals. */
static void check_choice(const float *scores, int n, int top, int local) {
    static bool want[MOST];
    static int32_t got[MOST + 1];
    memset(want, 0, sizeof want);
    for (int k = 0; k < top && k < n; k++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            if (want[i])
                continue;
            const bool forced = i >= n - local, rival = best >= n - local && best >= 0;
            const float a = isnan(scores[i]) ? -INFINITY : scores[i];
            const float b = best < 0 ? -INFINITY : isnan(scores[best]) ? -INFINITY : scores[best];
            if (best < 0 || (forced && !rival) || (forced == rival && !forced && a > b))
                best = i;
        }
        want[best] = true;
    }
    got[top < n ? top : n] = -77;
    const int count = op_choose_best(scores, n, top, local, got);
    assert_int_equal(count, top < n ? top : n);
    assert_int_equal(got[count], -77); /* nothing is written behind the list */
    for (int i = 0, at = 0; i < n; i++)
        if (want[i])
            assert_int_equal(got[at++], i);
}

/* Guards against a choice that depends on the order of equal scores, loses one at a digit's border, or is upset by zeros
 * of both signs, infinities and NaN. */
static void test_best_of_many(void **unused) {
    (void)unused;
    static float scores[MOST];
    static const int sizes[] = {1, 2, 5, 63, 64, 65, 400};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int kind = 0; kind < 5; kind++)
            for (int top = 1; top <= 70; top += 23) {
                for (int i = 0; i < sizes[s]; i++) {
                    const uint32_t r = random_bits();
                    const float close = float_of_bits(0x3F800000u + r % 5);
                    const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f, -1e-42f, 3.0f};
                    scores[i] = kind == 0 ? random_number() : kind == 1 ? (float)(r % 3) : kind == 2 ? close
                                : kind == 3 ? odd[r % 8] : 0.0f;
                }
                check_choice(scores, sizes[s], top, 0);
                check_choice(scores, sizes[s], top, 1);
                check_choice(scores, sizes[s], top, top < 3 ? top : 3);
            }
    for (int i = 0; i < MOST; i++)
        scores[i] = random_number();
    check_choice(scores, MOST, 1000, 2);
}

/* ---- scores ---- */

typedef struct IndexCase {
    CacheType type;
    int dim, heads, groups, tokens, n;
    bool weights, plain;
} IndexCase;

static void check_index(const Kernels *k, const IndexCase *c) {
    const size_t stride = cache_entry_bytes(c->type, c->dim);
    uint8_t *keys = mem_alloc(64 * stride, MEM_MISC);
    float *query = mem_alloc((size_t)(c->tokens * c->heads * c->dim) * sizeof *query, MEM_MISC);
    float *weights = mem_alloc((size_t)(c->tokens * c->heads) * sizeof *weights, MEM_MISC);
    float *out = mem_alloc((size_t)(c->tokens * c->groups * 64 + 1) * sizeof *out, MEM_MISC);
    void *scratch = mem_alloc_aligned(index_scratch_bytes(c->dim), MEM_MISC);
    const uint8_t *at[64];
    float x[256];
    for (int e = 0; e < 64; e++) {
        for (int i = 0; i < c->dim; i++)
            x[i] = random_number();
        at[e] = keys + (size_t)e * stride;
        k->cache_store(c->type, keys + (size_t)e * stride, x, c->dim);
    }
    for (int i = 0; i < c->tokens * c->heads * c->dim; i++)
        query[i] = random_number();
    for (int i = 0; i < c->tokens * c->heads; i++)
        weights[i] = random_number();
    IndexJob job = {.type = c->type, .dim = c->dim, .heads = c->heads, .groups = c->groups, .n_token = c->tokens, .query = query,
                    .query_stride = (size_t)(c->heads * c->dim), .weights = c->weights ? weights : NULL,
                    .weight_stride = (size_t)c->heads, .scale = 0.25f, .plain = c->plain, .keys = at, .n = c->n, .out = out,
                    .scratch = scratch};
    out[c->tokens * c->groups * 64] = 12345;
    k->index_scores(&job);
    assert_true(out[c->tokens * c->groups * 64] == 12345);
    const int group = c->heads / c->groups;
    for (int r = 0; r < c->tokens * c->groups; r++)
        for (int e = 0; e < c->n; e++) {
            k->cache_load(c->type, x, at[e], c->dim);
            const int head = r / c->groups * c->heads + r % c->groups * group;
            const float want = op_index_score(query + head * c->dim, c->weights ? weights + head : NULL, x, group, c->dim, 0.25f, c->plain);
            if (fabsf(out[r * 64 + e] - want) > 1e-5f * (1 + fabsf(want)))
                fail_msg("level %s: row %d, entry %d: %g, not %g", level_word(k->level), r, e, (double)out[r * 64 + e], (double)want);
        }
    /* One token and one entry by themselves give the same bits. */
    const float all = out[(c->tokens * c->groups - 1) * 64 + c->n - 1];
    job.query += (size_t)(c->tokens - 1) * job.query_stride;
    job.weights = c->weights ? weights + (c->tokens - 1) * c->heads : NULL;
    job.n_token = 1;
    job.keys = at + c->n - 1;
    job.n = 1;
    k->index_scores(&job);
    assert_memory_equal(&out[(c->groups - 1) * 64], &all, sizeof all);
    mem_free(keys);
    mem_free(query);
    mem_free(weights);
    mem_free(out);
    mem_free(scratch);
}

static void test_index_scores_at_every_level(void **unused) {
    (void)unused;
    static const IndexCase cases[] = {
        {CACHE_F16, 128, 64, 1, 1, 64, true, false}, {CACHE_F32, 32, 8, 1, 5, 17, true, false},
        {CACHE_F16, 128, 4, 4, 3, 50, false, true},  {CACHE_Q8_0, 64, 5, 1, 2, 64, true, false},
        {CACHE_F32, 20, 3, 3, 1, 1, false, false},   {CACHE_F16, 24, 6, 2, 9, 33, true, true},
    };
    for (int l = 0; l < LEVEL_COUNT; l++)
        for (size_t i = 0; i < COUNT(cases); i++)
            if (kernels_at(l) != NULL)
                check_index(kernels_at(l), &cases[i]);
}

/* ---- pooling ---- */

enum { ROWS = 130, WIDTH = 77 };

static void test_pool_at_every_level(void **unused) {
    (void)unused;
    static float values[ROWS][WIDTH], gates[ROWS][WIDTH], biases[ROWS][WIDTH], want[WIDTH], got[WIDTH + 1];
    const float *v[ROWS], *g[ROWS], *b[ROWS];
    for (int i = 0; i < ROWS; i++) {
        v[i] = values[i];
        g[i] = gates[i];
        b[i] = biases[i];
        for (int c = 0; c < WIDTH; c++) {
            values[i][c] = random_number();
            gates[i][c] = 5 * random_number();
            biases[i][c] = random_number();
        }
    }
    gates[3][5] = -INFINITY; /* takes no part */
    gates[4][6] = 1000;      /* takes all */
    static const int counts[] = {1, 4, 8, 13, 130};
    for (int l = 0; l < LEVEL_COUNT; l++)
        for (size_t n = 0; kernels_at(l) != NULL && n < COUNT(counts); n++)
            for (int kind = 0; kind < 3; kind++) {
                op_pool(want, v, kind > 0 ? g : NULL, kind > 1 ? b : NULL, counts[n], WIDTH);
                got[WIDTH] = 12345;
                kernels_at(l)->pool(got, v, kind > 0 ? g : NULL, kind > 1 ? b : NULL, counts[n], WIDTH);
                assert_true(got[WIDTH] == 12345);
                for (int c = 0; c < WIDTH; c++)
                    assert_true(fabsf(got[c] - want[c]) <= 1e-5f * (1 + fabsf(want[c])));
                if (counts[n] > 4 && kind > 0)
                    assert_true(fabsf(got[6] - values[4][6]) < 1e-6f);
            }
}

/* ---- residual streams ---- */

/* The mixing weights are what they are named for: every row and column of the matrix sums to 1. */
static void test_streams_keep_their_sum(void **unused) {
    (void)unused;
    float mixed[16 * 18], base[16 * 18], weights[16 * 18];
    const float scale[3] = {0.7f, 1.3f, 2.0f};
    for (int n = 1; n <= 16; n++) {
        for (int i = 0; i < n * (n + 2); i++) {
            mixed[i] = 2 * random_number();
            base[i] = random_number();
        }
        op_hyper_weights(weights, mixed, base, scale, n, 200, 0);
        for (int i = 0; i < n; i++) {
            float row = 0, column = 0;
            for (int j = 0; j < n; j++) {
                row += weights[2 * n + i * n + j];
                column += weights[2 * n + j * n + i];
            }
            assert_true(fabsf(row - 1) < 1e-4f && fabsf(column - 1) < 1e-4f);
            assert_true(weights[i] > 0 && weights[i] < 1 && weights[n + i] > 0 && weights[n + i] < 2);
        }
        float end[16];
        op_hyper_end_weights(end, mixed, base, scale, n, 0);
        assert_memory_equal(end, weights, (size_t)n * sizeof *end);
    }
}

static void test_streams_at_every_level(void **unused) {
    (void)unused;
    enum { N = 4 };
    static float x[16 * WIDTH], y[WIDTH], want[16 * WIDTH], got[16 * WIDTH + 1], weights[16 * 18];
    for (int n = 1; n <= 16; n += n == N ? 12 : 1) {
        for (int i = 0; i < n * WIDTH; i++)
            x[i] = random_number();
        for (int i = 0; i < WIDTH; i++)
            y[i] = random_number();
        for (int i = 0; i < n * (n + 2); i++)
            weights[i] = random_number();
        for (int l = 0; l < LEVEL_COUNT; l++) {
            const Kernels *k = kernels_at(l);
            if (k == NULL)
                continue;
            got[WIDTH] = 12345;
            op_hyper_collapse(want, x, weights, n, WIDTH);
            k->hyper_collapse(got, x, weights, n, WIDTH);
            assert_true(got[WIDTH] == 12345);
            for (int i = 0; i < WIDTH; i++)
                assert_true(fabsf(got[i] - want[i]) < 1e-5f);
            op_hyper_expand(want, x, y, weights + n, weights + 2 * n, n, WIDTH);
            got[n * WIDTH] = 12345;
            memcpy(got, x, (size_t)(n * WIDTH) * sizeof *got); /* in place */
            k->hyper_expand(got, got, y, weights + n, weights + 2 * n, n, WIDTH);
            assert_true(got[n * WIDTH] == 12345);
            for (int i = 0; i < n * WIDTH; i++)
                assert_true(fabsf(got[i] - want[i]) < 1e-5f);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_of_many),
        cmocka_unit_test(test_index_scores_at_every_level),
        cmocka_unit_test(test_pool_at_every_level),
        cmocka_unit_test(test_streams_keep_their_sum),
        cmocka_unit_test(test_streams_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
