/* gemma4.c - Gemma 4: norms as in Gemma 3, but stored as they are; wide heads and another number of key/value heads in layers
 * that see everything, values normalised, the last layers read the keys and values of earlier ones. The small models look up
 * a second embedding for every layer; the mixture has experts beside the feed-forward block. Gemma team 2026. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

static bool is_local(const Cfg *c, int i) {
    /* The last layer sees everything whatever the list says. */
    return i + 1 < cfg_need(c, "num_hidden_layers") && layer_is_local(c, i, 6);
}

static Attn attn_here(Graph *g, const Cfg *c, int i) {
    const bool local = is_local(c, i), gguf = cfg_is_gguf(c), listed = cfg_has(c, "per_layer_config");
    Attn a = attn_of(g, c);
    if (gguf && local) {
        a.head_dim = cfg_int(c, "swa_head_dim", a.head_dim);
        a.value_dim = cfg_int(c, "swa_v_head_dim", a.head_dim);
    } else if (!gguf && !local && !listed) {
        a.head_dim = cfg_int(c, "global_head_dim", a.head_dim);
        if (cfg_bool(c, "attention_k_eq_v", false))
            a.kv_heads = cfg_int(c, "num_global_key_value_heads", a.kv_heads);
    }
    if (!gguf)
        a.value_dim = a.head_dim;
    a.window = local ? cfg_int(c, "sliding_window", 0) : 0;
    a.rope = gguf && local ? rope_plain(g, a.head_dim, cfg_real(c, "rope_local_base_freq", 10000))
                           : rope_of(g, c, a.head_dim, local ? "sliding_attention" : "full_attention");
    a.scale = 1;
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    a.value_norm = true;
    a.value_is_key = gguf ? !has_tensor(g, "self_attn.v_proj.weight") : !local && cfg_bool(c, "attention_k_eq_v", false);
    return a;
}

/* The last layer of the same kind before those that have no keys and values of their own, or -1. */
static int lender_of(const Cfg *c, int i) {
    const int own = cfg_need(c, "num_hidden_layers") - cfg_int(c, "num_kv_shared_layers", 0);
    int lender = i < own ? -1 : own - 1;
    while (lender >= 0 && is_local(c, lender) != is_local(c, i))
        lender--;
    return lender;
}

/* The experts see what the feed-forward block sees before its norm; the router, its own version of that. */
static Val beside(Graph *g, const Cfg *c, Val x, Val dense) {
    Moe m = moe_of(g, c);
    m.has_router_input = true;
    m.router_input = scale(g, mul_weight(g, norm_plain(g, x, width_of(g, x), NORM_RMS, norm_eps(g)), "router.scale"),
                           1 / sqrtf((float)width_of(g, x)));
    m.router = "router.proj";
    m.renormalise = true;
    m.expert_scale = "router.per_expert_scale";
    m.glu.act = ACT_GELU_TANH;
    m.scope = "";
    const Val y = moe(g, norm(g, x, "pre_feedforward_layernorm_2"), m);
    return add(g, norm(g, dense, "post_feedforward_layernorm_1"), norm(g, y, "post_feedforward_layernorm_2"));
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_here(g, c, i);
    a.lender = lender_of(c, i);
    a.borrow = a.lender >= 0;
    x = add(g, x, norm(g, attention(g, norm(g, x, "input_layernorm"), a), "post_attention_layernorm"));
    Ffn f = ffn_of(g, c);
    f.act = ACT_GELU_TANH;
    if (a.borrow && cfg_bool(c, "use_double_wide_mlp", false))
        f.dim *= 2;
    Val h = ffn(g, norm(g, x, "pre_feedforward_layernorm"), f);
    if (cfg_bool(c, "enable_moe_block", cfg_is_gguf(c) && cfg_int(c, "num_experts", 0) > 0))
        h = beside(g, c, x, h);
    x = add(g, x, norm(g, h, "post_feedforward_layernorm"));
    const int narrow = cfg_int(c, "hidden_size_per_layer_input", 0);
    if (narrow > 0) {
        const Val own = slice(g, prepared(g), i * narrow, narrow);
        const Val gate = act(g, linear(g, x, "per_layer_input_gate", narrow, false, SPLIT_NONE), ACT_GELU_TANH);
        const Val y = linear(g, mul(g, gate, own), "per_layer_projection", width_of(g, x), false, SPLIT_NONE);
        x = add(g, x, norm(g, y, "post_per_layer_input_norm"));
    }
    return mul_weight_runs(g, x, "layer_scalar", 1);
}

/* For every layer a narrow vector from the token's own table and one from its embedding. */
static Val layer_inputs(Graph *g, const Cfg *c, Val x) {
    const int narrow = cfg_int(c, "hidden_size_per_layer_input", 0);
    const int vocab = cfg_int(c, "vocab_size_per_layer_input", cfg_need(c, "vocab_size"));
    if (narrow <= 0)
        return NO_VAL;
    const int all = narrow * cfg_need(c, "num_hidden_layers");
    const Val table = scale(g, embed(g, "embed_tokens_per_layer", vocab, all), sqrtf((float)narrow));
    const Val seen = linear(g, x, "per_layer_model_projection", all, false, SPLIT_NONE);
    const Val of_text = norm_heads(g, scale(g, seen, 1 / sqrtf((float)width_of(g, x))), "per_layer_projection_norm", narrow);
    return scale(g, add(g, of_text, table), sqrtf(0.5f));
}

static void build(Graph *g, const Cfg *c) {
    if (strcmp(cfg_str(c, "use_bidirectional_attention", ""), "all") == 0)
        cfg_refuse(c, "config.json: use_bidirectional_attention: only texts read from left to right are supported");
    static const char *const pictures[] = {"image_token_id", "video_token_id", "audio_token_id"};
    for (int i = 0; i < 3; i++) /* also the narrow tables know nothing of them */
        if (cfg_has(c, pictures[i]))
            blank_token(g, cfg_int(c, pictures[i], 0), cfg_int(c, "pad_token_id", 0));
    decoder(g, c, block, (Decoder){.embed_scale = sqrtf((float)cfg_need(c, "hidden_size")), .prepare = layer_inputs,
                                   .softcap = cfg_real(c, "final_logit_softcapping", 0)});
}

#define DEFAULTS                                                                                                         \
    "{\"num_key_value_heads\": 4, \"head_dim\": 256, \"global_head_dim\": 512, \"sliding_window\": 512,"                   \
    " \"hidden_size_per_layer_input\": 256, \"vocab_size_per_layer_input\": 262144, \"tie_word_embeddings\": true,"       \
    " \"rope_parameters\": {\"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 10000.0},"                \
    " \"full_attention\": {\"rope_type\": \"proportional\", \"partial_rotary_factor\": 0.25, \"rope_theta\": 1e6}}}"

const Family family_gemma4 = {.name = "gemma4", .build = build, .reply_format = "gemma_4", .since = "0.1", .golden = "gemma4",
                              .covers = "Gemma 4 E2B, E4B, 26B-A4B, 31B", .defaults = DEFAULTS};
const Family family_gemma4_text = {.name = "gemma4_text", .build = build, .reply_format = "gemma_4", .since = "0.1",
                                   .golden = "gemma4_text", .covers = "Gemma 4 (text only)", .defaults = DEFAULTS};
