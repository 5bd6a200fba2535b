/* granite.c - Granite 3 and 4, dense: Llama with four fixed multipliers. IBM 2024, 2025. */
#include "family/granite_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = granite_add(g, c, x, attention(g, norm(g, x, "input_layernorm"), granite_attn(g, c)));
    return granite_add(g, c, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    granite_build(g, c, block);
}

const Family family_granite = {.name = "granite",
                               .build = build,
                               .reply_format = "granite_3 qwen2_5",
                               .since = "0.1",
                               .golden = "granite",
                               .covers = "Granite 3.0 to 3.3, Granite 4.0 dense",
                               .defaults = "{\"attention_multiplier\": 1.0}"};
