/* ngram.c - describing embeddings of runs of tokens, looked up in hashed tables; see op/op_ngram.h. */
#include "graph/graph_parts.h"
#include "op/op_ngram.h"

/* The largest part of the tables that is one tensor, and how many such parts there are. */
static int64_t rows_of_shard(const Ngram *n) {
    return (n->rows + n->shards - 1) / n->shards;
}

static bool fits(Graph *g, const Ngram *n) {
    const int lists = (n->size - 1) * n->heads;
    if (graph_ok(g) && (n->size < 2 || n->size > NGRAM_SIZE || n->heads < 1 || lists > NGRAM_LISTS || n->width < 1 ||
                        n->rows < 1 || n->rows > INT32_MAX || n->shards < 1 || n->shards > n->rows))
        graph_fail(g, "runs of %d tokens in %d tables of width %d, %lld rows in %d parts", n->size, lists, n->width,
                   (long long)n->rows, n->shards);
    for (int j = 0; graph_ok(g) && j < lists; j++)
        if (n->sizes[j] < 1 || n->offsets[j] < 0 || n->sizes[j] > n->rows || n->offsets[j] > n->rows - n->sizes[j])
            graph_fail(g, "table %d of runs of tokens has rows %lld to %lld of %lld", j, (long long)n->offsets[j],
                       (long long)(n->offsets[j] + n->sizes[j]), (long long)n->rows);
    return graph_ok(g);
}

Val ngram(Graph *g, Val x, Ngram spec) {
    if (spec.shards == 0)
        spec.shards = 1;
    if (!fits(g, &spec))
        return NO_VAL;
    const int lists = (spec.size - 1) * spec.heads;
    const int64_t shard = rows_of_shard(&spec);
    const int count = (int)((spec.rows + shard - 1) / shard);
    const Op *token = graph_op(g, OP_TOKEN, x, NO_VAL, 1);
    const Val ids = token != NULL ? token->out : NO_VAL;
    const State past = state_rows(g, "tokens", (RowState){.heads = 1, .width = 1, .window = spec.size, .exact = true});
    store(g, ids, past);
    Op *op = graph_op(g, OP_NGRAM, ids, NO_VAL, lists * spec.width);
    if (op == NULL)
        return NO_VAL;
    const int at = g->n_op - 1;
    WeightDecl decl = {.name = graph_scoped(g, spec.name, ".weight"), .role = WEIGHT_EXPERTS, .rows = (int)shard,
                       .cols = spec.width, .count = count, .last_rows = (int)(spec.rows - shard * (count - 1))};
    if (spec.shards > 1)
        decl.layout[0].each = graph_scoped(g, spec.name, ".shard_%d.weight");
    const int weight = graph_weight(g, decl);
    op = &g->ops[at];
    op->u.ngram = spec;
    op->u.ngram.shards = count;
    op->state = past;
    op->weight[0] = weight;
    return graph_ok(g) ? op->out : NO_VAL;
}

int64_t *graph_longs(Graph *g, int n) {
    int64_t *numbers = arena_array(&g->arena, (size_t)MAX(n, 1), sizeof *numbers);
    if (numbers == NULL)
        graph_fail(g, "no memory for %d numbers", n);
    return numbers;
}

Val dot_runs(Graph *g, Val a, Val b, int runs, float scale, bool root) {
    const int width = width_of(g, a);
    if (graph_ok(g) && (runs < 1 || width % runs != 0 || width_of(g, b) != width))
        graph_fail(g, "products of %d runs of values of widths %d and %d", runs, width, width_of(g, b));
    Op *op = graph_op(g, OP_DOT, a, b, runs);
    if (op == NULL)
        return NO_VAL;
    op->u.dot.scale = scale;
    op->u.dot.root = root;
    return op->out;
}
