/* bailing_hybrid.c - Ling 3: Kimi delta attention (bounded decay, whole gates) and latent attention (rotated keys, a
 * gate for each head), with experts. Ant Group 2026. */
#include "family/kda_parts.h"

static bool is_delta(const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return kda_has_no_keys(c, i);
    const int every = cfg_int(c, "layer_group_size", 6);
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    return every < 1 || (i + 1) % every != 0;
}

/* Ling 2.5 and 2.6 and their Ring models go by the same model_type. */
static void refuse_lightning(const Cfg *c) {
    cfg_refuse(c, "config.json: of bailing_hybrid, Ling 3 with Kimi delta attention is known, not models with "
                  "lightning attention");
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (!is_delta(c, i)) {
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

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "input_layernorm"), i));
    const Val h = norm(g, x, "post_attention_layernorm");
    if (!layer_is_sparse(c, i))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x, kda_experts(g, c, h, (Moe){.correction = "gate.expert_bias"}));
}

static void build(Graph *g, const Cfg *c) {
    static const char *const again[] = {"short_conv_kernel_size",
                                        "rope_theta"}; /* what other keys say, where both are there */
    for (size_t i = 0; i < COUNT(again); i++)
        (void)cfg_has(c, again[i]);
    if (cfg_has(c, "group_norm_size"))
        refuse_lightning(c);
    if (cfg_bool(c, "use_kda_lora", false))
        cfg_refuse(c, "config.json: use_kda_lora is not known for this family");
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}

const Family family_bailing_hybrid = {
    .name = "bailing_hybrid",
    .build = build,
    .reply_format = "glm_4_6 qwen3",
    .since = "0.1",
    .golden = "bailing_hybrid",
    .covers = "Ling 3",
    .defaults =
        "{\"rms_norm_eps\": 1e-6, \"first_k_dense_replace\": 2, \"routed_scaling_factor\": 2.5, \"kv_lora_rank\": 512,"
        " \"qk_nope_head_dim\": 128, \"v_head_dim\": 128, \"num_experts\": 512, \"num_experts_per_tok\": 8,"
        " \"moe_intermediate_size\": 768, \"n_group\": 8, \"topk_group\": 4, \"rope_theta\": 6000000.0,"
        " \"linear_lower_bound\": -5.0}"};
