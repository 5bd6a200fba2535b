/* latent.c - see latent.h. DeepSeek-AI 2024 (V2, V3), 2025 (V3.2). */
#include "family/latent.h"

#include <math.h>
#include <string.h>

/* `m` has what the family does where its configuration is silent. */
static Moe moe_amended(Graph *g, const Cfg *c, Moe m) {
    m.experts = cfg_need(c, "num_experts");
    m.used = cfg_need(c, "num_experts_per_tok");
    m.dim = cfg_need(c, "moe_intermediate_size");
    m.shared_dim = m.dim * cfg_int(c, "n_shared_experts", 1);
    m.groups = cfg_int(c, "n_group", m.groups);
    m.groups_used = cfg_int(c, "topk_group", m.groups_used);
    m.scale = cfg_real(c, "routed_scaling_factor", m.scale);
    m.renormalise = cfg_bool(c, "norm_topk_prob", m.renormalise);
    m.renormalise_eps = 1e-20f;
    m.score = score_of(c, m.score);
    m.glu.act = act_of(g, c, "hidden_act");
    /* How experts are chosen: "greedy" knows no groups, "noaux_tc" judges a group by its two best and corrects scores.
     */
    const char *method = cfg_str(c, "topk_method", NULL);
    if (method == NULL && cfg_is_gguf(c))
        method = m.score == SCORE_SIGMOID ? "noaux_tc" : "group_limited_greedy";
    if (method != NULL) {
        if (strcmp(method, "greedy") != 0 && strcmp(method, "group_limited_greedy") != 0 &&
            strcmp(method, "noaux_tc") != 0)
            cfg_refuse(c, "config.json: topk_method %s is not known", method);
        if (strcmp(method, "greedy") == 0)
            m.groups = 0;
        m.group_by_top2 = strcmp(method, "noaux_tc") == 0;
        m.correction = strcmp(method, "noaux_tc") == 0 ? "gate.e_score_correction_bias" : NULL;
    }
    if (cfg_is_gguf(c) && !has_tensor(g, "mlp.gate.e_score_correction_bias"))
        m.correction = NULL;
    return m;
}

static bool is_dense(const Cfg *c, int i, int first) {
    cfg_covered(c, "first_k_dense_replace");
    if (cfg_has(c, "mlp_layer_types"))
        return !layer_ffn_is(c, i, "sparse");
    const int every = cfg_int(c, "moe_layer_freq", 1);
    return i < cfg_int(c, "first_k_dense_replace", first) || (every > 1 && i % every != 0);
}

Val latent_block(Graph *g, const Cfg *c, Val x, int i, Mla m, Moe e, int first_dense) {
    x = add(g, x, mla(g, norm(g, x, "input_layernorm"), m));
    const Val h = norm(g, x, "post_attention_layernorm");
    return add(g, x, is_dense(c, i, first_dense) ? ffn(g, h, ffn_of(g, c)) : moe(g, h, moe_amended(g, c, e)));
}

const Moe latent_moe = {.groups = 1,
                        .groups_used = 1,
                        .group_by_top2 = true,
                        .score = SCORE_SIGMOID,
                        .renormalise = true,
                        .scale = 2.5f,
                        .correction = "gate.e_score_correction_bias"};

Val latent_index(Graph *g, const Cfg *c, Val x, Val low, int heads, bool interleaved) {
    heads = cfg_int(c, "index_n_heads", heads);
    const int dim = cfg_int(c, "index_head_dim", 128);
    Rope turn = rope_sized(g, c, cfg_need(c, "qk_rope_head_dim"), NULL);
    turn.interleaved = interleaved;
    push(g, "indexer");
    const Val q = rope(g, linear(g, low, "wq_b", heads * dim, false, SPLIT_NONE), turn, (RopeAt){.heads = heads});
    const Val k =
        rope(g, norm_layer(g, linear(g, x, "wk", dim, false, SPLIT_NONE), "k_norm", 1e-6f), turn, (RopeAt){.heads = 1});
    const Val w = scale(g, linear_exact(g, x, "weights_proj", heads, false), 1.0f / sqrtf((float)heads));
    const State keys = state_rows(g, "key", (RowState){.heads = 1, .width = dim});
    store(g, k, keys);
    pop(g);
    return choose(g, q, w, (Choice){.heads = heads, .dim = dim, .top = cfg_int(c, "index_topk", 2048), .keys = keys});
}

void latent_build(Graph *g, const Cfg *c, BlockFn block) {
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}
