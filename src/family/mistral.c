/* mistral.c - Mistral 7B, Nemo, Small: Llama with a sliding window where the configuration has one; and Ministral 3,
 * whose queries grow with the position beyond the trained context. Jiang et al. 2023; the growth: Nakanishi 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    Attn a = attn_of(g, c);
    a.window = cfg_int(c, "sliding_window", 0);
    a.temp_scale = cfg_real(c, "rope_parameters.llama_4_scaling_beta", cfg_real(c, "temperature_scale", 0));
    if (a.temp_scale != 0)
        a.temp_floor = cfg_need(c, "rope_parameters.original_max_position_embeddings");
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_mistral = {.name = "mistral",
                               .build = build,
                               .reply_format = "mistral_nemo mistral_small_3_2 ministral_3_reasoning",
                               .since = "0.1",
                               .golden = "mistral",
                               .covers = "Mistral 7B, Nemo, Small 3, 3.1, 3.2, Large",
                               .defaults = "{\"num_key_value_heads\": 8, \"sliding_window\": 4096}"};
const Family family_ministral3 = {.name = "ministral3",
                                  .build = build,
                                  .reply_format = "ministral_3_reasoning",
                                  .since = "0.1",
                                  .golden = "ministral3",
                                  .covers = "Ministral 3 3B, 8B, 14B, Devstral 2",
                                  .defaults =
                                      "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-5}"};
