/* deepseek_v3.c - DeepSeek-V3 and R1: latent attention, experts chosen by sigmoids with a correction, in eight groups.
 * DeepSeek-AI 2024. Kimi K2 is the same with other sizes (Kimi team 2025). */
#include "family/latent.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Moe e = latent_moe;
    e.groups = 8;
    e.groups_used = 4;
    return latent_block(g, c, x, i, mla_of(g, c), e, 3);
}

static void build(Graph *g, const Cfg *c) {
    latent_build(g, c, block);
}

const Family family_deepseek_v3 = {.name = "deepseek_v3",
                                   .build = build,
                                   .reply_format = "deepseek_v3 deepseek_v3_1 deepseek_r1",
                                   .since = "0.1",
                                   .golden = "deepseek_v3",
                                   .covers = "DeepSeek-V3, V3-0324, V3.1, R1"};
const Family family_kimi_k2 = {.name = "kimi_k2",
                               .build = build,
                               .reply_format = "kimi_k2 kimi_k2_thinking",
                               .since = "0.1",
                               .golden = "deepseek_v3",
                               .covers = "Kimi K2, K2 Thinking, K2.5 (text)"};
