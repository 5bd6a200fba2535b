/* bench.c - houle bench: how fast a model runs here, beside what this machine could do. */
#include "cli/bench_draft.h"
#include "cli/bench_kernels.h"
#include "cli/bench_profile.h"
#include "cli/bench_shape.h"
#include "cli/cli_print.h"
#include "cli/roof.h"
#include "cli/run_options.h"

#include "base/clock.h"
#include "base/median.h"
#include "base/text.h"
#include "format/json.h"
#include "graph/describe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct {
    int64_t prompt, generate, depth, batch, threads, repeat, layers;
    const char *precision, *cache, *type, *draft;
    uint64_t memory;
    bool json, profile, roof, kernels, shape;
} want = {.prompt = 512, .generate = 128, .batch = 1, .repeat = 3, .precision = "fast", .cache = "f16"};

enum { MAX_REPEAT = 64, KERNEL_MS = 7 };

typedef struct Rate {
    double all[MAX_REPEAT]; /* tokens/s */
    int n;
} Rate;

static double median(const Rate *r) {
    double sorted[MAX_REPEAT];
    memcpy(sorted, r->all, (size_t)r->n * sizeof *sorted);
    return median_of(sorted, r->n);
}

static double spread(const Rate *r) {
    double low = INFINITY, high = 0;
    for (int i = 0; i < r->n; i++) {
        low = fmin(low, r->all[i]);
        high = fmax(high, r->all[i]);
    }
    return high - low;
}

/* Tokens that are spread over the vocabulary, so that a table's rows and experts are not always the same. */
static void fill_tokens(int32_t *tokens, int n, int vocab, uint32_t *state) {
    for (int i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((*state >> 8) % (uint32_t)vocab);
    }
}

static Status time_prompt(Session *s, int32_t *tokens, int n, Rate *rate, Error *err) {
    const uint64_t began = clock_ns();
    TRY(session_feed(s, 0, tokens, n, 0, NULL, err));
    rate->all[rate->n++] = (double)n / ((double)(clock_ns() - began) * 1e-9);
    return OK;
}

/* One token for each sequence per step, as if they had been drawn. */
static Status time_generation(Session *s, int n, int batch, uint32_t *seed, Rate *rate, Error *err) {
    const int vocab = model_vocab(session_model(s));
    const uint64_t began = clock_ns();
    for (int i = 0; i < n; i++) {
        int32_t tokens[256], wanted[256];
        Run runs[256];
        fill_tokens(tokens, batch, vocab, seed);
        for (int b = 0; b < batch; b++) {
            wanted[b] = b;
            runs[b] = (Run){.sequence = session_sequence(s, b), .row0 = b, .n_row = 1};
        }
        const Batch step = {.n_row = batch, .tokens = tokens, .n_run = batch, .runs = runs, .n_wanted = batch, .wanted = wanted};
        TRY(session_step(s, &step, err));
    }
    rate->all[rate->n++] = (double)n * batch / ((double)(clock_ns() - began) * 1e-9);
    return OK;
}

/* Adds what was read since `before`. */
static void add_counts(const Weights *weights, const CacheCounts *before, CacheCounts *sum) {
    const CacheCounts now = weights_counts(weights);
    sum->tokens += now.tokens - before->tokens;
    sum->uses += now.uses - before->uses;
    sum->misses += now.misses - before->misses;
    sum->bytes_read += now.bytes_read - before->bytes_read;
}

static Status measure(Session *s, Rate *prompt, Rate *generation, CacheCounts *reading, Error *err) {
    const int vocab = model_vocab(session_model(s)), depth = (int)want.depth, n_prompt = (int)want.prompt;
    const int longest = MAX(depth, MAX(n_prompt, 1));
    int32_t *tokens = mem_array((size_t)longest, sizeof *tokens, MEM_MISC);
    FAIL_IF(tokens == NULL, ERR_MEMORY, "no memory for the bench");
    uint32_t seed = 7;
    fill_tokens(tokens, longest, vocab, &seed);
    Status status = OK;
    for (int b = 0; status == OK && b < want.batch; b++) {
        if (b > 0)
            status = session_add_sequence(s, err);
        if (status == OK && depth > 0)
            status = session_feed(s, b, tokens, depth, 0, NULL, err);
    }
    for (int r = -1; status == OK && r < want.repeat; r++) { /* the first round warms up and does not count */
        Rate ignored = {0};
        if (n_prompt > 0) {
            status = time_prompt(s, tokens, r < 0 ? MIN(n_prompt, 64) : n_prompt, r < 0 ? &ignored : prompt, err);
            sequence_cut(session_sequence(s, 0), depth);
        }
        const CacheCounts before = weights_counts(model_weights(session_model(s)));
        if (status == OK && want.generate > 0)
            status = time_generation(s, r < 0 ? 2 : (int)want.generate, (int)want.batch, &seed, r < 0 ? &ignored : generation, err);
        if (r >= 0)
            add_counts(model_weights(session_model(s)), &before, reading);
        for (int b = 0; b < want.batch; b++)
            sequence_cut(session_sequence(s, b), depth);
        if (r < 0)
            session_clear_profile(s);
    }
    mem_free(tokens);
    return status;
}

/* What a token costs: bytes read of weights and cache, and multiplications of the weights. */
typedef struct Cost {
    double weight_bytes, cache_bytes, operations;
} Cost;

static Cost cost_of(const Session *s, CacheType type) {
    const Model *model = session_model(s);
    const Graph *g = model_graph(model);
    const ParameterCount n = graph_parameters(g);
    return (Cost){.weight_bytes = (double)graph_bytes_per_token(g, model_weights(model)),
                  .cache_bytes = (double)graph_cache_bytes_per_token(g, type) * ((double)want.depth + (double)want.generate / 2),
                  .operations = 2 * (double)n.active};
}

typedef struct Report {
    const char *model;
    const Session *session;
    const Shape *shape; /* NULL: a model with weights of its own */
    LayerKinds kinds;
    CacheCounts reading; /* of generation, when the model is streamed */
    size_t resident;
    bool streamed;
    Roof roof;
    Cost cost;
    Rate prompt, generation;
    double peak; /* operations/s that the prompt is compared with */
    DraftRates draft;
} Report;

/* Bytes/s that generation reads: a step of a batch reads the weights once (at the least), and each one's cache. */
static double read_rate(const Report *r) {
    const double steps = median(&r->generation) / (double)want.batch;
    return steps * (r->cost.weight_bytes + r->cost.cache_bytes * (double)want.batch);
}

/* NAN where the roof could not be measured. */
static double share_of(double rate, double roof) {
    return roof > 0 ? rate / roof : NAN;
}

static void print_share(double share, const char *of) {
    if (isfinite(share))
        printf(", %.0f%% of the %s", share * 100, of);
    printf(")\n");
}

static double rate_or_0(const Rate *rate) {
    return rate->n > 0 ? median(rate) : 0;
}

static Status print_report(const Report *r, Error *err) {
    roof_print(&r->roof);
    if (want.prompt > 0) {
        const double rate = median(&r->prompt) * r->cost.operations;
        printf("pp%lld %.2f +- %.2f t/s  (%.2f TOP/s", (long long)want.prompt, median(&r->prompt), spread(&r->prompt) / 2,
               rate * 1e-12);
        print_share(share_of(rate, r->peak), "peak");
    }
    if (want.generate > 0) {
        char bytes[16];
        printf("tg%lld %.2f +- %.2f t/s  (%s per token, %.1f GB/s", (long long)want.generate, median(&r->generation),
               spread(&r->generation) / 2, format_bytes((uint64_t)(r->cost.weight_bytes + r->cost.cache_bytes), bytes),
               read_rate(r) * 1e-9);
        print_share(share_of(read_rate(r), r->roof.read_all), "bandwidth");
    }
    if (want.draft != NULL)
        bench_draft_print(&r->draft, (int)want.generate);
    if (r->shape != NULL)
        shape_print(r->shape, r->session, rate_or_0(&r->prompt), rate_or_0(&r->generation), r->roof.read_all);
    if (r->streamed) {
        char resident[16], per_token[16];
        printf("experts: %.1f%% of uses were in memory, %s read per token, weights take %s (while generating)\n", 100 * cache_hit_rate(&r->reading),
               format_bytes(cache_read_per_token(&r->reading), per_token), format_bytes(r->resident, resident));
    }
    return want.profile ? bench_profile_print(r->session, &r->kinds, err) : OK;
}

static json_t *rate_json(const Rate *rate, int64_t tokens) {
    json_t *all = json_array();
    for (int i = 0; i < rate->n; i++)
        json_array_append_new(all, json_real(rate->all[i]));
    return json_pack("{s:I, s:f, s:f, s:o}", "tokens", (json_int_t)tokens, "tokens_per_second", median(rate), "spread",
                     spread(rate) / 2, "rounds", all);
}

static Status print_report_json(const Report *r, Error *err) {
    json_t *out = json_pack("{s:s, s:s, s:I, s:I, s:o, s:f, s:f, s:f}", "model", r->model, "precision", want.precision, "depth",
                            (json_int_t)want.depth, "batch", (json_int_t)want.batch, "roof", roof_json(&r->roof),
                            "weight_bytes_per_token", r->cost.weight_bytes, "cache_bytes_per_token", r->cost.cache_bytes,
                            "operations_per_token", r->cost.operations);
    if (want.prompt > 0) {
        json_t *prompt = rate_json(&r->prompt, want.prompt);
        json_object_set_new(prompt, "operations_per_second", json_real(median(&r->prompt) * r->cost.operations));
        json_object_set_new(prompt, "share_of_peak", cli_json_number(share_of(median(&r->prompt) * r->cost.operations, r->peak)));
        json_object_set_new(out, "prompt", prompt);
    }
    if (want.generate > 0) {
        json_t *generation = rate_json(&r->generation, want.generate);
        json_object_set_new(generation, "read_bytes_per_second", json_real(read_rate(r)));
        json_object_set_new(generation, "share_of_bandwidth", cli_json_number(share_of(read_rate(r), r->roof.read_all)));
        json_object_set_new(out, "generation", generation);
    }
    if (want.draft != NULL)
        json_object_set_new(out, "draft", bench_draft_json(&r->draft, (int)want.generate));
    if (r->streamed)
        json_object_set_new(out, "streaming", json_pack("{s:f, s:I, s:I}", "hit_rate", cache_hit_rate(&r->reading), "read_bytes_per_token",
                                                        (json_int_t)cache_read_per_token(&r->reading), "resident_bytes", (json_int_t)r->resident));
    if (r->shape != NULL)
        json_object_set_new(out, "shape", shape_json(r->shape, r->session, rate_or_0(&r->prompt), rate_or_0(&r->generation),
                                                     r->roof.read_all));
    json_t *profile = NULL;
    const Status status = want.profile ? bench_profile_json(r->session, &r->kinds, &profile, err) : OK;
    if (profile != NULL)
        json_object_set_new(out, "profile", profile);
    if (status == OK)
        return cli_print_json(out, JSON_INDENT(2), err);
    json_decref(out);
    return status;
}

/* The peak of the products that most of the weights take. */
static double peak_of(const Session *s, Precision precision, const Roof *roof) {
    const Graph *g = model_graph(session_model(s));
    const Weights *weights = model_weights(session_model(s));
    const Kernels *kernels;
    if (kernels_best(&kernels, NULL) != OK)
        return roof->products[PEAK_F32];
    double bytes[ACT_FORM_COUNT] = {0};
    for (int w = 0; w < g->n_weight; w++)
        if (g->weights[w].role != WEIGHT_VECTOR && weight_bytes(weights, w) > 0)
            bytes[kernel_act_form(kernels, weight_form(weights, w), precision)] += (double)weight_bytes(weights, w);
    const double whole = bytes[ACT_FORM_Q8_32] + bytes[ACT_FORM_Q8_256];
    if (whole > bytes[ACT_FORM_F32] && whole > bytes[ACT_FORM_BF16])
        return roof_int8(roof);
    return bytes[ACT_FORM_BF16] > bytes[ACT_FORM_F32] ? roof_bf16(roof) : roof->products[PEAK_F32];
}

static Status check_wants(Error *err) {
    FAIL_IF(want.prompt < 0 || want.generate < 0 || want.depth < 0 || want.batch < 1 || want.batch > 256 || want.repeat < 1 ||
                want.repeat > MAX_REPEAT || want.depth > 1 << 24 || want.prompt > 1 << 24 || want.generate > 1 << 24,
            ERR_ARGUMENT, "a number is out of range; 'houle bench --help' explains");
    FAIL_IF(!want.shape && (want.type != NULL || want.layers != 0), ERR_ARGUMENT, "--type and --layers go with --shape");
    FAIL_IF(want.shape && want.memory > 0, ERR_ARGUMENT, "--memory goes with a model's own files, not with --shape");
    FAIL_IF(want.layers < 0 || want.layers > 1 << 16, ERR_ARGUMENT, "--layers %lld: a number of layers is expected",
            (long long)want.layers);
    FAIL_IF(want.prompt == 0 && want.generate == 0, ERR_ARGUMENT, "-p 0 -n 0: there is nothing to measure");
    FAIL_IF(want.draft != NULL && want.generate == 0, ERR_ARGUMENT, "--draft -n 0: there is nothing to guess");
    return OK;
}

static Status bench_session(Session *session, const SessionSpec *spec, Report *report, Error *err) {
    report->session = session;
    TRY(roof_measure(spec->pool, 2, &report->roof, err));
    TRY(measure(session, &report->prompt, &report->generation, &report->reading, err));
    report->streamed = weights_streamed(model_weights(session_model(session)));
    report->resident = weights_resident_bytes(model_weights(session_model(session)));
    if (want.draft != NULL)
        TRY(bench_draft(session_model(session), want.draft, spec, (int)want.generate, (int)want.repeat, &report->draft, err));
    report->cost = cost_of(session, spec->precision == PRECISION_F32 ? CACHE_F32 : spec->cache_type);
    report->peak = peak_of(session, spec->precision, &report->roof);
    TRY(layer_kinds_open(model_graph(session_model(session)), &report->kinds, err));
    const Status status = want.json ? print_report_json(report, err) : print_report(report, err);
    layer_kinds_close(&report->kinds);
    return status;
}

static Status bench_model(const char *path, Pool *pool, Error *err) {
    Model *model = NULL;
    Session *session = NULL;
    Shape shape = {0};
    Report report = {.model = path, .shape = want.shape ? &shape : NULL};
    SessionSpec spec = {.context = (int)(want.depth + MAX(want.prompt, want.generate) + 8), .sequences = (int)want.batch,
                        .pool = pool, .profile = want.profile || want.shape};
    TRY(check_wants(err));
    TRY(parse_precision(want.precision, &spec.precision, err));
    TRY(parse_cache_type(want.cache, &spec.cache_type, err));
    TRY(want.shape ? shape_open(path, want.type, (int)want.layers, &shape, err) : cli_open_model(path, &model, err));
    Status status = cli_open_session(want.shape ? shape.model : model, spec, want.memory, &session, err);
    if (status == OK)
        status = bench_session(session, &spec, &report, err);
    session_close(session);
    model_close(model);
    shape_close(&shape);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    Pool *pool;
    json_setup();
    cli_catch_interrupt();
    Status status = cli_pool((int)want.threads, &pool, err);
    if (status == OK && n_argument == 0 && !want.roof && !want.kernels)
        status = error_set(err, ERR_ARGUMENT, "a model is expected, or --roof, or --kernels");
    if (status == OK && want.roof)
        status = roof_print_levels(pool, (int)MAX(want.repeat, 1), want.json, err);
    if (status == OK && want.kernels)
        status = bench_kernels(pool, KERNEL_MS * (int)MAX(want.repeat, 1), want.json, err);
    if (status == OK && n_argument > 0)
        status = bench_model(arguments[0], pool, err);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"p", OPT_INT, &want.prompt, "N", "prompt tokens (512)", NULL},
    {"n", OPT_INT, &want.generate, "N", "generated tokens (128)", NULL},
    {"depth", OPT_INT, &want.depth, "N", "tokens that are in the cache before (0)", NULL},
    {"batch", OPT_INT, &want.batch, "N", "sequences that generate at once (1)", NULL},
    {"r", OPT_INT, &want.repeat, "N", "rounds; the median counts (3)", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "the path to measure (fast)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"shape", OPT_FLAG, &want.shape, NULL, "MODEL is a config.json: run it with weights that are made up", NULL},
    {"layers", OPT_INT, &want.layers, "N", "of a shape: run about N layers that stand for all (all)", NULL},
    {"type", OPT_STRING, &want.type, "TYPE", "of a shape's weights: bf16, q4_k, fp8, ... (as the configuration says)", NULL},
    {"draft", OPT_STRING, &want.draft, "MODEL", "also measure generation with this model's guesses", NULL},
    {"roof", OPT_FLAG, &want.roof, NULL, "measure what this machine can do at the most, at each CPU level", NULL},
    {"kernels", OPT_FLAG, &want.kernels, NULL, "measure each kernel by itself, beside plain C", NULL},
    {"memory", OPT_BYTES, &want.memory, "SIZE", "what all of it may take; experts that do not fit are read when they are needed", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print JSON (docs/json-schema.md)", NULL},
    {"profile", OPT_FLAG, &want.profile, NULL, "also print where the time of a step goes, for prompt and generation", NULL},
    {0},
};

const Command command_bench = {
    .name = "bench",
    .arguments = "[MODEL]",
    .summary = "measure how fast a model runs on this machine",
    .text = "Measures prompt processing and generation in tokens per second: the median of some rounds after one that warms\n"
            "up, beside what this machine could do at the most (the roof, measured in the same run).\n\n"
            "With --shape, MODEL is a config.json (or a folder with one) and no weights are needed: they are made up, in\n"
            "about 1 GiB of memory that repeats itself, whatever the size of the model. With --layers, only some layers are\n"
            "run, at least one of each kind; the speed of the whole network is told from the time of each kind.",
    .example = "  houle bench model.gguf -p 512 -n 128\n"
               "  houle bench --shape config.json --type q4_k --layers 4\n"
               "      any published configuration, without its weights: some layers are run, the whole is told\n"
               "  houle bench --roof\n"
               "      the machine alone, at each CPU level",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = run,
};
