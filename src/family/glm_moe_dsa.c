/* glm_moe_dsa.c - GLM-5: latent attention that reads what an index chooses, which some layers share with the one
 * before. GLM team 2026. */
#include "family/latent.h"

static Val index_glm(Graph *g, const Cfg *c, Val x, Val low) {
    return latent_index(g, c, x, low, 32, true);
}

static Val index_before(Graph *g, const Cfg *c, Val x, Val low) {
    (void)c, (void)x, (void)low;
    return last_choice(g);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)layer_is(c, i, "indexed_attention");
    Mla m = mla_of(g, c);
    m.rope.interleaved = true;
    m.choose = layer_has_index(c, i) ? index_glm : index_before;
    return latent_block(g, c, x, i, m, latent_moe, 3);
}

static void build(Graph *g, const Cfg *c) {
    latent_build(g, c, block);
}

const Family family_glm_moe_dsa = {.name = "glm_moe_dsa",
                                   .build = build,
                                   .reply_format = "glm_4_7",
                                   .since = "0.1",
                                   .golden = "glm_moe_dsa",
                                   .covers = "GLM-5, GLM-5.1"};
