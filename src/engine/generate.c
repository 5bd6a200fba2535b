/* generate.c - see generate.h. The text may be one token ahead of the cache: a token is computed when what follows it
 * is wanted, so that the last one of an answer costs nothing. */
#include "engine/generate.h"

#include <string.h>

struct Generator {
    Session *session;
    int sequence;
    int32_t *tokens;
    int n, prompt;
    size_t capacity;
};

Status generator_open(Session *session, int sequence, Generator **out, Error *err) {
    *out = NULL;
    Generator *g = mem_zalloc(sizeof *g, MEM_MISC);
    FAIL_IF(g == NULL, ERR_MEMORY, "no memory to generate");
    g->session = session;
    g->sequence = sequence;
    *out = g;
    return OK;
}

void generator_close(Generator *g) {
    if (g == NULL)
        return;
    mem_free(g->tokens);
    mem_free(g);
}

static int cached(const Generator *g) {
    return sequence_tokens(session_sequence(g->session, g->sequence));
}

Status generator_set(Generator *g, const int32_t *tokens, int n, int *reused, Error *err) {
    FAIL_IF(n < 1, ERR_ARGUMENT, "a text without tokens");
    int common = 0;
    while (common < n && common < cached(g) && common < g->n && g->tokens[common] == tokens[common])
        common++;
    if (common == n)
        common--; /* the logits of the last token are wanted: it must be computed */
    Sequence *sequence = session_sequence(g->session, g->sequence);
    if (common < cached(g) && !sequence_cut(sequence, common)) {
        common = 0;
        sequence_cut(sequence, 0);
    }
    FAIL_IF(!mem_grow((void **)&g->tokens, &g->capacity, (size_t)n + 1, sizeof *g->tokens, MEM_MISC), ERR_MEMORY,
            "no memory for a text of %d tokens", n);
    memcpy(g->tokens, tokens, (size_t)n * sizeof *tokens);
    g->n = n;
    g->prompt = n;
    if (reused != NULL)
        *reused = common;
    return OK;
}

void generator_mark_prompt(Generator *g) {
    g->prompt = g->n;
}

static Status compute_to(Generator *g, int n, const Progress *progress, Error *err) {
    const int have = cached(g);
    return have < n ? session_feed(g->session, g->sequence, g->tokens + have, n - have, 0, progress, err) : OK;
}

Status generator_prepare(Generator *g, const Progress *progress, Error *err) {
    return compute_to(g, g->n, progress, err);
}

Status generator_next(Generator *g, Sampler *sampler, bool ignore_end, const uint64_t *allowed, int32_t *token,
                      GenerateEnd *end, Error *err) {
    *end = END_NONE;
    *token = -1;
    if (g->n > sequence_declared(session_sequence(g->session, g->sequence))) {
        *end = END_CONTEXT;
        return OK;
    }
    TRY(compute_to(g, g->n, NULL, err));
    TRY(sampler_pick(sampler, session_logits(g->session), g->tokens, g->n, g->prompt, allowed, token, err));
    FAIL_IF(!mem_grow((void **)&g->tokens, &g->capacity, (size_t)g->n + 1, sizeof *g->tokens, MEM_MISC), ERR_MEMORY,
            "no memory for a longer text");
    g->tokens[g->n++] = *token;
    if (!ignore_end && model_ends_at(session_model(g->session), *token))
        *end = END_TOKEN;
    return OK;
}

const int32_t *generator_tokens(const Generator *g, int *n) {
    *n = g->n;
    return g->tokens;
}

const float *generator_logits(const Generator *g) {
    return session_logits(g->session);
}
