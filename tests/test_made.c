/* test_made.c - models without weights: memory that repeats itself, made-up tensors, layers that stand for all, and what
 * probes and estimates give. Guards against: a configuration that cannot be run as a shape, a kind of layer that is left
 * out, weights that are no numbers, lost memory when an allocation fails. */
#include "base/mem.h"
#include "base/repeat_map.h"
#include "base/text.h"
#include "engine/session.h"
#include "format/json.h"
#include "graph/describe.h"
#include "graph/estimate.h"
#include "kernel/probe.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static Pool *pool;

static void test_repeating_memory(void **state) {
    (void)state;
    RepeatMap map;
    Error err = {0};
    const size_t period = repeat_map_period(5 << 20, 1 << 20, 18);
    assert_true(period >= 1 << 20 && period % 18 == 0 && period % 4096 == 0 && period < 2 << 20);
    assert_int_equal(repeat_map_period(100, 1 << 20, 144), 144 * 4096);
    assert_int_equal(repeat_map_period(100, 1 << 20, 0), 0);
    assert_int_equal(repeat_map_period(SIZE_MAX, SIZE_MAX, SIZE_MAX), 0);
    assert_int_equal(repeat_map_open(5 << 20, period, &map, &err), OK);
    assert_true(map.size >= 5 << 20 && map.size % period == 0);
    map.bytes[7] = 42;
    map.bytes[period - 1] = 43;
    repeat_map_populate(&map);
    for (size_t at = 0; at < map.size; at += period)
        assert_true(map.bytes[at + 7] == 42 && map.bytes[at + period - 1] == 43 && map.bytes[at + 8] == 0);
    repeat_map_close(&map);
    repeat_map_close(&map);
    assert_int_equal(repeat_map_open((size_t)1 << 40, 0, &map, &err), OK); /* addresses only */
    assert_int_equal(map.bytes[((size_t)1 << 40) - 1], 0);
    repeat_map_close(&map);
    assert_int_equal(repeat_map_open((size_t)1 << 62, 0, &map, &err), ERR_LIMIT);
}

static const char tiny[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 256, \"intermediate_size\": 512, \"num_hidden_layers\": 3, \"num_attention_heads\": 4,"
    "\"num_key_value_heads\": 2, \"vocab_size\": 300, \"rms_norm_eps\": 1e-5, \"max_position_embeddings\": 64}";

static Status open_tiny(const char *type, size_t memory, Model **model, Error *err) {
    const MadeKind *kind;
    json_t *config;
    ModelFiles *files;
    TRY(made_kind_of_word(type, &kind, err));
    TRY(json_parse(tiny, sizeof tiny - 1, "tiny", true, &config, err));
    const Status status = made_files_of_config("tiny", config, &files, err);
    json_decref(config);
    TRY(status);
    const MadeSpec spec = {.kind = kind, .memory_bytes = memory};
    return model_open_made(files, &spec, model, err);
}

/* A prompt and a token; every logit is a number. */
static void run_made(const Model *model) {
    Session *session;
    Error err = {0};
    const SessionSpec spec = {.context = 32, .pool = pool, .profile = true};
    assert_int_equal(session_open(model, spec, &session, &err), OK);
    static const int32_t tokens[] = {1, 5, 9, 2, 7, 3, 8};
    assert_int_equal(session_feed(session, 0, tokens, COUNT(tokens), 0, NULL, &err), OK);
    assert_int_equal(session_feed(session, 0, tokens, 1, 0, NULL, &err), OK);
    for (int i = 0; i < model_vocab(model); i++)
        assert_true(isfinite(session_logits(session)[i]));
    LayerKinds kinds;
    ProfileRow *rows;
    int n;
    assert_int_equal(layer_kinds_open(model_graph(model), &kinds, &err), OK);
    double all = 0, layers = program_layer_seconds(session_program(session), PHASE_PROMPT, -1);
    assert_int_equal(program_profile(session_program(session), PHASE_PROMPT, &kinds, &rows, &n, &err), OK);
    assert_true(n > 3);
    for (int i = 0; i < n; i++) {
        assert_true(rows[i].seconds >= 0 && rows[i].waiting_seconds >= 0 && rows[i].name[0] != '\0');
        all += rows[i].seconds;
    }
    for (int layer = 0; layer < kinds.n_layer; layer++)
        layers += program_layer_seconds(session_program(session), PHASE_PROMPT, layer);
    assert_true(all > 0 && fabs(all - layers) < 1e-9 + 1e-6 * all);
    mem_free(rows);
    layer_kinds_close(&kinds);
    session_close(session);
}

/* Every kind of weights is bound in its form, takes the bytes that were told, and runs. */
static void test_every_kind_runs(void **state) {
    (void)state;
    for (int i = 0; made_kind_at(i) != NULL; i++) {
        Model *model;
        Error err = {0};
        if (open_tiny(made_kind_at(i)->word, 1 << 20, &model, &err) != OK)
            fail_msg("%s: %s", made_kind_at(i)->word, err.text);
        const Graph *g = model_graph(model);
        WeightForm *forms = mem_array((size_t)g->n_weight, sizeof *forms, MEM_MISC);
        assert_int_equal(made_weights_forms(g, made_kind_at(i), forms, &err), OK);
        for (int w = 0; w < g->n_weight; w++) {
            if (g->weights[w].role == WEIGHT_VECTOR)
                continue;
            assert_int_equal(weight_form(model_weights(model), w), forms[w].form);
            const double stored = (double)weight_bytes(model_weights(model), w);
            assert_true(fabs((double)forms[w].bytes - stored) <= 0.02 * stored);
        }
        mem_free(forms);
        run_made(model);
        model_close(model);
    }
    const MadeKind *kind;
    Error err = {0};
    assert_int_equal(made_kind_of_word("q4_z", &kind, &err), ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "q4_k"));
    assert_string_equal(made_kind_of_label("UD-Q4_K_XL")->word, "q4_k");
    assert_string_equal(made_kind_of_label("IQ2_XXS")->word, "iq2_xxs");
    assert_null(made_kind_of_label("Q4_Z"));
}

/* Each published configuration: some layers stand for all, every kind among them; their weights can be made and bound. */
static void test_published_shapes(void **state) {
    (void)state;
    const char *golden = getenv("HOULE_GOLDEN_LOCAL");
    if (golden == NULL)
        skip();
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "%s/../data/configs", golden);
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    int seen = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (!ends_with(entry->d_name, ".json") || strcmp(entry->d_name, "expected.json") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        ModelFiles *files;
        Model *whole, *part;
        LayerKinds kinds;
        Error err = {0};
        assert_int_equal(made_files_open(path, &files, &err), OK);
        if (model_describe(files, &whole, &err) != OK)
            fail_msg("%s: %s", entry->d_name, err.text);
        const Graph *g = model_graph(whole);
        assert_int_equal(layer_kinds_open(g, &kinds, &err), OK);
        bool *chosen = mem_array((size_t)g->n_layer, sizeof *chosen, MEM_MISC);
        const int n = layers_choose(g, &kinds, 1, chosen);
        bool covered[LAYER_KINDS] = {false};
        int layers = 0, marked = 0;
        for (int i = 0; i < g->n_layer; i++) {
            marked += chosen[i];
            if (chosen[i])
                covered[kinds.kind[i]] = true;
        }
        assert_int_equal(marked, n);
        for (int k = 0; k < kinds.n_kind; k++) {
            assert_true(covered[k]);
            layers += kinds.count[k];
        }
        assert_int_equal(layers, g->n_layer);
        const MadeKind *const made = made_kind_of_config(model_files_config(files));
        const MadeSpec spec = {.kind = made, .layers = chosen, .n_layers = g->n_layer};
        model_close(whole);
        if (model_open_made(files, &spec, &part, &err) != OK)
            fail_msg("%s: %s", entry->d_name, err.text);
        assert_true(graph_bytes_per_token(model_graph(part), model_weights(part)) > 0);
        model_close(part);
        layer_kinds_close(&kinds);
        mem_free(chosen);
        seen++;
    }
    closedir(directory);
    assert_true(seen > 50);
}

static void test_starved(void **state) {
    (void)state;
    const size_t before = mem_bytes_total();
    bool opened = false;
    for (long n = 1; !opened; n++) {
        Model *model = NULL;
        Error err = {0};
        mem_fail_at(n);
        const Status status = open_tiny("q4_k", 1 << 20, &model, &err);
        const bool hit = mem_fail_hit();
        mem_fail_at(0);
        assert_true(status == OK || (hit && status == ERR_MEMORY && err.text[0] != '\0'));
        opened = status == OK && !hit;
        if (status == OK)
            model_close(model);
        assert_int_equal(mem_bytes_total(), before);
    }
    Model *model;
    const Kernels *kernels;
    Error err = {0};
    assert_int_equal(kernels_best(&kernels, &err), OK);
    assert_int_equal(open_tiny("q4_k", 0, &model, &err), OK);
    const size_t without = mem_bytes_total();
    opened = false;
    for (long n = 1; !opened; n++) {
        Estimator *estimator = NULL;
        mem_fail_at(n);
        const Status status = estimator_open(model_graph(model), kernels, &estimator, &err);
        const bool hit = mem_fail_hit();
        mem_fail_at(0);
        assert_true(hit ? status == ERR_MEMORY : status == OK);
        opened = !hit;
        estimator_close(estimator);
        assert_int_equal(mem_bytes_total(), without);
        error_clear(&err);
    }
    model_close(model);
}

static void test_probes_and_estimates(void **state) {
    (void)state;
    const Kernels *kernels;
    Probes *probes;
    Error err = {0};
    ProbeTime time;
    assert_int_equal(kernels_best(&kernels, &err), OK);
    assert_int_equal(probes_open(pool, &probes, &err), OK);
    for (int form = 0; form < FORM_COUNT; form++)
        for (int tokens = 1; tokens <= 3; tokens += 2) {
            const LinearProbe probe = {.kernels = kernels, .form = (Form)form, .precision = PRECISION_FAST, .rows = 64, .cols = 256,
                                       .tokens = tokens, .ms = 1};
            assert_int_equal(probe_linear(probes, &probe, &time, &err), OK);
            assert_true(isfinite(time.seconds) && time.seconds > 0 && time.bytes > 0 && time.operations > 0);
        }
    const LinearProbe bad = {.kernels = kernels, .form = FORM_Q4_K, .rows = 64, .cols = 100, .tokens = 1, .ms = 1};
    assert_int_equal(probe_linear(probes, &bad, &time, &err), ERR_ARGUMENT);
    error_clear(&err);
    for (int type = 0; type < CACHE_TYPE_COUNT; type++) {
        const AttendProbe probe = {.kernels = kernels, .type = (CacheType)type, .heads = 8, .kv_heads = 2, .width = 64, .tokens = 40,
                                   .entries = 1088, .ms = 1};
        assert_int_equal(probe_attend(probes, &probe, &time, &err), OK);
        assert_true(isfinite(time.seconds) && time.seconds > 0);
    }
    const RecurProbe recur = {.kernels = kernels, .heads = 3, .width = 96, .tokens = 5, .ms = 1};
    assert_int_equal(probe_recur(probes, &recur, &time, &err), OK);
    assert_true(isfinite(time.seconds) && time.seconds > 0);
    double handover;
    assert_int_equal(probe_handover(probes, kernels, 300, &handover, &err), OK);
    assert_true(isfinite(handover) && handover > 0);
    double far_number = 0;
    assert_int_equal(probe_rows(probes, kernels, 13, 512, &far_number, &err), OK);
    assert_true(isfinite(far_number) && far_number > 0);
    assert_int_equal(probe_rows(probes, kernels, 13, 300, &far_number, &err), ERR_ARGUMENT);
    error_clear(&err);
    for (int i = 0; i < ROW_PROBE_COUNT; i++) {
        assert_int_equal(probe_row(probes, kernels, (RowProbe)i, 512, 1, &time, &err), OK);
        assert_true(isfinite(time.seconds) && time.seconds > 0 && probe_row_name((RowProbe)i)[0] != '\0');
    }
    probes_close(probes);

    /* Twice the time for each byte is more time for a token, and a prompt takes longer than a token. */
    Model *model;
    assert_int_equal(open_tiny("q8_0", 0, &model, &err), OK);
    const Graph *g = model_graph(model);
    WeightForm *forms = mem_array((size_t)g->n_weight, sizeof *forms, MEM_MISC);
    const MadeKind *kind;
    assert_int_equal(made_kind_of_word("q8_0", &kind, &err), OK);
    assert_int_equal(made_weights_forms(g, kind, forms, &err), OK);
    Rates rates = {.threads = 2, .barrier = 1e-6, .row_op = 1e-8, .row_number = 1e-10, .row_number_far = 2e-10, .attend_byte = 1e-11,
                   .attend_product = 1e-12, .recur_byte = 1e-11, .recur_product = 1e-12};
    for (int f = 0; f < FORM_COUNT; f++)
        rates.linear[f] = (LinearRate){.step = 1e-6, .byte = 1e-10, .unpack = 1e-11, .product = 1e-12};
    EstimateSpec spec = {.cache = CACHE_F16, .tokens = 1, .depth = 8};
    Estimator *estimator;
    assert_int_equal(estimator_open(g, kernels, &estimator, &err), OK);
    const double one = estimate_step(estimator, forms, &rates, spec);
    spec.tokens = 32;
    const double prompt = estimate_step(estimator, forms, &rates, spec);
    spec.tokens = 1;
    for (int f = 0; f < FORM_COUNT; f++)
        rates.linear[f].byte *= 2;
    const double slower = estimate_step(estimator, forms, &rates, spec);
    estimator_close(estimator);
    const double bytes = (double)graph_bytes_per_token(g, model_weights(model));
    assert_true(one > 0 && prompt > one && slower > one + 0.9e-10 * bytes && slower < one + 1.1e-10 * bytes);
    mem_free(forms);
    model_close(model);
}

static int set_up(void **state) {
    (void)state;
    json_setup();
    return pool_open(2, &pool, NULL) == OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    pool_close(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeating_memory), cmocka_unit_test(test_every_kind_runs), cmocka_unit_test(test_published_shapes),
        cmocka_unit_test(test_starved), cmocka_unit_test(test_probes_and_estimates),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
