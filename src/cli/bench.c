/* bench.c - houle bench: how fast a model runs here, beside what this machine could do. */
#include "cli/run_options.h"

#include "base/clock.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int64_t prompt, generate, depth, batch, threads, repeat;
    const char *precision, *cache;
    bool json, profile;
} want = {.prompt = 512, .generate = 128, .batch = 1, .repeat = 3, .precision = "fast", .cache = "f16"};

enum { MAX_REPEAT = 64 };

typedef struct Rate {
    double all[MAX_REPEAT]; /* tokens/s */
    int n;
} Rate;

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const Rate *r) {
    double sorted[MAX_REPEAT];
    memcpy(sorted, r->all, (size_t)r->n * sizeof *sorted);
    qsort(sorted, (size_t)r->n, sizeof *sorted, by_value);
    return r->n % 2 != 0 ? sorted[r->n / 2] : (sorted[r->n / 2 - 1] + sorted[r->n / 2]) / 2;
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

static Status measure(Session *s, Rate *prompt, Rate *generation, Error *err) {
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
        if (status == OK && want.generate > 0)
            status = time_generation(s, r < 0 ? 2 : (int)want.generate, (int)want.batch, &seed, r < 0 ? &ignored : generation, err);
        for (int b = 0; b < want.batch; b++)
            sequence_cut(session_sequence(s, b), depth);
    }
    mem_free(tokens);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    Model *model = NULL;
    Session *session = NULL;
    Pool *pool;
    SessionSpec spec = {.context = (int)(want.depth + MAX(want.prompt, want.generate) + 8), .sequences = (int)want.batch};
    Rate prompt = {0}, generation = {0};
    Status status = OK;
    if (want.prompt < 0 || want.generate < 0 || want.depth < 0 || want.batch < 1 || want.batch > 256 || want.repeat < 1 ||
        want.repeat > MAX_REPEAT || want.depth > 1 << 24 || want.prompt > 1 << 24 || want.generate > 1 << 24)
        status = error_set(err, ERR_ARGUMENT, "a number is out of range; 'houle bench --help' explains");
    if (status == OK)
        status = parse_precision(want.precision, &spec.precision, err);
    if (status == OK)
        status = parse_cache_type(want.cache, &spec.cache_type, err);
    if (status == OK)
        status = cli_pool((int)want.threads, &pool, err);
    if (status == OK) {
        spec.pool = pool;
        spec.profile = want.profile;
        status = cli_open_model(arguments[0], &model, err);
    }
    if (status == OK)
        status = session_open(model, spec, &session, err);
    if (status == OK)
        status = measure(session, &prompt, &generation, err);
    if (status == OK && want.prompt > 0)
        printf("pp%lld %.2f +- %.2f t/s\n", (long long)want.prompt, median(&prompt), spread(&prompt) / 2);
    if (status == OK && want.generate > 0)
        printf("tg%lld %.2f +- %.2f t/s\n", (long long)want.generate, median(&generation), spread(&generation) / 2);
    if (status == OK && want.profile) {
        Text text = {0};
        status = program_print_profile(session_program(session), &text, err);
        if (status == OK)
            fputs(text.bytes, stdout);
        text_free(&text);
    }
    session_close(session);
    model_close(model);
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
    {"profile", OPT_FLAG, &want.profile, NULL, "also print the time of each kind of step", NULL},
    {0},
};

const Command command_bench = {
    .name = "bench",
    .arguments = "MODEL",
    .summary = "measure how fast a model runs on this machine",
    .text = "Measures prompt processing and generation in tokens per second.",
    .example = "  houle bench model.gguf -p 512 -n 128",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
