/* mistral.c - Mistral 7B, Nemo, Small: Llama with a sliding window where the configuration has one. Jiang et al. 2023 */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.window = cfg_int(c, "sliding_window", 0);
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_mistral = {.name = "mistral", .build = build, .reply_format = "mistral_nemo", .since = "0.1",
                               .golden = "mistral", .covers = "Mistral 7B, Nemo, Small 3, Large"};
