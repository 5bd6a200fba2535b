/* kda_parts.c - see kda_parts.h. Kimi team 2025. */
#include "family/kda_parts.h"

#include <string.h>

Val kda_experts(Graph *g, const Cfg *c, Val x, Moe m) {
    const char *score =
        cfg_str(c, "scoring_func", cfg_str(c, "moe_router_activation_func", cfg_str(c, "score_function", "sigmoid")));
    if (strcmp(score, "sigmoid") != 0)
        cfg_refuse(c, "config.json: kda_experts scored by %s, sigmoid is known for this family", score);
    m.experts = cfg_need(c, "num_experts");
    m.used = cfg_need(c, "num_experts_per_tok");
    m.dim = cfg_need(c, "moe_intermediate_size");
    const int shared = cfg_int(c, "n_shared_experts", 1);
    m.shared_dim = shared == 0 ? 0 : width_product(g, shared, cfg_int(c, "moe_shared_expert_intermediate_size", m.dim));
    if (cfg_is_gguf(c)) /* of all shared kda_experts together */
        m.shared_dim = cfg_int(c, "shared_expert_intermediate_size", m.shared_dim);
    m.groups = cfg_bool(c, "use_grouped_topk", true) ? cfg_int(c, "n_group", 1) : 0;
    m.groups_used = cfg_int(c, "topk_group", 1);
    m.group_by_top2 = true;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-20f;
    m.scale = cfg_real(c, "routed_scaling_factor", 1);
    m.score = SCORE_SIGMOID;
    return moe(g, x, m);
}

bool kda_has_no_keys(const Cfg *c, int i) {
    return cfg_is_gguf(c) && cfg_int_at(c, "num_key_value_heads", i, 1) == 0;
}
