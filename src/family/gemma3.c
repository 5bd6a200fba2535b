/* gemma3.c - Gemma 3: norms on the heads of q and k, windows with a rotation of their own in five of six layers. Gemma
 * team 2025. */
#include "family/gemma_parts.h"

/* EmbeddingGemma: tokens see what follows them, and nothing is written. */
static bool reads_only(const Cfg *c) {
    return cfg_bool(c, "use_bidirectional_attention", false);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    const bool local = layer_is_local(c, i, 6);
    const char *type = local ? "sliding_attention" : "full_attention";
    a.both = reads_only(c);
    a.window = local ? cfg_int(c, "sliding_window", 0) : 0;
    if (a.both && local)
        a.window = a.window / 2 + 1;                               /* as many on both sides together */
    if (local && !cfg_has(c, "rope_parameters.sliding_attention")) /* older files */
        a.rope = rope_plain(g, a.head_dim, cfg_real(c, "rope_local_base_freq", 10000));
    else
        a.rope = rope_of(g, c, a.head_dim, type);
    a.scale = gemma_scale(c, &a, 62);
    a.softcap = cfg_real(c, "attn_logit_softcapping", 0);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    return gemma_halves(g, c, x, a);
}

static void build(Graph *g, const Cfg *c) {
    gemma_build(g, c, block);
    if (reads_only(c))
        set_reading(g, last_rows(g), NO_VAL);
}

/* Published files of the larger models leave out what the class of the configuration has as its default. */
#define DEFAULTS                                                                                                       \
    "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, \"num_hidden_layers\": 26,"          \
    " \"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"query_pre_attn_scalar\": 256,"      \
    " \"sliding_window\": 4096, \"max_position_embeddings\": 131072, \"rope_theta\": 1e6, \"tie_word_embeddings\": "   \
    "true}"

const Family family_gemma3 = {.name = "gemma3",
                              .build = build,
                              .reply_format = "plain",
                              .since = "0.1",
                              .golden = "gemma3",
                              .covers = "Gemma 3 4B, 12B, 27B",
                              .defaults = DEFAULTS};
const Family family_gemma3_text = {.name = "gemma3_text",
                                   .build = build,
                                   .reply_format = "plain functiongemma",
                                   .since = "0.1",
                                   .golden = "gemma3_text",
                                   .covers = "Gemma 3 270M, 1B, EmbeddingGemma",
                                   .defaults = DEFAULTS};
