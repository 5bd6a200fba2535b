/* gemma.c - Gemma 2 and 3: norms before and after each half with weights stored as factor - 1, embeddings scaled, windows
 * in most layers. Gemma 2 caps its scores and sees everything in every second layer; Gemma 3 has norms on the heads of q
 * and k instead, and a rotation of its own in windowed layers. Gemma team 2024, 2025. */
#include "graph/graph.h"

#include <math.h>

/* GGUF files don't say it: the scale follows the head, but for the 27B models, where it follows D / H. */
static float scale_of(const Cfg *c, const Attn *a, int layers_of_27b) {
    const bool large = cfg_is_gguf(c) && cfg_need(c, "num_hidden_layers") == layers_of_27b;
    const int otherwise = large ? cfg_need(c, "hidden_size") / a->heads : a->head_dim;
    return 1 / sqrtf(cfg_real(c, "query_pre_attn_scalar", (float)otherwise));
}

static Val halves(Graph *g, const Cfg *c, Val x, Attn a) {
    x = add(g, x, norm(g, attention(g, norm(g, x, "input_layernorm"), a), "post_attention_layernorm"));
    Ffn f = ffn_of(g, c);
    f.act = ACT_GELU_TANH;
    return add(g, x, norm(g, ffn(g, norm(g, x, "pre_feedforward_layernorm"), f), "post_feedforward_layernorm"));
}

static Val block2(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    cfg_covered(c, "sliding_window_size");
    a.window = layer_is_local(c, i, 2) ? cfg_int(c, "sliding_window", 0) : 0;
    a.scale = scale_of(c, &a, 46);
    a.softcap = cfg_real(c, "attn_logit_softcapping", 0);
    return halves(g, c, x, a);
}

/* EmbeddingGemma: tokens see what follows them, and nothing is written. */
static bool reads_only(const Cfg *c) { return cfg_bool(c, "use_bidirectional_attention", false); }

static Val block3(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    const bool local = layer_is_local(c, i, 6);
    const char *type = local ? "sliding_attention" : "full_attention";
    a.both = reads_only(c);
    a.window = local ? cfg_int(c, "sliding_window", 0) : 0;
    if (a.both && local)
        a.window = a.window / 2 + 1; /* as many on both sides together */
    if (local && !cfg_has(c, "rope_parameters.sliding_attention")) /* older files */
        a.rope = rope_plain(g, a.head_dim, cfg_real(c, "rope_local_base_freq", 10000));
    else
        a.rope = rope_of(g, c, a.head_dim, type);
    a.scale = scale_of(c, &a, 62);
    a.softcap = cfg_real(c, "attn_logit_softcapping", 0);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    return halves(g, c, x, a);
}

static void build_of(Graph *g, const Cfg *c, BlockFn block) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block, (Decoder){.embed_scale = sqrtf((float)cfg_need(c, "hidden_size")),
                                   .softcap = cfg_real(c, "final_logit_softcapping", 0)});
}

static void build2(Graph *g, const Cfg *c) { build_of(g, c, block2); }
static void build3(Graph *g, const Cfg *c) {
    build_of(g, c, block3);
    if (reads_only(c))
        set_reading(g, last_rows(g), NO_VAL);
}

/* Published files of the larger models leave out what the class of the configuration has as its default. */
#define DEFAULTS_3                                                                                                       \
    "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, \"num_hidden_layers\": 26,"            \
    " \"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"query_pre_attn_scalar\": 256,"        \
    " \"sliding_window\": 4096, \"max_position_embeddings\": 131072, \"rope_theta\": 1e6, \"tie_word_embeddings\": true}"

const Family family_gemma2 = {
    .name = "gemma2", .build = build2, .reply_format = "plain", .since = "0.1", .golden = "gemma2", .covers = "Gemma 2 2B, 9B, 27B",
    .defaults = "{\"num_key_value_heads\": 4, \"head_dim\": 256, \"query_pre_attn_scalar\": 256, \"sliding_window\": 4096,"
                " \"final_logit_softcapping\": 30.0, \"attn_logit_softcapping\": 50.0, \"tie_word_embeddings\": true}"};
const Family family_gemma3 = {.name = "gemma3", .build = build3, .reply_format = "plain", .since = "0.1", .golden = "gemma3",
                              .covers = "Gemma 3 4B, 12B, 27B", .defaults = DEFAULTS_3};
const Family family_gemma3_text = {.name = "gemma3_text", .build = build3, .reply_format = "plain functiongemma", .since = "0.1",
                                   .golden = "gemma3_text", .covers = "Gemma 3 270M, 1B, EmbeddingGemma", .defaults = DEFAULTS_3};
