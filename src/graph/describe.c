/* describe.c - see describe.h. */
#include "graph/describe.h"

#include "base/text.h"
#include "graph/cache.h"

static uint64_t numbers_of(const WeightDecl *d) {
    const uint64_t missing = d->last_rows > 0 ? (uint64_t)(d->rows - d->last_rows) : 0;
    return ((uint64_t)d->rows * (uint64_t)d->count - missing) * (uint64_t)d->cols;
}

/* The share of a layer's experts that a token uses: [used, experts] of the operation that multiplies with them. */
static void experts_of(const Graph *g, int weight, int *used, int *experts) {
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        if (op->kind != OP_EXPERTS_UP && op->kind != OP_EXPERTS_DOWN)
            continue;
        for (size_t w = 0; w < COUNT(op->weight); w++)
            if (op->weight[w] == weight) {
                *used = op->u.experts.used;
                *experts = op->u.experts.experts;
                return;
            }
    }
    *used = *experts = 1;
}

/* Numbers of the rows that a token reads of hashed tables; 0: the weight is something else. */
static uint64_t numbers_looked_up(const Graph *g, int weight) {
    for (int i = 0; i < g->n_op; i++)
        if (g->ops[i].kind == OP_NGRAM && g->ops[i].weight[0] == weight)
            return (uint64_t)g->values[g->ops[i].out].width;
    return 0;
}

ParameterCount graph_parameters(const Graph *g) {
    ParameterCount n = {0};
    for (int w = 0; w < g->n_weight; w++) {
        const WeightDecl *d = &g->weights[w];
        uint64_t numbers = numbers_of(d);
        if (d->kept_only) {
            n.kept += numbers;
            continue;
        }
        n.total += numbers;
        if (d->split == SPLIT_EXPERTS) {
            int used, experts;
            experts_of(g, w, &used, &experts);
            numbers = numbers / (uint64_t)experts * (uint64_t)MIN(used, experts);
        } else if (d->role == WEIGHT_EXPERTS) { /* not shared out: a table in parts */
            numbers = numbers_looked_up(g, w);
        }
        n.active += numbers;
    }
    for (int i = 0; i < g->n_op; i++)
        if (g->ops[i].kind == OP_EMBED && g->ops[i].weight[0] >= 0)
            n.table += numbers_of(&g->weights[g->ops[i].weight[0]]);
    return n;
}

bool graph_has_experts(const Graph *g) {
    for (int w = 0; w < g->n_weight; w++)
        if (g->weights[w].split == SPLIT_EXPERTS)
            return true;
    return false;
}

/* Whether a weight is only a table that rows are looked up in. */
static bool only_looked_up(const Graph *g, int weight) {
    bool table = false;
    for (int i = 0; i < g->n_op; i++)
        for (size_t w = 0; w < COUNT(g->ops[i].weight); w++)
            if (g->ops[i].weight[w] == weight) {
                if (g->ops[i].kind != OP_EMBED)
                    return false;
                table = true;
            }
    return table;
}

size_t graph_weight_read_bytes(const Graph *g, int w, size_t stored) {
    const WeightDecl *d = &g->weights[w];
    const uint64_t numbers = numbers_of(d);
    if (d->kept_only || numbers == 0)
        return 0;
    uint64_t used = numbers;
    if (d->split == SPLIT_EXPERTS) {
        int chosen, experts;
        experts_of(g, w, &chosen, &experts);
        used = numbers / (uint64_t)experts * (uint64_t)MIN(chosen, experts);
    } else if (d->role == WEIGHT_EXPERTS) {
        used = numbers_looked_up(g, w);
    } else if (only_looked_up(g, w)) {
        used = (uint64_t)d->cols;
    }
    return (size_t)((double)stored * ((double)used / (double)numbers));
}

size_t graph_bytes_per_token(const Graph *g, const Weights *weights) {
    size_t bytes = 0;
    for (int w = 0; w < g->n_weight; w++)
        bytes += graph_weight_read_bytes(g, w, weight_bytes(weights, w));
    return bytes;
}

size_t graph_cache_bytes_per_token(const Graph *g, CacheType type) {
    size_t bytes = 0;
    for (int s = 0; s < g->n_state; s++) {
        const RowState *r = &g->states[s].rows;
        if (r->heads > 0 && r->window == 0)
            bytes += (size_t)r->heads * cache_entry_bytes(r->exact ? CACHE_F32 : type, r->width) / (size_t)r->stride;
    }
    return bytes;
}

size_t graph_memory_bytes(const Graph *g) {
    return cache_sequence_bytes(g);
}

const char *op_kind_word(OpKind kind) {
    static const char *const words[OP_KIND_COUNT] = {
        [OP_EMBED] = "embed", [OP_WANTED] = "wanted rows", [OP_NORM] = "norm", [OP_ADD] = "add", [OP_MUL] = "multiply",
        [OP_AFFINE] = "affine", [OP_ACT] = "activation", [OP_CAP] = "softcap", [OP_SOFTMAX] = "softmax", [OP_GLU] = "gated unit",
        [OP_RUNS] = "runs", [OP_WEIGHT_MUL] = "times weights", [OP_WEIGHT_ADD] = "plus weights", [OP_ROPE] = "rope",
        [OP_POSITION_SCALE] = "position scale", [OP_ROUTE] = "route", [OP_COMBINE] = "combine experts", [OP_SLICE] = "slice",
        [OP_LINEAR] = "linear", [OP_GROUPED] = "grouped linear", [OP_EXPERTS_UP] = "experts up",
        [OP_EXPERTS_DOWN] = "experts down", [OP_STORE] = "store", [OP_ATTEND] = "attend",
        [OP_CONV] = "convolve", [OP_RECUR] = "recur",
        [OP_TOKEN] = "token", [OP_NGRAM] = "embed runs", [OP_DOT] = "products of runs",
        [OP_CHOOSE] = "choose entries", [OP_POOL] = "pool tokens", [OP_HYPER_WEIGHTS] = "stream weights",
        [OP_HYPER_COLLAPSE] = "collapse streams", [OP_HYPER_EXPAND] = "expand streams",
    };
    return words[kind] != NULL ? words[kind] : "operation";
}

Status graph_print(const Graph *g, Text *text, Error *err) {
    for (int i = 0; i < g->n_op; i++) {
        const Op *op = &g->ops[i];
        text_append_format(text, "%6d ", i);
        text_append_format(text, op->layer >= 0 ? "%4d" : "   -", op->layer);
        text_append_format(text, "  %-16s", op_kind_word(op->kind));
        if (op->out != NO_VAL)
            text_append_format(text, " v%d[%d]%s =", op->out, g->values[op->out].width,
                               g->values[op->out].rows == ROWS_WANTED ? " wanted" : "");
        for (int j = 0; j < OP_INPUTS; j++)
            if (op->in[j] != NO_VAL)
                text_append_format(text, " v%d", op->in[j]);
        if (op->state != NO_STATE)
            text_append_format(text, " -> cache %s", g->states[op->state].name);
        if (op->kind == OP_ATTEND)
            text_append_format(text, " heads %d / %d of %d, %d%s", op->u.attend.heads, op->u.attend.kv_heads,
                               op->u.attend.key_width, op->u.attend.value_width, op->u.attend.window > 0 ? ", window" : "");
        if (op->kind == OP_RECUR)
            text_append_format(text, " heads %d / %d of %d, %d%s", op->u.recur.heads, op->u.recur.key_heads,
                               op->u.recur.key_width, op->u.recur.value_width, op->u.recur.delta ? ", delta rule" : "");
        for (size_t w = 0; w < COUNT(op->weight); w++)
            if (op->weight[w] >= 0) {
                const WeightDecl *d = &g->weights[op->weight[w]];
                text_append_format(text, "  %s", d->name);
                if (d->count > 1)
                    text_append_format(text, " %d x", d->count);
                d->rows > 1 ? text_append_format(text, " [%d, %d]", d->rows, d->cols) : text_append_format(text, " [%d]", d->cols);
            }
        text_append_char(text, '\n');
    }
    return text_check(text, err);
}
