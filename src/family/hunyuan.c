/* hunyuan.c - Hunyuan 1 (dense and A13B: norms on the heads of q and k after their rotation, which is stretched by a fixed
 * factor) and HY 3 (norms before it, experts chosen by sigmoids with a correction). Tencent 2025. */
#include "graph/graph.h"

static Val attended1(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    if (cfg_bool(c, "use_cla", false) || !cfg_bool(c, "use_rotary_pos_emb", true))
        cfg_refuse(c, "config.json: use_cla or use_rotary_pos_emb differ from those of the published models");
    cfg_covered(c, "cla_share_factor");
    if (cfg_bool(c, "use_qk_norm", true))
        a.q_norm = "query_layernorm", a.k_norm = "key_layernorm";
    a.norm_late = true;
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

static Val block1(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = attended1(g, c, x);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static Val block1_moe(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = attended1(g, c, x);
    Moe m = moe_of(g, c);
    m.shared_dim = cfg_int(c, "shared_expert_intermediate_size", cfg_need(c, "intermediate_size"));
    if (!cfg_bool(c, "use_mixed_mlp_moe", true))
        m.shared_dim = 0;
    m.shared = "shared_mlp";
    m.router = "gate.wg";
    m.renormalise = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static Val block3(Graph *g, const Cfg *c, Val x, int i) {
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

static void build1(Graph *g, const Cfg *c) { decoder(g, c, block1, (Decoder){0}); }
static void build1_moe(Graph *g, const Cfg *c) { decoder(g, c, block1_moe, (Decoder){0}); }

static void build3(Graph *g, const Cfg *c) {
    decoder(g, c, block3, (Decoder){0});
    predicting_layers(g, c, block3);
}

const Family family_hunyuan_v1_dense = {.name = "hunyuan_v1_dense", .build = build1, .reply_format = "hunyuan_a13b", .since = "0.1",
                                        .golden = "hunyuan_v1_moe", .covers = "Hunyuan 0.5B, 1.8B, 4B, 7B",
                                        .defaults = "{\"rms_norm_eps\": 1e-5}"};
const Family family_hunyuan_v1_moe = {.name = "hunyuan_v1_moe", .build = build1_moe, .reply_format = "hunyuan_a13b", .since = "0.1",
                                      .golden = "hunyuan_v1_moe", .covers = "Hunyuan-A13B",
                                      .defaults = "{\"rms_norm_eps\": 1e-5}"};
const Family family_hy_v3 = {
    .name = "hy_v3", .build = build3, .reply_format = "hy_v3 hy_v3_preview", .since = "0.1", .golden = "hy_v3", .covers = "HY 3",
    .defaults = "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-5, \"rope_theta\": 11158840.0,"
                " \"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts\": 192, \"num_experts_per_tok\": 8,"
                " \"moe_intermediate_size\": 1536, \"routed_scaling_factor\": 2.826}"};
