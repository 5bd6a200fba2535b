/* deepseek.c - latent attention with experts: DeepSeek-V2 and V3 (Kimi K2 is the latter with other sizes), V3.2 and GLM-5
 * with a choice of entries, GLM-4.7-Flash, Mistral 4. DeepSeek-AI 2024 (V2, V3), 2025 (V3.2). */
#include "graph/graph.h"

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
    /* How experts are chosen: "greedy" knows no groups, "noaux_tc" judges a group by its two best and corrects scores. */
    const char *method = cfg_str(c, "topk_method", NULL);
    if (method == NULL && cfg_is_gguf(c))
        method = m.score == SCORE_SIGMOID ? "noaux_tc" : "group_limited_greedy";
    if (method != NULL) {
        if (strcmp(method, "greedy") != 0 && strcmp(method, "group_limited_greedy") != 0 && strcmp(method, "noaux_tc") != 0)
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

static Val rest(Graph *g, const Cfg *c, Val x, int i, Mla m, Moe e, int first_dense) {
    x = add(g, x, mla(g, norm(g, x, "input_layernorm"), m));
    const Val h = norm(g, x, "post_attention_layernorm");
    return add(g, x, is_dense(c, i, first_dense) ? ffn(g, h, ffn_of(g, c)) : moe(g, h, moe_amended(g, c, e)));
}

static const Moe sigmoid_moe = {.groups = 1, .groups_used = 1, .group_by_top2 = true, .score = SCORE_SIGMOID, .renormalise = true,
                                .scale = 2.5f, .correction = "gate.e_score_correction_bias"};

static Val block_v2(Graph *g, const Cfg *c, Val x, int i) {
    return rest(g, c, x, i, mla_of(g, c), (Moe){.score = SCORE_SOFTMAX, .scale = 1}, 0);
}

static Val block_v3(Graph *g, const Cfg *c, Val x, int i) {
    Moe e = sigmoid_moe;
    e.groups = 8;
    e.groups_used = 4;
    return rest(g, c, x, i, mla_of(g, c), e, 3);
}

static Val block_lite(Graph *g, const Cfg *c, Val x, int i) {
    Moe e = sigmoid_moe;
    e.scale = 1.8f;
    return rest(g, c, x, i, mla_of(g, c), e, 1);
}

static Val block_mistral4(Graph *g, const Cfg *c, Val x, int i) {
    Mla m = mla_of(g, c);
    m.temp_scale = cfg_real(c, "rope_parameters.llama_4_scaling_beta", cfg_real(c, "temperature_scale", 0));
    m.temp_floor = cfg_int(c, "rope_parameters.original_max_position_embeddings", 8192);
    return rest(g, c, x, i, m, (Moe){.groups = 1, .groups_used = 1, .group_by_top2 = true, .score = SCORE_SOFTMAX,
                                     .renormalise = true, .scale = 1}, 0);
}

/* ---- with an index ---- */

static Val by_index(Graph *g, const Cfg *c, Val x, Val low, int heads, bool interleaved) {
    heads = cfg_int(c, "index_n_heads", heads);
    const int dim = cfg_int(c, "index_head_dim", 128);
    Rope turn = rope_sized(g, c, cfg_need(c, "qk_rope_head_dim"), NULL);
    turn.interleaved = interleaved;
    push(g, "indexer");
    const Val q = rope(g, linear(g, low, "wq_b", heads * dim, false, SPLIT_NONE), turn, (RopeAt){.heads = heads});
    const Val k = rope(g, norm_layer(g, linear(g, x, "wk", dim, false, SPLIT_NONE), "k_norm", 1e-6f), turn, (RopeAt){.heads = 1});
    const Val w = scale(g, linear_exact(g, x, "weights_proj", heads, false), 1.0f / sqrtf((float)heads));
    const State keys = state_rows(g, "key", (RowState){.heads = 1, .width = dim});
    store(g, k, keys);
    pop(g);
    return choose(g, q, w, (Choice){.heads = heads, .dim = dim, .top = cfg_int(c, "index_topk", 2048), .keys = keys});
}

static Val index_deepseek(Graph *g, const Cfg *c, Val x, Val low) {
    return by_index(g, c, x, low, 64, false);
}

static Val index_glm(Graph *g, const Cfg *c, Val x, Val low) {
    return by_index(g, c, x, low, 32, true);
}

static Val index_before(Graph *g, const Cfg *c, Val x, Val low) {
    (void)c, (void)x, (void)low;
    return last_choice(g);
}

static Val block_v32(Graph *g, const Cfg *c, Val x, int i) {
    (void)layer_is(c, i, "indexed_attention");
    Mla m = mla_of(g, c);
    m.rope.interleaved = true;
    m.choose = index_deepseek;
    Moe e = sigmoid_moe;
    e.groups = 8;
    e.groups_used = 4;
    return rest(g, c, x, i, m, e, 3);
}

static Val block_glm(Graph *g, const Cfg *c, Val x, int i) {
    (void)layer_is(c, i, "indexed_attention");
    Mla m = mla_of(g, c);
    m.rope.interleaved = true;
    m.choose = layer_has_index(c, i) ? index_glm : index_before;
    return rest(g, c, x, i, m, sigmoid_moe, 3);
}

static void with_predictors(Graph *g, const Cfg *c, BlockFn block) {
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}

static void build_v2(Graph *g, const Cfg *c) { decoder(g, c, block_v2, (Decoder){0}); }
static void build_v3(Graph *g, const Cfg *c) { with_predictors(g, c, block_v3); }
static void build_lite(Graph *g, const Cfg *c) { with_predictors(g, c, block_lite); }
static void build_mistral4(Graph *g, const Cfg *c) { decoder(g, c, block_mistral4, (Decoder){0}); }
static void build_v32(Graph *g, const Cfg *c) { with_predictors(g, c, block_v32); }
static void build_glm(Graph *g, const Cfg *c) { with_predictors(g, c, block_glm); }

const Family family_deepseek_v2 = {.name = "deepseek_v2", .build = build_v2, .reply_format = "deepseek_v3", .since = "0.1",
                                   .golden = "deepseek_v2", .covers = "DeepSeek-V2, V2-Lite, V2.5, Coder-V2"};
const Family family_deepseek_v3 = {.name = "deepseek_v3", .build = build_v3, .reply_format = "deepseek_v3 deepseek_v3_1 deepseek_r1", .since = "0.1",
                                   .golden = "deepseek_v3", .covers = "DeepSeek-V3, V3-0324, V3.1, R1"};
const Family family_kimi_k2 = {.name = "kimi_k2", .build = build_v3, .reply_format = "kimi_k2 kimi_k2_thinking", .since = "0.1",
                               .golden = "deepseek_v3", .covers = "Kimi K2, K2 Thinking, K2.5 (text)"};
const Family family_deepseek_v32 = {.name = "deepseek_v32", .build = build_v32, .reply_format = "deepseek_v3_2 deepseek_v3_1", .since = "0.1",
                                    .golden = "deepseek_v32", .covers = "DeepSeek-V3.2, V3.2-Exp, V3.2-Speciale"};
const Family family_glm4_moe_lite = {.name = "glm4_moe_lite", .build = build_lite, .reply_format = "glm_4_7", .since = "0.1",
                                     .golden = "glm4_moe_lite", .covers = "GLM-4.7-Flash"};
const Family family_glm_moe_dsa = {.name = "glm_moe_dsa", .build = build_glm, .reply_format = "glm_4_7", .since = "0.1",
                                   .golden = "glm_moe_dsa", .covers = "GLM-5, GLM-5.1"};
const Family family_mistral4 = {.name = "mistral4", .build = build_mistral4, .reply_format = "ministral_3_reasoning", .since = "0.1",
                                .golden = "mistral4", .covers = "Mistral Small 4"};
