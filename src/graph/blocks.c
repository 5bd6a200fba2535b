/* blocks.c - the blocks that most families are made of, as compositions of the builder's operations. */
#include "graph/graph_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- attention --------------------------------------------------------------------------------------------------------- */

Attn attn_of(Graph *g, const Cfg *c) {
    const int i = g->layer;
    const int heads = cfg_need_at(c, "num_attention_heads", i);
    const int head_dim = cfg_int_at(c, "head_dim", i, cfg_need(c, "hidden_size") / heads);
    Attn a = {.heads = heads, .kv_heads = cfg_int_at(c, "num_key_value_heads", i, heads), .head_dim = head_dim};
    if (a.kv_heads < 1 || head_dim < 1 || heads % a.kv_heads != 0) {
        graph_fail(g, "config.json: %d heads of width %d, %d key/value heads", heads, head_dim, a.kv_heads);
        a.kv_heads = a.heads = a.head_dim = 1;
    }
    /* GGUF files tell of biases by having them. */
    a.qkv_bias = cfg_bool(c, "attention_bias", cfg_is_gguf(c) && has_tensor(g, "self_attn.q_proj.bias"));
    a.out_bias = cfg_is_gguf(c) ? has_tensor(g, "self_attn.o_proj.bias") : a.qkv_bias;
    a.value_dim = cfg_int_at(c, "v_head_dim", i, head_dim);
    a.rope = rope_of(g, c, head_dim, NULL);
    a.rope.interleaved = cfg_bool(c, "rope_interleaved", false);
    return a;
}

static Val position_of(Graph *g, Val x, const Attn *a, int heads) {
    return a->rope.dim > 0 ? rope(g, x, a->rope, (RopeAt){.heads = heads}) : x;
}

static Val normed(Graph *g, Val x, const char *name, const Attn *a) {
    if (a->norm_bare)
        return norm_plain(g, x, a->head_dim, NORM_RMS, norm_eps(g));
    return name == NULL ? x : a->norm_whole ? norm(g, x, name) : norm_heads(g, x, name, a->head_dim);
}

static Val placed(Graph *g, Val x, const char *norm_name, const Attn *a, int heads) {
    if (a->norm_late)
        return normed(g, position_of(g, x, a, heads), norm_name, a);
    return position_of(g, normed(g, x, norm_name, a), a, heads);
}

/* The cache that an earlier layer stores its keys or values in. */
static State state_of(Graph *g, int layer, const char *name) {
    for (int s = 0; s < g->n_state; s++) {
        const char *at = strrchr(g->states[s].name, '.');
        if (g->states[s].layer == layer && at != NULL && strcmp(at + 1, name) == 0)
            return s;
    }
    graph_fail(g, "layer %d has no %s cache that others could read", layer, name);
    return NO_STATE;
}

/* Declares the caches of a layer and stores its keys and values. */
static void store_pair(Graph *g, Val k, Val v, const Attn *a, int value_dim, State *keys, State *values) {
    /* Of a chunk no more than its own length can be seen, as of a window. */
    const int window = a->chunk > 0 && (a->window == 0 || a->chunk < a->window) ? a->chunk : a->window;
    *keys = state_rows(g, "key", (RowState){.heads = a->kv_heads, .width = a->head_dim, .window = window});
    *values = state_rows(g, "value", (RowState){.heads = a->kv_heads, .width = value_dim, .window = window});
    store(g, k, *keys);
    store(g, v, *values);
}

Val attention(Graph *g, Val x, Attn a) {
    const int width = width_of(g, x), value_dim = a.value_dim != 0 ? a.value_dim : a.head_dim;
    const int qw = width_product(g, width_product(g, a.heads, a.head_dim), a.gate_in_q ? 2 : 1);
    const int kw = width_product(g, a.kv_heads, a.head_dim), vw = width_product(g, a.kv_heads, value_dim);
    if (!graph_ok(g))
        return NO_VAL;
    push(g, "%s", a.scope != NULL ? a.scope : "self_attn");
    if (a.qkv == NULL && has_tensor(g, "qkv_proj.weight") && !has_tensor(g, "q_proj.weight"))
        a.qkv = "qkv_proj"; /* some files hold the three in one */
    Val q, k = NO_VAL, v = NO_VAL, gate = NO_VAL;
    if (a.qkv != NULL) {
        const int whole = qw + kw + vw;
        q = linear_part(g, x, a.qkv, whole, 0, qw, a.qkv_bias, SPLIT_ROWS);
        k = linear_part(g, x, a.qkv, whole, qw, kw, a.qkv_bias, SPLIT_ROWS);
        v = linear_part(g, x, a.qkv, whole, qw + kw, vw, a.qkv_bias, SPLIT_ROWS);
    } else {
        q = linear(g, x, "q_proj", qw, a.qkv_bias, SPLIT_ROWS);
        if (!a.borrow) {
            k = linear(g, x, "k_proj", kw, a.qkv_bias, SPLIT_ROWS);
            v = a.value_is_key ? k : linear(g, x, "v_proj", vw, a.qkv_bias, SPLIT_ROWS);
        }
    }
    if (a.gate_in_q) { /* each head has its query and then its gate */
        gate = slice_heads(g, q, a.heads, a.head_dim, a.head_dim);
        q = slice_heads(g, q, a.heads, 0, a.head_dim);
    } else if (a.gate != NULL) {
        gate = linear(g, x, a.gate, a.gate_width != 0 ? a.gate_width : a.heads, false, SPLIT_ROWS);
    }
    q = placed(g, q, a.q_norm, &a, a.heads);
    if (a.temp_scale != 0)
        q = scale_by_position(g, q, a.temp_scale, a.temp_floor, a.temp_plus);
    const Val chosen = a.choose != NULL ? a.choose(g, graph_cfg(g), x) : NO_VAL;
    Attend seen = {.heads = a.heads, .kv_heads = a.kv_heads, .key_width = a.head_dim, .value_width = value_dim,
                   .scale = a.scale, .softcap = a.softcap, .window = a.window, .chunk = a.chunk, .sinks = a.sinks,
                   .chosen = chosen, .span = a.span, .tail = a.tail};
    if (!a.borrow) {
        k = placed(g, k, a.k_norm, &a, a.kv_heads);
        if (a.value_norm)
            v = norm_plain(g, v, value_dim, NORM_RMS, norm_eps(g));
        if (a.value_scale != 0)
            v = scale(g, v, a.value_scale);
    }
    if (a.borrow) {
        seen.keys = state_of(g, a.lender, "key");
        seen.values = state_of(g, a.lender, "value");
    } else if (!a.both) {
        store_pair(g, k, v, &a, value_dim, &seen.keys, &seen.values);
    }
    Val y = a.both && !a.borrow ? attend_text(g, q, k, v, seen) : attend(g, q, seen);
    if (gate != NO_VAL)
        y = mul(g, y, act(g, gate, ACT_SIGMOID));
    y = linear(g, y, a.out != NULL ? a.out : "o_proj", width, a.out_bias, SPLIT_COLS);
    pop(g);
    return y;
}

/* ---- feed-forward ------------------------------------------------------------------------------------------------------- */

Act act_of(Graph *g, const Cfg *c, const char *key) {
    const char *name = cfg_str(c, key, "silu");
    static const struct { const char *name; Act act; } known[] = {
        {"silu", ACT_SILU}, {"swish", ACT_SILU}, {"gelu", ACT_GELU_ERF}, {"gelu_pytorch_tanh", ACT_GELU_TANH},
        {"gelu_tanh", ACT_GELU_TANH}, {"gelu_new", ACT_GELU_TANH}, {"relu", ACT_RELU}, {"relu2", ACT_RELU2},
        {"sigmoid", ACT_SIGMOID}, {"tanh", ACT_TANH},
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].act;
    graph_fail(g, "activation '%s' is not known", name);
    return ACT_NONE;
}

Ffn ffn_of(Graph *g, const Cfg *c) {
    return (Ffn){.dim = cfg_need_at(c, "intermediate_size", g->layer), .act = act_of(g, c, "hidden_act"),
                 .bias = cfg_bool(c, "mlp_bias", cfg_is_gguf(c) && has_tensor(g, "mlp.up_proj.bias"))};
}

static Val ffn_inside(Graph *g, Val x, const Ffn *f) {
    const char *up = f->up != NULL ? f->up : "up_proj", *gate = f->gate != NULL ? f->gate : "gate_proj";
    Val h;
    if (f->no_gate) {
        h = act(g, linear(g, x, up, f->dim, f->bias, SPLIT_ROWS), f->act);
    } else {
        const Glu unit = {.act = f->act, .limit = f->limit, .late = f->late, .oai = f->oai};
        if (f->fused != NULL)
            h = glu(g, linear_part(g, x, f->fused, 2 * f->dim, 0, f->dim, f->bias, SPLIT_ROWS),
                    linear_part(g, x, f->fused, 2 * f->dim, f->dim, f->dim, f->bias, SPLIT_ROWS), unit);
        else
            h = glu(g, linear(g, x, gate, f->dim, f->bias, SPLIT_ROWS), linear(g, x, up, f->dim, f->bias, SPLIT_ROWS), unit);
    }
    return linear(g, h, f->down != NULL ? f->down : "down_proj", width_of(g, x), f->bias, SPLIT_COLS);
}

Val ffn(Graph *g, Val x, Ffn spec) {
    push(g, "%s", spec.scope != NULL ? spec.scope : "mlp");
    const Val y = ffn_inside(g, x, &spec);
    pop(g);
    return y;
}

/* ---- experts -------------------------------------------------------------------------------------------------------------- */

/* How published files name the experts of a layer: a tensor per expert, or stacked with gate and up fused or not. The
 * rows of a fused tensor are gate first, or alternate where the family says so. */
typedef struct ExpertNames { const char *gate, *up, *down; } ExpertNames;
static const ExpertNames expert_names[] = {
    {"gate_proj", "up_proj", "down_proj"},
    {"w1", "w3", "w2"},
};

/* "experts.gate_proj", with or without the first part. */
static void expert_name(const Moe *m, const char *name, const char *middle, char text[96]) {
    const char *scope = m->experts_scope != NULL ? m->experts_scope : "experts";
    snprintf(text, 96, "%s%s%s%s", scope, scope[0] != '\0' ? "." : "", middle, name);
}

static int expert_weight(Graph *g, const Moe *m, int which, int rows, int cols) {
    const ExpertNames *names = &expert_names[m->expert_w ? 1 : 0];
    const char *name = which == 0 ? names->gate : which == 1 ? names->up : names->down;
    char text[96];
    WeightDecl decl = {.role = WEIGHT_EXPERTS, .rows = rows, .cols = cols, .count = m->experts, .split = SPLIT_EXPERTS};
    expert_name(m, name, "", text);
    decl.name = graph_scoped(g, text, ".weight");
    int n = 0;
    expert_name(m, name, "%d.", text);
    decl.layout[n++] = (ExpertLayout){.each = graph_scoped(g, text, ".weight")};
    const bool pair = which < 2 && !m->no_gate;
    const char *given = which < 2 ? m->stacked_up : m->stacked_down;
    expert_name(m, given != NULL ? given : pair ? "gate_up_proj" : name, "", text);
    const char *stacked = graph_scoped(g, text, "");
    decl.layout[n++] = (ExpertLayout){.stacked = stacked, .part = pair ? which : 0, .parts = pair ? 2 : 1,
                                      .interleaved = pair && m->interleaved, .transposed = m->transposed};
    return graph_weight(g, decl);
}

/* Biases: [E, rows] stacked beside the matrices, fused in the same way. */
static int expert_bias(Graph *g, const Moe *m, int which, int rows) {
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    char text[96];
    WeightDecl decl = {.role = WEIGHT_VECTOR, .rows = m->experts, .cols = rows, .count = 1, .split = SPLIT_EXPERTS};
    expert_name(m, names[which], "", text);
    decl.name = graph_scoped(g, text, ".bias");
    expert_name(m, which < 2 ? "gate_up_proj_bias" : "down_proj_bias", "", text);
    decl.layout[0] = (ExpertLayout){.stacked = graph_scoped(g, text, ""), .part = which < 2 ? which : 0,
                                    .parts = which < 2 ? 2 : 1, .interleaved = which < 2 && m->interleaved};
    return graph_weight(g, decl);
}

static Val experts(Graph *g, Val x, Val route, const Moe *m) {
    const int width = width_of(g, x);
    Op *up = graph_op(g, OP_EXPERTS_UP, x, route, 0);
    if (up == NULL)
        return NO_VAL;
    up->u.experts.no_gate = m->no_gate;
    up->u.experts.glu = m->glu;
    up->u.experts.act = m->act;
    up->u.experts.scale_input = m->scale_input;
    up->u.experts.used = m->used;
    up->u.experts.experts = m->experts;
    const int at = g->n_op - 1; /* ops may move when others are added */
    const int weights[6] = {m->no_gate ? -1 : expert_weight(g, m, 0, m->dim, width), expert_weight(g, m, 1, m->dim, width),
                            m->bias && !m->no_gate ? expert_bias(g, m, 0, m->dim) : -1,
                            m->bias ? expert_bias(g, m, 1, m->dim) : -1, -1, -1};
    memcpy(g->ops[at].weight, weights, sizeof weights);
    const Val h = graph_value(g, m->dim, ROWS_SLOTS, m->used);
    if (!graph_ok(g))
        return NO_VAL;
    g->ops[at].out = h;
    Op *down = graph_op(g, OP_EXPERTS_DOWN, h, route, width);
    if (down == NULL)
        return NO_VAL;
    down->u.experts = g->ops[at].u.experts;
    const Val y = down->out;
    const int down_at = g->n_op - 1;
    const int w = expert_weight(g, m, 2, width, m->dim), b = m->bias ? expert_bias(g, m, 2, width) : -1;
    g->ops[down_at].weight[0] = w;
    g->ops[down_at].weight[1] = b;
    Op *sum = graph_op(g, OP_COMBINE, y, route, width);
    if (sum == NULL)
        return NO_VAL;
    sum->in[2] = x; /* what identity experts give back */
    sum->u.experts = g->ops[at].u.experts;
    sum->u.experts.experts = m->experts;
    g->values[sum->out].rows = ROWS_ALL;
    g->values[sum->out].per_row = 1;
    return sum->out;
}

Score score_of(const Cfg *c, Score otherwise) {
    static const struct { const char *word; Score score; } known[] = {
        {"softmax", SCORE_SOFTMAX}, {"sigmoid", SCORE_SIGMOID}, {"softmax_topk", SCORE_SOFTMAX_TOPK}, {"sqrtsoftplus", SCORE_SQRT_SOFTPLUS},
    };
    const char *word = cfg_str(c, "scoring_func", NULL);
    for (size_t i = 0; word != NULL && i < COUNT(known); i++)
        if (strcmp(word, known[i].word) == 0)
            return known[i].score;
    if (word != NULL)
        cfg_refuse(c, "config.json: scoring_func %s is not known", word);
    return otherwise;
}

Moe moe_of(Graph *g, const Cfg *c) {
    const int whole = cfg_int_at(c, "intermediate_size", g->layer, 0); /* of the experts where only one size is given */
    const int dim = cfg_int_at(c, "moe_intermediate_size", g->layer, whole);
    return (Moe){.experts = cfg_need_at(c, "num_experts", g->layer), .used = cfg_need_at(c, "num_experts_per_tok", g->layer),
                 .dim = dim, .shared_dim = cfg_int(c, "shared_expert_intermediate_size", dim * cfg_int_at(c, "n_shared_experts", g->layer, 0)),
                 .groups = cfg_int(c, "n_group", 0), .groups_used = cfg_int(c, "topk_group", 0),
                 .renormalise = cfg_bool(c, "norm_topk_prob", false), .scale = cfg_real(c, "routed_scaling_factor", 1),
                 .glu = {.act = act_of(g, c, "hidden_act")}};
}

Val moe(Graph *g, Val x, Moe m) {
    if (graph_ok(g) && (m.experts < 1 || m.used < 1 || m.used > m.experts + m.zero_experts || m.dim < 1 || m.experts + m.zero_experts > 4096))
        graph_fail(g, "%d of %d experts of width %d", m.used, m.experts, m.dim);
    if (m.groups > 1 && (m.experts % m.groups != 0 || m.groups_used < 1 || m.groups_used > m.groups))
        graph_fail(g, "%d of %d groups of %d experts", m.groups_used, m.groups, m.experts);
    if (m.scale == 0)
        m.scale = 1;
    if (m.glu.act == ACT_NONE)
        m.glu.act = ACT_SILU;
    const bool scoped = m.scope == NULL || m.scope[0] != '\0';
    if (scoped)
        push(g, "%s", m.scope != NULL ? m.scope : "mlp");
    const int all = m.experts + m.zero_experts;
    const Val seen = m.has_router_input ? m.router_input : x;
    const Val scores = linear_exact(g, seen, m.router != NULL ? m.router : "gate", all, m.router_bias);
    Op *op = graph_op(g, OP_ROUTE, scores, NO_VAL, graph_ok(g) ? 2 * m.used : 1);
    Val route = NO_VAL;
    if (op != NULL) {
        op->u.route = (OpRoute){.experts = m.experts, .used = m.used, .groups = m.groups, .groups_used = m.groups_used,
                                .zero_experts = m.zero_experts, .group_by_top2 = m.group_by_top2,
                                .renormalise = m.renormalise, .renormalise_eps = m.renormalise_eps,
                                .renormalise_min = m.renormalise_min, .scale = m.scale,
                                .score = m.score};
        route = op->out;
        const int at = g->n_op - 1;
        if (m.correction != NULL)
            g->ops[at].weight[0] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, m.correction, ""),
                                                                .role = WEIGHT_VECTOR, .rows = 1, .cols = all});
        if (m.expert_scale != NULL)
            g->ops[at].weight[1] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, m.expert_scale, ""),
                                                                .role = WEIGHT_VECTOR, .rows = 1, .cols = all});
        if (m.hash_table != NULL)
            g->ops[at].weight[2] = graph_weight(g, (WeightDecl){.name = graph_scoped(g, m.hash_table, ""),
                                                                .role = WEIGHT_VECTOR, .rows = g->vocab_rows, .cols = m.used});
    }
    Val inside = x;
    if (m.latent_in != NULL)
        inside = linear(g, x, m.latent_in, m.latent_dim, false, SPLIT_NONE);
    Val y = experts(g, inside, route, &m);
    if (m.latent_out != NULL)
        y = linear(g, y, m.latent_out, width_of(g, x), false, SPLIT_NONE);
    if (m.shared_dim > 0) {
        Ffn f = m.shared_ffn;
        f.dim = m.shared_dim;
        if (f.act == ACT_NONE && !f.no_gate) {
            f.act = m.glu.act;
            f.limit = m.glu.limit;
        }
        f.scope = m.shared != NULL ? m.shared : "shared_experts";
        Val s = ffn(g, x, f);
        if (m.shared_gate != NULL)
            s = mul(g, s, act(g, linear_exact(g, x, m.shared_gate, 1, false), ACT_SIGMOID));
        y = add(g, y, s);
    }
    if (scoped)
        pop(g);
    return y;
}
