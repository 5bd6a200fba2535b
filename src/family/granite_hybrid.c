/* granite_hybrid.c - Granite 4 H: Mamba-2 in most layers, attention usually without positions, experts beside a block
 * for all tokens. IBM 2025. */
#include "family/granite_parts.h"

#include <string.h>

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (layer_is(c, i, "linear_attention") || !cfg_has(c, "layer_types")) {
        Mamba m = mamba_of(g, c);
        m.bias = cfg_bool(c, "mamba_proj_bias", false);
        m.act = act_of(g, c, "hidden_act");
        return mamba(g, x, m);
    }
    Attn a = granite_attn(g, c);
    /* GGUF files say it by a key that means something else elsewhere. */
    const bool placed = cfg_is_gguf(c) ? cfg_bool(c, "rope_finetuned", true)
                                       : strcmp(cfg_str(c, "position_embedding_type", ""), "rope") == 0;
    if (!placed)
        a.rope.dim = 0;
    return attention(g, x, a);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = granite_add(g, c, x, mix(g, c, norm(g, x, "input_layernorm"), i));
    return granite_add(g, c, x, granite_experts(g, c, norm(g, x, "post_attention_layernorm")));
}

static void build(Graph *g, const Cfg *c) {
    /* Models without states have the keys all the same. */
    static const char *const of_states[] = {"mamba_n_heads",   "mamba_n_groups",  "mamba_d_state",
                                            "mamba_d_head",    "mamba_d_conv",    "mamba_expand",
                                            "mamba_conv_bias", "mamba_proj_bias", "time_step_limit"};
    for (size_t k = 0; k < COUNT(of_states); k++)
        (void)cfg_has(c, of_states[k]);
    granite_build(g, c, block);
}

const Family family_granitemoehybrid = {
    .name = "granitemoehybrid",
    .build = build,
    .reply_format = "qwen2_5",
    .since = "0.1",
    .golden = "granitemoehybrid",
    .covers = "Granite 4.0 H-Micro, H-Tiny, H-Small, Micro, 1B and 350M",
    .defaults = "{\"attention_multiplier\": 1.0, \"num_experts\": 8, \"num_experts_per_tok\": 2,"
                " \"mamba_n_heads\": 128, \"mamba_d_state\": 256, \"shared_intermediate_size\": 1024}"};
