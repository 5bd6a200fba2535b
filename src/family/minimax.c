/* minimax.c - MiniMax-Text-01 and M1: seven layers of lightning attention to one of softmax attention, experts in all.
 * What goes on beside a block is its normalised input, and both parts are weighted. The first published configurations
 * have names of their own for most keys. MiniMax 2025. */
#include "graph/graph.h"

static bool is_linear(const Cfg *c, int i) {
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "linear_attention");
    if (cfg_has(c, "attn_type_list")) /* as first published */
        return cfg_int_at(c, "attn_type_list", i, 0) == 0;
    const int every = cfg_int(c, "full_attention_interval", 2);
    return every < 1 || (i + 1) % every != 0;
}

/* alpha beside + beta block, under the keys' newer or first published names */
static Val joined(Graph *g, const Cfg *c, Val beside, Val block, const char *const keys[4]) {
    const float all = cfg_real(c, "residual_multiplier", 1); /* GGUF files have one for all alphas */
    const float alpha = cfg_real(c, keys[0], cfg_real(c, keys[1], all)),
                beta = cfg_real(c, keys[2], cfg_real(c, keys[3], 1));
    return add(g, scale(g, beside, alpha), scale(g, block, beta));
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    if (is_linear(c, i))
        return lightning(
            g, x,
            (Lightning){
                .heads = a.heads, .head_dim = a.head_dim, .norm_eps = 1e-6f, .act = act_of(g, c, "hidden_act")});
    a.window = cfg_int(c, "sliding_window", 0);
    return attention(g, x, a);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    static const char *const linear[] = {"linear_attn_alpha_factor", "layernorm_linear_attention_alpha",
                                         "linear_attn_beta_factor", "layernorm_linear_attention_beta"};
    static const char *const full[] = {"full_attn_alpha_factor", "layernorm_full_attention_alpha",
                                       "full_attn_beta_factor", "layernorm_full_attention_beta"};
    static const char *const mlp[] = {"mlp_alpha_factor", "layernorm_mlp_alpha", "mlp_beta_factor",
                                      "layernorm_mlp_beta"};
    const bool normed = cfg_bool(c, "postnorm", true);
    Moe m = moe_of(g, c);
    m.score = SCORE_SOFTMAX;
    m.renormalise = true;
    m.scope = "block_sparse_moe";
    m.expert_w = true;
    Val h = norm(g, x, "input_layernorm");
    x = joined(g, c, normed ? h : x, mix(g, c, h, i), is_linear(c, i) ? linear : full);
    h = norm(g, x, "post_attention_layernorm");
    return joined(g, c, normed ? h : x, moe(g, h, m), mlp);
}

static void build(Graph *g, const Cfg *c) {
    if (cfg_int_at(c, "shared_intermediate_size", 0, 0) > 0)
        cfg_refuse(c, "config.json: shared_intermediate_size: experts for all tokens are not known in this family");
    decoder(g, c, block, (Decoder){0});
}

#define DEFAULTS                                                                                                       \
    "{\"rope_theta\": 1e6, \"num_key_value_heads\": 8, \"num_local_experts\": 8, \"num_experts_per_tok\": 2}"

const Family family_minimax = {.name = "minimax",
                               .build = build,
                               .reply_format = "minimax_m1",
                               .since = "0.1",
                               .golden = "minimax",
                               .covers = "MiniMax-Text-01 (hf)",
                               .defaults = DEFAULTS};
const Family family_minimax_text_01 = {.name = "minimax_text_01",
                                       .build = build,
                                       .reply_format = "minimax_m1",
                                       .since = "0.1",
                                       .golden = "minimax",
                                       .covers = "MiniMax-Text-01, MiniMax-VL-01 (text)",
                                       .defaults = DEFAULTS};
const Family family_minimax_m1 = {.name = "minimax_m1",
                                  .build = build,
                                  .reply_format = "minimax_m1",
                                  .since = "0.1",
                                  .golden = "minimax",
                                  .covers = "MiniMax-M1-40k, M1-80k",
                                  .defaults = DEFAULTS};
