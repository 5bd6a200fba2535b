/* qwen3_5.c - Qwen3.5, dense: gated delta nets and attention. Qwen team 2026. */
#include "family/qwen_next_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen_next_mixed(g, c, x, i, false);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    qwen_next_build(g, c, block);
}

const Family family_qwen3_5 = {.name = "qwen3_5",
                               .build = build,
                               .reply_format = "qwen3_5",
                               .since = "0.1",
                               .golden = "qwen3_5",
                               .covers = "Qwen3.5 dense",
                               .defaults = QWEN_NEXT_DEFAULTS};
const Family family_qwen3_5_text = {.name = "qwen3_5_text",
                                    .build = build,
                                    .reply_format = "qwen3_5",
                                    .since = "0.1",
                                    .golden = "qwen3_5_text",
                                    .covers = "Qwen3.5 dense, text only",
                                    .defaults = QWEN_NEXT_DEFAULTS};
