/* seed_oss.c - Seed-OSS: Llama with biases on q, k and v. ByteDance Seed 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.out_bias = cfg_bool(c, "attention_out_bias", cfg_is_gguf(c) && a.out_bias);
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

const Family family_seed_oss = {
    .name = "seed_oss", .build = build, .reply_format = "seed_oss", .since = "0.1", .golden = "seed_oss", .covers = "Seed-OSS-36B",
    .defaults = "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"attention_bias\": true}"};
