/* qwen3_5_moe.c - Qwen3.5 with experts in every layer. Qwen team 2026. */
#include "family/qwen_next_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen_next_mixed(g, c, x, i, false);
    return add(g, x, qwen_next_experts(g, c, norm(g, x, "post_attention_layernorm"), true));
}

static void build(Graph *g, const Cfg *c) {
    qwen_next_build(g, c, block);
}

const Family family_qwen3_5_moe = {.name = "qwen3_5_moe",
                                   .build = build,
                                   .reply_format = "qwen3_5",
                                   .since = "0.1",
                                   .golden = "qwen3_5_moe",
                                   .covers = "Qwen3.5-35B-A3B, 122B-A10B, 397B-A17B",
                                   .defaults = QWEN_NEXT_DEFAULTS};
const Family family_qwen3_5_moe_text = {.name = "qwen3_5_moe_text",
                                        .build = build,
                                        .reply_format = "qwen3_5",
                                        .since = "0.1",
                                        .golden = "qwen3_5_moe_text",
                                        .covers = "Qwen3.5 MoE, text only",
                                        .defaults = QWEN_NEXT_DEFAULTS};
