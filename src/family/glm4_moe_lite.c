/* glm4_moe_lite.c - GLM-4.7-Flash: latent attention with experts, as DeepSeek-V3 without groups. GLM team 2025. */
#include "family/latent.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Moe e = latent_moe;
    e.scale = 1.8f;
    return latent_block(g, c, x, i, mla_of(g, c), e, 1);
}

static void build(Graph *g, const Cfg *c) {
    latent_build(g, c, block);
}

const Family family_glm4_moe_lite = {.name = "glm4_moe_lite",
                                     .build = build,
                                     .reply_format = "glm_4_7",
                                     .since = "0.1",
                                     .golden = "glm4_moe_lite",
                                     .covers = "GLM-4.7-Flash"};
