/* glm4.c - GLM-4 0414 and Z1: norms before and after each half, half of each head rotated in adjacent pairs. GLM team
 * 2024. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.out_bias = false;
    a.rope.interleaved = true;
    x = add(g, x, norm(g, attention(g, norm(g, x, "input_layernorm"), a), "post_self_attn_layernorm"));
    Ffn f = ffn_of(g, c);
    f.fused = "gate_up_proj";
    return add(g, x, norm(g, ffn(g, norm(g, x, "post_attention_layernorm"), f), "post_mlp_layernorm"));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_glm4 = {
    .name = "glm4",
    .build = build,
    .reply_format = "glm_4_0414",
    .since = "0.1",
    .golden = "glm4",
    .covers = "GLM-4-9B-0414, GLM-4-32B-0414, GLM-Z1",
    .defaults =
        "{\"head_dim\": 128, \"attention_bias\": true, \"partial_rotary_factor\": 0.5, \"rms_norm_eps\": 1.5625e-7}"};
