/* decoder.c - from tokens to logits: tables that rows are looked up in, the layers one after the other, the rows that are
 * wanted and what is made of them; layers that only predict further tokens are declared, so that they can be kept. */
#include "graph/graph_parts.h"

static Val look_up(Graph *g, const char *name, int rows, int width, OpEmbed spec, Split split) {
    Op *op = graph_op(g, OP_EMBED, NO_VAL, NO_VAL, width);
    if (op == NULL)
        return NO_VAL;
    op->u.embed = spec;
    op->weight[0] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, name, ".weight"), .role = WEIGHT_MATRIX,
                                                 .rows = rows, .cols = width, .split = split});
    return op->out;
}

Val embed(Graph *g, const char *name, int vocab, int width) {
    if (graph_ok(g) && g->blanks.as >= vocab)
        graph_fail(g, "%s: a table of %d tokens is asked for token %d", name, vocab, g->blanks.as);
    if (g->vocab_rows == 0 || vocab < g->vocab_rows)
        g->vocab_rows = vocab; /* the smallest table bounds the ids that can be looked up */
    return look_up(g, name, vocab, width, (OpEmbed){.blanks = g->blanks}, SPLIT_ROWS);
}

Val embed_places(Graph *g, const char *name, int rows, int first, int width) {
    if (graph_ok(g) && (first < 0 || rows <= first))
        graph_fail(g, "%s: a table of %d positions, the first of which is %d", name, rows, first);
    if (g->places == 0 || rows - first < g->places)
        g->places = rows - first;
    return look_up(g, name, rows, width, (OpEmbed){.by = BY_PLACE, .first = first}, SPLIT_NONE);
}

Val embed_segments(Graph *g, const char *name, int kinds, int width) {
    if (g->segments == 0 || kinds < g->segments)
        g->segments = kinds;
    return look_up(g, name, kinds, width, (OpEmbed){.by = BY_SEGMENT}, SPLIT_NONE);
}

void blank_token(Graph *g, int token, int as) {
    Blanks *b = &g->blanks;
    if (b->n == MAX_BLANKS || as < 0 || (b->n > 0 && b->as != as)) {
        graph_fail(g, "more than %d tokens that are no text, or several in their place", MAX_BLANKS);
        return;
    }
    b->token[b->n++] = token;
    b->as = as;
}

Val wanted_rows(Graph *g, Val x) {
    Op *op = graph_op(g, OP_WANTED, x, NO_VAL, width_of(g, x));
    if (op != NULL)
        g->values[op->out].rows = ROWS_WANTED;
    return graph_out(op);
}

void set_output(Graph *g, Val logits) {
    g->output = logits;
    g->vocab = width_of(g, logits);
}

void set_reading(Graph *g, Val hidden, Val scores) {
    g->last_hidden = hidden;
    set_output(g, scores != NO_VAL ? scores : hidden);
    g->result = scores != NO_VAL ? RESULT_SCORES : RESULT_HIDDEN;
}

Val last_rows(const Graph *g) {
    return g->last_hidden;
}

void mark_hidden(Graph *g, Val x, int layer) {
    if (graph_ok(g) && layer >= 0 && layer <= g->n_layer)
        g->hidden[layer] = x;
}

/* Whether layer i is among those that were asked for. */
static bool is_described(const Graph *g, int i) {
    return g->hints.layers == NULL || (i < g->hints.n_layers && g->hints.layers[i]);
}

Val layers(Graph *g, const Cfg *c, Val x, BlockFn block, int count, const char *scope) {
    if (graph_ok(g) && (count < 0 || count > 4096))
        graph_fail(g, "%d layers", count);
    if (!graph_ok(g))
        return NO_VAL;
    g->n_layer = count;
    g->width = width_of(g, x);
    g->hidden = arena_array(&g->arena, (size_t)count + 1, sizeof *g->hidden);
    if (g->hidden == NULL) {
        graph_no_memory(g);
        return NO_VAL;
    }
    for (int i = 0; i <= count; i++)
        g->hidden[i] = NO_VAL;
    mark_hidden(g, x, 0);
    for (int i = 0; i < count && graph_ok(g); i++) {
        if (!is_described(g, i))
            continue;
        g->layer = i;
        push(g, "%s.%d", scope, i);
        x = block(g, c, x, i);
        pop(g);
        mark_hidden(g, x, i + 1);
    }
    g->layer = -1;
    return x;
}

void decoder(Graph *g, const Cfg *c, BlockFn block, Decoder spec) {
    const int vocab = cfg_need(c, "vocab_size"), width = cfg_need(c, "hidden_size");
    const int listed = cfg_list_length(c, "layer_types"); /* stands for their number where that is not given */
    const int count = listed > 0 && !cfg_has(c, "num_hidden_layers") ? listed : cfg_need(c, "num_hidden_layers");
    push(g, "%s", spec.prefix != NULL ? spec.prefix : "model");
    Val x = embed(g, "embed_tokens", vocab, width);
    const int table = graph_ok(g) ? g->ops[g->n_op - 1].weight[0] : -1;
    if (spec.embed_scale != 0)
        x = scale(g, x, spec.embed_scale);
    if (spec.prepare != NULL)
        g->prepared = spec.prepare(g, c, x);
    if (spec.streams > 1)
        x = repeat_heads(g, x, 1, spec.streams);
    x = layers(g, c, x, block, count, "layers");
    g->width = width; /* of one stream */
    x = wanted_rows(g, x);
    if (spec.collapse != NULL)
        x = spec.collapse(g, c, x);
    if (spec.norm == NULL || spec.norm[0] != '\0')
        x = norm(g, x, spec.norm != NULL ? spec.norm : "norm");
    pop(g);
    g->last_hidden = x;
    const bool tied = cfg_bool(c, "tie_word_embeddings", false) || (g->hints.has_tensor != NULL && !has_tensor(g, "lm_head.weight"));
    Val logits;
    if (tied && table >= 0) {
        Op *op = graph_op(g, OP_LINEAR, x, NO_VAL, vocab);
        if (op != NULL) {
            op->u.linear.groups = 1;
            op->weight[0] = table;
            if (spec.head_bias)
                op->weight[1] = graph_vector(g, "lm_head", ".bias", vocab);
        }
        logits = graph_out(op);
    } else {
        logits = linear(g, x, "lm_head", vocab, spec.head_bias, SPLIT_ROWS);
    }
    if (spec.logit_scale != 0)
        logits = scale(g, logits, spec.logit_scale);
    if (spec.softcap != 0)
        logits = softcap(g, logits, spec.softcap);
    set_output(g, logits);
}

Val prepared(const Graph *g) {
    return g->prepared;
}

/* What is declared from here on stays, and what would be computed is forgotten at the end. */
typedef struct Keeping {
    int n_op, n_value, n_state, n_rope;
    Val choice;
} Keeping;

static Keeping keep_begin(Graph *g, int layer) {
    g->keeping = true;
    g->layer = layer;
    return (Keeping){g->n_op, g->n_value, g->n_state, g->n_rope, g->last_choice};
}

static void keep_end(Graph *g, const Keeping *k) {
    g->keeping = false;
    g->layer = -1;
    g->n_op = k->n_op;
    g->n_value = k->n_value;
    g->n_state = k->n_state;
    g->n_rope = k->n_rope;
    g->last_choice = k->choice;
}

enum { MAX_PREDICTING = 64 };

void predicting_layers_as(Graph *g, const Cfg *c, int count, const char *sign, BlockFn describe) {
    if (g->hints.has_tensor != NULL && !has_tensor(g, sign))
        return;
    for (int i = 0; i < MIN(count, MAX_PREDICTING) && graph_ok(g); i++) {
        if (!is_described(g, g->n_layer + i))
            continue;
        const Keeping k = keep_begin(g, g->n_layer + i);
        describe(g, c, g->hidden[g->n_layer], i);
        keep_end(g, &k);
    }
}

static void predicting_layer(Graph *g, const Cfg *c, BlockFn block, int i) {
    const Val x = g->hidden[g->n_layer];
    const Keeping k = keep_begin(g, i);
    linear(g, concat(g, norm(g, x, "enorm"), norm(g, x, "hnorm")), "eh_proj", g->width, false, SPLIT_NONE);
    if (has_tensor(g, "embed_tokens.weight"))
        embed(g, "embed_tokens", g->vocab, g->width);
    norm(g, x, "shared_head.norm");
    if (has_tensor(g, "shared_head.head.weight"))
        linear(g, x, "shared_head.head", g->vocab, false, SPLIT_ROWS);
    block(g, c, x, i);
    keep_end(g, &k);
}

void predicting_layers(Graph *g, const Cfg *c, BlockFn block) {
    const int count = MIN(cfg_int(c, "num_nextn_predict_layers", 0), MAX_PREDICTING);
    for (int i = g->n_layer; i < g->n_layer + count && graph_ok(g); i++) {
        if (!is_described(g, i))
            continue;
        push(g, "model.layers.%d", i);
        if (g->hints.has_tensor == NULL || has_tensor(g, "eh_proj.weight"))
            predicting_layer(g, c, block, i);
        pop(g);
    }
}
