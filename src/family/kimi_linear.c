/* kimi_linear.c - Kimi Linear: three layers of Kimi delta attention to one of latent attention without positions, with
 * experts. Kimi team 2025. */
#include "family/kda_parts.h"

static bool is_delta(const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return kda_has_no_keys(c, i);
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    if (cfg_has(c, "linear_attn_config.full_attn_layers")) { /* counted from 1 */
        (void)cfg_has(c, "linear_attn_config.kda_layers");
        return !cfg_list_has(c, "linear_attn_config.full_attn_layers", i + 1);
    }
    return i == 0 || i % 4 != 0;
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (is_delta(c, i)) {
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

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "input_layernorm"), i));
    const Val h = norm(g, x, "post_attention_layernorm");
    const int every = cfg_int(c, "moe_layer_freq", 1);
    const bool listed = cfg_has(c, "mlp_layer_types");
    if (!layer_is_sparse(c, i) || (!listed && every > 1 && i % every != 0))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x,
               kda_experts(
                   g, c, h,
                   (Moe){.scope = "block_sparse_moe", .expert_w = true, .correction = "gate.e_score_correction_bias"}));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_kimi_linear = {
    .name = "kimi_linear",
    .build = build,
    .reply_format = "kimi_k2",
    .since = "0.1",
    .golden = "kimi_linear",
    .covers = "Kimi-Linear-48B-A3B",
    .defaults = "{\"rms_norm_eps\": 1e-5, \"first_k_dense_replace\": 1, \"routed_scaling_factor\": 2.446, "
                "\"kv_lora_rank\": 512,"
                " \"qk_nope_head_dim\": 128, \"v_head_dim\": 128, \"num_experts\": 256, \"num_experts_per_tok\": 8,"
                " \"moe_intermediate_size\": 1024}"};
