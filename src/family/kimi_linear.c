/* kimi_linear.c - three layers of Kimi delta attention to one of latent attention without positions, with experts: Kimi
 * Linear (Kimi team 2025) and Ling 3 (bounded decay, whole gates, rotated keys, a gate for each head). */
#include "graph/graph.h"

#include <string.h>

static Val experts(Graph *g, const Cfg *c, Val x, Moe m) {
    const char *score = cfg_str(c, "scoring_func", cfg_str(c, "moe_router_activation_func", cfg_str(c, "score_function", "sigmoid")));
    if (strcmp(score, "sigmoid") != 0)
        cfg_refuse(c, "config.json: experts scored by %s, sigmoid is known for this family", score);
    m.experts = cfg_need(c, "num_experts");
    m.used = cfg_need(c, "num_experts_per_tok");
    m.dim = cfg_need(c, "moe_intermediate_size");
    const int shared = cfg_int(c, "n_shared_experts", 1);
    m.shared_dim = shared == 0 ? 0 : width_product(g, shared, cfg_int(c, "moe_shared_expert_intermediate_size", m.dim));
    if (cfg_is_gguf(c)) /* of all shared experts together */
        m.shared_dim = cfg_int(c, "shared_expert_intermediate_size", m.shared_dim);
    m.groups = cfg_bool(c, "use_grouped_topk", true) ? cfg_int(c, "n_group", 1) : 0;
    m.groups_used = cfg_int(c, "topk_group", 1);
    m.group_by_top2 = true;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-20f;
    m.scale = cfg_real(c, "routed_scaling_factor", 1);
    m.score = SCORE_SIGMOID;
    return moe(g, x, m);
}

/* GGUF files tell by the number of key heads: 0 in layers without a cache of keys. */
static bool has_no_keys(const Cfg *c, int i) {
    return cfg_is_gguf(c) && cfg_int_at(c, "num_key_value_heads", i, 1) == 0;
}

/* ---- Kimi Linear ---- */

static bool is_kimi_delta(const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return has_no_keys(c, i);
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    if (cfg_has(c, "linear_attn_config.full_attn_layers")) { /* counted from 1 */
        (void)cfg_has(c, "linear_attn_config.kda_layers");
        return !cfg_list_has(c, "linear_attn_config.full_attn_layers", i + 1);
    }
    return i == 0 || i % 4 != 0;
}

static Val kimi_mix(Graph *g, const Cfg *c, Val x, int i) {
    if (is_kimi_delta(c, i)) {
        Kda k = kda_of(g, c);
        if (cfg_is_gguf(c))
            k.heads = cfg_need(c, "num_attention_heads");
        return kda(g, x, k);
    }
    if (!cfg_bool(c, "mla_use_nope", true))
        cfg_refuse(c, "config.json: mla_use_nope false (rotated keys) is not known for this family");
    Mla m = mla_of(g, c);
    m.rope = (Rope){0};
    return mla(g, x, m);
}

static Val kimi_block(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, kimi_mix(g, c, norm(g, x, "input_layernorm"), i));
    const Val h = norm(g, x, "post_attention_layernorm");
    const int every = cfg_int(c, "moe_layer_freq", 1);
    const bool listed = cfg_has(c, "mlp_layer_types");
    if (!layer_is_sparse(c, i) || (!listed && every > 1 && i % every != 0))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x, experts(g, c, h, (Moe){.scope = "block_sparse_moe", .expert_w = true, .correction = "gate.e_score_correction_bias"}));
}

static void kimi_build(Graph *g, const Cfg *c) {
    decoder(g, c, kimi_block, (Decoder){0});
}

const Family family_kimi_linear = {
    .name = "kimi_linear", .build = kimi_build, .reply_format = "kimi_k2", .since = "0.1", .golden = "kimi_linear",
    .covers = "Kimi-Linear-48B-A3B",
    .defaults = "{\"rms_norm_eps\": 1e-5, \"first_k_dense_replace\": 1, \"routed_scaling_factor\": 2.446, \"kv_lora_rank\": 512,"
                " \"qk_nope_head_dim\": 128, \"v_head_dim\": 128, \"num_experts\": 256, \"num_experts_per_tok\": 8,"
                " \"moe_intermediate_size\": 1024}"};

/* ---- Ling 3 ---- */

static bool is_ling_delta(const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return has_no_keys(c, i);
    const int every = cfg_int(c, "layer_group_size", 6);
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    return every < 1 || (i + 1) % every != 0;
}

/* Ling 2.5 and 2.6 and their Ring models go by the same model_type. */
static void refuse_lightning(const Cfg *c) {
    cfg_refuse(c, "config.json: of bailing_hybrid, Ling 3 with Kimi delta attention is known, not models with lightning attention");
}

static Val ling_mix(Graph *g, const Cfg *c, Val x, int i) {
    if (!is_ling_delta(c, i)) {
        Mla m = mla_of(g, c);
        m.gate = cfg_is_gguf(c) ? "gate_proj" : "g_proj"; /* whose name the delta layers have for another tensor */
        m.scope = "attention";
        m.out = "dense";
        return mla(g, x, m);
    }
    if (has_tensor(g, "attention.query_key_value.weight"))
        refuse_lightning(c);
    Kda k = kda_of(g, c);
    k.heads = cfg_int(c, "linear_num_heads", cfg_need(c, "num_attention_heads"));
    k.head_dim = cfg_int(c, "linear_head_dim", cfg_int(c, "head_dim", 128));
    k.low_rank = false;
    k.lower_bound = cfg_bool(c, "kda_safe_gate", true) ? cfg_real(c, "linear_lower_bound", 0) : 0;
    k.rate = k.lower_bound != 0 ? MAP_EXP : MAP_NEG_EXP;
    k.scope = "attention";
    k.out = "dense";
    return kda(g, x, k);
}

static Val ling_block(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, ling_mix(g, c, norm(g, x, "input_layernorm"), i));
    const Val h = norm(g, x, "post_attention_layernorm");
    if (!layer_is_sparse(c, i))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x, experts(g, c, h, (Moe){.correction = "gate.expert_bias"}));
}

static void ling_build(Graph *g, const Cfg *c) {
    static const char *const again[] = {"short_conv_kernel_size", "rope_theta"}; /* what other keys say, where both are there */
    for (size_t i = 0; i < COUNT(again); i++)
        (void)cfg_has(c, again[i]);
    if (cfg_has(c, "group_norm_size"))
        refuse_lightning(c);
    if (cfg_bool(c, "use_kda_lora", false))
        cfg_refuse(c, "config.json: use_kda_lora is not known for this family");
    decoder(g, c, ling_block, (Decoder){0});
    predicting_layers(g, c, ling_block);
}

const Family family_bailing_hybrid = {
    .name = "bailing_hybrid", .build = ling_build, .reply_format = "glm_4_6 qwen3", .since = "0.1", .golden = "bailing_hybrid",
    .covers = "Ling 3",
    .defaults = "{\"rms_norm_eps\": 1e-6, \"first_k_dense_replace\": 2, \"routed_scaling_factor\": 2.5, \"kv_lora_rank\": 512,"
                " \"qk_nope_head_dim\": 128, \"v_head_dim\": 128, \"num_experts\": 512, \"num_experts_per_tok\": 8,"
                " \"moe_intermediate_size\": 768, \"n_group\": 8, \"topk_group\": 4, \"rope_theta\": 6000000.0,"
                " \"linear_lower_bound\": -5.0}"};
