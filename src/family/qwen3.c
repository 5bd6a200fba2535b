/* qwen3.c - Qwen3: Llama with norms on each head of q and k. Yang et al. 2025. */
#include "family/qwen_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen3_attended(g, c, x, i);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_qwen3 = {.name = "qwen3",
                             .build = build,
                             .reply_format = "qwen3",
                             .since = "0.1",
                             .golden = "qwen3",
                             .covers = "Qwen3 0.6B to 32B",
                             .defaults = "{\"head_dim\": 128}"};
