/* hunyuan.c - Hunyuan 1, dense and A13B: norms on the heads of q and k after their rotation, which is stretched by a
 * fixed factor. Tencent 2025. */
#include "graph/graph.h"

static Val attended(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    if (cfg_bool(c, "use_cla", false) || !cfg_bool(c, "use_rotary_pos_emb", true))
        cfg_refuse(c, "config.json: use_cla or use_rotary_pos_emb differ from those of the published models");
    cfg_covered(c, "cla_share_factor");
    if (cfg_bool(c, "use_qk_norm", true))
        a.q_norm = "query_layernorm", a.k_norm = "key_layernorm";
    a.norm_late = true;
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = attended(g, c, x);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static Val block_moe(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = attended(g, c, x);
    Moe m = moe_of(g, c);
    m.shared_dim = cfg_int(c, "shared_expert_intermediate_size", cfg_need(c, "intermediate_size"));
    if (!cfg_bool(c, "use_mixed_mlp_moe", true))
        m.shared_dim = 0;
    m.shared = "shared_mlp";
    m.router = "gate.wg";
    m.renormalise = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}
static void build_moe(Graph *g, const Cfg *c) {
    decoder(g, c, block_moe, (Decoder){0});
}

const Family family_hunyuan_v1_dense = {.name = "hunyuan_v1_dense",
                                        .build = build,
                                        .reply_format = "hunyuan_a13b",
                                        .since = "0.1",
                                        .golden = "hunyuan_v1_moe",
                                        .covers = "Hunyuan 0.5B, 1.8B, 4B, 7B",
                                        .defaults = "{\"rms_norm_eps\": 1e-5}"};
const Family family_hunyuan_v1_moe = {.name = "hunyuan_v1_moe",
                                      .build = build_moe,
                                      .reply_format = "hunyuan_a13b",
                                      .since = "0.1",
                                      .golden = "hunyuan_v1_moe",
                                      .covers = "Hunyuan-A13B",
                                      .defaults = "{\"rms_norm_eps\": 1e-5}"};
