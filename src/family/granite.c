/* granite.c - Granite 3 and 4 (dense): Llama with four fixed multipliers, of the embedding, the scores, what each half adds,
 * and the logits. IBM 2024. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    const float part = cfg_real(c, "residual_multiplier", 1);
    Attn a = attn_of(g, c);
    a.scale = cfg_real(c, "attention_multiplier", 0);
    x = add(g, x, scale(g, attention(g, norm(g, x, "input_layernorm"), a), part));
    return add(g, x, scale(g, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)), part));
}

static void build(Graph *g, const Cfg *c) {
    const float divisor = cfg_real(c, "logits_scaling", cfg_real(c, "logit_scale", 1)); /* the latter in GGUF files */
    decoder(g, c, block, (Decoder){.embed_scale = cfg_real(c, "embedding_multiplier", 1),
                                   .logit_scale = 1 / divisor});
}

const Family family_granite = {.name = "granite", .build = build, .reply_format = "plain", .since = "0.1", .golden = "granite",
                               .covers = "Granite 3.0 to 3.3, Granite 4.0 dense",
                               .defaults = "{\"attention_multiplier\": 1.0}"};
