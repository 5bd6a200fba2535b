/* run.c - houle run: one answer, or a chat. */
#include "cli/run_options.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/generate.h"

#include <stdio.h>
#include <string.h>

static struct {
    const char *ids, *precision, *cache;
    bool print_ids, ignore_eos;
    int64_t n, ctx, threads, top_k, seed;
    double temp, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
} want = {.precision = "fast", .cache = "f16", .n = -1, .temp = -1, .top_k = -1, .top_p = -1, .min_p = -1, .repeat_penalty = -1};

/* What the user says, over what the model's files say, over our defaults. */
static SampleSpec sampling_of(const Model *model) {
    SampleSpec s = sample_defaults();
    const SamplingDefaults m = model_sampling(model);
    const double temp = want.temp >= 0 ? want.temp : m.temperature;
    const double top_p = want.top_p >= 0 ? want.top_p : m.top_p, min_p = want.min_p >= 0 ? want.min_p : m.min_p;
    const double repeat = want.repeat_penalty >= 0 ? want.repeat_penalty : m.repeat_penalty;
    const int64_t top_k = want.top_k >= 0 ? want.top_k : m.top_k;
    if (temp >= 0)
        s.temperature = (float)temp;
    if (top_p >= 0)
        s.top_p = (float)top_p;
    if (min_p >= 0)
        s.min_p = (float)min_p;
    if (repeat >= 0)
        s.repeat_penalty = (float)repeat;
    if (top_k >= 0)
        s.top_k = (int)MIN(top_k, 1 << 20);
    s.presence_penalty = (float)want.presence_penalty;
    s.frequency_penalty = (float)want.frequency_penalty;
    s.seed = (uint64_t)want.seed;
    return s;
}

static Status run_ids(Session *session, Error *err) {
    int32_t *ids;
    int n;
    Generator *g = NULL;
    Sampler *sampler = NULL;
    TRY(parse_ids(want.ids, &ids, &n, err));
    Status status = generator_open(session, 0, &g, err);
    if (status == OK)
        status = generator_set(g, ids, n, NULL, err);
    if (status == OK)
        status = sampler_open(sampling_of(session_model(session)), model_vocab(session_model(session)), &sampler, err);
    const int64_t most = want.n >= 0 ? want.n : INT32_MAX;
    for (int64_t i = 0; status == OK && i < most && !cli_interrupted(); i++) {
        int32_t token;
        GenerateEnd end;
        status = generator_next(g, sampler, want.ignore_eos, NULL, &token, &end, err);
        if (status != OK || end != END_NONE)
            break;
        printf("%s%d", i > 0 ? " " : "", token);
    }
    if (status == OK)
        printf("\n");
    sampler_close(sampler);
    generator_close(g);
    mem_free(ids);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    (void)n_argument;
    Model *model = NULL;
    Session *session = NULL;
    SessionSpec spec = {0};
    Status status = parse_precision(want.precision, &spec.precision, err);
    if (status == OK)
        status = parse_cache_type(want.cache, &spec.cache_type, err);
    if (status == OK)
        status = cli_pool((int)want.threads, &spec.pool, err);
    if (status == OK)
        status = cli_open_model(arguments[0], &model, err);
    if (status == OK) {
        const int declared = model_context(model);
        spec.context = want.ctx > 0 ? (int)MIN(want.ctx, INT32_MAX) : declared > 0 ? MIN(declared, 4096) : 4096;
        status = session_open(model, spec, &session, err);
    }
    if (status == OK)
        status = run_ids(session, err);
    session_close(session);
    model_close(model);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"n", OPT_INT, &want.n, "N", "generate at most N tokens", NULL},
    {"temp", OPT_REAL, &want.temp, "T", "temperature; 0 always takes the likeliest token", NULL},
    {"top-k", OPT_INT, &want.top_k, "N", "choose among the N likeliest (0 = all)", NULL},
    {"top-p", OPT_REAL, &want.top_p, "P", "choose among the likeliest that together have probability P", NULL},
    {"min-p", OPT_REAL, &want.min_p, "P", "leave out tokens less likely than P times the likeliest", NULL},
    {"repeat-penalty", OPT_REAL, &want.repeat_penalty, "X", "divide the logits of tokens that occurred by X (1 = off)", NULL},
    {"presence-penalty", OPT_REAL, &want.presence_penalty, "X", "lower the logits of tokens that occurred in the answer", NULL},
    {"frequency-penalty", OPT_REAL, &want.frequency_penalty, "X", "lower them by X for each occurrence", NULL},
    {"seed", OPT_INT, &want.seed, "N", "seed of the draws", NULL},
    {"ids", OPT_STRING, &want.ids, "1,2,3", "token ids in place of a text; needs no tokenizer", NULL},
    {"print-ids", OPT_FLAG, &want.print_ids, NULL, "print the new token ids on one line", NULL},
    {"ignore-eos", OPT_FLAG, &want.ignore_eos, NULL, "go on when the model ends its text", NULL},
    {"ctx", OPT_INT, &want.ctx, "N", "context in tokens (the declared one, at most 4096)", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "float throughout, or what this CPU does best (fast)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "f16 (default), q8_0, f32", NULL},
    {"threads", OPT_INT, &want.threads, "N", "threads (default: the physical cores this process may use)", NULL},
    {0},
};

const Command command_run = {
    .name = "run",
    .arguments = "MODEL [PROMPT]",
    .summary = "answer a prompt, or chat",
    .text = "Runs a model.",
    .example = "  houle run model.gguf --ids 1,338,263 -n 8 --temp 0 --print-ids",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run,
};
