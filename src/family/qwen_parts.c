/* qwen_parts.c - see qwen_parts.h. Yang et al. 2024, 2025. */
#include "family/qwen_parts.h"

Attn qwen_attn(Graph *g, const Cfg *c, int i) {
    Attn a = attn_of(g, c);
    const bool listed = cfg_has(c, "layer_types"), local = layer_is(c, i, "sliding_attention");
    cfg_covered(c, "sliding_window");
    if (cfg_bool(c, "use_sliding_window", false) && (listed ? local : i >= cfg_int(c, "max_window_layers", 0)))
        a.window = cfg_int(c, "sliding_window", 0);
    return a;
}

Val qwen2_attended(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = qwen_attn(g, c, i);
    a.qkv_bias = cfg_bool(c, "qkv_bias", true);
    a.out_bias = false;
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

Val qwen3_attended(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = qwen_attn(g, c, i);
    if (!cfg_bool(c, "use_qk_norm", true))
        cfg_refuse(c, "config.json: use_qk_norm is false, which no published model of this family has");
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

bool qwen_is_sparse(const Cfg *c, int i) {
    const int step = cfg_int(c, "decoder_sparse_step", 1);
    return !cfg_list_has(c, "mlp_only_layers", i) && step > 0 && (i + 1) % step == 0;
}
