/* test_draft.c - guesses change nothing but the time: the same tokens with and without them, from a model that guesses
 * well, from one that guesses badly, after cuts and other texts; and what does not pay is left alone. */
#include "engine/draft.h"
#include "engine/generate.h"
#include "golden.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { CONTEXT = 400, PROMPT = 40, TOKENS = 160 };

static Pool *pool;

static Model *open_golden(const char *folder) {
    Model *m;
    Error err = {0};
    char path[GOLDEN_PATH_BYTES];
    assert_non_null(golden_path(path, folder));
    if (model_open(path, &m, &err) != OK)
        fail_msg("%s", err.text);
    return m;
}

static DraftSpec spec_of(const Model *target, const Model *model) {
    return (DraftSpec){.target = target, .model = model, .precision = PRECISION_FAST, .cache_type = CACHE_F16,
                       .context = CONTEXT, .most = DRAFT_MAX, .pool = pool};
}

static Draft *open_draft(DraftSpec spec) {
    Draft *d;
    Error err = {0};
    if (draft_open(&spec, &d, &err) != OK)
        fail_msg("%s", err.text);
    return d;
}

static Session *open_session(const Model *m) {
    Session *s;
    Error err = {0};
    const SessionSpec spec = {.precision = PRECISION_FAST, .cache_type = CACHE_F16, .context = CONTEXT,
                              .max_wanted = DRAFT_MAX + 1, .pool = pool};
    assert_int_equal(session_open(m, spec, &s, &err), OK);
    return s;
}

/* Ways to draw: the draws behind guesses must see the same penalties and the same numbers. */
static SampleSpec sampling(int way) {
    SampleSpec s = sample_defaults();
    s.seed = 11u + (unsigned)way;
    s.temperature = way == 0 ? 0 : 1;
    if (way == 2) {
        s.repeat_penalty = 1.2f;
        s.frequency_penalty = 0.3f;
        s.top_k = 20;
    }
    if (way == 3) {
        s.xtc_probability = 0.5f;
        s.top_p = 0.9f;
    }
    if (way == 4) {
        s.dry_multiplier = 1;
        s.min_p = 0.02f;
    }
    return s;
}

enum { WAYS = 5 };

static void make_prompt(int32_t *tokens, uint32_t seed) {
    for (int i = 0; i < PROMPT; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % 384);
    }
}

/* Draws `n` tokens behind the generator's text. */
static void draw(Generator *g, const Model *m, SampleSpec sample, int n, int32_t *out) {
    Sampler *sampler;
    Error err = {0};
    assert_int_equal(sampler_open(sample, model_vocab(m), &sampler, &err), OK);
    for (int i = 0; i < n; i++) {
        GenerateEnd end;
        if (generator_next(g, sampler, true, NULL, &out[i], &end, &err) != OK)
            fail_msg("%s", err.text);
        assert_int_equal(end, END_NONE);
        assert_true(generator_logits(g)[out[i]] > -1e30f);
    }
    sampler_close(sampler);
}

/* Two answers to one prompt, then another text that shares its beginning: as people use it. */
static void write_text(Session *s, Draft *d, int way, int32_t out[3 * TOKENS]) {
    const Model *m = session_model(s);
    Generator *g;
    Error err = {0};
    int32_t prompt[PROMPT];
    make_prompt(prompt, 3);
    sequence_cut(session_sequence(s, 0), 0);
    assert_int_equal(generator_open(s, 0, &g, &err), OK);
    generator_guess(g, d);
    for (int turn = 0; turn < 3; turn++) {
        if (turn == 2)
            prompt[PROMPT / 2] ^= 1;
        assert_int_equal(generator_set(g, prompt, PROMPT, NULL, &err), OK);
        draw(g, m, sampling(way), TOKENS, out + (ptrdiff_t)turn * TOKENS);
    }
    generator_close(g);
}

static void test_guesses_change_nothing(void **state) {
    (void)state;
    static const char *const targets[] = {"text/llama", "text/gemma3_text", "text/mistral"};
    static int32_t plain[3 * TOKENS], guessed[3 * TOKENS];
    const bool few = getenv("HOULE_TEST_FEW") != NULL; /* in builds that run slowly */
    for (size_t t = 0; t < (few ? 1 : COUNT(targets)); t++) {
        Model *target = open_golden(targets[t]), *other = open_golden("text/qwen3");
        Session *s = open_session(target);
        const Model *const models[] = {NULL, target, other};
        for (int way = 0; way < WAYS; way += few ? 3 : 1) {
            write_text(s, NULL, way, plain);
            for (size_t k = 0; k < 2 * COUNT(models); k++) {
                DraftSpec spec = spec_of(target, models[k / 2]);
                spec.always = k % 2 != 0;
                Draft *d = open_draft(spec);
                write_text(s, d, way, guessed);
                assert_memory_equal(guessed, plain, sizeof plain);
                const DraftStats stats = draft_stats(d);
                assert_int_equal(stats.failure.status, OK);
                if (models[k / 2] == target && spec.always) { /* it draws what the model will draw */
                    assert_true(stats.model_guessed > 2 * TOKENS);
                    assert_int_equal(stats.model_guessed, stats.model_right);
                }
                draft_close(d);
            }
        }
        session_close(s);
        model_close(other);
        model_close(target);
    }
}

/* Steps cost what is said here, so that what pays does not depend on the machine. A draft of the target's own size never
 * pays; a bad one is tried a little, and ever less. */
static void test_what_does_not_pay_is_left_alone(void **state) {
    (void)state;
    Model *target = open_golden("text/llama"), *bad = open_golden("text/qwen3");
    Draft *d = open_draft(spec_of(target, bad));
    Sampler *sampler;
    Error err = {0};
    int32_t text[CONTEXT], guesses[DRAFT_MAX];
    SampleSpec greedy = sample_defaults();
    greedy.temperature = 0;
    assert_int_equal(sampler_open(greedy, model_vocab(target), &sampler, &err), OK);
    make_prompt(text, 5);
    int guessed_early = 0, guessed_late = 0;
    for (int step = 0; step < (getenv("HOULE_TEST_FEW") != NULL ? 3000 : 20000); step++) {
        const int n = PROMPT - step % 3;
        const int k = draft_guess(d, text, n, n, sampler, DRAFT_MAX, guesses);
        assert_in_range(k, 0, DRAFT_MAX);
        *(step < 1000 ? &guessed_early : &guessed_late) += k > 0;
        draft_learn_cost(d, k, 1e12 * (1 + 0.2 * k)); /* beside which the small model's own time is nothing */
        draft_learn_luck(d, k, 0);
    }
    assert_true(guessed_early > 0 && guessed_early < 100);
    assert_true(guessed_late < 100);
    draft_close(d);

    /* The same when every guess is right: many at once. */
    d = open_draft(spec_of(target, bad));
    int most = 0;
    for (int step = 0; step < 200; step++) {
        const int k = draft_guess(d, text, PROMPT, PROMPT, sampler, DRAFT_MAX, guesses);
        draft_learn_cost(d, k, 1e12 * (1 + 0.2 * k));
        draft_learn_luck(d, k, k);
        most = MAX(most, k);
    }
    assert_int_equal(most, DRAFT_MAX);
    draft_close(d);
    sampler_close(sampler);
    model_close(bad);
    model_close(target);
}

/* Layers with a memory cannot go back: nothing is guessed for them, and who wants it is told. */
static void test_memories_are_refused(void **state) {
    (void)state;
    Model *recurrent = open_golden("text/qwen3_next"), *plain = open_golden("text/llama");
    Draft *d;
    Error err = {0};
    assert_false(draft_possible(recurrent));
    assert_true(draft_possible(plain));
    DraftSpec spec = spec_of(recurrent, plain);
    assert_int_equal(draft_open(&spec, &d, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "qwen3_next"));
    spec = spec_of(plain, recurrent);
    err = (Error){0};
    assert_int_equal(draft_open(&spec, &d, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "qwen3_next"));
    model_close(plain);
    model_close(recurrent);
}

/* No allocation that fails may harm the text: the guesses end, or opening does. */
static void test_failing_allocations(void **state) {
    (void)state;
    Model *target = open_golden("text/llama");
    for (long n = 1; n < 200; n++) {
        Draft *d = NULL;
        Error err = {0};
        const DraftSpec spec = spec_of(target, target);
        mem_fail_at(n);
        const Status status = draft_open(&spec, &d, &err);
        mem_fail_at(0);
        if (status == OK) {
            draft_close(d);
            assert_true(n > 3);
            break;
        }
        assert_int_equal(status, ERR_MEMORY);
        assert_null(d);
    }
    model_close(target);
}

int main(void) {
    Error err = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_change_nothing),
        cmocka_unit_test(test_what_does_not_pay_is_left_alone),
        cmocka_unit_test(test_memories_are_refused),
        cmocka_unit_test(test_failing_allocations),
    };
    if (pool_open(2, &pool, &err) != OK)
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_close(pool);
    return failed;
}
