/* minimax_m2.c - MiniMax M2: norms over all heads of q and k together, a part of each head rotated, experts chosen by
 * sigmoids with a correction. MiniMax 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    a.norm_whole = true;
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    Moe m = moe_of(g, c);
    m.score = score_of(c, SCORE_SIGMOID);
    m.correction = "e_score_correction_bias";
    m.renormalise = true;
    m.scope = "block_sparse_moe";
    m.expert_w = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

const Family family_minimax_m2 = {
    .name = "minimax_m2", .build = build, .reply_format = "minimax_m2", .since = "0.1", .golden = "minimax_m2",
    .covers = "MiniMax-M2, M2.1, M2.5", .defaults = "{\"head_dim\": 128, \"num_key_value_heads\": 8, \"rope_theta\": 5e6}"};
