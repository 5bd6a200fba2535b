/* glm5_next.c - GLM-5.3-Flash: a residual of several streams; three layers of Kimi delta attention to one of latent
 * attention without positions, which sees runs of tokens that an index of pooled keys chooses. Zhipu AI 2026. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

static bool is_delta(const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return cfg_int_at(c, "num_key_value_heads", i, 1) == 0;
    if (!cfg_has(c, "layer_types"))
        return i % 4 != 3;
    return !layer_is(c, i, "indexed_attention") && layer_is(c, i, "linear_attention");
}

static int pool_of(const Cfg *c) {
    return MAX(cfg_int(c, "index_kpool", 16), 1);
}

/* The index has a row for each whole run of tokens; what follows the last is always seen. */
static Val index_pools(Graph *g, const Cfg *c, Val x, Val low) {
    const int heads = cfg_int(c, "index_n_heads", 32), dim = cfg_int(c, "index_head_dim", 128), ratio = pool_of(c);
    const float eps = cfg_is_gguf(c) ? cfg_real(c, "layer_norm_eps", 1e-6f) : 1e-6f;
    if (!cfg_bool(c, "index_kpool_always_select_tail", true))
        cfg_refuse(c, "config.json: index_kpool_always_select_tail false is not known");
    push(g, "indexer");
    const Val q = linear(g, low, "wq_b", width_product(g, heads, dim), false, SPLIT_NONE);
    const Val k = norm_layer(g, linear(g, x, "wk", dim, false, SPLIT_NONE), "k_norm", eps);
    const Val w = scale(g, linear_exact(g, x, "weights_proj", heads, false), 1.0f / sqrtf((float)heads));
    const Val gate = linear_exact(g, x, "index_kpool_compress_gate", dim, false);
    const Val row = pool_rows(g, k, gate, (Pool){.ratio = ratio, .width = dim, .bias = "index_kpool_compress_ape"});
    const State keys = state_rows(g, "key", (RowState){.heads = 1, .width = dim, .stride = ratio});
    store(g, row, keys);
    pop(g);
    return choose(g, q, w, (Choice){.heads = heads, .dim = dim, .top = cfg_int(c, "index_topk", 2048) / ratio, .keys = keys});
}

static Val index_before(Graph *g, const Cfg *c, Val x, Val low) {
    (void)c, (void)x, (void)low;
    return last_choice(g);
}

static Val mix(Graph *g, const Cfg *c, Val x, int i) {
    if (is_delta(c, i)) {
        Kda k = kda_of(g, c);
        if (cfg_is_gguf(c))
            k.heads = cfg_need(c, "num_attention_heads");
        const bool bounded = cfg_bool(c, "linear_attn_config.safe_gate", true);
        k.lower_bound = cfg_real(c, "linear_attn_config.gate_lower_bound", bounded ? cfg_real(c, "linear_lower_bound", 0) : 0);
        return kda(g, x, k);
    }
    Mla m = mla_of(g, c);
    m.choose = layer_has_index(c, i) ? index_pools : index_before;
    m.span = pool_of(c);
    m.tail = true;
    return mla(g, x, m);
}

static Val feed(Graph *g, const Cfg *c, Val x, int i) {
    const float limit = cfg_real_at(c, "swiglu_limits", i, cfg_real(c, "swiglu_limit", 10));
    if (!layer_is_sparse(c, i)) {
        Ffn f = ffn_of(g, c);
        f.limit = limit;
        return ffn(g, x, f);
    }
    const char *score = cfg_str(c, "scoring_func", "sigmoid");
    if (strcmp(score, "sigmoid") != 0)
        cfg_refuse(c, "config.json: experts scored by %s, sigmoid is known for this family", score);
    Moe m = moe_of(g, c);
    const int shared = cfg_int(c, "n_shared_experts", 1);
    m.shared_dim = shared == 0 ? 0 : width_product(g, shared, m.dim);
    m.group_by_top2 = true;
    m.score = SCORE_SIGMOID;
    m.renormalise = cfg_bool(c, "norm_topk_prob", true);
    m.renormalise_eps = 1e-20f;
    m.scale = cfg_real(c, "routed_scaling_factor", 2.5f);
    m.correction = "gate.e_score_correction_bias";
    m.glu.limit = limit;
    m.shared_ffn = (Ffn){.act = m.glu.act, .limit = cfg_real_at(c, "swiglu_limits_shared", i, limit)};
    return moe(g, x, m);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    const Hyper h = {.streams = cfg_int(c, "hc_mult", 4), .iterations = cfg_int(c, "hc_sinkhorn_iters", 20),
                     .eps = cfg_real(c, "hc_eps", 1e-6f)};
    Val w = hyper_weights(g, x, "hc_attn_", h);
    x = hyper_expand(g, x, mix(g, c, norm(g, hyper_collapse(g, x, w, h.streams), "input_layernorm"), i), w, h.streams);
    w = hyper_weights(g, x, "hc_ffn_", h);
    return hyper_expand(g, x, feed(g, c, norm(g, hyper_collapse(g, x, w, h.streams), "post_attention_layernorm"), i), w, h.streams);
}

static Val mean_of_streams(Graph *g, const Cfg *c, Val x) {
    const int streams = cfg_int(c, "hc_mult", 4), width = width_of(g, x) / MAX(streams, 1);
    Val sum = slice(g, x, 0, width);
    for (int i = 1; i < streams; i++)
        sum = add(g, sum, slice(g, x, i * width, width));
    return scale(g, sum, 1.0f / (float)streams);
}

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, block, (Decoder){.streams = cfg_int(c, "hc_mult", 4), .collapse = mean_of_streams});
}

#define DEFAULTS \
    "{\"rms_norm_eps\": 1e-5, \"first_k_dense_replace\": 3, \"kv_lora_rank\": 512, \"q_lora_rank\": 1536, \"qk_rope_head_dim\": 0," \
    " \"qk_nope_head_dim\": 256, \"v_head_dim\": 256, \"num_experts\": 288, \"num_experts_per_tok\": 8," \
    " \"moe_intermediate_size\": 2048, \"linear_lower_bound\": -5.0, \"linear_num_heads\": 64}"

const Family family_glm5_next = {.name = "glm5_next", .build = build, .reply_format = "glm_4_7", .since = "0.1",
                                 .golden = "glm5_next", .covers = "GLM-5.3-Flash (text)", .defaults = DEFAULTS};
const Family family_glm5_next_text = {.name = "glm5_next_text", .build = build, .reply_format = "glm_4_7", .since = "0.1",
                                      .golden = "glm5_next", .covers = "GLM-5.3-Flash, text only", .defaults = DEFAULTS};
