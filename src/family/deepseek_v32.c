/* deepseek_v32.c - DeepSeek-V3.2: V3 whose attention reads the entries that an index chooses. DeepSeek-AI 2025. */
#include "family/latent.h"

static Val index_deepseek(Graph *g, const Cfg *c, Val x, Val low) {
    return latent_index(g, c, x, low, 64, false);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)layer_is(c, i, "indexed_attention");
    Mla m = mla_of(g, c);
    m.rope.interleaved = true;
    m.choose = index_deepseek;
    Moe e = latent_moe;
    e.groups = 8;
    e.groups_used = 4;
    return latent_block(g, c, x, i, m, e, 3);
}

static void build(Graph *g, const Cfg *c) {
    latent_build(g, c, block);
}

const Family family_deepseek_v32 = {.name = "deepseek_v32",
                                    .build = build,
                                    .reply_format = "deepseek_v3_2 deepseek_v3_1",
                                    .since = "0.1",
                                    .golden = "deepseek_v32",
                                    .covers = "DeepSeek-V3.2, V3.2-Exp, V3.2-Speciale"};
