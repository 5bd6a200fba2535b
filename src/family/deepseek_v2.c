/* deepseek_v2.c - DeepSeek-V2: latent attention, experts chosen by softmax within groups. DeepSeek-AI 2024. */
#include "family/latent.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    return latent_block(g, c, x, i, mla_of(g, c), (Moe){.score = SCORE_SOFTMAX, .scale = 1}, 0);
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){0});
}

const Family family_deepseek_v2 = {.name = "deepseek_v2",
                                   .build = build,
                                   .reply_format = "deepseek_v3",
                                   .since = "0.1",
                                   .golden = "deepseek_v2",
                                   .covers = "DeepSeek-V2, V2-Lite, V2.5, Coder-V2"};
