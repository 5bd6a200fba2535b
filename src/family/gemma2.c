/* gemma2.c - Gemma 2: capped scores, a window in every second layer. Gemma team 2024. */
#include "family/gemma_parts.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    cfg_covered(c, "sliding_window_size");
    a.window = layer_is_local(c, i, 2) ? cfg_int(c, "sliding_window", 0) : 0;
    a.scale = gemma_scale(c, &a, 46);
    a.softcap = cfg_real(c, "attn_logit_softcapping", 0);
    return gemma_halves(g, c, x, a);
}

static void build(Graph *g, const Cfg *c) {
    gemma_build(g, c, block);
}

const Family family_gemma2 = {
    .name = "gemma2",
    .build = build,
    .reply_format = "plain",
    .since = "0.1",
    .golden = "gemma2",
    .covers = "Gemma 2 2B, 9B, 27B",
    .defaults =
        "{\"num_key_value_heads\": 4, \"head_dim\": 256, \"query_pre_attn_scalar\": 256, \"sliding_window\": 4096,"
        " \"final_logit_softcapping\": 30.0, \"attn_logit_softcapping\": 50.0, \"tie_word_embeddings\": true}"};
