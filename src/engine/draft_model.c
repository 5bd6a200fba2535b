/* draft_model.c - see draft_model.h. */
#include "engine/draft_model.h"

#include <math.h>
#include <string.h>

enum { READ_ROWS = 256, PADDING_MOST = 2048 };

struct DraftModel {
    Session *session;
    int vocab;       /* logits that the samplers look at: the target's */
    int own_vocab;   /* logits that this model has */
    int rows;        /* tokens that it knows */
    int32_t *tokens; /* what the session has read; room for the whole context */
    float *logits;   /* [vocab], when this model has fewer: the rest is impossible */
};

/* ---- the same vocabulary ----------------------------------------------------------------------------------------- */

static Status differs(const Model *target, const Model *model, int32_t id, Error *err) {
    return error_set(err, ERR_ARGUMENT,
                     "%s cannot guess for %s: token %d is not the same text in both; the two need one vocabulary",
                     model_files_path(model_files(model)), model_files_path(model_files(target)), id);
}

static Status same_sizes(const Model *target, const Model *model, int have, int wanted, Error *err) {
    const int apart = have > wanted ? have - wanted : wanted - have;
    FAIL_IF(apart > MIN(PADDING_MOST, wanted / 16), ERR_ARGUMENT,
            "%s cannot guess for %s: it has %d tokens, not %d; the two need one vocabulary",
            model_files_path(model_files(model)), model_files_path(model_files(target)), have, wanted);
    return OK;
}

static Status same_vocabulary(const Model *target, const Model *model, Error *err) {
    const Tokenizer *theirs = NULL, *ours = NULL;
    Error their_error = {0}, our_error = {0};
    TRY(same_sizes(target, model, model_vocab(model), model_vocab(target), err));
    const Status found_theirs = model_tokenizer(target, &theirs, &their_error), found_ours = model_tokenizer(model, &ours, &our_error);
    if (found_theirs == ERR_NOT_FOUND && found_ours == ERR_NOT_FOUND)
        return OK; /* numbers without texts: nothing but their count can be compared */
    if (found_theirs != OK || found_ours != OK) {
        const Error *worse = found_theirs == OK || found_theirs == ERR_NOT_FOUND ? &our_error : &their_error;
        worse = worse->status == OK ? &their_error : worse;
        return error_set(err, worse->status, "%s", worse->text);
    }
    TRY(same_sizes(target, model, tokenizer_count(ours), tokenizer_count(theirs), err));
    const int32_t both = MIN(tokenizer_count(ours), tokenizer_count(theirs));
    for (int32_t id = 0; id < both; id++) {
        const char *a, *b;
        size_t a_bytes, b_bytes;
        const bool in_a = tokenizer_piece(theirs, id, &a, &a_bytes), in_b = tokenizer_piece(ours, id, &b, &b_bytes);
        if (in_a && in_b && (a_bytes != b_bytes || memcmp(a, b, a_bytes) != 0))
            return differs(target, model, id, err);
    }
    return OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static SessionSpec own_spec(SessionSpec spec) {
    spec.sequences = spec.max_wanted = 1;
    spec.max_rows = READ_ROWS;
    spec.keep_hidden = spec.profile = false;
    return spec;
}

Status draft_model_memory(const Model *target, const Model *model, SessionSpec spec, size_t *bytes, Error *err) {
    MemoryPlan plan;
    TRY(session_memory(model, own_spec(spec), &plan, err));
    *bytes = plan.cache + plan.scratch + (size_t)spec.context * sizeof(int32_t);
    if (model_vocab(model) < model_vocab(target))
        *bytes += (size_t)model_vocab(target) * sizeof(float);
    return OK;
}

Status draft_model_open(const Model *target, const Model *model, SessionSpec spec, DraftModel **out, Error *err) {
    *out = NULL;
    TRY(same_vocabulary(target, model, err));
    DraftModel *d = mem_zalloc(sizeof *d, MEM_MISC);
    FAIL_IF(d == NULL, ERR_MEMORY, "no memory for a draft model");
    d->vocab = model_vocab(target);
    d->own_vocab = model_vocab(model);
    d->rows = model_graph(model)->vocab_rows;
    Status status = session_open(model, own_spec(spec), &d->session, err);
    d->tokens = mem_array((size_t)spec.context, sizeof *d->tokens, MEM_MISC);
    if (d->own_vocab < d->vocab)
        d->logits = mem_array((size_t)d->vocab, sizeof *d->logits, MEM_MISC);
    if (status == OK && (d->tokens == NULL || (d->own_vocab < d->vocab && d->logits == NULL)))
        status = error_set(err, ERR_MEMORY, "no memory for a draft model");
    if (status != OK) {
        draft_model_close(d);
        return status;
    }
    for (int i = d->own_vocab; i < d->vocab; i++)
        d->logits[i] = -INFINITY;
    *out = d;
    return OK;
}

void draft_model_close(DraftModel *d) {
    if (d == NULL)
        return;
    session_close(d->session);
    mem_free(d->tokens);
    mem_free(d->logits);
    mem_free(d);
}

/* ---- reading along ----------------------------------------------------------------------------------------------- */

int draft_model_follow(DraftModel *d, const int32_t *tokens, int n) {
    Sequence *sequence = session_sequence(d->session, 0);
    const int have = sequence_tokens(sequence);
    int common = 0;
    while (common < have && common < n && d->tokens[common] == tokens[common])
        common++;
    if (common == n)
        common--; /* the logits of the last token are wanted: it is read again */
    if (common < have && !sequence_cut(sequence, common)) {
        sequence_cut(sequence, 0); /* behind what a window has dropped */
        common = 0;
    }
    for (int i = common; i < n; i++)
        if (tokens[i] >= d->rows)
            return -1;
    return n - common;
}

Status draft_model_read(DraftModel *d, const int32_t *tokens, int rows, Error *err) {
    const int have = sequence_tokens(session_sequence(d->session, 0));
    TRY(session_feed(d->session, 0, tokens + have, rows, 0, NULL, err));
    memcpy(d->tokens + have, tokens + have, (size_t)rows * sizeof *tokens);
    return OK;
}

static const float *logits_of(DraftModel *d) {
    const float *own = session_logits(d->session);
    if (d->logits == NULL)
        return own;
    memcpy(d->logits, own, (size_t)d->own_vocab * sizeof *own);
    return d->logits;
}

static Status guess_all(DraftModel *d, int n, int prompt, Sampler *sampler, int count, int32_t *guesses, Error *err) {
    for (int i = 0; i < count; i++) {
        TRY(sampler_pick(sampler, logits_of(d), d->tokens, n + i, prompt, NULL, &guesses[i], err));
        d->tokens[n + i] = guesses[i]; /* the history of the next draw */
        if (i + 1 < count) {
            FAIL_IF(guesses[i] >= d->rows, ERR_LIMIT, "a guess outside the vocabulary");
            TRY(session_feed(d->session, 0, &guesses[i], 1, 0, NULL, err));
        }
    }
    return OK;
}

Status draft_model_guess(DraftModel *d, int n, int prompt, Sampler *sampler, int count, int32_t *guesses, Error *err) {
    const uint64_t draws = sampler_draws(sampler);
    const Status status = guess_all(d, n, prompt, sampler, count, guesses, err);
    sampler_rewind(sampler, draws);
    return status;
}
