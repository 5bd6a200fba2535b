/* bench_draft.c - see bench_draft.h. */
#include "cli/bench_draft.h"

#include "base/clock.h"
#include "base/median.h"
#include "cli/run_options.h"
#include "engine/generate.h"

#include <stdio.h>
#include <string.h>

static const char prompt_text[] =
    "The tide is the rise and fall of the sea, caused by the pull of the moon and the sun. Twice a day the water comes "
    "and goes. Here is a table of tides, and an explanation of each of its columns:";

typedef struct Writer {
    const Model *model;
    Session *session;
    Pool *pool;
    TokenIds prompt;
    int32_t *first; /* the tokens that were written first: all others must be the same */
    int n, n_first;
} Writer;

static Status make_prompt(Writer *w, Error *err) {
    const Tokenizer *tokenizer;
    Error none = {0};
    if (model_tokenizer(w->model, &tokenizer, &none) == OK)
        return tokenizer_encode(tokenizer, prompt_text, strlen(prompt_text), ENCODE_ADD_SPECIAL, &w->prompt, err);
    for (int i = 0; i < 32; i++) /* a model of numbers */
        FAIL_IF(!token_ids_append(&w->prompt, (i * 37 + 5) % model_vocab(w->model)), ERR_MEMORY, "no memory for the bench");
    return OK;
}

static Status write_tokens(Writer *w, Generator *g, Sampler *sampler, double *rate, Error *err) {
    TRY(generator_set(g, w->prompt.ids, (int)w->prompt.count, NULL, err));
    sequence_cut(session_sequence(w->session, 0), 0);
    TRY(generator_prepare(g, NULL, err));
    const uint64_t began = clock_ns();
    for (int i = 0; i < w->n; i++) {
        int32_t token;
        GenerateEnd end;
        TRY(generator_next(g, sampler, true, NULL, &token, &end, err));
        if (w->n_first < w->n)
            w->first[w->n_first++] = token;
        FAIL_IF(w->first[i] != token, ERR_INTERNAL, "token %d is %d with guesses and %d without", i, token, w->first[i]);
    }
    *rate = w->n / ((double)(clock_ns() - began) * 1e-9);
    return OK;
}

static Status one_round(Writer *w, Draft *draft, double *rate, Error *err) {
    Generator *g = NULL;
    Sampler *sampler = NULL;
    SampleSpec greedy = sample_defaults();
    greedy.temperature = 0;
    Status status = generator_open(w->session, 0, &g, err);
    if (status == OK)
        status = sampler_open(greedy, model_vocab(w->model), &sampler, err);
    if (status == OK) {
        generator_guess(g, draft);
        status = write_tokens(w, g, sampler, rate, err);
    }
    sampler_close(sampler);
    generator_close(g);
    return status;
}

static Status rounds_of(Writer *w, Draft *draft, int rounds, double *median, Error *err) {
    double rates[DRAFT_ROUNDS_MOST];
    for (int i = 0; i < rounds; i++)
        TRY(one_round(w, draft, &rates[i], err));
    *median = median_of(rates, rounds);
    return OK;
}

static Status measure_with(Writer *w, DraftSpec spec, int rounds, double *median, uint64_t *guessed, uint64_t *right, Error *err) {
    Draft *draft;
    TRY(draft_open(&spec, &draft, err));
    const Status status = rounds_of(w, draft, rounds, median, err);
    const DraftStats stats = draft_stats(draft);
    *guessed = stats.guessed;
    *right = stats.right;
    draft_close(draft);
    TRY(status);
    FAIL_IF(stats.failure.status != OK, stats.failure.status, "%s", stats.failure.text);
    return OK;
}

static Status measure(Writer *w, const Model *guesser, SessionSpec spec, int rounds, DraftRates *r, Error *err) {
    TRY(make_prompt(w, err));
    spec.context = (int)w->prompt.count + w->n + 8;
    spec.sequences = 1;
    spec.max_wanted = DRAFT_MAX + 1;
    DraftSpec draft = {.target = w->model, .model = guesser, .precision = spec.precision, .cache_type = spec.cache_type,
                       .context = spec.context, .most = DRAFT_MAX, .pool = spec.pool};
    w->first = mem_array((size_t)w->n, sizeof *w->first, MEM_MISC);
    FAIL_IF(w->first == NULL, ERR_MEMORY, "no memory for the bench");
    TRY(session_open(w->model, spec, &w->session, err));
    TRY(rounds_of(w, NULL, rounds, &r->plain, err));
    TRY(measure_with(w, draft, rounds, &r->adaptive, &r->guessed, &r->right, err));
    draft.always = true;
    return measure_with(w, draft, rounds, &r->always, &r->always_guessed, &r->always_right, err);
}

Status bench_draft(const Model *model, const char *name, const SessionSpec *spec, int tokens, int rounds, DraftRates *rates, Error *err) {
    Model *guesser;
    Writer w = {.model = model, .pool = spec->pool, .n = tokens};
    TRY(cli_open_model(name, &guesser, err));
    const Status status = measure(&w, guesser, *spec, MIN(rounds, DRAFT_ROUNDS_MOST), rates, err);
    session_close(w.session);
    token_ids_free(&w.prompt);
    mem_free(w.first);
    model_close(guesser);
    return status;
}

static double share(uint64_t right, uint64_t guessed) {
    return guessed > 0 ? (double)right / (double)guessed : 0;
}

void bench_draft_print(const DraftRates *r, int tokens) {
    printf("draft: tg%d %.2f t/s without guesses, %.2f t/s with them (x%.2f; %llu guessed, %.0f%% right), %.2f t/s with %d at every "
           "step (%.0f%% right)\n", tokens, r->plain, r->adaptive, r->adaptive / r->plain, (unsigned long long)r->guessed,
           share(r->right, r->guessed) * 100, r->always, DRAFT_MAX, share(r->always_right, r->always_guessed) * 100);
}

json_t *bench_draft_json(const DraftRates *r, int tokens) {
    return json_pack("{s:i, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "tokens", tokens, "plain_tokens_per_second", r->plain,
                     "tokens_per_second", r->adaptive, "always_tokens_per_second", r->always, "guessed", (json_int_t)r->guessed,
                     "right", (json_int_t)r->right, "always_guessed", (json_int_t)r->always_guessed, "always_right",
                     (json_int_t)r->always_right);
}
