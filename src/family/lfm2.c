/* lfm2.c - LFM2: gated short convolutions, here and there an attention layer; the last norm is called embedding_norm.
 * Liquid AI 2025. */
#include "graph/graph.h"

static bool is_attention(const Cfg *c, int i) {
    if (cfg_has(c, "layer_types"))
        return layer_is(c, i, "full_attention");
    return !cfg_has(c, "full_attn_idxs") || cfg_list_has(c, "full_attn_idxs", i);
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (!is_attention(c, i))
        return short_conv(g, x, (ShortConv){.taps = cfg_int(c, "conv_L_cache", 3), .bias = cfg_bool(c, "conv_bias", false)});
    Attn a = attn_of(g, c);
    a.q_norm = "q_layernorm";
    a.k_norm = "k_layernorm";
    a.out = "out_proj";
    return attention(g, x, a);
}

/* Two thirds of what the configuration says, times a factor, rounded up to a multiple. */
static int ffn_dim(const Cfg *c) {
    const int given = cfg_need(c, cfg_has(c, "block_ff_dim") ? "block_ff_dim" : "intermediate_size");
    const int multiple = cfg_int(c, "block_multiple_of", 256), most = 1 << 24;
    const float dim = (float)(2 * (int64_t)given / 3) * cfg_real(c, "block_ffn_dim_multiplier", 1);
    if (!cfg_bool(c, "block_auto_adjust_ff_dim", true))
        return given;
    if (multiple < 1 || multiple > most || !(dim >= 1 && dim <= (float)most)) {
        cfg_refuse(c, "config.json: a feed-forward block of width %g in multiples of %d", (double)dim, multiple);
        return 1;
    }
    return ((int)dim + multiple - 1) / multiple * multiple;
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    const Ffn f = {.dim = ffn_dim(c), .act = ACT_SILU, .gate = "w1", .up = "w3", .down = "w2", .scope = "feed_forward"};
    x = add(g, x, mix(g, c, norm(g, x, "operator_norm"), i));
    return add(g, x, ffn(g, norm(g, x, "ffn_norm"), f));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){.norm = "embedding_norm"}); }

const Family family_lfm2 = {.name = "lfm2", .build = build, .reply_format = "plain", .since = "0.1", .golden = "lfm2",
                            .covers = "LFM2 and LFM2.5, 350M to 2.6B",
                            .defaults = "{\"tie_word_embeddings\": true, \"rope_theta\": 1e6, \"num_key_value_heads\": 8}"};
