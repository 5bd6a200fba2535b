/* lfm2_moe.c - LFM2 with experts, chosen by sigmoids with a correction. Liquid AI 2025. */
#include "family/lfm2_parts.h"

static Val experts(Graph *g, const Cfg *c, Val x) {
    Moe m = moe_of(g, c);
    m.score = SCORE_SIGMOID;
    m.correction = cfg_bool(c, "use_expert_bias", true) ? "expert_bias" : NULL;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-6f;
    m.expert_w = true;
    m.scope = "feed_forward";
    return moe(g, x, m);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = lfm2_mixed(g, c, x, i);
    const Val h = norm(g, x, "ffn_norm");
    const bool dense = i < cfg_int(c, "num_dense_layers", 2);
    return add(g, x, dense ? lfm2_forward(g, h, cfg_need(c, "intermediate_size")) : experts(g, c, h));
}

static void build(Graph *g, const Cfg *c) {
    lfm2_build(g, c, block);
}

const Family family_lfm2_moe = {
    .name = "lfm2_moe",
    .build = build,
    .reply_format = "lfm2",
    .since = "0.1",
    .golden = "lfm2",
    .covers = "LFM2-8B-A1B, LFM2.5-8B-A1B",
    .defaults =
        "{" LFM2_DEFAULTS ", \"num_experts\": 32, \"num_experts_per_tok\": 4, \"moe_intermediate_size\": 1792}"};
