/* minimax_m2.c - MiniMax M2: norms over all heads of q and k together, a part of each head rotated, experts chosen by
 * sigmoids with a correction. MiniMax 2025. */
#include "graph/graph.h"

#include <string.h>

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    if (cfg_int_at(c, "attn_type_list", i, 1) != 1)
        cfg_refuse(c, "config.json: mixer %d of attn_type_list is not known; layer %d uses it", cfg_int_at(c, "attn_type_list", i, 1), i);
    if (cfg_bool(c, "use_qk_norm", true))
        a.q_norm = "q_norm", a.k_norm = "k_norm";
    a.norm_whole = true;
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    Moe m = moe_of(g, c);
    m.score = score_of(c, SCORE_SIGMOID);
    m.correction = cfg_bool(c, "use_routing_bias", true) ? "e_score_correction_bias" : NULL;
    m.renormalise = true;
    m.scope = "block_sparse_moe";
    m.expert_w = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static void build(Graph *g, const Cfg *c) {
    static const char *const of_predictors[] = {"use_mtp", "num_mtp_modules", "mtp_transformer_layers"};
    for (int i = 0; i < 3; i++)
        cfg_covered(c, of_predictors[i]);
    if (strcmp(cfg_str(c, "qk_norm_type", "per_layer"), "per_layer") != 0 || cfg_int(c, "shared_intermediate_size", 0) != 0)
        cfg_refuse(c, "config.json: norms of single heads or shared experts, which no published model of this family has");
    cfg_covered(c, "shared_moe_mode");
    decoder(g, c, block, (Decoder){0});
}

const Family family_minimax_m2 = {
    .name = "minimax_m2", .build = build, .reply_format = "minimax_m2", .since = "0.1", .golden = "minimax_m2",
    .covers = "MiniMax-M2, M2.1, M2.5", .defaults = "{\"head_dim\": 128, \"num_key_value_heads\": 8, \"rope_theta\": 5e6}"};
