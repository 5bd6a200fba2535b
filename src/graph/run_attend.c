/* run_attend.c - one unit of an attention step: some query rows of one key/value head, over all they can see.
 *
 * Rows are (token, query head) pairs that share a key/value head, up to 64 of them. The cache is read in chunks of 1024
 * entries at fixed places; partial results are merged in ascending order. */
#include "graph/program_parts.h"

#include "base/carve.h"

#include <math.h>
#include <string.h>

/* How the rows of one run are cut into units. */
typedef struct Cut {
    int group;        /* query heads per key/value head */
    int heads;        /* of them in a unit */
    int head_blocks;
    int tokens;       /* in a unit */
} Cut;

static Cut cut_of(const Attend *a) {
    Cut c = {.group = a->heads / a->kv_heads};
    c.heads = MIN(c.group, ATTEND_MAX_ROWS);
    c.head_blocks = (c.group + c.heads - 1) / c.heads;
    c.tokens = MAX(ATTEND_MAX_ROWS / c.heads, 1);
    return c;
}

/* Scratch of a unit, in floats. */
typedef struct Pieces {
    float *query, *part, *total;           /* [64][key_width], [64][value_width] twice */
    float *part_top, *part_sum, *top, *sum; /* [64] */
    const uint8_t **keys, **values;        /* blocks */
    void *kernel;
} Pieces;

static size_t cut_pieces(const Attend *a, int context, uint8_t *block, Pieces *p) {
    const size_t rows = ATTEND_MAX_ROWS, blocks = (size_t)context / CACHE_BLOCK + 2;
    Carve c = {.block = block};
    p->query = carve(&c, rows * (size_t)a->key_width * sizeof(float));
    p->part = carve(&c, rows * (size_t)a->value_width * sizeof(float));
    p->total = carve(&c, rows * (size_t)a->value_width * sizeof(float));
    p->part_top = carve(&c, rows * sizeof(float));
    p->part_sum = carve(&c, rows * sizeof(float));
    p->top = carve(&c, rows * sizeof(float));
    p->sum = carve(&c, rows * sizeof(float));
    p->keys = carve(&c, blocks * sizeof(uint8_t *));
    p->values = carve(&c, blocks * sizeof(uint8_t *));
    p->kernel = carve(&c, attend_scratch_bytes(ATTEND_MAX_ROWS, a->key_width, a->value_width));
    return c.used;
}

static size_t attend_bytes(const Program *p, const Op *op) {
    Pieces pieces;
    return cut_pieces(&op->u.attend, p->spec.max_context, NULL, &pieces);
}

static int units_of_run(const Run *run, const Attend *a, const Cut *c) {
    return (run->n_row + c->tokens - 1) / c->tokens * a->kv_heads * c->head_blocks;
}

static int attend_units(const Ctx *ctx, const Step *step) {
    const Attend *a = &step->op->u.attend;
    const Cut c = cut_of(a);
    int units = 0;
    for (int i = 0; i < ctx->batch->n_run; i++)
        units += units_of_run(&ctx->batch->runs[i], a, &c);
    return units;
}

static void run_attend(const Ctx *ctx, const Step *step, int unit) {
    const Attend *a = &step->op->u.attend;
    const Cut cut = cut_of(a);
    const Run *run = ctx->batch->runs;
    /* Units of late tokens see more: hand them out first, so that no thread begins a long one at the end. */
    for (int units; unit >= (units = units_of_run(run, a, &cut)); run++)
        unit -= units;
    unit = units_of_run(run, a, &cut) - 1 - unit;
    const int head_block = unit % cut.head_blocks, kv = unit / cut.head_blocks % a->kv_heads;
    const int token0 = unit / cut.head_blocks / a->kv_heads * cut.tokens;
    const int tokens = MIN(cut.tokens, run->n_row - token0);
    const int head0 = kv * cut.group + head_block * cut.heads, heads = MIN(cut.heads, cut.group - head_block * cut.heads);
    const int n_row = tokens * heads, kw = a->key_width, vw = a->value_width;

    Pieces p;
    cut_pieces(a, ctx->program->spec.max_context, ctx->scratch, &p);
    for (int t = 0; t < tokens; t++) {
        const float *q = ref_floats(ctx, step->in[0], run->row0 + token0 + t) + (size_t)head0 * (size_t)kw;
        ctx->kernels->affine(p.query + (size_t)t * (size_t)heads * (size_t)kw, q, heads * kw, a->scale, 0);
    }
    /* What each token sees: itself and what came before, within window or chunk. */
    const int past = sequence_tokens(run->sequence);
    const int stride = ctx->program->graph->states[a->keys].rows.stride;
    int32_t first[ATTEND_MAX_ROWS], last[ATTEND_MAX_ROWS];
    int lowest = INT32_MAX, highest = -1;
    for (int t = 0; t < tokens; t++) {
        const int place = past + token0 + t;
        int from = 0;
        if (a->window > 0 && place - a->window + 1 > 0)
            from = place - a->window + 1;
        if (a->chunk > 0)
            from = MAX(from, place / a->chunk * a->chunk);
        first[t] = from / stride;
        last[t] = (place + 1) / stride - 1; /* an entry over several tokens is seen once it is whole */
        lowest = MIN(lowest, first[t]);
        highest = MAX(highest, last[t]);
    }
    const Cache *cache = sequence_cache(run->sequence);
    AttendJob job = {.type = cache_type_of(cache, a->keys), .key_width = kw, .value_width = vw, .n_row = n_row,
                     .group = heads, .query = p.query, .key_blocks = p.keys, .value_blocks = p.values,
                     .key_stride = cache_stride_bytes(cache, a->keys), .value_stride = cache_stride_bytes(cache, a->values),
                     .first = first, .last = last, .softcap = a->softcap, .top = p.part_top, .sum = p.part_sum,
                     .out = p.part, .scratch = p.kernel};
    for (int b = lowest / CACHE_BLOCK; b * CACHE_BLOCK <= highest; b++) {
        p.keys[b] = sequence_page(run->sequence, a->keys, b * CACHE_BLOCK) + (size_t)kv * cache_head_bytes(cache, a->keys);
        p.values[b] = sequence_page(run->sequence, a->values, b * CACHE_BLOCK) + (size_t)kv * cache_head_bytes(cache, a->values);
    }
    for (int r = 0; r < n_row; r++) {
        p.top[r] = -INFINITY;
        p.sum[r] = 0;
    }
    memset(p.total, 0, (size_t)n_row * (size_t)vw * sizeof(float));
    for (int c = lowest / CACHE_CHUNK * CACHE_CHUNK; c <= highest; c += CACHE_CHUNK) {
        job.begin = MAX(c, lowest / CACHE_BLOCK * CACHE_BLOCK);
        job.end = MIN(c + CACHE_CHUNK, highest + 1);
        ctx->kernels->attend(&job);
        for (int r = 0; r < n_row; r++)
            attend_merge(&p.top[r], &p.sum[r], p.total + (size_t)r * (size_t)vw, p.part_top[r], p.part_sum[r],
                         p.part + (size_t)r * (size_t)vw, vw);
    }
    for (int r = 0; r < n_row; r++) {
        float *total = p.total + (size_t)r * (size_t)vw;
        const int head = head0 + r % heads;
        if (step->vector[0] != NULL) { /* a sink takes its share of the softmax and gives nothing */
            const float sink = step->vector[0][head], top = MAX(p.top[r], sink);
            const float mine = p.top[r] == -INFINITY ? 0 : expf(p.top[r] - top);
            ctx->kernels->affine(total, total, vw, mine, 0);
            p.sum[r] = p.sum[r] * mine + expf(sink - top);
        }
        float *y = ref_floats(ctx, step->out, run->row0 + token0 + r / heads) + (size_t)head * (size_t)vw;
        ctx->kernels->affine(y, total, vw, p.sum[r] > 0 ? 1.0f / p.sum[r] : 0, 0);
    }
}

const MixOps mix_attend = {.units = attend_units, .run = run_attend, .scratch = attend_bytes};
