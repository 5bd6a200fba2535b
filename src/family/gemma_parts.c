/* gemma_parts.c - see gemma_parts.h. Gemma team 2024, 2025. */
#include "family/gemma_parts.h"

#include <math.h>

float gemma_scale(const Cfg *c, const Attn *a, int layers_of_27b) {
    const bool large = cfg_is_gguf(c) && cfg_need(c, "num_hidden_layers") == layers_of_27b;
    const int otherwise = large ? cfg_need(c, "hidden_size") / a->heads : a->head_dim;
    return 1 / sqrtf(cfg_real(c, "query_pre_attn_scalar", (float)otherwise));
}

Val gemma_halves(Graph *g, const Cfg *c, Val x, Attn a) {
    x = add(g, x, norm(g, attention(g, norm(g, x, "input_layernorm"), a), "post_attention_layernorm"));
    Ffn f = ffn_of(g, c);
    f.act = ACT_GELU_TANH;
    return add(g, x, norm(g, ffn(g, norm(g, x, "pre_feedforward_layernorm"), f), "post_feedforward_layernorm"));
}

void gemma_build(Graph *g, const Cfg *c, BlockFn block) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block,
            (Decoder){.embed_scale = sqrtf((float)cfg_need(c, "hidden_size")),
                      .softcap = cfg_real(c, "final_logit_softcapping", 0)});
}
