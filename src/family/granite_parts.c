/* granite_parts.c - see granite_parts.h. IBM 2024, 2025. */
#include "family/granite_parts.h"

Attn granite_attn(Graph *g, const Cfg *c) {
    Attn a = attn_of(g, c);
    a.scale = cfg_real(c, "attention_multiplier", 0);
    return a;
}

Val granite_add(Graph *g, const Cfg *c, Val x, Val y) {
    return add(g, x, scale(g, y, cfg_real(c, "residual_multiplier", 1)));
}

Val granite_experts(Graph *g, const Cfg *c, Val x) {
    const bool sparse = cfg_int(c, "num_experts", 0) > 0;
    Ffn f = {
        .act = act_of(g, c, "hidden_act"), .scope = "shared_mlp", .fused = "input_linear", .down = "output_linear"};
    f.dim = cfg_int(c, "shared_intermediate_size", cfg_int(c, "shared_expert_intermediate_size", 0));
    if (cfg_is_gguf(c)) {
        f.fused = f.down = NULL;
        f.scope = sparse ? "shared_mlp" : "mlp";
        f.dim = f.dim > 0 ? f.dim : cfg_need_at(c, "intermediate_size", 0);
    }
    if (!sparse)
        return ffn(g, x, f);
    Moe m = moe_of(g, c);
    m.score = SCORE_SOFTMAX_TOPK;
    m.scope = "block_sparse_moe";
    m.router = "router.layer";
    m.experts_scope = cfg_is_gguf(c) ? NULL : "";
    m.stacked_up = "input_linear.weight";
    m.stacked_down = "output_linear.weight";
    m.shared_dim = 0;
    const Val y = moe(g, x, m);
    return f.dim > 0 ? add(g, y, ffn(g, x, f)) : y;
}

void granite_build(Graph *g, const Cfg *c, BlockFn block) {
    const float divisor = cfg_real(c, "logits_scaling", cfg_real(c, "logit_scale", 1)); /* the latter in GGUF files */
    decoder(g, c, block, (Decoder){.embed_scale = cfg_real(c, "embedding_multiplier", 1), .logit_scale = 1 / divisor});
}
