/* generate.c - see generate.h. The text may be one token ahead of the cache: a token is computed when what follows it
 * is wanted, so that the last one of an answer costs nothing. With guesses the cache may be ahead of the text: the rows
 * of logits behind the guesses are drawn from as long as what is drawn is what was guessed.
 *
 *     text     t t t t t              n = 5
 *     cache    t t t t t g g g        a step with three guesses
 *     logits           0 1 2 3        row 0: what follows the fifth token; row 1 counts when that is the first guess */
#include "engine/generate.h"

#include "base/clock.h"

#include <string.h>

struct Generator {
    Session *session;
    int sequence;
    int32_t *tokens;
    int n, prompt;
    size_t capacity;
    Draft *draft;
    int row, n_row;   /* rows of logits that the next draws are made from: row .. n_row - 1 */
    int drawn_row;    /* that of the last draw */
    int guessed;      /* the last step's guesses */
    int32_t guesses[DRAFT_MAX];
};

Status generator_open(Session *session, int sequence, Generator **out, Error *err) {
    *out = NULL;
    TRY(model_must_write(session_model(session), err));
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

void generator_guess(Generator *g, Draft *draft) {
    g->draft = draft;
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
    g->row = g->n_row = 0;
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

/* A step of the text's last token and some guesses. */
static Status compute_guesses(Generator *g, int guesses, Error *err) {
    int32_t tokens[DRAFT_MAX + 1], wanted[DRAFT_MAX + 1];
    const Run run = {.sequence = session_sequence(g->session, g->sequence), .n_row = guesses + 1};
    tokens[0] = g->tokens[g->n - 1];
    memcpy(tokens + 1, g->guesses, (size_t)guesses * sizeof *tokens);
    for (int i = 0; i <= guesses; i++)
        wanted[i] = i;
    const Batch batch = {.n_row = guesses + 1, .tokens = tokens, .n_run = 1, .runs = &run, .n_wanted = guesses + 1, .wanted = wanted};
    return session_step(g->session, &batch, err);
}

/* Makes rows of logits, the first of which follows the whole text. */
static Status compute(Generator *g, Sampler *sampler, bool guess, Error *err) {
    const bool generating = cached(g) == g->n - 1;
    int guesses = 0;
    if (g->draft != NULL && guess && generating) {
        const int64_t room = sequence_declared(session_sequence(g->session, g->sequence)) - g->n;
        const int most = (int)MIN(room, (int64_t)session_max_wanted(g->session) - 1);
        guesses = draft_guess(g->draft, g->tokens, g->n, g->prompt, sampler, most, g->guesses);
    }
    const uint64_t began = clock_ns();
    TRY(guesses > 0 ? compute_guesses(g, guesses, err) : compute_to(g, g->n, NULL, err));
    if (g->draft != NULL && generating)
        draft_learn_cost(g->draft, guesses, (double)(clock_ns() - began));
    g->guessed = guesses;
    g->row = 0;
    g->n_row = guesses + 1;
    return OK;
}

/* After a draw: whether the next row counts. Where it does not, what was computed behind the text is forgotten. */
static void judge_guess(Generator *g, int32_t drawn) {
    g->drawn_row = g->row++;
    if (g->row < g->n_row && drawn == g->guesses[g->drawn_row])
        return;
    if (g->draft != NULL)
        draft_learn_luck(g->draft, g->guessed, g->drawn_row);
    if (g->row < g->n_row)
        sequence_cut(session_sequence(g->session, g->sequence), g->n);
    g->row = g->n_row = 0;
}

Status generator_next(Generator *g, Sampler *sampler, bool ignore_end, const uint64_t *allowed, int32_t *token,
                      GenerateEnd *end, Error *err) {
    *end = END_NONE;
    *token = -1;
    if (g->n > sequence_declared(session_sequence(g->session, g->sequence))) {
        *end = END_CONTEXT;
        return OK;
    }
    if (g->row == g->n_row)
        TRY(compute(g, sampler, allowed == NULL, err));
    FAIL_IF(!mem_grow((void **)&g->tokens, &g->capacity, (size_t)g->n + 1, sizeof *g->tokens, MEM_MISC), ERR_MEMORY,
            "no memory for a longer text");
    TRY(sampler_pick(sampler, program_logits(session_program(g->session), g->row), g->tokens, g->n, g->prompt, allowed, token, err));
    judge_guess(g, *token);
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
    return program_logits(session_program(g->session), g->drawn_row);
}
