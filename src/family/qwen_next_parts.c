/* qwen_next_parts.c - see qwen_next_parts.h. Qwen team 2025, 2026. */
#include "family/qwen_next_parts.h"

static bool is_linear(const Graph *g, const Cfg *c, int i) {
    cfg_covered(c, "full_attention_interval");
    cfg_covered(c, "recurrent_layers");
    if (cfg_is_gguf(c)) /* whose interval is not always that of its layers */
        return has_tensor(g, "linear_attn.conv1d.weight");
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    const int interval = cfg_int(c, "full_attention_interval", 4);
    return interval < 1 || (i + 1) % interval != 0;
}

static Val attended(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    a.gate_in_q = cfg_bool(c, "attn_output_gate", true);
    return attention(g, x, a);
}

Val qwen_next_mixed(Graph *g, const Cfg *c, Val x, int i, bool fused) {
    const Val h = norm(g, x, "input_layernorm");
    if (is_linear(g, c, i)) {
        DeltaNet d = delta_net_of(g, c);
        if (cfg_is_gguf(c)) { /* q, k, v apart from the gate; Qwen3.5's value heads are in another order, too */
            d.tiled = !fused;
            d.fused_ba = fused;
        } else {
            d.fused_qkvz = d.fused_ba = fused;
        }
        return add(g, x, delta_net(g, h, d));
    }
    return add(g, x, attended(g, c, h));
}

Val qwen_next_experts(Graph *g, const Cfg *c, Val x, bool renormalise) {
    return moe(g, x,
               (Moe){.experts = cfg_need(c, "num_experts"),
                     .used = cfg_need(c, "num_experts_per_tok"),
                     .dim = cfg_need(c, "moe_intermediate_size"),
                     .score = SCORE_SOFTMAX,
                     .renormalise = renormalise,
                     .shared_dim = cfg_need(c, "shared_expert_intermediate_size"),
                     .shared = "shared_expert",
                     .shared_gate = "shared_expert_gate"});
}

/* A layer that predicts one token more: attention, and what the others have after it. */
static Val predicting(Graph *g, const Cfg *c, Val x, int i) {
    push(g, "mtp");
    linear(g, concat(g, norm(g, x, "pre_fc_norm_embedding"), norm(g, x, "pre_fc_norm_hidden")), "fc", width_of(g, x),
           false, SPLIT_NONE);
    norm(g, x, "norm");
    push(g, "layers.%d", i);
    x = add(g, x, attended(g, c, norm(g, x, "input_layernorm")));
    const Val h = norm(g, x, "post_attention_layernorm");
    x = add(g, x, cfg_has(c, "num_experts") ? qwen_next_experts(g, c, h, true) : ffn(g, h, ffn_of(g, c)));
    pop(g);
    pop(g);
    return x;
}

void qwen_next_build(Graph *g, const Cfg *c, BlockFn block) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block, (Decoder){0});
    const int silent = has_tensor(g, "mtp.fc.weight") ? 1 : 0; /* the older configurations do not say */
    predicting_layers_as(g, c, cfg_int(c, "mtp_num_hidden_layers", silent), "mtp.fc.weight", predicting);
}
