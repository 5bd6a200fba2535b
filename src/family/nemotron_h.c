/* nemotron_h.c - Nemotron-H, Nemotron Nano 2 and Nemotron 3: a layer is one thing only, Mamba-2, attention without
 * positions, a feed-forward block or experts; neither has a gate, both square what is above zero. NVIDIA 2025. */
#include "graph/graph.h"

#include <string.h>

typedef enum Kind { KIND_MAMBA, KIND_ATTENTION, KIND_FFN, KIND_EXPERTS } Kind;

/* By hybrid_override_pattern, a letter for each layer, or by words. */
static Kind kind_of(const Cfg *c, int i) {
    const char *pattern = cfg_str(c, "hybrid_override_pattern", NULL);
    if (pattern != NULL && !cfg_has(c, "layer_types")) {
        static const char letters[] = "M*-E";
        const char *at = (size_t)i < strlen(pattern) ? strchr(letters, pattern[i]) : NULL;
        if (at == NULL)
            cfg_refuse(c, "config.json: hybrid_override_pattern: layer %d is none of %s", i, letters);
        return at != NULL ? (Kind)(at - letters) : KIND_FFN;
    }
    if (layer_is(c, i, "linear_attention") || layer_is(c, i, "full_attention"))
        return layer_is(c, i, "full_attention") ? KIND_ATTENTION : KIND_MAMBA;
    if (layer_is(c, i, "feed_forward")) /* GGUF files do not say which; there are not both */
        return cfg_int(c, "num_experts", 0) > 0 ? KIND_EXPERTS : KIND_FFN;
    if (!layer_is(c, i, "mlp") && !layer_is(c, i, "moe"))
        cfg_refuse(c, "config.json: layers_block_type: layer %d is of no known kind", i);
    return layer_is(c, i, "moe") ? KIND_EXPERTS : KIND_FFN;
}

static Val state_space(Graph *g, const Cfg *c, Val x) {
    Mamba m = mamba_of(g, c);
    m.bias = cfg_bool(c, "use_bias", false);
    m.act = act_of(g, c, "mamba_hidden_act");
    m.scope = "mixer";
    return mamba(g, x, m);
}

static Val attend_all(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    a.rope.dim = 0;
    a.window = cfg_int(c, "sliding_window", 0);
    a.scope = "mixer";
    return attention(g, x, a);
}

static Ffn plain(Graph *g, const Cfg *c) {
    Ffn f = {.no_gate = true,
             .act = cfg_has(c, "mlp_hidden_act") ? act_of(g, c, "mlp_hidden_act") : ACT_RELU2,
             .scope = "mixer"};
    f.bias = cfg_bool(c, "mlp_bias", false);
    return f;
}

static Val experts(Graph *g, const Cfg *c, Val x) {
    Moe m = moe_of(g, c);
    m.score = SCORE_SIGMOID;
    m.correction = "gate.e_score_correction_bias";
    m.group_by_top2 = true;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-20f;
    m.no_gate = true;
    m.shared_ffn = plain(g, c);
    m.act = m.shared_ffn.act;
    m.shared_dim = cfg_int(c, "moe_shared_expert_intermediate_size", cfg_int(c, "shared_expert_intermediate_size", 0));
    m.latent_dim = cfg_int(c, "moe_latent_size", 0);
    if (m.latent_dim > 0) {
        m.latent_in = "fc1_latent_proj";
        m.latent_out = "fc2_latent_proj";
        if (m.shared_ffn.bias)
            cfg_refuse(c, "config.json: mlp_bias with moe_latent_size is not supported");
    }
    m.scope = "mixer";
    return moe(g, x, m);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    const Val h = norm(g, x, "norm");
    switch (kind_of(c, i)) {
    case KIND_MAMBA:
        return add(g, x, state_space(g, c, h));
    case KIND_ATTENTION:
        return add(g, x, attend_all(g, c, h));
    case KIND_EXPERTS:
        return add(g, x, experts(g, c, h));
    case KIND_FFN:
        break;
    }
    Ffn f = plain(g, c);
    f.dim = cfg_need_at(c, "intermediate_size", i);
    return add(g, x, ffn(g, h, f));
}

static void build(Graph *g, const Cfg *c) {
    norm_style(g, NORM_RMS, cfg_real(c, "layer_norm_epsilon", 1e-5f), false); /* norm_eps, beside it, is not used */
    decoder(g, c, block, (Decoder){.norm = "norm_f"});
}

#define DEFAULTS                                                                                                       \
    "{\"vocab_size\": 131072, \"hidden_size\": 4096, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,"         \
    " \"head_dim\": 128, \"intermediate_size\": 21504, \"ssm_state_size\": 128, \"mamba_num_heads\": 128,"             \
    " \"mamba_head_dim\": 64, \"n_groups\": 8, \"layer_norm_epsilon\": 1e-5}"

const Family family_nemotron_h = {.name = "nemotron_h",
                                  .build = build,
                                  .reply_format = "qwen3_5 nemotron_nano_2",
                                  .since = "0.1",
                                  .golden = "nemotron_h",
                                  .defaults = DEFAULTS,
                                  .covers = "Nemotron-H, Nemotron Nano 2, Nemotron 3 Nano and Super"};
