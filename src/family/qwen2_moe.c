/* qwen2_moe.c - Qwen2-MoE: Qwen2 with experts and a gated shared one. Yang et al. 2024. */
#include "family/qwen_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen2_attended(g, c, x, i);
    const Val h = norm(g, x, "post_attention_layernorm");
    if (!qwen_is_sparse(c, i))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    Moe m = moe_of(g, c);
    m.shared = "shared_expert";
    m.shared_gate = "shared_expert_gate";
    return add(g, x, moe(g, h, m));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_qwen2_moe = {
    .name = "qwen2_moe",
    .build = build,
    .reply_format = "plain",
    .since = "0.1",
    .golden = "qwen2_moe",
    .covers = "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    .defaults = "{\"num_experts\": 60, \"num_experts_per_tok\": 4, \"moe_intermediate_size\": 1408,"
                " \"shared_expert_intermediate_size\": 5632}"};
