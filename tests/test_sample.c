/* test_sample.c - drawing tokens: the cuts keep what they should, and frequencies are the model's own. */
#include "engine/sample.h"
#include "engine/share.h"

#include "base/compiler.h"
#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 5003 };

/* Logits that fall off slowly, in a scrambled order, a few of them no numbers. */
static void make_logits(float *logits, float fall) {
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -fall * (float)((i * 1237) % VOCAB) + 3.0f;
    logits[17] = NAN;
    logits[1000] = INFINITY;
    logits[VOCAB - 1] = -INFINITY;
}

static double probability(const float *logits, int token, double temperature, double least) {
    double sum = 0, own = 0;
    for (int i = 0; i < VOCAB; i++) {
        if (!isfinite(logits[i]) || (double)logits[i] < least)
            continue;
        const double e = exp(((double)logits[i] - 3.0) / temperature);
        sum += e;
        own = i == token ? e : own;
    }
    return own / sum;
}

static int32_t pick(Sampler *s, const float *logits, const uint64_t *allowed) {
    int32_t token = -1;
    Error err = {0};
    assert_int_equal(sampler_pick(s, logits, (const int32_t[]){1}, 1, 1, allowed, &token, &err), OK);
    assert_in_range(token, 0, VOCAB - 1);
    assert_true(isfinite(logits[token]));
    return token;
}

/* How often each of the likeliest tokens is drawn, against what its probability says: five standard deviations. */
static void check_frequencies(SampleSpec spec, const float *logits, double least) {
    enum { DRAWS = 20000 };
    Sampler *s;
    assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
    int *counts = mem_zalloc(VOCAB * sizeof *counts, MEM_MISC);
    for (int i = 0; i < DRAWS; i++)
        counts[pick(s, logits, NULL)]++;
    for (int i = 0; i < VOCAB; i++) {
        const double p = probability(logits, i, (double)spec.temperature, least);
        const double expected = p * DRAWS, spread = sqrt(DRAWS * p * (1 - p));
        assert_true(fabs(counts[i] - expected) <= 5 * spread + 3);
        assert_true(p > 0 || counts[i] == 0);
    }
    mem_free(counts);
    sampler_close(s);
}

static void test_whole_vocabulary(void **state) {
    (void)state;
    float logits[VOCAB];
    SampleSpec spec = sample_defaults();
    spec.seed = 11;
    for (int i = 0; i < 2; i++) {
        make_logits(logits, i == 0 ? 0.01f : 0.5f);
        spec.temperature = i == 0 ? 1.0f : 2.5f;
        check_frequencies(spec, logits, -INFINITY);
    }
    make_logits(logits, 0.01f);
    spec.min_p = 0.3f;
    check_frequencies(spec, logits, 3.0 + log(0.3) - 1e-6);
}

/* A nucleus of some, of hundreds and of thousands of tokens holds exactly those that are needed for its share. */
static void test_nucleus(void **state) {
    (void)state;
    static const float falls[] = {0.5f, 0.005f, 0.0005f};
    float logits[VOCAB];
    for (size_t f = 0; f < COUNT(falls); f++) {
        make_logits(logits, falls[f]);
        SampleSpec spec = sample_defaults();
        spec.temperature = 1;
        spec.top_p = 0.9f;
        spec.seed = 3;
        Sampler *s;
        assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
        float lowest = INFINITY;
        for (int i = 0; i < 20000; i++) {
            const int32_t t = pick(s, logits, NULL);
            lowest = logits[t] < lowest ? logits[t] : lowest;
        }
        sampler_close(s);
        double before = 0, with = 0; /* the share of those above the lowest drawn, and with it */
        for (int i = 0; i < VOCAB; i++) {
            const double p = isfinite(logits[i]) ? probability(logits, i, 1, -INFINITY) : 0;
            before += logits[i] > lowest ? p : 0;
            with += logits[i] >= lowest ? p : 0;
        }
        assert_true(before < 0.9 + 1e-4);
        assert_true(with > 0.88); /* the rarest are missed now and then */
    }
}

static void test_cuts_and_masks(void **state) {
    (void)state;
    float logits[VOCAB];
    make_logits(logits, 0.001f);
    SampleSpec spec = sample_defaults();
    spec.temperature = 3;
    uint64_t allowed[(VOCAB + 63) / 64] = {0};
    allowed[3] = 1u << 5 | 1u << 9;
    allowed[70] = UINT64_MAX;
    Sampler *s;
    assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
    bool low = false, high = false;
    for (int i = 0; i < 3000; i++) {
        const int32_t t = pick(s, logits, allowed);
        assert_true(t == 3 * 64 + 5 || t == 3 * 64 + 9 || t / 64 == 70);
        low = low || t < 64 * 4;
        high = high || t / 64 == 70;
    }
    assert_true(low && high);
    sampler_close(s);

    /* A nucleus is one of what is allowed: those before a token that is drawn are less than its share. */
    spec.top_p = 0.5f;
    assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
    for (int i = 0; i < 3000; i++) {
        const int32_t t = pick(s, logits, allowed);
        double all = 0, before = 0;
        for (int j = 0; j < VOCAB; j++) {
            const bool counts = (allowed[j / 64] >> j % 64 & 1) != 0 && isfinite(logits[j]);
            const double p = counts ? exp((double)logits[j]) : 0;
            all += p;
            before += logits[j] > logits[t] ? p : 0;
        }
        assert_true((allowed[t / 64] >> t % 64 & 1) != 0 && before < 0.5 * all);
    }
    sampler_close(s);
    spec.top_p = 1;

    spec.top_k = 3;
    assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
    for (int i = 0; i < 3000; i++)
        assert_true(logits[pick(s, logits, NULL)] > 3.0f - 0.0035f);
    sampler_close(s);

    memset(allowed, 0, sizeof allowed);
    allowed[1000 / 64] = 1ull << 1000 % 64; /* infinite: nothing can be chosen */
    spec.top_k = 0;
    Error err = {0};
    int32_t token;
    assert_int_equal(sampler_open(spec, VOCAB, &s, NULL), OK);
    assert_int_equal(sampler_pick(s, logits, NULL, 0, 0, allowed, &token, &err), ERR_INTERNAL);
    sampler_close(s);
}

/* Sums and the ends of draws: every token has its part of the line, in ascending order. */
static void test_shares(void **state) {
    (void)state;
    float logits[VOCAB], blocks[(VOCAB + SHARE_BLOCK - 1) / SHARE_BLOCK];
    make_logits(logits, 0.01f);
    const Shares s = {.logits = logits, .vocab = VOCAB, .top = 3, .least = -INFINITY, .scale = 1};
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += isfinite(logits[i]) ? exp((double)logits[i] - 3.0) : 0;
    const double got = shares_sum(&s, blocks);
    assert_true(fabs(got / sum - 1) < 1e-6);
    assert_int_equal(shares_find(&s, blocks, 0), 0);
    assert_int_equal(shares_find(&s, blocks, got * 2), VOCAB - 2);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = NAN;
    assert_true(shares_sum(&s, blocks) == 0);
    assert_int_equal(shares_find(&s, blocks, 0), -1);
}

static void test_same_seed(void **state) {
    (void)state;
    float logits[VOCAB];
    make_logits(logits, 0.003f);
    SampleSpec spec = sample_defaults();
    spec.seed = 5;
    Sampler *a, *b;
    assert_int_equal(sampler_open(spec, VOCAB, &a, NULL), OK);
    assert_int_equal(sampler_open(spec, VOCAB, &b, NULL), OK);
    bool differ = false;
    int32_t last = -1;
    for (int i = 0; i < 50; i++) {
        const int32_t t = pick(a, logits, NULL);
        assert_int_equal(t, pick(b, logits, NULL));
        differ = differ || (last >= 0 && t != last);
        last = t;
    }
    assert_true(differ);
    sampler_close(a);
    sampler_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_vocabulary), cmocka_unit_test(test_nucleus), cmocka_unit_test(test_cuts_and_masks),
        cmocka_unit_test(test_shares), cmocka_unit_test(test_same_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
