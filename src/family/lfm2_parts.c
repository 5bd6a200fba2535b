/* lfm2_parts.c - see lfm2_parts.h. Liquid AI 2025. */
#include "family/lfm2_parts.h"

static bool is_attention(const Cfg *c, int i) {
    if (cfg_has(c, "layer_types"))
        return !layer_is(c, i, cfg_is_gguf(c) ? "linear_attention" : "conv");
    return !cfg_has(c, "full_attn_idxs") || cfg_list_has(c, "full_attn_idxs", i);
}

Val lfm2_mixed(Graph *g, const Cfg *c, Val x, int i) {
    const Val h = norm(g, x, "operator_norm");
    if (!is_attention(c, i))
        return add(
            g, x,
            short_conv(g, h,
                       (ShortConv){.taps = cfg_int(c, "conv_L_cache", 3), .bias = cfg_bool(c, "conv_bias", false)}));
    Attn a = attn_of(g, c);
    a.q_norm = "q_layernorm";
    a.k_norm = "k_layernorm";
    a.out = "out_proj";
    return add(g, x, attention(g, h, a));
}

Val lfm2_forward(Graph *g, Val x, int dim) {
    return ffn(g, x,
               (Ffn){.dim = dim, .act = ACT_SILU, .gate = "w1", .up = "w3", .down = "w2", .scope = "feed_forward"});
}

void lfm2_build(Graph *g, const Cfg *c, BlockFn block) {
    decoder(g, c, block, (Decoder){.norm = "embedding_norm"});
}
