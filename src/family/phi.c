/* phi.c - Phi-3, 3.5, 4 and 4-mini: q, k, v in one matrix, gate and up in another, and rotations whose factors depend on
 * the length a text may reach (LongRoPE: Ding et al. 2024). Microsoft 2024. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    cfg_covered(c, "original_max_position_embeddings"); /* which a rotation that is not scaled does not need */
    a.qkv = "qkv_proj";
    a.window = cfg_int(c, "sliding_window", 0);
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    Ffn f = ffn_of(g, c);
    f.fused = "gate_up_proj";
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), f));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

const Family family_phi3 = {.name = "phi3", .build = build, .reply_format = "phi_4_mini", .since = "0.1", .golden = "phi3",
                            .covers = "Phi-3-mini, -medium, Phi-3.5-mini, Phi-4, Phi-4-mini",
                            .defaults = "{\"rms_norm_eps\": 1e-5, \"original_max_position_embeddings\": 4096}"};
