/* llama.c - Llama 2 and 3, and the many that are built like them (SmolLM2, DeepSeek-R1-Distill-Llama): pre-norm,
 * grouped-query attention, SwiGLU. Touvron et al. 2023; Llama team 2024. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), attn_of(g, c)));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_llama = {.name = "llama", .build = build, .reply_format = "llama3_1", .since = "0.1",
                             .golden = "llama", .covers = "Llama 2, 3, 3.1, 3.2, 3.3, SmolLM2, R1-Distill-Llama"};
