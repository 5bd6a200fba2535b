/* mimo.c - MiMo V2 Flash: values narrower than keys and scaled, windows in five of six layers, which have key/value heads,
 * a rotation and a sink logit of their own; experts chosen by sigmoids with a correction. Xiaomi 2025. */
#include "graph/graph.h"

#include <string.h>

/* The window of published files counts the tokens before the one that sees. */
static int window_of(const Cfg *c) {
    const int before = cfg_int(c, "sliding_window_size", 0);
    cfg_covered(c, "sliding_window");
    return before > 0 ? before + 1 : cfg_int(c, "sliding_window", 0);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    const bool listed = cfg_list_length(c, "hybrid_layer_pattern") > 0; /* 1: windowed */
    const bool local = listed ? cfg_int_at(c, "hybrid_layer_pattern", i, 1) == 1
                              : layer_is_local(c, i, 6) && (i > 0 || cfg_list_length(c, "layer_types") > 0);
    if (local) {
        a.window = window_of(c);
        a.heads = cfg_int(c, "swa_num_attention_heads", a.heads);
        a.head_dim = cfg_int(c, "swa_head_dim", a.head_dim);
        a.value_dim = cfg_int(c, "swa_v_head_dim", a.value_dim);
        if (cfg_list_length(c, "num_key_value_heads") == -1) /* GGUF files have a list of layers */
            a.kv_heads = cfg_int(c, "swa_num_key_value_heads", 2 * a.kv_heads);
    }
    if (cfg_bool(c, local ? "add_swa_attention_sink_bias" : "add_full_attention_sink_bias", local))
        a.sinks = "attention_sink_bias";
    const char *type = local ? "sliding_attention" : "full_attention";
    if (cfg_has(c, "rope_parameters.full_attention"))
        a.rope = rope_of(g, c, a.head_dim, type);
    else if (local)
        a.rope = rope_plain(g, a.rope.dim, cfg_real(c, "rope_local_base_freq", cfg_real(c, "swa_rope_theta", 10000)));
    a.value_scale = cfg_real(c, "attention_value_scale", 0);
    a.out_bias = false;
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    const Val h = norm(g, x, "post_attention_layernorm");
    const bool sparse = cfg_is_gguf(c)                              ? has_tensor(g, "mlp.gate.weight")
                        : cfg_list_length(c, "moe_layer_freq") > 0 ? cfg_int_at(c, "moe_layer_freq", i, 1) == 1
                                                                   : layer_is_sparse(c, i);
    if (!sparse)
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    Moe m = moe_of(g, c);
    m.score = score_of(c, SCORE_SIGMOID);
    if (strcmp(cfg_str(c, "topk_method", "noaux_tc"), "noaux_tc") != 0)
        cfg_refuse(c, "config.json: topk_method %s is not known", cfg_str(c, "topk_method", ""));
    m.correction = "gate.e_score_correction_bias";
    m.group_by_top2 = true;
    m.renormalise_eps = 1e-20f;
    return add(g, x, moe(g, h, m));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

const Family family_mimo_v2_flash = {
    .name = "mimo_v2_flash", .build = build, .reply_format = "mimo_v2", .since = "0.1", .golden = "mimo_v2_flash",
    .covers = "MiMo-V2-Flash",
    .defaults = "{\"num_key_value_heads\": 4, \"head_dim\": 192, \"v_head_dim\": 128, \"sliding_window\": 129, \"rms_norm_eps\": 1e-5,"
                " \"attention_value_scale\": 0.707, \"first_k_dense_replace\": 1, \"norm_topk_prob\": true, \"rope_theta\": 5e6,"
                " \"partial_rotary_factor\": 0.334}"};
