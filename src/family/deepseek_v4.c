/* deepseek_v4.c - DeepSeek-V4: one key/value head whose rows are keys and values at once, seen raw within a window and
 * pooled beyond it, in one softmax: every 4th token's row over 8 tokens, of which an index chooses some, or one row for each
 * 128. Residual of several streams. Experts of the first layers by token id. DeepSeek-AI 2026. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

typedef enum Kind { WINDOW, CHOSEN, ALL } Kind; /* what a layer sees besides its window: nothing, chosen or all pooled rows */

/* The kind of layer i, and how many tokens a pooled row stands for. */
static Kind kind_of(const Cfg *c, int i, int *ratio) {
    const int chosen = cfg_int(c, "compress_rates.compressed_sparse_attention", cfg_int(c, "compress_rate_csa", 4));
    const int all = cfg_int(c, "compress_rates.heavily_compressed_attention", cfg_int(c, "compress_rate_hca", 128));
    Kind kind = i < 2 || i % 2 == 0 ? ALL : CHOSEN;
    if (cfg_has(c, "layer_types")) {
        kind = layer_is(c, i, "compressed_sparse_attention") ? CHOSEN : layer_is(c, i, "heavily_compressed_attention") ? ALL : WINDOW;
        (void)layer_is(c, i, "sliding_attention");
    } else if (cfg_has(c, "compress_ratios")) {
        const int published = cfg_int_at(c, "compress_ratios", i, 0);
        if (published != 0 && published != 4 && published != 128)
            cfg_refuse(c, "config.json: %d in compress_ratios, 0, 4 or 128 are known", published);
        kind = published == 0 ? WINDOW : published == 4 ? CHOSEN : ALL;
    }
    *ratio = kind == CHOSEN ? chosen : all;
    return kind;
}

/* Rotations of window-only layers ("main") and of the others ("compress"); without mscale unless it is asked for. */
static Rope turn_of(Graph *g, const Cfg *c, Kind kind, int dim) {
    Rope r;
    if (cfg_has(c, "rope_parameters.compress")) {
        cfg_covered(c, "rope_theta");
        cfg_covered(c, "compress_rope_theta");
        r = rope_sized(g, c, dim, kind == WINDOW ? "main" : "compress");
    } else if (kind == WINDOW) {
        r = rope_plain(g, dim, cfg_real(c, "rope_theta", cfg_real(c, "rope_parameters.rope_theta", 10000)));
    } else {
        cfg_covered(c, "rope_theta");
        r = rope_based(g, c, dim, cfg_real(c, "compress_rope_theta", 160000));
        r.magnitude = cfg_real(c, "rope_scaling.attention_factor", cfg_real(c, "rope_parameters.attention_factor", 1));
    }
    r.interleaved = true;
    return r;
}

typedef struct Layer {
    Kind kind;
    int ratio, rope_dim;
    Rope rope;
} Layer;

static Layer layer_of(Graph *g, const Cfg *c, int i) {
    Layer l;
    const int head_dim = cfg_int(c, "head_dim", 512);
    l.kind = kind_of(c, i, &l.ratio);
    l.rope_dim = cfg_int(c, "qk_rope_head_dim", (int)lrintf((float)head_dim * cfg_real(c, "partial_rotary_factor", 0.125f)));
    if (cfg_is_gguf(c))
        l.rope_dim = cfg_int(c, "rotary_dim", l.rope_dim);
    l.rope = turn_of(g, c, l.kind, l.rope_dim);
    return l;
}

static Val turned(Graph *g, Val x, const Layer *l, int heads, bool back) {
    return rope(g, x, l->rope, (RopeAt){.heads = heads, .begin = width_of(g, x) / heads - l->rope_dim, .inverse = back});
}

/* Pooled rows of `dim` numbers, in a cache with one entry for `ratio` tokens. */
static State pooled(Graph *g, Val x, const Layer *l, int dim) {
    const bool overlap = l->kind == CHOSEN;
    const int width = overlap ? 2 * dim : dim;
    push(g, "compressor");
    Val row = pool_rows(g, linear(g, x, "wkv", width, false, SPLIT_NONE), linear(g, x, "wgate", width, false, SPLIT_NONE),
                   (Pool){.ratio = l->ratio, .width = dim, .overlap = overlap, .bias = "ape"});
    row = rope(g, norm(g, row, "norm"), l->rope, (RopeAt){.heads = 1, .begin = dim - l->rope_dim, .stride = l->ratio});
    const State state = state_rows(g, "row", (RowState){.heads = 1, .width = dim, .stride = l->ratio});
    store(g, row, state);
    pop(g);
    return state;
}

static Val chosen_rows(Graph *g, const Cfg *c, Val x, Val low, const Layer *l) {
    const int heads = cfg_int(c, "index_n_heads", 64), dim = cfg_int(c, "index_head_dim", 128);
    push(g, "indexer");
    const Val q = turned(g, linear(g, low, "wq_b", heads * dim, false, SPLIT_NONE), l, heads, false);
    const Val w = scale(g, linear_exact(g, x, "weights_proj", heads, false), 1.0f / sqrtf((float)heads));
    const State keys = pooled(g, x, l, dim);
    pop(g);
    return choose(g, q, w, (Choice){.heads = heads, .dim = dim, .top = cfg_int(c, "index_topk", 512), .keys = keys});
}

static Val window_and_rows(Graph *g, const Cfg *c, Val x, int i) {
    const Layer l = layer_of(g, c, i);
    const int heads = cfg_need(c, "num_attention_heads"), dim = cfg_int(c, "head_dim", 512), groups = cfg_int(c, "o_groups", 8);
    const int window = cfg_int(c, "sliding_window", 128);
    if (cfg_int(c, "num_key_value_heads", 1) != 1 || cfg_int(c, "v_head_dim", dim) != dim)
        cfg_refuse(c, "config.json: more than one key/value head, or values of another width than keys");
    push(g, "attn");
    const Val low = norm(g, linear(g, x, "wq_a", cfg_need(c, "q_lora_rank"), false, SPLIT_NONE), "q_norm");
    const Val q = turned(g, norm_plain(g, linear(g, low, "wq_b", heads * dim, false, SPLIT_ROWS), dim, NORM_RMS, norm_eps(g)),
                         &l, heads, false);
    const State raw = state_rows(g, "raw", (RowState){.heads = 1, .width = dim, .window = window});
    store(g, turned(g, norm(g, linear(g, x, "wkv", dim, false, SPLIT_NONE), "kv_norm"), &l, 1, false), raw);
    Attend a = {.heads = heads, .kv_heads = 1, .key_width = dim, .value_width = dim, .window = window, .sinks = "attn_sink",
                .keys = raw, .values = raw, .chosen = NO_VAL, .more = l.kind != WINDOW, .more_chosen = NO_VAL};
    if (l.kind != WINDOW)
        a.more_keys = pooled(g, x, &l, dim);
    if (l.kind == CHOSEN)
        a.more_chosen = chosen_rows(g, c, x, low, &l);
    /* Values were rotated with the keys: turning back leaves the distance between the tokens. */
    const Val y = turned(g, attend(g, q, a), &l, heads, true);
    const Val narrow = linear_grouped(g, y, "wo_a", (Grouped){.groups = groups, .out = cfg_int(c, "o_lora_rank", 1024)}, SPLIT_ROWS);
    const Val out = linear(g, narrow, "wo_b", width_of(g, x), false, SPLIT_COLS);
    pop(g);
    return out;
}

static Val experts(Graph *g, const Cfg *c, Val x, int i) {
    const bool hashed = cfg_has(c, "mlp_layer_types") ? layer_ffn_is(c, i, "hash_moe") && !layer_ffn_is(c, i, "moe")
                                                      : i < cfg_int(c, "num_hash_layers", 3);
    const int dim = cfg_need(c, "moe_intermediate_size");
    const float limit = cfg_real_at(c, "swiglu_limits", i, cfg_real(c, "swiglu_limit", 10));
    const float limit_shared = cfg_real_at(c, "swiglu_limits_shared", i, limit);
    if (strcmp(cfg_str(c, "topk_method", "noaux_tc"), "noaux_tc") != 0)
        cfg_refuse(c, "config.json: topk_method %s is not known", cfg_str(c, "topk_method", ""));
    const Act unit = act_of(g, c, "hidden_act");
    return moe(g, x, (Moe){.experts = cfg_need(c, "num_experts"), .used = cfg_need(c, "num_experts_per_tok"), .dim = dim,
                           .shared_dim = dim * cfg_int(c, "n_shared_experts", 1), .score = score_of(c, SCORE_SQRT_SOFTPLUS),
                           .glu = {.act = unit, .limit = limit}, .renormalise = cfg_bool(c, "norm_topk_prob", true),
                           .renormalise_eps = 1e-20f, .scale = cfg_real(c, "routed_scaling_factor", 1.5f),
                           .correction = hashed ? NULL : "gate.bias", .hash_table = hashed ? "gate.tid2eid" : NULL,
                           .expert_w = true, .shared_ffn = {.gate = "w1", .up = "w3", .down = "w2", .act = unit,
                                                                           .limit = limit_shared}, .scope = "ffn"});
}

static Hyper hyper_of(const Cfg *c) {
    return (Hyper){.streams = cfg_int(c, "hc_mult", 4), .iterations = cfg_int(c, "hc_sinkhorn_iters", 20),
                   .eps = cfg_real(c, "hc_eps", 1e-6f)};
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    const Hyper h = hyper_of(c);
    Val w = hyper_weights(g, x, "hc_attn_", h);
    x = hyper_expand(g, x, window_and_rows(g, c, norm(g, hyper_collapse(g, x, w, h.streams), "attn_norm"), i), w, h.streams);
    w = hyper_weights(g, x, "hc_ffn_", h);
    return hyper_expand(g, x, experts(g, c, norm(g, hyper_collapse(g, x, w, h.streams), "ffn_norm"), i), w, h.streams);
}

static Val collapse(Graph *g, const Cfg *c, Val x) {
    Hyper h = hyper_of(c);
    h.collapse_only = true;
    return hyper_collapse(g, x, hyper_weights(g, x, "hc_head_", h), h.streams);
}

/* A layer that predicts one token more: a whole one, in which embedding and hidden state come together. */
static Val predicting(Graph *g, const Cfg *c, Val x, int i) {
    push(g, "mtp.%d", i);
    const Val one = collapse(g, c, x); /* by weights of its own */
    const int width = width_of(g, one);
    linear(g, norm(g, one, "enorm"), "e_proj", width, false, SPLIT_NONE);
    linear(g, norm(g, one, "hnorm"), "h_proj", width, false, SPLIT_NONE);
    norm(g, one, "norm");
    x = block(g, c, x, cfg_need(c, "num_hidden_layers") + i);
    pop(g);
    return x;
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){.streams = cfg_int(c, "hc_mult", 4), .collapse = collapse});
    predicting_layers_as(g, c, cfg_int(c, "num_nextn_predict_layers", 0), "mtp.0.e_proj.weight", predicting);
}

const Family family_deepseek_v4 = {.name = "deepseek_v4", .build = build, .reply_format = "deepseek_v4", .since = "0.1",
                                   .golden = "deepseek_v4", .covers = "DeepSeek-V4-Flash, V4-Pro"};
