/* mistral4.c - Mistral Small 4: latent attention whose queries grow with the position, experts chosen by softmax.
 * Mistral AI 2026. */
#include "family/latent.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Mla m = mla_of(g, c);
    m.temp_scale = cfg_real(c, "rope_parameters.llama_4_scaling_beta", cfg_real(c, "temperature_scale", 0));
    m.temp_floor = cfg_int(c, "rope_parameters.original_max_position_embeddings", 8192);
    return latent_block(g, c, x, i, m,
                        (Moe){.groups = 1,
                              .groups_used = 1,
                              .group_by_top2 = true,
                              .score = SCORE_SOFTMAX,
                              .renormalise = true,
                              .scale = 1},
                        0);
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_mistral4 = {.name = "mistral4",
                                .build = build,
                                .reply_format = "ministral_3_reasoning",
                                .since = "0.1",
                                .golden = "mistral4",
                                .covers = "Mistral Small 4"};
