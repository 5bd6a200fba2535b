/* sparse.c - describing attention that sees a choice of entries, and entries that stand for several tokens. */
#include "graph/graph_parts.h"

#include <math.h>

enum { MAX_CHOSEN = 1 << 20 }; /* far above anything published */

Val choose(Graph *g, Val query, Val weights, Choice spec) {
    if (spec.groups == 0)
        spec.groups = 1;
    if (spec.span == 0)
        spec.span = 1;
    if (graph_ok(g) && (spec.heads < 1 || spec.dim < 1 || spec.heads > 1024 || width_of(g, query) != spec.heads * spec.dim ||
                        (weights != NO_VAL && width_of(g, weights) != spec.heads)))
        graph_fail(g, "an index of %d heads of %d, query of width %d", spec.heads, spec.dim, width_of(g, query));
    if (graph_ok(g) && (spec.groups < 1 || spec.heads % spec.groups != 0 || spec.span < 1 || spec.top < 1 || spec.local < 0 ||
                        spec.top > MAX_CHOSEN / spec.groups || spec.local > spec.top))
        graph_fail(g, "a choice of %d runs of %d entries, %d of them the last ones, by %d groups of heads", spec.top,
                   spec.span, spec.local, spec.groups);
    if (!graph_ok(g))
        return NO_VAL;
    const RowState *keys = &g->states[spec.keys].rows;
    if (keys->heads != 1 || keys->width != spec.dim || keys->window != 0)
        graph_fail(g, "an index of width %d over a cache of %d x %d", spec.dim, keys->heads, keys->width);
    if (spec.scale == 0)
        spec.scale = 1.0f / sqrtf((float)spec.dim);
    Op *op = graph_op(g, OP_CHOOSE, query, weights, spec.groups * (1 + spec.top));
    if (op == NULL)
        return NO_VAL;
    op->u.choice = spec;
    g->last_choice = op->out;
    return op->out;
}

Val last_choice(const Graph *g) {
    return g->last_choice;
}

Val pool_rows(Graph *g, Val values, Val gates, Pool spec) {
    const int series = spec.overlap ? 2 : 1, width = series * spec.width;
    if (graph_ok(g) && (spec.ratio < 1 || series * spec.ratio > POOL_ROWS || width_of(g, values) != width ||
                        (gates != NO_VAL && width_of(g, gates) != width) || (gates == NO_VAL && spec.bias != NULL)))
        graph_fail(g, "%d rows of width %d are made one of width %d", spec.ratio, width_of(g, values), spec.width);
    if (!graph_ok(g))
        return NO_VAL;
    const Val all = gates != NO_VAL ? concat(g, values, gates) : values;
    const State inputs = state_rows(g, spec.name != NULL ? spec.name : "pool",
                                    (RowState){.heads = 1, .width = width_of(g, all), .window = series * spec.ratio, .exact = true});
    store(g, all, inputs);
    Op *op = graph_op(g, OP_POOL, all, NO_VAL, spec.width);
    if (op == NULL)
        return NO_VAL;
    op->u.pool = spec;
    op->state = inputs;
    if (spec.bias != NULL)
        op->weight[0] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, spec.bias, ""), .role = WEIGHT_VECTOR,
                                                     .rows = spec.ratio, .cols = width});
    return op->out;
}
