/* run_streams.c - row operations that make one row of several: tokens of a run, or streams of a residual. */
#include "graph/program_parts.h"

#include "op/op_hyper.h"

#include <string.h>

/* The token that ends a run reads what its run (and the one before) has stored; the others give zeros. */
void row_pool(const Ctx *ctx, const RowOp *op, int row) {
    const Pool *p = &op->op->u.pool;
    const Sequence *sequence = run_of_row(ctx->batch, row)->sequence;
    const Cache *cache = sequence_cache(sequence);
    const int place = place_of_row(ctx->batch, row), width = p->width, series = p->overlap ? 2 : 1;
    float *y = ref_floats(ctx, op->out, row);
    if ((place + 1) % p->ratio != 0) {
        memset(y, 0, (size_t)width * sizeof *y);
        return;
    }
    const bool gated = op->in[0].width > series * width;
    const float *values[POOL_ROWS], *gates[POOL_ROWS], *biases[POOL_ROWS];
    const int first = MAX(place + 1 - series * p->ratio, 0);
    int n = 0;
    for (int e = first; e <= place; e++, n++) {
        const uint8_t *page = sequence_page(sequence, op->op->state, e);
        const float *stored = (const float *)(const void *)(page + (size_t)(e % CACHE_BLOCK) * cache_stride_bytes(cache, op->op->state));
        const int column = p->overlap && e > place - p->ratio ? width : 0; /* the second series of the last run */
        values[n] = stored + column;
        gates[n] = stored + series * width + column;
        biases[n] = op->vector[0] != NULL ? op->vector[0] + (size_t)(e % p->ratio) * (size_t)(series * width) + column : NULL;
    }
    ctx->kernels->pool(y, values, gated ? gates : NULL, op->vector[0] != NULL ? biases : NULL, n, width);
}

void row_hyper_weights(const Ctx *ctx, const RowOp *op, int row) {
    const Hyper *h = &op->op->u.hyper;
    float *y = ref_floats(ctx, op->out, row);
    const float *mixed = ref_floats(ctx, op->in[0], row);
    if (h->collapse_only)
        op_hyper_end_weights(y, mixed, op->vector[0], op->vector[1], h->streams, h->eps);
    else
        op_hyper_weights(y, mixed, op->vector[0], op->vector[1], h->streams, h->iterations, h->eps);
}

void row_hyper_collapse(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->hyper_collapse(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), ref_floats(ctx, op->in[1], row),
                                 op->op->u.hyper.streams, op->out.width);
}

void row_hyper_expand(const Ctx *ctx, const RowOp *op, int row) {
    const int n = op->op->u.hyper.streams;
    const float *weights = ref_floats(ctx, op->in[2], row);
    ctx->kernels->hyper_expand(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), ref_floats(ctx, op->in[1], row),
                               weights + n, weights + 2 * n, n, op->in[1].width);
}
