/* test_attend.c - attention kernels of every level this machine has, against sums in double precision; and that a row's
 * numbers do not depend on the rows beside it. */
#include "base/half.h"
#include "base/mem.h"
#include "kernel/kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { ENTRIES = 300, MAX_WIDTH = 576 };

typedef struct Case {
    CacheType type;
    int key_width, value_width, tokens, group;
    bool shared; /* values are the beginning of the keys */
    float softcap;
    int window;
} Case;

/* Squared error beside the squared norm of a row, and on average over the rows of a case. Rounded to bf16, numbers are off by 2^-9 at the
 * most. Values here add up to a tenth of their size, so that this counts: 3e-5 on average, 6e-4 in a row that is nearly zero. */
typedef struct Limit {
    double row, mean;
} Limit;

static Limit limit_of(const Kernels *k, const Case *c, Precision precision) {
    const bool rounded = k->level >= LEVEL_AVX512BF16 && precision == PRECISION_FAST && c->type != CACHE_F32;
    return rounded ? (Limit){1e-3, 1.5e-4} : (Limit){1e-10, 1e-10};
}

typedef struct Data {
    uint8_t *keys, *values;
    const uint8_t *key_blocks[ENTRIES / 64 + 1], *value_blocks[ENTRIES / 64 + 1];
    size_t key_stride, value_stride;
    float *query, *out;
    float top[ATTEND_MAX_ROWS], sum[ATTEND_MAX_ROWS];
    int32_t first[ATTEND_MAX_ROWS], last[ATTEND_MAX_ROWS];
    void *scratch;
} Data;

static uint32_t state = 1;

static float random_number(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state / 2147483648.0f;
}

static void fill(Data *d, const Case *c, const Kernels *k) {
    const size_t blocks = ENTRIES / 64 + 1;
    d->key_stride = cache_entry_bytes(c->type, c->key_width);
    d->value_stride = c->shared ? d->key_stride : cache_entry_bytes(c->type, c->value_width);
    d->keys = mem_alloc_aligned(blocks * 64 * d->key_stride, MEM_MISC);
    d->values = c->shared ? d->keys : mem_alloc_aligned(blocks * 64 * d->value_stride, MEM_MISC);
    d->query = mem_alloc_aligned(ATTEND_MAX_ROWS * MAX_WIDTH * sizeof(float), MEM_MISC);
    d->out = mem_alloc_aligned((ATTEND_MAX_ROWS * MAX_WIDTH + 64) * sizeof(float), MEM_MISC);
    d->scratch = mem_alloc_aligned(attend_scratch_bytes(ATTEND_MAX_ROWS, c->key_width, c->value_width), MEM_MISC);
    float x[MAX_WIDTH];
    for (int e = 0; e < ENTRIES; e++)
        for (int v = 0; v < (c->shared ? 1 : 2); v++) {
            for (int i = 0; i < MAX_WIDTH; i++)
                x[i] = random_number() * (e % 7 == 0 ? 3.0f : 1.0f);
            if (v == 0)
                k->cache_store(c->type, d->keys + (size_t)e * d->key_stride, x, c->key_width);
            else
                k->cache_store(c->type, d->values + (size_t)e * d->value_stride, x, c->value_width);
        }
    for (size_t b = 0; b < blocks; b++) {
        d->key_blocks[b] = d->keys + b * 64 * d->key_stride;
        d->value_blocks[b] = d->values + b * 64 * d->value_stride;
    }
    for (int i = 0; i < ATTEND_MAX_ROWS * MAX_WIDTH; i++)
        d->query[i] = random_number() * 0.3f;
    for (int t = 0; t < c->tokens; t++) {
        d->last[t] = ENTRIES - c->tokens + t;
        d->first[t] = c->window > 0 && d->last[t] - c->window + 1 > 0 ? d->last[t] - c->window + 1 : 0;
    }
}

static void release(Data *d, const Case *c) {
    mem_free(d->keys);
    if (!c->shared)
        mem_free(d->values);
    mem_free(d->query);
    mem_free(d->out);
    mem_free(d->scratch);
}

static AttendJob job_of(Data *d, const Case *c) {
    return (AttendJob){.type = c->type, .key_width = c->key_width, .value_width = c->value_width, .n_row = c->tokens * c->group,
                       .group = c->group, .query = d->query, .key_blocks = d->key_blocks, .value_blocks = d->value_blocks,
                       .key_stride = d->key_stride, .value_stride = d->value_stride, .first = d->first, .last = d->last,
                       .end = ENTRIES, .softcap = c->softcap, .top = d->top, .sum = d->sum, .out = d->out,
                       .scratch = d->scratch};
}

/* Row r over entries [from, to] in double precision. */
static void expected(const Data *d, const Case *c, const Kernels *k, int r, int from, int to, double *out) {
    static double score[ENTRIES];
    float x[MAX_WIDTH];
    double top = -INFINITY, sum = 0;
    for (int e = from; e <= to; e++) {
        k->cache_load(c->type, x, d->keys + (size_t)e * d->key_stride, c->key_width);
        double s = 0;
        for (int i = 0; i < c->key_width; i++)
            s += (double)d->query[r * c->key_width + i] * (double)x[i];
        if (c->softcap > 0)
            s = (double)c->softcap * tanh(s / (double)c->softcap);
        score[e] = s;
        top = s > top ? s : top;
    }
    memset(out, 0, (size_t)c->value_width * sizeof *out);
    for (int e = from; e <= to; e++) {
        const double p = exp(score[e] - top);
        sum += p;
        k->cache_load(c->type, x, d->values + (size_t)e * d->value_stride, c->value_width);
        for (int i = 0; i < c->value_width; i++)
            out[i] += p * (double)x[i];
    }
    for (int i = 0; i < c->value_width; i++)
        out[i] /= sum;
}

static void check_case(const Kernels *k, const Case *c, Precision precision) {
    Data d = {0};
    fill(&d, c, k);
    AttendJob job = job_of(&d, c);
    const int guard = job.n_row * c->value_width;
    d.out[guard] = 12345;
    k->attend[precision](&job);
    assert_true(d.out[guard] == 12345); /* nothing is written behind the last row */
    static double want[MAX_WIDTH];
    const Limit limit = limit_of(k, c, precision);
    double total = 0;
    for (int r = 0; r < job.n_row; r++) {
        const int t = r / c->group;
        expected(&d, c, k, r, d.first[t], d.last[t], want);
        double error = 0, norm = 1e-12;
        for (int i = 0; i < c->value_width; i++) {
            const double got = (double)d.out[r * c->value_width + i] / (double)d.sum[r];
            error += (got - want[i]) * (got - want[i]);
            norm += want[i] * want[i];
        }
        total += error / norm;
        if (!(error <= limit.row * norm))
            fail_msg("level %s, precision %d, type %d, %d/%d, row %d: error %g", level_word(k->level), precision, c->type,
                     c->key_width, c->value_width, r, error / norm);
    }
    assert_true(total <= limit.mean * job.n_row);
    /* Each token by itself, and ranges merged in order, give the bits of all together. */
    float *all = mem_alloc((size_t)guard * sizeof *all, MEM_MISC), sums[ATTEND_MAX_ROWS];
    memcpy(all, d.out, (size_t)guard * sizeof *all);
    memcpy(sums, d.sum, sizeof sums);
    for (int t = 0; t < c->tokens; t++) {
        AttendJob one = job;
        one.n_row = c->group;
        one.query = d.query + t * c->group * c->key_width;
        one.first = d.first + t;
        one.last = d.last + t;
        k->attend[precision](&one);
        assert_memory_equal(d.out, all + t * c->group * c->value_width, (size_t)(c->group * c->value_width) * sizeof *all);
        assert_memory_equal(d.sum, sums + t * c->group, (size_t)c->group * sizeof *sums);
    }
    /* A list of all entries that a token sees is the same as the range, when that begins at a tile. */
    static int32_t list[ENTRIES];
    if (c->window == 0) {
        AttendJob chosen = job;
        chosen.n_row = c->group;
        for (int e = 0; e < ENTRIES; e++)
            list[e] = e;
        const int32_t *lists[1] = {list}, counts[1] = {d.last[0] + 1};
        chosen.chosen = lists;
        chosen.n_chosen = counts;
        k->attend[precision](&chosen);
        assert_memory_equal(d.out, all, (size_t)(c->group * c->value_width) * sizeof *all);
    }
    mem_free(all);
    release(&d, c);
}

static const Case cases[] = {
    {CACHE_F32, 16, 16, 1, 1, false, 0, 0},      {CACHE_F16, 64, 64, 1, 3, false, 0, 0},
    {CACHE_F16, 128, 128, 20, 2, false, 0, 0},   {CACHE_F32, 128, 128, 5, 8, false, 30, 0},
    {CACHE_F16, 192, 128, 3, 16, false, 0, 0},   {CACHE_F16, 576, 512, 1, 16, true, 0, 0},
    {CACHE_F16, 576, 512, 1, 5, true, 0, 0},     {CACHE_Q8_0, 128, 128, 2, 4, false, 0, 0},
    {CACHE_Q8_0, 128, 128, 30, 4, false, 0, 0},  {CACHE_F16, 24, 40, 12, 7, false, 0, 100},
    {CACHE_F32, 80, 80, 64, 2, false, 0, 17},    {CACHE_Q8_0, 40, 24, 3, 3, false, 0, 0},
    {CACHE_F16, 128, 128, 128, 1, false, 50, 0}, {CACHE_F32, 10, 6, 9, 1, false, 0, 3},
    {CACHE_F16, 96, 96, 17, 3, false, 0, 0},     {CACHE_F16, 256, 256, 10, 1, false, 0, 70},
    {CACHE_F16, 10, 6, 9, 2, false, 0, 3},       {CACHE_Q8_0, 64, 64, 11, 3, false, 0, 0},
    {CACHE_F16, 64, 64, 9, 3, false, 0, 33},     {CACHE_Q8_0, 80, 80, 64, 2, false, 0, 0},
};

static void test_attention_at_every_level(void **unused) {
    (void)unused;
    for (int l = 0; l < LEVEL_COUNT; l++) {
        const Kernels *k;
        if (!level_present((Level)l))
            continue;
        assert_int_equal(kernels_of((Level)l, &k, NULL), OK);
        for (size_t i = 0; i < COUNT(cases); i++) {
            check_case(k, &cases[i], PRECISION_F32);
            check_case(k, &cases[i], PRECISION_FAST);
        }
    }
}

static void check_nothing_seen(const Kernels *k, Precision precision) {
    const Case c = {CACHE_F16, 64, 64, 2, 1, false, 0, 0};
    Data d = {0};
    fill(&d, &c, k);
    AttendJob job = job_of(&d, &c);
    d.first[0] = 5;
    d.last[0] = 4;
    d.query[64] = NAN; /* of row 1 */
    k->attend[precision](&job);
    assert_true(d.sum[0] == 0 && d.top[0] == -INFINITY);
    for (int i = 0; i < 64; i++)
        assert_true(d.out[i] == 0);
    release(&d, &c);
}

/* A row that sees nothing gives sum 0, not NaN; numbers that are not finite stay in their row. */
static void test_nothing_seen_and_not_a_number(void **unused) {
    (void)unused;
    for (int l = 0; l < LEVEL_COUNT; l++) {
        const Kernels *k;
        if (!level_present((Level)l))
            continue;
        kernels_of((Level)l, &k, NULL);
        check_nothing_seen(k, PRECISION_F32);
        check_nothing_seen(k, PRECISION_FAST);
    }
}

static void test_cache_entries_round(void **unused) {
    (void)unused;
    float x[64], back[64];
    uint8_t entry[64 * 4];
    for (int i = 0; i < 64; i++)
        x[i] = random_number() * 10;
    for (int l = 0; l < LEVEL_COUNT; l++) {
        const Kernels *k;
        if (!level_present((Level)l))
            continue;
        kernels_of((Level)l, &k, NULL);
        static const float limits[] = {0, 0.0005f, 0.005f};
        for (int type = 0; type < CACHE_TYPE_COUNT; type++) {
            k->cache_store((CacheType)type, entry, x, 50);
            k->cache_load((CacheType)type, back, entry, 50);
            for (int i = 0; i < 50; i++)
                assert_true(fabsf(back[i] - x[i]) <= limits[type] * 10);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_at_every_level),
        cmocka_unit_test(test_nothing_seen_and_not_a_number),
        cmocka_unit_test(test_cache_entries_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
