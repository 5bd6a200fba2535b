/* glm4_moe.c - GLM-4.5 to 4.7: experts chosen by sigmoids with a correction, half of each head rotated. GLM team 2025.
 */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    a.out_bias = false;
    if (cfg_bool(c, "use_qk_norm", cfg_is_gguf(c) && has_tensor(g, "self_attn.q_norm.weight"))) {
        a.q_norm = "q_norm";
        a.k_norm = "k_norm";
    }
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    const Val h = norm(g, x, "post_attention_layernorm");
    if (!layer_is_sparse(c, i))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    Moe m = moe_of(g, c);
    m.score = score_of(c, SCORE_SIGMOID);
    m.correction = "gate.e_score_correction_bias";
    m.group_by_top2 = true;
    m.renormalise_eps = 1e-20f;
    return add(g, x, moe(g, h, m));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}

const Family family_glm4_moe = {.name = "glm4_moe",
                                .build = build,
                                .reply_format = "glm_4_6",
                                .since = "0.1",
                                .golden = "glm4_moe",
                                .covers = "GLM-4.5, GLM-4.5-Air, GLM-4.6, GLM-4.7",
                                .defaults = "{\"partial_rotary_factor\": 0.5, \"rms_norm_eps\": 1e-5, "
                                            "\"n_shared_experts\": 1, \"first_k_dense_replace\": 1,"
                                            " \"norm_topk_prob\": true, \"num_nextn_predict_layers\": 1}"};
