/* granite_moe.c - Granite 3 with experts in every layer, beside a block for all tokens in some. IBM 2024. */
#include "family/granite_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = granite_add(g, c, x, attention(g, norm(g, x, "input_layernorm"), granite_attn(g, c)));
    return granite_add(g, c, x, granite_experts(g, c, norm(g, x, "post_attention_layernorm")));
}

static void build(Graph *g, const Cfg *c) {
    granite_build(g, c, block);
}

#define DEFAULTS "{\"attention_multiplier\": 1.0, \"num_experts\": 8, \"num_experts_per_tok\": 2}"

const Family family_granitemoe = {.name = "granitemoe",
                                  .build = build,
                                  .reply_format = "granite_3",
                                  .since = "0.1",
                                  .golden = "granitemoehybrid",
                                  .covers = "Granite 3.0 and 3.1 1B-A400M, 3B-A800M",
                                  .defaults = DEFAULTS};
const Family family_granitemoeshared = {.name = "granitemoeshared",
                                        .build = build,
                                        .reply_format = "granite_3 qwen2_5",
                                        .since = "0.1",
                                        .golden = "granitemoehybrid",
                                        .covers = "Granite with shared experts",
                                        .defaults = DEFAULTS};
