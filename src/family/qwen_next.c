/* qwen_next.c - Qwen3-Next and Qwen3.5: three gated delta nets to one attention layer whose output is gated; norms are
 * (1 + w), except the one inside the delta net. Qwen team 2025, 2026. */
#include "graph/graph.h"

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

static Val mix(Graph *g, const Cfg *c, Val x, int i, bool fused) {
    if (is_linear(g, c, i)) {
        DeltaNet d = delta_net_of(g, c);
        if (cfg_is_gguf(c)) { /* q, k, v apart from the gate; Qwen3.5's value heads are in another order, too */
            d.tiled = !fused;
            d.fused_ba = fused;
        } else {
            d.fused_qkvz = d.fused_ba = fused;
        }
        return delta_net(g, x, d);
    }
    return attended(g, c, x);
}

static Val experts(Graph *g, const Cfg *c, Val x, bool renormalise) {
    return moe(g, x, (Moe){.experts = cfg_need(c, "num_experts"), .used = cfg_need(c, "num_experts_per_tok"),
                           .dim = cfg_need(c, "moe_intermediate_size"), .score = SCORE_SOFTMAX, .renormalise = renormalise,
                           .shared_dim = cfg_need(c, "shared_expert_intermediate_size"), .shared = "shared_expert",
                           .shared_gate = "shared_expert_gate"});
}

static Val block_next(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "input_layernorm"), i, true));
    const Val h = norm(g, x, "post_attention_layernorm");
    const int step = cfg_int(c, "decoder_sparse_step", 1);
    if (cfg_list_has(c, "mlp_only_layers", i) || step < 1 || (i + 1) % step != 0)
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x, experts(g, c, h, cfg_bool(c, "norm_topk_prob", true)));
}

static Val block_dense(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "input_layernorm"), i, false));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static Val block_moe(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, mix(g, c, norm(g, x, "input_layernorm"), i, false));
    return add(g, x, experts(g, c, norm(g, x, "post_attention_layernorm"), true));
}

/* A layer that predicts one token more: attention, and what the others have after it. */
static Val predicting(Graph *g, const Cfg *c, Val x, int i) {
    push(g, "mtp");
    linear(g, concat(g, norm(g, x, "pre_fc_norm_embedding"), norm(g, x, "pre_fc_norm_hidden")), "fc", width_of(g, x), false, SPLIT_NONE);
    norm(g, x, "norm");
    push(g, "layers.%d", i);
    x = add(g, x, attended(g, c, norm(g, x, "input_layernorm")));
    const Val h = norm(g, x, "post_attention_layernorm");
    x = add(g, x, cfg_has(c, "num_experts") ? experts(g, c, h, true) : ffn(g, h, ffn_of(g, c)));
    pop(g);
    pop(g);
    return x;
}

#define DEFAULTS "{\"partial_rotary_factor\": 0.25, \"head_dim\": 256}"

static void build(Graph *g, const Cfg *c, BlockFn block) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block, (Decoder){0});
    const int silent = has_tensor(g, "mtp.fc.weight") ? 1 : 0; /* the older configurations do not say */
    predicting_layers_as(g, c, cfg_int(c, "mtp_num_hidden_layers", silent), "mtp.fc.weight", predicting);
}

static void build_next(Graph *g, const Cfg *c) { build(g, c, block_next); }
static void build_dense(Graph *g, const Cfg *c) { build(g, c, block_dense); }
static void build_moe(Graph *g, const Cfg *c) { build(g, c, block_moe); }

const Family family_qwen3_next = {.name = "qwen3_next", .build = build_next, .reply_format = "qwen3 qwen3_coder", .since = "0.1",
                                  .golden = "qwen3_next", .covers = "Qwen3-Next-80B-A3B, Qwen3-Coder-Next", .defaults = DEFAULTS};
const Family family_qwen3_5 = {.name = "qwen3_5", .build = build_dense, .reply_format = "qwen3_5", .since = "0.1",
                               .golden = "qwen3_5", .covers = "Qwen3.5 dense", .defaults = DEFAULTS};
const Family family_qwen3_5_text = {.name = "qwen3_5_text", .build = build_dense, .reply_format = "qwen3_5", .since = "0.1",
                                    .golden = "qwen3_5_text", .covers = "Qwen3.5 dense, text only", .defaults = DEFAULTS};
const Family family_qwen3_5_moe = {.name = "qwen3_5_moe", .build = build_moe, .reply_format = "qwen3_5", .since = "0.1",
                                   .golden = "qwen3_5_moe", .covers = "Qwen3.5-35B-A3B, 122B-A10B, 397B-A17B", .defaults = DEFAULTS};
const Family family_qwen3_5_moe_text = {.name = "qwen3_5_moe_text", .build = build_moe, .reply_format = "qwen3_5",
                                        .since = "0.1", .golden = "qwen3_5_moe_text", .covers = "Qwen3.5 MoE, text only", .defaults = DEFAULTS};
