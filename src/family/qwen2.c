/* qwen2.c - Qwen2 and 2.5: Llama with biases on q, k, v. Yang et al. 2024. */
#include "family/qwen_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen2_attended(g, c, x, i);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_qwen2 = {.name = "qwen2",
                             .build = build,
                             .reply_format = "qwen2_5 qwen3",
                             .since = "0.1",
                             .golden = "qwen2",
                             .covers = "Qwen2, Qwen2.5, QwQ-32B, R1-Distill-Qwen"};
