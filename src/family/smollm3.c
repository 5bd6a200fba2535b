/* smollm3.c - SmolLM3: Llama without positions in every fourth layer (NoPE: Yang et al. 2025). Hugging Face 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    const int every = cfg_int(c, "no_rope_layer_interval", 4);
    const bool turned = cfg_int_at(c, "no_rope_layers", i, every < 1 || (i + 1) % every != 0) != 0; /* 1: with positions */
    const bool windowed = cfg_bool(c, "use_sliding_window", false) && !turned;
    if (cfg_list_length(c, "layer_types") > 0 ? layer_is(c, i, "sliding_attention") : windowed)
        a.window = cfg_int(c, "sliding_window", 0);
    if (!turned)
        a.rope = (Rope){0};
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

const Family family_smollm3 = {.name = "smollm3", .build = build, .reply_format = "smollm3", .since = "0.1", .golden = "smollm3",
                               .covers = "SmolLM3-3B",
                               .defaults = "{\"num_key_value_heads\": 4, \"tie_word_embeddings\": true}"};
