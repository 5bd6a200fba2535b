/* lfm2.c - LFM2: gated short convolutions, here and there an attention layer; experts in the larger ones; the last norm
 * is called embedding_norm. Liquid AI 2025. */
#include "graph/graph.h"

static bool is_attention(const Cfg *c, int i) {
    if (cfg_has(c, "layer_types"))
        return !layer_is(c, i, cfg_is_gguf(c) ? "linear_attention" : "conv");
    return !cfg_has(c, "full_attn_idxs") || cfg_list_has(c, "full_attn_idxs", i);
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (!is_attention(c, i))
        return short_conv(g, x,
                          (ShortConv){.taps = cfg_int(c, "conv_L_cache", 3), .bias = cfg_bool(c, "conv_bias", false)});
    Attn a = attn_of(g, c);
    a.q_norm = "q_layernorm";
    a.k_norm = "k_layernorm";
    a.out = "out_proj";
    return attention(g, x, a);
}

/* Two thirds of what the configuration says, times a factor, rounded up to a multiple. */
static int ffn_dim(const Cfg *c) {
    const int given = cfg_need(c, cfg_has(c, "block_ff_dim") ? "block_ff_dim" : "intermediate_size");
    const int multiple = cfg_int(c, "block_multiple_of", 256), most = 1 << 24;
    const float dim = (float)(2 * (int64_t)given / 3) * cfg_real(c, "block_ffn_dim_multiplier", 1);
    if (!cfg_bool(c, "block_auto_adjust_ff_dim", true))
        return given;
    if (multiple < 1 || multiple > most || !(dim >= 1 && dim <= (float)most)) {
        cfg_refuse(c, "config.json: a feed-forward block of width %g in multiples of %d", (double)dim, multiple);
        return 1;
    }
    return ((int)dim + multiple - 1) / multiple * multiple;
}

static Val forward(Graph *g, Val x, int dim) {
    return ffn(g, x,
               (Ffn){.dim = dim, .act = ACT_SILU, .gate = "w1", .up = "w3", .down = "w2", .scope = "feed_forward"});
}

static Val block_dense(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "operator_norm"), i));
    return add(g, x, forward(g, norm(g, x, "ffn_norm"), ffn_dim(c)));
}

static Val experts(Graph *g, const Cfg *c, Val x) {
    Moe m = moe_of(g, c);
    m.score = SCORE_SIGMOID;
    m.correction = cfg_bool(c, "use_expert_bias", true) ? "expert_bias" : NULL;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-6f;
    m.expert_w = true;
    m.scope = "feed_forward";
    return moe(g, x, m);
}

static Val block_moe(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "operator_norm"), i));
    const Val h = norm(g, x, "ffn_norm");
    const bool dense = i < cfg_int(c, "num_dense_layers", 2);
    return add(g, x, dense ? forward(g, h, cfg_need(c, "intermediate_size")) : experts(g, c, h));
}

static void build_dense(Graph *g, const Cfg *c) {
    decoder(g, c, block_dense, (Decoder){.norm = "embedding_norm"});
}
static void build_moe(Graph *g, const Cfg *c) {
    decoder(g, c, block_moe, (Decoder){.norm = "embedding_norm"});
}

#define DEFAULTS "\"tie_word_embeddings\": true, \"rope_theta\": 1e6, \"num_key_value_heads\": 8"

const Family family_lfm2 = {.name = "lfm2",
                            .build = build_dense,
                            .reply_format = "lfm2",
                            .since = "0.1",
                            .golden = "lfm2",
                            .covers = "LFM2 and LFM2.5, 230M to 2.6B",
                            .defaults = "{" DEFAULTS "}"};
const Family family_lfm2_moe = {
    .name = "lfm2_moe",
    .build = build_moe,
    .reply_format = "lfm2",
    .since = "0.1",
    .golden = "lfm2",
    .covers = "LFM2-8B-A1B, LFM2.5-8B-A1B",
    .defaults = "{" DEFAULTS ", \"num_experts\": 32, \"num_experts_per_tok\": 4, \"moe_intermediate_size\": 1792}"};
