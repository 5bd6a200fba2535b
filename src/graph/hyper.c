/* hyper.c - describing hyper-connections: a residual of several streams. */
#include "graph/graph_parts.h"

#include <stdio.h>

static const char *part_name(Graph *g, const char *name, const char *part) {
    char text[96];
    snprintf(text, sizeof text, "%s%s", name, part);
    const char *kept = arena_strdup(&g->arena, text);
    if (kept == NULL)
        graph_fail(g, "no memory for a name");
    return kept != NULL ? kept : "";
}

static int hyper_vector(Graph *g, const char *name, int n) {
    return graph_weight(g, (WeightDecl){.name = graph_scoped(g, name, ""), .role = WEIGHT_VECTOR, .rows = 1, .cols = n});
}

Val hyper_weights(Graph *g, Val streams, const char *name, Hyper spec) {
    const int n = spec.streams, out = spec.collapse_only ? n : (2 + n) * n;
    if (graph_ok(g) && (n < 1 || n > HYPER_STREAMS || spec.iterations < 0 || spec.iterations > 1000 || width_of(g, streams) % n != 0))
        graph_fail(g, "%d residual streams in a value of width %d", n, width_of(g, streams));
    if (!graph_ok(g))
        return NO_VAL;
    const Val flat = norm_plain(g, streams, width_of(g, streams), NORM_RMS, norm_eps(g));
    const Val mixed = linear_exact(g, flat, part_name(g, name, "fn"), out, false);
    Op *op = graph_op(g, OP_HYPER_WEIGHTS, mixed, NO_VAL, out);
    if (op == NULL)
        return NO_VAL;
    const int at = g->n_op - 1;
    const int base = hyper_vector(g, part_name(g, name, "base"), out);
    const int scale = hyper_vector(g, part_name(g, name, "scale"), spec.collapse_only ? 1 : 3);
    op = &g->ops[at];
    op->u.hyper = spec;
    op->weight[0] = base;
    op->weight[1] = scale;
    return op->out;
}

static bool fits(Graph *g, Val streams, Val weights, int n) {
    if (graph_ok(g) && (n < 1 || width_of(g, streams) % n != 0 || width_of(g, weights) < n))
        graph_fail(g, "%d residual streams in a value of width %d", n, width_of(g, streams));
    return graph_ok(g);
}

Val hyper_collapse(Graph *g, Val streams, Val weights, int n) {
    if (!fits(g, streams, weights, n))
        return NO_VAL;
    Op *op = graph_op(g, OP_HYPER_COLLAPSE, streams, weights, width_of(g, streams) / n);
    if (op == NULL)
        return NO_VAL;
    op->u.hyper.streams = n;
    return op->out;
}

Val hyper_expand(Graph *g, Val streams, Val result, Val weights, int n) {
    if (!fits(g, streams, weights, n))
        return NO_VAL;
    if (width_of(g, result) * n != width_of(g, streams) || width_of(g, weights) != (2 + n) * n)
        graph_fail(g, "a result of width %d goes to %d streams in a value of width %d", width_of(g, result), n,
                   width_of(g, streams));
    Op *op = graph_op(g, OP_HYPER_EXPAND, streams, result, width_of(g, streams));
    if (op == NULL)
        return NO_VAL;
    op->in[2] = weights;
    op->u.hyper.streams = n;
    return op->out;
}
