/* hy_v3.c - HY 3: norms on the heads of q and k before their rotation, experts chosen by sigmoids with a correction.
 * Tencent 2026. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    const Val h = norm(g, x, "post_attention_layernorm");
    const bool sparse = cfg_is_gguf(c) ? has_tensor(g, "mlp.router.gate.weight") : layer_is_sparse(c, i);
    if (!sparse)
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    Moe m = moe_of(g, c);
    m.score = score_of(c, SCORE_SIGMOID);
    m.correction = "expert_bias";
    m.renormalise = true;
    m.renormalise_eps = 1e-20f;
    m.router = "router.gate";
    m.shared = "shared_mlp";
    return add(g, x, moe(g, h, m));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}

const Family family_hy_v3 = {
    .name = "hy_v3",
    .build = build,
    .reply_format = "hy_v3 hy_v3_preview",
    .since = "0.1",
    .golden = "hy_v3",
    .covers = "HY 3",
    .defaults =
        "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-5, \"rope_theta\": 11158840.0,"
        " \"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts\": 192, \"num_experts_per_tok\": 8,"
        " \"moe_intermediate_size\": 1536, \"routed_scaling_factor\": 2.826}"};
