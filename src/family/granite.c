/* granite.c - Granite 3 and 4: Llama with four fixed multipliers, of the embedding, the scores, what each half adds,
 * and the logits; with experts, too. Granite 4 H: Mamba-2 in most layers, attention usually without positions, experts
 * beside a block for all tokens. IBM 2024, 2025. */
#include "graph/graph.h"

#include <string.h>

static Attn attn(Graph *g, const Cfg *c) {
    Attn a = attn_of(g, c);
    a.scale = cfg_real(c, "attention_multiplier", 0);
    return a;
}

static Val block_dense(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    const float part = cfg_real(c, "residual_multiplier", 1);
    x = add(g, x, scale(g, attention(g, norm(g, x, "input_layernorm"), attn(g, c)), part));
    return add(g, x, scale(g, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)), part));
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (layer_is(c, i, "linear_attention") || !cfg_has(c, "layer_types")) {
        Mamba m = mamba_of(g, c);
        m.bias = cfg_bool(c, "mamba_proj_bias", false);
        m.act = act_of(g, c, "hidden_act");
        return mamba(g, x, m);
    }
    Attn a = attn(g, c);
    /* GGUF files say it by a key that means something else elsewhere. */
    const bool placed = cfg_is_gguf(c) ? cfg_bool(c, "rope_finetuned", true)
                                       : strcmp(cfg_str(c, "position_embedding_type", ""), "rope") == 0;
    if (!placed)
        a.rope.dim = 0;
    return attention(g, x, a);
}

/* Experts, when there are any, and the block for all tokens; gate and up are one tensor, except in GGUF files. */
static Val experts(Graph *g, const Cfg *c, Val x) {
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

static Val block_hybrid(Graph *g, const Cfg *c, Val x, int i) {
    const float part = cfg_real(c, "residual_multiplier", 1);
    x = add(g, x, scale(g, mix(g, c, norm(g, x, "input_layernorm"), i), part));
    return add(g, x, scale(g, experts(g, c, norm(g, x, "post_attention_layernorm")), part));
}

static Val block_moe(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    const float part = cfg_real(c, "residual_multiplier", 1);
    x = add(g, x, scale(g, attention(g, norm(g, x, "input_layernorm"), attn(g, c)), part));
    return add(g, x, scale(g, experts(g, c, norm(g, x, "post_attention_layernorm")), part));
}

static void build(Graph *g, const Cfg *c, BlockFn block) {
    const float divisor = cfg_real(c, "logits_scaling", cfg_real(c, "logit_scale", 1)); /* the latter in GGUF files */
    decoder(g, c, block, (Decoder){.embed_scale = cfg_real(c, "embedding_multiplier", 1), .logit_scale = 1 / divisor});
}

static void build_dense(Graph *g, const Cfg *c) {
    build(g, c, block_dense);
}
static void build_moe(Graph *g, const Cfg *c) {
    build(g, c, block_moe);
}

static void build_hybrid(Graph *g, const Cfg *c) {
    /* Models without states have the keys all the same. */
    static const char *const of_states[] = {"mamba_n_heads",   "mamba_n_groups",  "mamba_d_state",
                                            "mamba_d_head",    "mamba_d_conv",    "mamba_expand",
                                            "mamba_conv_bias", "mamba_proj_bias", "time_step_limit"};
    for (size_t k = 0; k < COUNT(of_states); k++)
        (void)cfg_has(c, of_states[k]);
    build(g, c, block_hybrid);
}

const Family family_granite = {.name = "granite",
                               .build = build_dense,
                               .reply_format = "granite_3 qwen2_5",
                               .since = "0.1",
                               .golden = "granite",
                               .covers = "Granite 3.0 to 3.3, Granite 4.0 dense",
                               .defaults = "{\"attention_multiplier\": 1.0}"};
#define MOE_DEFAULTS "{\"attention_multiplier\": 1.0, \"num_experts\": 8, \"num_experts_per_tok\": 2"
const Family family_granitemoe = {.name = "granitemoe",
                                  .build = build_moe,
                                  .reply_format = "granite_3",
                                  .since = "0.1",
                                  .golden = "granitemoehybrid",
                                  .covers = "Granite 3.0 and 3.1 1B-A400M, 3B-A800M",
                                  .defaults = MOE_DEFAULTS "}"};
const Family family_granitemoeshared = {.name = "granitemoeshared",
                                        .build = build_moe,
                                        .reply_format = "granite_3 qwen2_5",
                                        .since = "0.1",
                                        .golden = "granitemoehybrid",
                                        .covers = "Granite with shared experts",
                                        .defaults = MOE_DEFAULTS "}"};
const Family family_granitemoehybrid = {
    .name = "granitemoehybrid",
    .build = build_hybrid,
    .reply_format = "qwen2_5",
    .since = "0.1",
    .golden = "granitemoehybrid",
    .covers = "Granite 4.0 H-Micro, H-Tiny, H-Small, Micro, 1B and 350M",
    .defaults = MOE_DEFAULTS ", \"mamba_n_heads\": 128, \"mamba_d_state\": 256, \"shared_intermediate_size\": 1024}"};
