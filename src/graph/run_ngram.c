/* run_ngram.c - rows of operations around runs of tokens; see op/op_ngram.h.
 *
 * The sequence keeps the last tokens as floats, which are whole numbers up to 2^24. A row is decoded from where the table
 * lies in the file: a model's tables may be larger than memory, and a token touches a few rows of them. */
#include "graph/program_parts.h"
#include "op/op_ngram.h"

void row_token(const Ctx *ctx, const RowOp *op, int row) {
    *ref_floats(ctx, op->out, row) = (float)ctx->batch->tokens[row];
}

void row_ngram(const Ctx *ctx, const RowOp *op, int row) {
    const Ngram *n = &op->op->u.ngram;
    const Sequence *sequence = run_of_row(ctx->batch, row)->sequence;
    const size_t stride = cache_stride_bytes(sequence_cache(sequence), op->op->state);
    const int place = place_of_row(ctx->batch, row);
    int32_t tokens[NGRAM_SIZE];
    for (int i = 0; i < n->size; i++) {
        tokens[i] = n->stop;
        if (i <= place) {
            const uint8_t *page = sequence_page(sequence, op->op->state, place - i);
            tokens[i] = (int32_t)*(const float *)(const void *)(page + (size_t)((place - i) % CACHE_BLOCK) * stride);
        }
    }
    int64_t rows[NGRAM_LISTS];
    op_ngram(rows, tokens, n->size, n->heads, n->stop, n->factors, n->sizes, n->offsets);
    const Weights *weights = ctx->program->weights;
    const int weight = op->op->weight[0];
    const int64_t shard = ctx->program->graph->weights[weight].rows;
    float *y = ref_floats(ctx, op->out, row);
    for (int j = 0; j < (n->size - 1) * n->heads; j++)
        weight_decode_row(weights, weight, (int)(rows[j] / shard), (int)(rows[j] % shard), n->width, ctx->scratch, y + j * n->width);
}

void row_dot(const Ctx *ctx, const RowOp *op, int row) {
    const int runs = op->out.width, n = op->in[0].width / runs;
    const float *a = ref_floats(ctx, op->in[0], row), *b = ref_floats(ctx, op->in[1], row);
    float *y = ref_floats(ctx, op->out, row);
    for (int i = 0; i < runs; i++) {
        y[i] = op->op->u.dot.scale * ctx->kernels->dot(a + i * n, b + i * n, n);
        if (op->op->u.dot.root)
            y[i] = op_signed_root(y[i]);
    }
}
