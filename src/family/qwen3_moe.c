/* qwen3_moe.c - Qwen3 with experts. Yang et al. 2025. */
#include "family/qwen_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen3_attended(g, c, x, i);
    const Val h = norm(g, x, "post_attention_layernorm");
    return add(g, x, qwen_is_sparse(c, i) ? moe(g, h, moe_of(g, c)) : ffn(g, h, ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_qwen3_moe = {.name = "qwen3_moe",
                                 .build = build,
                                 .reply_format = "qwen3 qwen3_coder",
                                 .since = "0.1",
                                 .golden = "qwen3_moe",
                                 .covers = "Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder"};
