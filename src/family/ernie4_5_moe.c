/* ernie4_5_moe.c - ERNIE 4.5 with experts, chosen by a softmax with a correction, in the layers of a range. Baidu 2025.
 */
#include "family/ernie_parts.h"

#include <string.h>

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = ernie_attended(g, c, x);
    const Val h = norm(g, x, "post_attention_layernorm");
    const int last = cfg_int(c, "moe_layer_end_index", -1),
              step = cfg_int(c, "moe_layer_interval", cfg_int(c, "interleave_moe_layer_step", 1));
    const bool sparse = i >= cfg_int(c, "moe_layer_start_index", cfg_int(c, "first_k_dense_replace", 1)) &&
                        (last == -1 || i <= last) && step > 0 && (i + 1) % step == 0;
    if (!sparse)
        return add(g, x, ffn(g, h, ernie_ffn(g, c)));
    Moe m = moe_of(g, c);
    if (strcmp(cfg_str(c, "moe_gate", "topk"), "topk") != 0)
        cfg_refuse(c, "config.json: moe_gate %s is not known", cfg_str(c, "moe_gate", ""));
    m.correction = cfg_bool(c, "moe_use_aux_free", true) ? "moe_statics.e_score_correction_bias" : NULL;
    m.shared_dim = m.dim * cfg_int(c, "n_shared_experts", 0); /* GGUF's own key holds another number in some files */
    cfg_covered(c, "shared_expert_intermediate_size");
    m.renormalise = true;
    m.renormalise_min = cfg_real(c, "moe_norm_min", 1e-12f);
    m.shared_ffn.bias = cfg_bool(c, "use_bias", false);
    return add(g, x, moe(g, h, m));
}

/* The layer that predicts one token more: dense, whatever the layers before are. */
static Val predicting(Graph *g, const Cfg *c, Val x, int i) {
    push(g, "model");
    const Val both = concat(g, norm(g, x, "mtp_emb_norm.0"), norm(g, x, "mtp_hidden_norm.0"));
    linear(g, both, "mtp_linear_proj.0", width_of(g, x), cfg_bool(c, "use_bias", false), SPLIT_NONE);
    push(g, "mtp_block.0");
    x = ernie_block(g, c, x, i);
    pop(g);
    pop(g);
    return x;
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){.head_bias = cfg_bool(c, "use_bias", false)});
    predicting_layers_as(g, c, cfg_int(c, "num_nextn_predict_layers", 0) > 0 ? 1 : 0, "model.mtp_linear_proj.0.weight",
                         predicting);
}

const Family family_ernie4_5_moe = {
    .name = "ernie4_5_moe",
    .build = build,
    .reply_format = "ernie_4_5_thinking",
    .since = "0.1",
    .golden = "ernie4_5_moe",
    .covers = "ERNIE-4.5-21B-A3B, ERNIE-4.5-300B-A47B",
    .defaults =
        "{\"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0, \"tie_word_embeddings\": true,"
        " \"num_experts\": 64, \"num_experts_per_tok\": 6, \"n_shared_experts\": 2, \"moe_intermediate_size\": 1536}"};
