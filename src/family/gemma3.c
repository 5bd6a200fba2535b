/* gemma3.c - Gemma 3: norms before and after each half, (1 + w) norms also on q and k, most layers windowed with a
 * rotation of their own, embeddings scaled. Gemma team 2025. */
#include "graph/graph.h"

#include <math.h>

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    /* Either every layer's type is listed, or every sixth layer sees everything. */
    const bool local = cfg_has(c, "layer_types") ? layer_is(c, i, "sliding_attention")
                                                 : (i + 1) % cfg_int(c, "sliding_window_pattern", 6) != 0;
    const char *type = local ? "sliding_attention" : "full_attention";
    a.window = local ? cfg_int(c, "sliding_window", 0) : 0;
    if (local && cfg_has(c, "rope_local_base_freq")) /* older files */
        a.rope = rope_plain(g, a.head_dim, cfg_real(c, "rope_local_base_freq", 10000));
    else
        a.rope = rope_of(g, c, a.head_dim, type);
    /* GGUF files don't say it: the scale follows the head, but for the 27B model (62 layers), where it follows D / H. */
    const bool large = cfg_is_gguf(c) && cfg_need(c, "num_hidden_layers") == 62;
    a.scale = 1 / sqrtf(cfg_real(c, "query_pre_attn_scalar",
                                 large ? (float)(cfg_need(c, "hidden_size") / a.heads) : (float)a.head_dim));
    a.softcap = cfg_real(c, "attn_logit_softcapping", 0);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    x = add(g, x, norm(g, attention(g, norm(g, x, "input_layernorm"), a), "post_attention_layernorm"));
    Ffn f = ffn_of(g, c);
    f.act = ACT_GELU_TANH;
    return add(g, x, norm(g, ffn(g, norm(g, x, "pre_feedforward_layernorm"), f), "post_feedforward_layernorm"));
}

static void build(Graph *g, const Cfg *c) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block, (Decoder){.embed_scale = sqrtf((float)cfg_need(c, "hidden_size")),
                                   .softcap = cfg_real(c, "final_logit_softcapping", 0)});
}

const Family family_gemma3 = {.name = "gemma3", .build = build, .reply_format = "plain", .since = "0.1", .golden = "gemma3",
                              .covers = "Gemma 3 4B, 12B, 27B"};
const Family family_gemma3_text = {.name = "gemma3_text", .build = build, .reply_format = "plain", .since = "0.1",
                                   .golden = "gemma3_text", .covers = "Gemma 3 270M, 1B"};
