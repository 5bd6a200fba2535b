/* run_choose.c - which entries each token attends to: scores of all it reaches, then the best of them.
 *
 * Tokens that reach no more items than they may choose take all, without scores. With many rows a unit is a few tokens of a
 * run, from scores to lists. With few rows there are not enough of those for the threads: then a first phase shares out
 * ranges of entries, whose scores go to memory for all, and a second one makes the lists. A score is the same wherever it
 * is computed, and choosing is exact, so both ways give the same lists. */
#include "graph/program_parts.h"

#include "base/carve.h"
#include "op/op_choose.h"

#include <math.h>
#include <string.h>

enum {
    HEAD_ROWS = 64,      /* (token, head) pairs of a unit: enough to hide the turning round of keys */
    SHARED_ROWS = 8,     /* up to here scores are shared out */
    RANGE_ENTRIES = 2048, /* in a range */
};

static int stride_of(const Program *p, const Choice *c) {
    return p->graph->states[c->keys].rows.stride;
}

static int items_of(const Choice *c, int entries) {
    return (entries + c->span - 1) / c->span;
}

/* Scores of a token, for all groups. */
static size_t score_floats(const Program *p, const Choice *c) {
    return (size_t)c->groups * (size_t)items_of(c, p->spec.max_context / stride_of(p, c) + 1);
}

static int unit_tokens(const Choice *c) {
    return MAX(HEAD_ROWS / c->heads, 1);
}

typedef struct Pieces {
    const uint8_t **keys; /* [64] */
    float *tile;          /* [unit_tokens][groups][64] */
    float *scores;        /* [unit_tokens][groups][items] */
    void *kernel;
} Pieces;

static size_t cut_pieces(const Program *p, const Choice *c, uint8_t *block, Pieces *pieces) {
    Carve carving = {.block = block};
    const size_t tokens = (size_t)unit_tokens(c);
    pieces->keys = carve(&carving, CACHE_BLOCK * sizeof *pieces->keys);
    pieces->tile = carve(&carving, tokens * (size_t)c->groups * CACHE_BLOCK * sizeof(float));
    pieces->scores = carve(&carving, tokens * score_floats(p, c) * sizeof(float));
    pieces->kernel = carve(&carving, index_scratch_bytes(c->dim));
    return carving.used;
}

static size_t choose_bytes(const Program *p, const Op *op) {
    Pieces pieces;
    return cut_pieces(p, &op->u.choice, NULL, &pieces);
}

static size_t choose_shared(const Program *p, const Op *op) {
    return (size_t)MIN(SHARED_ROWS, p->spec.max_rows) * score_floats(p, &op->u.choice) * sizeof(float);
}

/* Some tokens of a run, and the entries that each of them reaches. */
typedef struct Tokens {
    const Run *run;
    int first, n;
} Tokens;

static int entries_of(const Ctx *ctx, const Choice *c, const Tokens *t, int token) {
    return (sequence_tokens(t->run->sequence) + t->first + token + 1) / stride_of(ctx->program, c);
}

static bool takes_all(const Ctx *ctx, const Choice *c, const Tokens *t, int token) {
    return items_of(c, entries_of(ctx, c, t, token)) <= c->top;
}

/* Scores of the items [begin, end) for some tokens of a run: token t's group g at scores[(t * groups + g) * stride + item]. */
static void score(const Ctx *ctx, const Step *step, const Tokens *t, int begin, int end, const Pieces *p, float *scores, size_t stride) {
    const Choice *c = &step->op->u.choice;
    const Cache *cache = sequence_cache(t->run->sequence);
    const size_t key_stride = cache_stride_bytes(cache, c->keys);
    const int row0 = t->run->row0 + t->first, reach = entries_of(ctx, c, t, t->n - 1);
    IndexJob job = {.type = cache_type_of(cache, c->keys), .dim = c->dim, .heads = c->heads, .groups = c->groups,
                    .n_token = t->n, .query = ref_floats(ctx, step->in[0], row0),
                    .query_stride = slot_bytes(ctx->program, step->in[0]) / sizeof(float), .scale = c->scale,
                    .plain = c->plain, .keys = p->keys, .out = p->tile, .scratch = p->kernel};
    if (step->in[1].buffer >= 0) {
        job.weights = ref_floats(ctx, step->in[1], row0);
        job.weight_stride = slot_bytes(ctx->program, step->in[1]) / sizeof(float);
    }
    for (int r = 0; r < t->n * c->groups; r++)
        for (int i = begin; i < end; i++)
            scores[(size_t)r * stride + (size_t)i] = -INFINITY;
    for (int e = begin * c->span, last = MIN(end * c->span, reach); e < last; e += job.n) {
        const uint8_t *page = sequence_page(t->run->sequence, c->keys, e);
        job.n = MIN(CACHE_BLOCK - e % CACHE_BLOCK, last - e);
        for (int i = 0; i < job.n; i++)
            p->keys[i] = page + (size_t)(e % CACHE_BLOCK + i) * key_stride;
        ctx->kernels->index_scores(&job);
        for (int r = 0; r < t->n * c->groups; r++) {
            const int seen = MIN(entries_of(ctx, c, t, r / c->groups) - e, job.n);
            const float *from = p->tile + (size_t)r * CACHE_BLOCK;
            float *to = scores + (size_t)r * stride;
            for (int i = 0; i < seen; i++) { /* an item is as good as its best entry */
                float *item = &to[(e + i) / c->span];
                *item = from[i] > *item ? from[i] : *item;
            }
        }
    }
}

/* The lists of one token. */
static void list(const Ctx *ctx, const Step *step, const Tokens *t, int token, const float *scores, size_t stride) {
    const Choice *c = &step->op->u.choice;
    const int items = items_of(c, entries_of(ctx, c, t, token));
    int32_t *lists = (int32_t *)(void *)ref_at(ctx, step->out, t->run->row0 + t->first + token);
    for (int g = 0; g < c->groups; g++) {
        int32_t *to = lists + (size_t)g * (size_t)(1 + c->top);
        to[0] = op_choose_best(scores != NULL ? scores + (size_t)g * stride : NULL, items, c->top, MIN(c->local, items), to + 1);
    }
}

/* ---- many rows ------------------------------------------------------------------------------------------------------- */

static int units_of_run(const Run *run, const Choice *c) {
    return (run->n_row + unit_tokens(c) - 1) / unit_tokens(c);
}

static void choose_tokens(const Ctx *ctx, const Step *step, int unit) {
    const Choice *c = &step->op->u.choice;
    const Run *run = ctx->batch->runs;
    for (int units; unit >= (units = units_of_run(run, c)); run++)
        unit -= units;
    Tokens t = {.run = run, .first = unit * unit_tokens(c)};
    t.n = MIN(unit_tokens(c), run->n_row - t.first);
    Pieces p;
    cut_pieces(ctx->program, c, ctx->scratch, &p);
    const size_t stride = score_floats(ctx->program, c) / (size_t)c->groups;
    if (!takes_all(ctx, c, &t, t.n - 1)) /* the last token reaches most */
        score(ctx, step, &t, 0, items_of(c, entries_of(ctx, c, &t, t.n - 1)), &p, p.scores, stride);
    for (int i = 0; i < t.n; i++)
        list(ctx, step, &t, i, p.scores + (size_t)i * (size_t)c->groups * stride, stride);
}

/* ---- few rows -------------------------------------------------------------------------------------------------------- */

static bool is_shared(const Ctx *ctx) {
    return ctx->batch->n_row <= SHARED_ROWS && ctx->n_thread > 1;
}

static Tokens token_of_row(const Ctx *ctx, int row) {
    const Run *run = run_of_row(ctx->batch, row);
    return (Tokens){.run = run, .first = row - run->row0, .n = 1};
}

static int range_items(const Choice *c) {
    return MAX(RANGE_ENTRIES / c->span, 1);
}

static int ranges_of_row(const Ctx *ctx, const Choice *c, int row) {
    const Tokens t = token_of_row(ctx, row);
    const int items = items_of(c, entries_of(ctx, c, &t, 0));
    return takes_all(ctx, c, &t, 0) ? 0 : (items + range_items(c) - 1) / range_items(c);
}

static float *shared_scores(const Ctx *ctx, const Choice *c, int row) {
    return (float *)(void *)ctx->program->shared + (size_t)row * score_floats(ctx->program, c);
}

static void choose_range(const Ctx *ctx, const Step *step, int unit) {
    const Choice *c = &step->op->u.choice;
    int row = 0;
    for (int ranges; unit >= (ranges = ranges_of_row(ctx, c, row)); row++)
        unit -= ranges;
    const Tokens t = token_of_row(ctx, row);
    Pieces p;
    cut_pieces(ctx->program, c, ctx->scratch, &p);
    const int items = items_of(c, entries_of(ctx, c, &t, 0)), begin = unit * range_items(c);
    score(ctx, step, &t, begin, MIN(begin + range_items(c), items), &p, shared_scores(ctx, c, row),
          score_floats(ctx->program, c) / (size_t)c->groups);
}

static int choose_units(const Ctx *ctx, const Step *step) {
    const Choice *c = &step->op->u.choice;
    int units = 0;
    if (is_shared(ctx))
        for (int row = 0; row < ctx->batch->n_row; row++)
            units += ranges_of_row(ctx, c, row);
    else
        for (int i = 0; i < ctx->batch->n_run; i++)
            units += units_of_run(&ctx->batch->runs[i], c);
    return units;
}

static void run_choose(const Ctx *ctx, const Step *step, int unit) {
    is_shared(ctx) ? choose_range(ctx, step, unit) : choose_tokens(ctx, step, unit);
}

static int list_units(const Ctx *ctx, const Step *step) {
    (void)step;
    return is_shared(ctx) ? ctx->batch->n_row : 0;
}

static void run_list(const Ctx *ctx, const Step *step, int row) {
    const Choice *c = &step->op->u.choice;
    const Tokens t = token_of_row(ctx, row);
    list(ctx, step, &t, 0, shared_scores(ctx, c, row), score_floats(ctx->program, c) / (size_t)c->groups);
}

static const MixOps mix_list = {.units = list_units, .run = run_list};
const MixOps mix_choose = {.units = choose_units, .run = run_choose, .scratch = choose_bytes, .shared = choose_shared,
                           .then = &mix_list};
