/* mixtral.c - Mixtral: Mistral 7B with experts in the place of the feed-forward block. Jiang et al. 2024. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.window = cfg_int(c, "sliding_window", 0);
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    Moe m = moe_of(g, c);
    m.renormalise = true;
    m.scope = "block_sparse_moe";
    m.expert_w = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_mixtral = {
    .name = "mixtral",
    .build = build,
    .reply_format = "mistral_nemo",
    .since = "0.1",
    .golden = "mixtral",
    .covers = "Mixtral 8x7B, 8x22B",
    .defaults = "{\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-5, \"num_experts\": 8, \"num_experts_per_tok\": 2}"};
