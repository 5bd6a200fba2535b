/* qwen.c - Qwen2 and 2.5 (biases on q, k, v), Qwen2-MoE (a gated shared expert), Qwen3 (norms on each head of q and k) and
 * Qwen3-MoE. Yang et al. 2024, 2025. The window of the configurations is switched on by use_sliding_window, in the layers from max_window_layers. */
#include "graph/graph.h"

static Attn usual(Graph *g, const Cfg *c, int i) {
    Attn a = attn_of(g, c);
    const bool listed = cfg_has(c, "layer_types"), local = layer_is(c, i, "sliding_attention");
    cfg_covered(c, "sliding_window");
    if (cfg_bool(c, "use_sliding_window", false) && (listed ? local : i >= cfg_int(c, "max_window_layers", 0)))
        a.window = cfg_int(c, "sliding_window", 0);
    return a;
}

static Val attention2(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = usual(g, c, i);
    a.qkv_bias = cfg_bool(c, "qkv_bias", true);
    a.out_bias = false;
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

static Val block2(Graph *g, const Cfg *c, Val x, int i) {
    x = attention2(g, c, x, i);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

/* Every decoder_sparse_step-th layer has experts, but for those listed. */
static bool is_sparse(const Cfg *c, int i) {
    const int step = cfg_int(c, "decoder_sparse_step", 1);
    return !cfg_list_has(c, "mlp_only_layers", i) && step > 0 && (i + 1) % step == 0;
}

static Val block2_moe(Graph *g, const Cfg *c, Val x, int i) {
    x = attention2(g, c, x, i);
    const Val h = norm(g, x, "post_attention_layernorm");
    if (!is_sparse(c, i))
        return add(g, x, ffn(g, h, ffn_of(g, c)));
    Moe m = moe_of(g, c);
    m.shared = "shared_expert";
    m.shared_gate = "shared_expert_gate";
    return add(g, x, moe(g, h, m));
}

static Val attention3(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = usual(g, c, i);
    if (!cfg_bool(c, "use_qk_norm", true))
        cfg_refuse(c, "config.json: use_qk_norm is false, which no published model of this family has");
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

static Val block3(Graph *g, const Cfg *c, Val x, int i) {
    x = attention3(g, c, x, i);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ffn_of(g, c)));
}

static Val block3_moe(Graph *g, const Cfg *c, Val x, int i) {
    x = attention3(g, c, x, i);
    const Val h = norm(g, x, "post_attention_layernorm");
    return add(g, x, is_sparse(c, i) ? moe(g, h, moe_of(g, c)) : ffn(g, h, ffn_of(g, c)));
}

static void build2(Graph *g, const Cfg *c) { decoder(g, c, block2, (Decoder){0}); }
static void build2_moe(Graph *g, const Cfg *c) { decoder(g, c, block2_moe, (Decoder){0}); }
static void build3(Graph *g, const Cfg *c) { decoder(g, c, block3, (Decoder){0}); }
static void build3_moe(Graph *g, const Cfg *c) { decoder(g, c, block3_moe, (Decoder){0}); }

const Family family_qwen2 = {.name = "qwen2", .build = build2, .reply_format = "qwen2_5 qwen3", .since = "0.1", .golden = "qwen2",
                             .covers = "Qwen2, Qwen2.5, QwQ-32B, R1-Distill-Qwen"};
const Family family_qwen2_moe = {
    .name = "qwen2_moe", .build = build2_moe, .reply_format = "plain", .since = "0.1", .golden = "qwen2_moe",
    .covers = "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    .defaults = "{\"num_experts\": 60, \"num_experts_per_tok\": 4, \"moe_intermediate_size\": 1408,"
                " \"shared_expert_intermediate_size\": 5632}"};
const Family family_qwen3 = {.name = "qwen3", .build = build3, .reply_format = "qwen3", .since = "0.1", .golden = "qwen3",
                             .covers = "Qwen3 0.6B to 32B", .defaults = "{\"head_dim\": 128}"};
const Family family_qwen3_moe = {.name = "qwen3_moe", .build = build3_moe, .reply_format = "qwen3 qwen3_coder", .since = "0.1",
                                 .golden = "qwen3_moe", .covers = "Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder"};
