/* build.c - the builder: values, operations, weights and states as a description declares them. */
#include "graph/graph_parts.h"
#include "kernel/kernel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_OPS = 1 << 18, MAX_WIDTH = 1 << 24 }; /* far above anything published; a stop for hostile configurations */

void graph_fail(Graph *g, const char *format, ...) {
    char text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(&g->err, ERR_UNSUPPORTED, "%s%s%s", g->scope, g->scope[0] != '\0' ? " " : "", text);
}

bool graph_ok(const Graph *g) {
    return g->err.status == OK;
}

const Cfg *graph_cfg(const Graph *g) {
    return g->cfg;
}

void graph_no_memory(Graph *g) {
    error_set(&g->err, ERR_MEMORY, "no memory for the description of the model");
}

/* ---- scopes -------------------------------------------------------------------------------------------------------- */

void push(Graph *g, const char *format, ...) {
    const size_t used = strlen(g->scope);
    if (g->depth == (int)COUNT(g->scope_ends)) {
        graph_fail(g, "its parts are nested too deeply");
        return;
    }
    g->scope_ends[g->depth++] = used;
    va_list args;
    va_start(args, format);
    const int more = vsnprintf(g->scope + used, sizeof g->scope - used, format, args);
    va_end(args);
    if (more < 0 || used + (size_t)more + 2 > sizeof g->scope) {
        g->scope[used] = '\0';
        graph_fail(g, "the names of its parts are too long");
        return;
    }
    strcat(g->scope, ".");
}

void pop(Graph *g) {
    if (g->depth > 0)
        g->scope[g->scope_ends[--g->depth]] = '\0';
}

const char *graph_scoped(Graph *g, const char *name, const char *suffix) {
    const size_t a = strlen(g->scope), b = strlen(name), c = strlen(suffix);
    char *text = arena_alloc(&g->arena, a + b + c + 1);
    if (text == NULL) {
        graph_no_memory(g);
        return "";
    }
    memcpy(text, g->scope, a);
    memcpy(text + a, name, b);
    memcpy(text + a + b, suffix, c + 1);
    return text;
}

bool has_tensor(const Graph *g, const char *name) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", g->scope, name);
    return g->hints.has_tensor != NULL && g->hints.has_tensor(g->hints.user, whole);
}

/* ---- values and operations ------------------------------------------------------------------------------------------- */

Val graph_value(Graph *g, int width, RowKind rows, int per_row) {
    if (!graph_ok(g))
        return NO_VAL;
    if (width < 1 || width > MAX_WIDTH) {
        graph_fail(g, "a value of width %d", width);
        return NO_VAL;
    }
    if (!mem_grow((void **)&g->values, &g->value_capacity, (size_t)g->n_value + 1, sizeof *g->values, MEM_GRAPH)) {
        graph_no_memory(g);
        return NO_VAL;
    }
    g->values[g->n_value] =
        (Value){.width = width, .rows = rows, .per_row = per_row, .base = NO_VAL, .op = g->n_op - 1};
    return g->n_value++;
}

static bool is_value(const Graph *g, Val x) {
    return x >= 0 && x < g->n_value;
}

int width_of(const Graph *g, Val x) {
    return is_value(g, x) ? g->values[x].width : 1;
}

int width_product(Graph *g, int a, int b) {
    if (a > 0 && b > 0 && a <= MAX_WIDTH / b)
        return a * b;
    if (graph_ok(g))
        graph_fail(g, "config.json: %d times %d numbers", a, b);
    return 1;
}

/* The last words of the scope, without "model.layers.N.". */
static const char *place_of(Graph *g) {
    const char *at = g->scope;
    const char *number = strstr(at, "layers."), *other = strstr(at, "layer.");
    if (number != NULL || other != NULL) {
        at = strchr(number != NULL ? number + 7 : other + 6, '.');
        at = at != NULL ? at + 1 : g->scope;
    }
    size_t length = strlen(at);
    return length > 0 ? arena_strndup(&g->arena, at, length - 1) : "";
}

Op *graph_op(Graph *g, OpKind kind, Val a, Val b, int width) {
    if (!graph_ok(g))
        return NULL;
    if (!is_value(g, a) && kind != OP_EMBED) {
        graph_fail(g, "an operation without input");
        return NULL;
    }
    if (g->n_op >= MAX_OPS) {
        graph_fail(g, "more than %d operations", MAX_OPS);
        return NULL;
    }
    if (!mem_grow((void **)&g->ops, &g->op_capacity, (size_t)g->n_op + 1, sizeof *g->ops, MEM_GRAPH)) {
        graph_no_memory(g);
        return NULL;
    }
    Op *op = &g->ops[g->n_op++];
    *op = (Op){.kind = kind, .in = {a, b}, .out = NO_VAL, .state = NO_STATE, .layer = g->layer};
    for (int i = 2; i < OP_INPUTS; i++)
        op->in[i] = NO_VAL;
    for (size_t i = 0; i < COUNT(op->weight); i++)
        op->weight[i] = -1;
    op->name = place_of(g);
    if (op->name == NULL)
        graph_no_memory(g);
    if (width > 0) {
        const Value *in = a >= 0 ? &g->values[a] : NULL;
        op->out = graph_value(g, width, in != NULL ? in->rows : ROWS_ALL, in != NULL ? in->per_row : 1);
    }
    return graph_ok(g) ? op : NULL;
}

Val graph_out(const Op *op) {
    return op != NULL ? op->out : NO_VAL;
}

static bool same_width(Graph *g, Val a, Val b) {
    if (graph_ok(g) && width_of(g, a) != width_of(g, b))
        graph_fail(g, "values of widths %d and %d are combined", width_of(g, a), width_of(g, b));
    return graph_ok(g);
}

Val add(Graph *g, Val a, Val b) {
    return same_width(g, a, b) ? graph_out(graph_op(g, OP_ADD, a, b, width_of(g, a))) : NO_VAL;
}

Val mul(Graph *g, Val a, Val b) {
    if (graph_ok(g) && width_of(g, a) % width_of(g, b) != 0)
        graph_fail(g, "a value of width %d is multiplied by one of %d", width_of(g, a), width_of(g, b));
    return graph_out(graph_op(g, OP_MUL, a, b, width_of(g, a)));
}

Val affine(Graph *g, Val x, float factor, float plus) {
    Op *op = graph_op(g, OP_AFFINE, x, NO_VAL, width_of(g, x));
    if (op == NULL)
        return NO_VAL;
    op->u.affine.factor = factor;
    op->u.affine.plus = plus;
    return op->out;
}

Val scale(Graph *g, Val x, float factor) {
    return factor == 1.0f ? x : affine(g, x, factor, 0);
}

Val act(Graph *g, Val x, Act kind) {
    Op *op = graph_op(g, OP_ACT, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->u.act.act = kind;
    return graph_out(op);
}

Val softcap(Graph *g, Val x, float cap) {
    Op *op = graph_op(g, OP_CAP, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->u.cap.cap = cap;
    return graph_out(op);
}

Val softmax(Graph *g, Val x, int group) {
    if (graph_ok(g) && (group < 1 || width_of(g, x) % group != 0))
        graph_fail(g, "softmax over %d of %d numbers", group, width_of(g, x));
    Op *op = graph_op(g, OP_SOFTMAX, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->u.act.run = group;
    return graph_out(op);
}

Val glu(Graph *g, Val gate, Val up, Glu spec) {
    if (!same_width(g, gate, up))
        return NO_VAL;
    Op *op = graph_op(g, OP_GLU, gate, up, width_of(g, gate));
    if (op != NULL)
        op->u.glu = spec;
    return graph_out(op);
}

Val slice(Graph *g, Val x, int begin, int width) {
    if (graph_ok(g) && (begin < 0 || width < 1 || begin > width_of(g, x) - width))
        graph_fail(g, "numbers %d to %d of a value of width %d", begin, begin + width, width_of(g, x));
    if (begin == 0 && width == width_of(g, x))
        return x;
    Op *op = graph_op(g, OP_SLICE, x, NO_VAL, width);
    if (op == NULL)
        return NO_VAL;
    const Value *from = &g->values[x];
    Value *view = &g->values[op->out];
    view->base = from->base != NO_VAL ? from->base : x;
    view->offset = from->offset + begin;
    return op->out;
}

static Val runs(Graph *g, Val a, Val b, OpRuns spec) {
    Op *op = graph_op(g, OP_RUNS, a, b, spec.runs * (spec.a_width + spec.b_width));
    if (op != NULL)
        op->u.runs = spec;
    return graph_out(op);
}

Val concat(Graph *g, Val a, Val b) {
    const int aw = width_of(g, a), bw = width_of(g, b);
    return runs(g, a, b, (OpRuns){.runs = 1, .a_width = aw, .b_width = bw, .a_repeat = 1});
}

Val slice_heads(Graph *g, Val x, int groups, int begin, int width) {
    const int run = width_of(g, x) / (groups > 0 ? groups : 1);
    if (graph_ok(g) && (groups < 1 || width_of(g, x) % groups != 0 || begin < 0 || width < 1 || begin > run - width))
        graph_fail(g, "numbers %d to %d of each of %d runs of a value of width %d", begin, begin + width, groups,
                   width_of(g, x));
    if (groups == 1)
        return slice(g, x, begin, width);
    return runs(g, x, NO_VAL, (OpRuns){.runs = groups, .a_begin = begin, .a_width = width, .a_stride = run, .a_repeat = 1});
}

Val concat_heads(Graph *g, Val a, Val b, int groups) {
    const int aw = width_of(g, a) / (groups > 0 ? groups : 1);
    const bool shared = graph_ok(g) && groups > 1 && width_of(g, b) % groups != 0;
    const int bw = shared ? width_of(g, b) : width_of(g, b) / (groups > 0 ? groups : 1);
    if (graph_ok(g) && (groups < 1 || width_of(g, a) % groups != 0))
        graph_fail(g, "%d runs of a value of width %d", groups, width_of(g, a));
    return runs(g, a, b, (OpRuns){.runs = groups, .a_width = aw, .a_stride = aw, .b_width = bw,
                                  .b_stride = shared ? 0 : bw, .a_repeat = 1});
}

Val repeat_heads(Graph *g, Val x, int groups, int times) {
    if (times == 1)
        return x;
    const int run = width_of(g, x) / (groups > 0 ? groups : 1);
    if (graph_ok(g) && (groups < 1 || times < 1 || width_of(g, x) % groups != 0))
        graph_fail(g, "%d runs of a value of width %d, %d times", groups, width_of(g, x), times);
    return runs(g, x, NO_VAL, (OpRuns){.runs = groups * times, .a_width = run, .a_stride = run, .a_repeat = times});
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

int graph_weight(Graph *g, WeightDecl decl) {
    if (!graph_ok(g))
        return -1;
    if (decl.count == 0)
        decl.count = 1;
    decl.layer = g->layer;
    decl.kept_only = g->keeping;
    /* The same tensor may be declared again (a tied embedding): it is one weight if it is read in the same way. */
    char key[640];
    const int bytes = snprintf(key, sizeof key, "%s|%d|%d|%d|%d|%d|%d|%d|%d", decl.name, decl.role, decl.rows, decl.cols,
                               decl.count, decl.begin, decl.transposed, decl.layout[0].part, decl.map);
    if (bytes < 0 || (size_t)bytes >= sizeof key) {
        graph_fail(g, "the name of a weight is too long");
        return -1;
    }
    const int64_t *known = map_find(&g->weight_of, key, (size_t)bytes);
    if (known != NULL)
        return (int)*known;
    const char *kept = arena_strndup(&g->arena, key, (size_t)bytes);
    if (kept == NULL || !map_put(&g->weight_of, kept, (size_t)bytes, g->n_weight) ||
        !mem_grow((void **)&g->weights, &g->weight_capacity, (size_t)g->n_weight + 1, sizeof *g->weights, MEM_GRAPH)) {
        graph_no_memory(g);
        return -1;
    }
    g->weights[g->n_weight] = decl;
    return g->n_weight++;
}

int graph_vector(Graph *g, const char *name, const char *suffix, int n) {
    return graph_weight(g, (WeightDecl){.name = graph_scoped(g, name, suffix), .role = WEIGHT_VECTOR, .rows = 1, .cols = n});
}

static Val mul_vector(Graph *g, Val x, const char *name, int n, bool repeated, VectorMap map) {
    if (graph_ok(g) && (n < 1 || width_of(g, x) % n != 0))
        graph_fail(g, "%d weights for a value of width %d", n, width_of(g, x));
    Op *op = graph_op(g, OP_WEIGHT_MUL, x, NO_VAL, width_of(g, x));
    if (op == NULL)
        return NO_VAL;
    op->u.vector.n = n;
    op->u.vector.repeated = repeated;
    op->weight[0] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, name, ""), .role = WEIGHT_VECTOR, .rows = 1,
                                                 .cols = n, .map = cfg_is_gguf(g->cfg) ? MAP_NONE : map});
    return op->out;
}

Val mul_weight(Graph *g, Val x, const char *name) {
    return mul_vector(g, x, name, width_of(g, x), false, MAP_NONE);
}

Val mul_weight_runs(Graph *g, Val x, const char *name, int width) {
    return mul_vector(g, x, name, width, true, MAP_NONE);
}

Val mul_runs(Graph *g, Val x, const char *name, int n, VectorMap map) {
    return mul_vector(g, x, name, n, false, map);
}

Val add_weight(Graph *g, Val x, const char *name) {
    Op *op = graph_op(g, OP_WEIGHT_ADD, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->weight[0] = graph_vector(g, name, "", width_of(g, x));
    return graph_out(op);
}

/* ---- norms -------------------------------------------------------------------------------------------------------------- */

void norm_style(Graph *g, NormKind kind, float eps, bool plus_one) {
    g->norm_kind = kind;
    g->norm_eps = eps;
    g->norm_plus_one = plus_one && !cfg_is_gguf(g->cfg); /* GGUF files hold 1 + w */
}

float norm_eps(const Graph *g) {
    return g->norm_eps;
}

Val graph_norm(Graph *g, Val x, const char *name, int run, int weights, float eps) {
    if (graph_ok(g) && (run < 1 || width_of(g, x) % run != 0))
        graph_fail(g, "norm over %d of %d numbers", run, width_of(g, x));
    Op *op = graph_op(g, OP_NORM, x, NO_VAL, width_of(g, x));
    if (op == NULL)
        return NO_VAL;
    op->u.norm = (OpNorm){.kind = NORM_RMS, .run = run, .eps = eps, .weight_runs = weights / run};
    op->weight[0] = graph_vector(g, name, ".weight", weights);
    return op->out;
}

/* Runs of `run` numbers; weights as wide as `weights` (run, or the whole value). */
static Val norm_runs(Graph *g, Val x, const char *name, int run, int weights) {
    if (graph_ok(g) && (run < 1 || width_of(g, x) % run != 0))
        graph_fail(g, "norm over %d of %d numbers", run, width_of(g, x));
    Op *op = graph_op(g, OP_NORM, x, NO_VAL, width_of(g, x));
    if (op == NULL)
        return NO_VAL;
    op->u.norm = (OpNorm){.kind = g->norm_kind, .run = run, .eps = g->norm_eps, .plus = g->norm_plus_one ? 1 : 0,
                          .weight_runs = weights / run};
    op->weight[0] = graph_vector(g, name, ".weight", weights);
    if (g->norm_kind == NORM_LAYER && has_tensor(g, graph_scoped(g, name, ".bias") + strlen(g->scope)))
        op->weight[1] = graph_vector(g, name, ".bias", weights);
    return op->out;
}

Val norm(Graph *g, Val x, const char *name) {
    return norm_runs(g, x, name, width_of(g, x), width_of(g, x));
}

Val norm_heads(Graph *g, Val x, const char *name, int width) {
    return norm_runs(g, x, name, width, width);
}

Val norm_groups(Graph *g, Val x, const char *name, int groups) {
    return norm_runs(g, x, name, width_of(g, x) / (groups > 0 ? groups : 1), width_of(g, x));
}

Val norm_layer(Graph *g, Val x, const char *name, float eps) {
    const int width = width_of(g, x);
    Op *op = graph_op(g, OP_NORM, x, NO_VAL, width);
    if (op == NULL)
        return NO_VAL;
    op->u.norm = (OpNorm){.kind = NORM_LAYER, .run = width, .eps = eps, .weight_runs = 1};
    op->weight[0] = graph_vector(g, name, ".weight", width);
    op->weight[1] = graph_vector(g, name, ".bias", width);
    return op->out;
}

Val norm_plain(Graph *g, Val x, int width, NormKind kind, float eps) {
    if (graph_ok(g) && (width < 1 || width_of(g, x) % width != 0))
        graph_fail(g, "norm over %d of %d numbers", width, width_of(g, x));
    Op *op = graph_op(g, OP_NORM, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->u.norm = (OpNorm){.kind = kind, .run = width, .eps = eps, .weight_runs = 1};
    return graph_out(op);
}

/* ---- matrices ----------------------------------------------------------------------------------------------------------- */

static Val linear_of(Graph *g, Val x, WeightDecl decl, const char *bias_name, bool exact) {
    Op *op = graph_op(g, OP_LINEAR, x, NO_VAL, decl.rows);
    if (op == NULL)
        return NO_VAL;
    decl.role = WEIGHT_MATRIX;
    op->weight[0] = graph_weight(g, decl);
    op->u.linear.exact = exact;
    op->u.linear.groups = 1;
    if (bias_name != NULL)
        op->weight[1] = graph_weight(g, (WeightDecl){.name = bias_name, .role = WEIGHT_VECTOR, .rows = 1,
                                                     .cols = decl.rows, .whole = decl.whole, .begin = decl.begin});
    return op->out;
}

Val linear(Graph *g, Val x, const char *name, int out, bool bias, Split split) {
    const WeightDecl decl = {.name = graph_scoped(g, name, ".weight"), .rows = out, .cols = width_of(g, x), .split = split};
    return linear_of(g, x, decl, bias ? graph_scoped(g, name, ".bias") : NULL, false);
}

Val linear_exact(Graph *g, Val x, const char *name, int out, bool bias) {
    const WeightDecl decl = {.name = graph_scoped(g, name, ".weight"), .rows = out, .cols = width_of(g, x)};
    return linear_of(g, x, decl, bias ? graph_scoped(g, name, ".bias") : NULL, true);
}

Val linear_part(Graph *g, Val x, const char *name, int whole, int begin, int out, bool bias, Split split) {
    const WeightDecl decl = {.name = graph_scoped(g, name, ".weight"), .rows = out, .cols = width_of(g, x),
                             .whole = whole, .begin = begin, .split = split};
    if (graph_ok(g) && (begin < 0 || out < 1 || begin > whole - out))
        graph_fail(g, "rows %d to %d of %s with %d rows", begin, begin + out, name, whole);
    return linear_of(g, x, decl, bias ? graph_scoped(g, name, ".bias") : NULL, false);
}

Val linear_grouped(Graph *g, Val x, const char *name, Grouped spec, Split split) {
    if (graph_ok(g) && (spec.groups < 1 || width_of(g, x) % spec.groups != 0))
        graph_fail(g, "%s in %d groups of a value of width %d", name, spec.groups, width_of(g, x));
    Op *op = graph_op(g, OP_GROUPED, x, NO_VAL, spec.groups * spec.out);
    if (op == NULL)
        return NO_VAL;
    op->u.linear.groups = spec.groups;
    op->weight[0] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, name, ".weight"), .role = WEIGHT_MATRIX,
                                                 .rows = spec.out, .cols = width_of(g, x) / spec.groups,
                                                 .count = spec.groups, .whole = spec.whole, .begin = spec.begin,
                                                 .transposed = spec.transposed, .split = split});
    return op->out;
}

/* ---- states ------------------------------------------------------------------------------------------------------------------ */

static State new_state(Graph *g, StateDecl decl) {
    if (!graph_ok(g))
        return NO_STATE;
    if (!mem_grow((void **)&g->states, &g->state_capacity, (size_t)g->n_state + 1, sizeof *g->states, MEM_GRAPH)) {
        graph_no_memory(g);
        return NO_STATE;
    }
    decl.layer = g->layer;
    g->states[g->n_state] = decl;
    return g->n_state++;
}

State state_rows(Graph *g, const char *name, RowState spec) {
    if (spec.stride == 0)
        spec.stride = 1;
    if (graph_ok(g) && (spec.heads < 1 || spec.width < 1 || spec.heads > MAX_WIDTH / spec.width))
        graph_fail(g, "a cache of %d heads of width %d", spec.heads, spec.width);
    return new_state(g, (StateDecl){.name = graph_scoped(g, name, ""), .rows = spec});
}

State state_memory(Graph *g, const char *name, int floats) {
    if (graph_ok(g) && floats < 1)
        graph_fail(g, "a state of %d numbers", floats);
    return new_state(g, (StateDecl){.name = graph_scoped(g, name, ""), .floats = floats});
}

State state_recent(Graph *g, const char *name, int width, int tokens) {
    if (graph_ok(g) && (width < 1 || tokens < 1 || tokens > 4096 || width > MAX_WIDTH / tokens))
        graph_fail(g, "%d numbers of the last %d tokens are kept", width, tokens);
    return new_state(g, (StateDecl){.name = graph_scoped(g, name, ""), .recent = tokens, .width = width});
}

void store(Graph *g, Val x, State state) {
    Op *op = graph_op(g, OP_STORE, x, NO_VAL, 0);
    if (op == NULL)
        return;
    const RowState *rows = &g->states[state].rows;
    if (width_of(g, x) != rows->heads * rows->width)
        graph_fail(g, "%d numbers are stored in a cache of %d x %d", width_of(g, x), rows->heads, rows->width);
    op->state = state;
}

/* Whether a value is the lists of a choice, one for all key heads or one for each. */
static void check_lists(Graph *g, Val chosen, int kv_heads) {
    if (!graph_ok(g) || chosen == NO_VAL)
        return;
    const Op *op = is_value(g, chosen) ? &g->ops[g->values[chosen].op] : NULL;
    if (op == NULL || op->kind != OP_CHOOSE)
        graph_fail(g, "attention to entries that were not chosen");
    else if (op->u.choice.groups != 1 && op->u.choice.groups != kv_heads)
        graph_fail(g, "attention of %d key heads to entries in %d lists", kv_heads, op->u.choice.groups);
}

Val attend(Graph *g, Val query, Attend spec) {
    if (graph_ok(g) && (spec.heads < 1 || spec.kv_heads < 1 || spec.heads % spec.kv_heads != 0 ||
                        width_of(g, query) != spec.heads * spec.key_width))
        graph_fail(g, "attention of %d heads of width %d over %d key heads, query of width %d", spec.heads,
                   spec.key_width, spec.kv_heads, width_of(g, query));
    check_lists(g, spec.chosen, spec.kv_heads);
    if (!spec.more)
        spec.more_chosen = NO_VAL;
    check_lists(g, spec.more_chosen, spec.kv_heads);
    Op *op = graph_op(g, OP_ATTEND, query, spec.chosen, spec.heads * spec.value_width);
    if (op == NULL)
        return NO_VAL;
    op->in[2] = spec.more_chosen;
    const RowState *k = &g->states[spec.keys].rows, *v = &g->states[spec.values].rows;
    if (k->heads != spec.kv_heads || k->width < spec.key_width || v->heads != spec.kv_heads || v->width < spec.value_width)
        graph_fail(g, "attention reads %d heads of %d and %d from caches of %d x %d and %d x %d", spec.kv_heads,
                   spec.key_width, spec.value_width, k->heads, k->width, v->heads, v->width);
    const RowState *more = spec.more ? &g->states[spec.more_keys].rows : k;
    if (more->heads != spec.kv_heads || more->width < MAX(spec.key_width, spec.value_width))
        graph_fail(g, "attention reads %d heads of %d and %d from a second cache of %d x %d", spec.kv_heads,
                   spec.key_width, spec.value_width, more->heads, more->width);
    if (spec.scale == 0)
        spec.scale = 1.0f / sqrtf((float)spec.key_width);
    if (spec.span == 0)
        spec.span = 1;
    op->u.attend = spec;
    if (spec.sinks != NULL)
        op->weight[0] = graph_vector(g, spec.sinks, "", spec.heads);
    return op->out;
}

static bool passes(const StateDecl *d, const RowState *rows) {
    return d->passing && d->rows.heads == rows->heads && d->rows.width == rows->width;
}

Val attend_text(Graph *g, Val query, Val key, Val value, Attend spec) {
    const RowState keys = {.heads = spec.kv_heads, .width = spec.key_width, .stride = 1};
    const RowState values = {.heads = spec.kv_heads, .width = spec.value_width, .stride = 1};
    /* What a layer has stored nobody reads after it: all layers of one shape use the same cache. */
    spec.keys = spec.values = NO_STATE;
    for (int s = 0; s + 1 < g->n_state && spec.keys == NO_STATE; s++)
        if (passes(&g->states[s], &keys) && passes(&g->states[s + 1], &values)) {
            spec.keys = s;
            spec.values = s + 1;
        }
    if (spec.keys == NO_STATE) {
        spec.keys = state_rows(g, "text_keys", keys);
        spec.values = state_rows(g, "text_values", values);
        for (int s = spec.keys; graph_ok(g) && s <= spec.values; s++)
            g->states[s].passing = true;
    }
    store(g, key, spec.keys);
    store(g, value, spec.values);
    if (!graph_ok(g))
        return NO_VAL;
    spec.chosen = NO_VAL;
    spec.both = true;
    g->whole_texts = true;
    return attend(g, query, spec);
}

Val conv(Graph *g, const Val *inputs, int n, Conv spec) {
    if (spec.dilation == 0)
        spec.dilation = 1;
    int width = 0;
    for (int i = 0; graph_ok(g) && i < n; i++)
        width += width_of(g, inputs[i]);
    if (graph_ok(g) && (n < 1 || n > CONV_INPUTS || spec.taps < 2 || spec.taps > MAX_TAPS || spec.dilation < 1 ||
                        spec.dilation > 1024))
        graph_fail(g, "a convolution over %d tokens, every %d", spec.taps, spec.dilation);
    Op *op = graph_op(g, OP_CONV, inputs[0], NO_VAL, width);
    if (op == NULL)
        return NO_VAL;
    op->u.conv = (OpConv){.inputs = n, .taps = spec.taps, .dilation = spec.dilation, .act = spec.act};
    for (int i = 0, begin = 0; i < n; i++) {
        const bool own = spec.name[1] != NULL;
        const int channels = width_of(g, inputs[i]);
        op->in[i] = inputs[i];
        op->weight[i] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, spec.name[own ? i : 0], ".weight"),
                                                     .role = WEIGHT_VECTOR, .rows = spec.taps, .cols = channels,
                                                     .transposed = true, .whole = own ? 0 : width * spec.taps,
                                                     .begin = own ? 0 : begin * spec.taps});
        begin += channels;
    }
    if (spec.bias)
        op->weight[n] = graph_vector(g, spec.name[0], ".bias", width);
    op->state = state_recent(g, "conv", width, (spec.taps - 1) * spec.dilation);
    return graph_ok(g) ? op->out : NO_VAL;
}

Val recur(Graph *g, Val query, Val key, Val value, Val decay, Val strength, Recur spec) {
    const int kw = spec.key_heads * spec.key_width, vw = spec.heads * spec.value_width;
    if (graph_ok(g) && (spec.heads < 1 || spec.key_heads < 1 || spec.heads % spec.key_heads != 0 || spec.key_width < 1 ||
                        spec.value_width < 1 || width_of(g, query) != kw || width_of(g, key) != kw || width_of(g, value) != vw))
        graph_fail(g, "%d heads, %d for keys, of widths %d and %d over values of width %d, %d and %d", spec.heads,
                   spec.key_heads, spec.key_width, spec.value_width, width_of(g, query), width_of(g, key), width_of(g, value));
    const int dw = decay != NO_VAL ? width_of(g, decay) : spec.heads;
    if (graph_ok(g) && ((dw != spec.heads && dw != spec.heads * spec.key_width) ||
                        (strength != NO_VAL && width_of(g, strength) != spec.heads) || (decay == NO_VAL && spec.decays == NULL)))
        graph_fail(g, "decays of width %d for %d heads of %d", dw, spec.heads, spec.key_width);
    Op *op = graph_op(g, OP_RECUR, query, key, vw);
    if (op == NULL)
        return NO_VAL;
    op->in[2] = value;
    op->in[3] = decay;
    op->in[4] = strength;
    if (spec.scale == 0)
        spec.scale = 1.0f / sqrtf((float)spec.key_width);
    op->u.recur = spec;
    const size_t floats = recur_state_floats(spec.key_width, spec.value_width) * (size_t)spec.heads;
    if (floats > INT32_MAX)
        graph_fail(g, "a state of %zu numbers", floats);
    op->state = state_memory(g, "memory", (int)floats);
    return graph_ok(g) ? op->out : NO_VAL;
}

static bool same_freqs(const float *a, const float *b, int n) {
    return a == b || (a != NULL && b != NULL && memcmp(a, b, (size_t)n * sizeof *a) == 0);
}

static bool same_rope(const Rope *a, const Rope *b) {
    return a->dim == b->dim && a->interleaved == b->interleaved && a->magnitude == b->magnitude &&
           a->long_after == b->long_after && a->dynamic == b->dynamic && a->theta == b->theta &&
           same_freqs(a->freqs, b->freqs, a->dim / 2) && same_freqs(a->freqs_long, b->freqs_long, a->dim / 2);
}

Val rope(Graph *g, Val x, Rope spec, RopeAt at) {
    if (spec.dim == 0)
        return x;
    const int run = width_of(g, x) / (at.heads > 0 ? at.heads : 1);
    if (graph_ok(g) && (at.heads < 1 || width_of(g, x) % at.heads != 0 || at.begin < 0 || at.begin > run - spec.dim))
        graph_fail(g, "%d numbers from %d of %d runs of a value of width %d are rotated", spec.dim, at.begin, at.heads,
                   width_of(g, x));
    if (!graph_ok(g))
        return NO_VAL;
    const int stride = at.stride > 1 ? at.stride : 1;
    int table = 0; /* one table of angles serves all layers that rotate alike */
    while (table < g->n_rope && (g->ropes[table].stride != stride || !same_rope(&g->ropes[table].rope, &spec)))
        table++;
    if (table == g->n_rope) {
        if (!mem_grow((void **)&g->ropes, &g->rope_capacity, (size_t)table + 1, sizeof *g->ropes, MEM_GRAPH)) {
            graph_no_memory(g);
            return NO_VAL;
        }
        g->ropes[g->n_rope++] = (RopeTable){.rope = spec, .stride = stride};
    }
    Op *op = graph_op(g, OP_ROPE, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        op->u.rope = (OpRope){.table = table, .at = at, .run = run};
    return graph_out(op);
}

Val scale_by_position(Graph *g, Val x, float temp_scale, int floor_at, int plus) {
    if (graph_ok(g) && floor_at < 1)
        graph_fail(g, "position scaling by steps of %d", floor_at);
    Op *op = graph_op(g, OP_POSITION_SCALE, x, NO_VAL, width_of(g, x));
    if (op == NULL)
        return NO_VAL;
    op->u.position.scale = temp_scale;
    op->u.position.floor_at = floor_at;
    op->u.position.plus = plus;
    return op->out;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------- */

Status graph_build(const Family *family, Cfg *cfg, const GraphHints *hints, Graph **out, Error *err) {
    *out = NULL;
    Graph *g = mem_zalloc(sizeof *g, MEM_GRAPH);
    FAIL_IF(g == NULL, ERR_MEMORY, "no memory for the description of the model");
    arena_init(&g->arena, MEM_GRAPH);
    g->cfg = cfg;
    g->family = family;
    g->hints = hints != NULL ? *hints : (GraphHints){0};
    g->layer = -1;
    g->output = g->last_hidden = g->prepared = g->last_choice = NO_VAL;
    if (family->defaults != NULL)
        cfg_defaults(cfg, family->defaults);
    norm_style(g, NORM_RMS, cfg_real(cfg, "rms_norm_eps", 1e-6f), false);
    family->build(g, cfg);
    if (graph_ok(g) && g->output == NO_VAL)
        graph_fail(g, "the description has no result");
    /* Kinds that nobody asked for first: what else is wrong may follow from it. But without memory nobody came to ask. */
    const bool starved = g->err.status == ERR_MEMORY;
    Status status = starved ? OK : cfg_kinds(cfg, true, err);
    if (status == OK && !starved)
        status = cfg_refused(cfg, err);
    if (status == OK && !graph_ok(g))
        status = error_set(err, g->err.status, "%s: %s", family->name, g->err.text);
    if (status != OK) {
        graph_free(g);
        return status;
    }
    *out = g;
    return OK;
}

void graph_free(Graph *g) {
    if (g == NULL)
        return;
    mem_free(g->ops);
    mem_free(g->values);
    mem_free(g->weights);
    mem_free(g->states);
    mem_free(g->ropes);
    map_free(&g->weight_of);
    arena_free(&g->arena);
    mem_free(g);
}
