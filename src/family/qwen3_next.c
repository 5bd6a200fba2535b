/* qwen3_next.c - Qwen3-Next: gated delta nets and attention, experts in the usual layers. Qwen team 2025. */
#include "family/qwen_next_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = qwen_next_mixed(g, c, x, i, true);
    const Val h = norm(g, x, "post_attention_layernorm");
    const int step = cfg_int(c, "decoder_sparse_step", 1);
    if (cfg_list_has(c, "mlp_only_layers", i) || step < 1 || (i + 1) % step != 0)
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    return add(g, x, qwen_next_experts(g, c, h, cfg_bool(c, "norm_topk_prob", true)));
}

static void build(Graph *g, const Cfg *c) {
    qwen_next_build(g, c, block);
}

const Family family_qwen3_next = {.name = "qwen3_next",
                                  .build = build,
                                  .reply_format = "qwen3 qwen3_coder",
                                  .since = "0.1",
                                  .golden = "qwen3_next",
                                  .covers = "Qwen3-Next-80B-A3B, Qwen3-Coder-Next",
                                  .defaults = QWEN_NEXT_DEFAULTS};
