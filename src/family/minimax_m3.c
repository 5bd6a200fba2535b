/* minimax_m3.c - MiniMax-M3: grouped-query attention in which most layers look at a few blocks of the past, chosen for each
 * key head by a head of an index; (1 + w) norms; clamped gated units; experts scored by sigmoids. MiniMax 2026. */
#include "graph/graph.h"

#include <string.h>

/* A setting of the index: as the current configurations spell it, or in an object of its own as published. */
static int index_int(const Cfg *c, const char *key, const char *published, int otherwise) {
    char path[96] = "sparse_attention_config.";
    strcat(path, published);
    return cfg_int(c, key, cfg_int(c, path, otherwise));
}

static Val choose_blocks(Graph *g, const Cfg *c, Val x) {
    const int heads = index_int(c, "index_n_heads", "sparse_num_index_heads", 4);
    const int dim = index_int(c, "index_head_dim", "sparse_index_dim", 128);
    const Rope turn = rope_of(g, c, cfg_need(c, "head_dim"), NULL);
    const Val q = norm_heads(g, linear(g, x, "index_q_proj", heads * dim, false, SPLIT_NONE), "index_q_norm", dim);
    const Val k = norm(g, linear(g, x, "index_k_proj", dim, false, SPLIT_NONE), "index_k_norm");
    const State keys = state_rows(g, "index", (RowState){.heads = 1, .width = dim});
    store(g, rope(g, k, turn, (RopeAt){.heads = 1}), keys);
    return choose(g, rope(g, q, turn, (RopeAt){.heads = heads}), NO_VAL,
                  (Choice){.heads = heads, .dim = dim, .groups = heads, .plain = true, .scale = 1, .keys = keys,
                           .top = index_int(c, "index_topk_blocks", "sparse_topk_blocks", cfg_int(c, "index_topk", 16)),
                           .span = index_int(c, "index_block_size", "sparse_block_size", 128),
                           .local = index_int(c, "index_local_blocks", "sparse_local_block", 1)});
}

static bool is_sparse(Graph *g, const Cfg *c, int i) {
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "minimax_m3_sparse");
    if (cfg_is_gguf(c))
        return has_tensor(g, "self_attn.index_q_proj.weight");
    return cfg_int_at(c, "sparse_attention_config.sparse_attention_freq", i, 0) != 0;
}

static bool is_dense(const Cfg *c, int i) {
    if (cfg_has(c, "mlp_layer_types"))
        return !layer_ffn_is(c, i, "sparse");
    return cfg_has(c, "moe_layer_freq") ? cfg_int_at(c, "moe_layer_freq", i, 1) == 0
                                        : i < cfg_int(c, "first_k_dense_replace", 0);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    if (is_sparse(g, c, i)) {
        a.choose = choose_blocks;
        a.span = index_int(c, "index_block_size", "sparse_block_size", 128);
    }
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    const Val h = norm(g, x, "post_attention_layernorm");
    const float limit = cfg_real(c, "swiglu_limit", 7);
    const int dim = cfg_int(c, "moe_intermediate_size", cfg_int(c, "intermediate_size", 3072));
    if (is_dense(c, i))
        return add(g, x, ffn(g, h, (Ffn){.dim = cfg_int(c, "dense_intermediate_size", cfg_int(c, "intermediate_size", 12288)),
                                         .oai = true, .limit = limit}));
    return add(g, x, moe(g, h, (Moe){.experts = cfg_need(c, "num_experts"), .used = cfg_need(c, "num_experts_per_tok"), .dim = dim,
                                     .shared_dim = cfg_int(c, "shared_intermediate_size", dim) * cfg_int(c, "n_shared_experts", 1),
                                     .score = SCORE_SIGMOID, .renormalise = cfg_bool(c, "norm_topk_prob", true), .scale = cfg_real(c, "routed_scaling_factor", 2),
                                     .correction = "e_score_correction_bias", .glu = {.oai = true, .limit = limit},
                                     .shared_ffn = {.oai = true, .limit = limit}, .expert_w = true, .scope = "block_sparse_moe"}));
}

static void build(Graph *g, const Cfg *c) {
    const char *unit = cfg_str(c, "hidden_act", "swigluoai"); /* either word stands for the clamped unit */
    if (strcmp(unit, "silu") != 0 && strcmp(unit, "swigluoai") != 0)
        cfg_refuse(c, "config.json: hidden_act is %s", unit);
    if (cfg_real(c, "swiglu_alpha", 1.702f) != 1.702f)
        cfg_refuse(c, "config.json: swiglu_alpha is not 1.702");
    if (cfg_int(c, "sparse_attention_config.sparse_init_block", 0) != 0 ||
        strcmp(cfg_str(c, "sparse_attention_config.sparse_score_type", "max"), "max") != 0 ||
        !cfg_bool(c, "sparse_attention_config.use_sparse_attention", true))
        cfg_refuse(c, "config.json: this kind of sparse_attention_config is not known");
    if (!cfg_bool(c, "use_qk_norm", true) || strcmp(cfg_str(c, "qk_norm_type", "per_head"), "per_head") != 0 ||
        !cfg_bool(c, "use_routing_bias", true) || strcmp(cfg_str(c, "scoring_func", "sigmoid"), "sigmoid") != 0)
        cfg_refuse(c, "config.json: norms or experts other than those of the published model");
    norm_style(g, NORM_RMS, norm_eps(g), cfg_bool(c, "use_gemma_norm", true));
    decoder(g, c, block, (Decoder){0});
}

const Family family_minimax_m3 = {.name = "minimax_m3_vl_text", .build = build, .reply_format = "minimax_m3", .since = "0.1",
                                  .golden = "minimax_m3", .covers = "MiniMax-M3 (text)"};
