/* step.c - Step 3.5 and 3.7 Flash: a gate per head on what attention gives, more query heads and other rotations in windowed
 * layers, clamped gated units in the last layers, experts chosen by sigmoids with a correction. StepFun 2026. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

static Attn attn_here(Graph *g, const Cfg *c, int i) {
    Attn a = attn_of(g, c);
    const bool local = layer_is(c, i, "sliding_attention");
    const char *type = local ? "sliding_attention" : "full_attention";
    if (local) {
        a.window = cfg_int(c, "sliding_window", 0);
        a.heads = cfg_int(c, "num_sliding_attention_heads", cfg_int(c, "attention_other_setting.num_attention_heads", a.heads));
    }
    a.scale = 1 / sqrtf(cfg_real(c, "query_pre_attn_scalar", (float)a.head_dim));
    if (cfg_has(c, "rope_parameters.full_attention"))
        a.rope = rope_of(g, c, a.head_dim, type);
    else if (local) /* the scaling is for the others */
        a.rope = rope_plain(g, (int)((float)a.head_dim * cfg_real_at(c, "partial_rotary_factors", i, 1)),
                            cfg_real(c, "rope_local_base_freq", a.rope.theta));
    if (cfg_bool(c, "use_qk_norm", true))
        a.q_norm = "q_norm", a.k_norm = "k_norm";
    if (cfg_bool(c, "use_head_wise_attn_gate", true))
        a.gate = "g_proj";
    return a;
}

/* "3,4,5" or [3, 4, 5] */
static bool listed_sparse(const Cfg *c, int i) {
    const char *words = cfg_str(c, "moe_layers_enum", NULL);
    if (words == NULL)
        return cfg_has(c, "moe_layers_enum") ? cfg_list_has(c, "moe_layers_enum", i) : i >= cfg_int(c, "first_k_dense_replace", 3);
    for (int n = 0; *words != '\0'; words++) {
        const bool digit = *words >= '0' && *words <= '9';
        n = digit && n < 100000 ? 10 * n + (*words - '0') : n;
        const bool ends = digit && !(words[1] >= '0' && words[1] <= '9');
        if (ends && n == i)
            return true;
        n = ends ? 0 : n;
    }
    return false;
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), attn_here(g, c, i)));
    const Val h = norm(g, x, "post_attention_layernorm");
    Ffn f = ffn_of(g, c);
    f.limit = cfg_real_at(c, "swiglu_limits_shared", i, 0);
    f.late = true;
    const bool sparse = cfg_list_length(c, "mlp_layer_types") > 0 ? layer_is_sparse(c, i) : listed_sparse(c, i);
    if (!sparse)
        return add(g, x, ffn(g, h, f));
    Moe m = moe_of(g, c);
    m.shared_dim = 0; /* it stands beside, not inside */
    m.score = score_of(c, SCORE_SIGMOID);
    m.correction = cfg_bool(c, "use_moe_router_bias", true) ? "router_bias" : NULL;
    m.renormalise = cfg_bool(c, "norm_expert_weight", true);
    m.glu.limit = cfg_real_at(c, "swiglu_limits", i, 0);
    m.glu.late = true;
    m.scope = "moe";
    m.experts_scope = "";
    f.scope = "share_expert";
    f.dim = cfg_int(c, "share_expert_dim", cfg_int(c, "shared_expert_intermediate_size", m.dim));
    return add(g, x, add(g, moe(g, h, m), ffn(g, h, f)));
}

static void build(Graph *g, const Cfg *c) {
    if (strcmp(cfg_str(c, "att_impl_type", "GQA"), "GQA") != 0 ||
        strcmp(cfg_str(c, "moe_router_activation", "sigmoid"), "sigmoid") != 0)
        cfg_refuse(c, "config.json: this att_impl_type or moe_router_activation is not known");
    cfg_covered(c, "yarn_only_types"); /* the layers that see everything */
    norm_style(g, NORM_RMS, norm_eps(g), cfg_bool(c, "zero_centered", true));
    decoder(g, c, block, (Decoder){0});
    predicting_layers(g, c, block);
}

#define DEFAULTS "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-5, \"share_expert_dim\": 1280}"

const Family family_step3p5 = {.name = "step3p5", .build = build, .reply_format = "qwen3_5", .since = "0.1", .golden = "step3p7",
                               .covers = "Step-3.5-Flash", .defaults = DEFAULTS};
const Family family_step3p7 = {.name = "step3p7", .build = build, .reply_format = "qwen3_5", .since = "0.1", .golden = "step3p7",
                               .covers = "Step-3.7-Flash", .defaults = DEFAULTS};
