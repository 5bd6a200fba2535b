/* longcat.c - LongCat-Flash: a layer has two latent attentions and two dense blocks, and the experts of the first half are
 * added at its end, so that they can be computed beside the second. Some experts are the identity. Meituan 2025. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

static Mla latent(Graph *g, const Cfg *c, const char *scope) {
    Mla m = mla_of(g, c);
    const float width = (float)cfg_need(c, "hidden_size");
    if (!cfg_has(c, "rope_theta") && !cfg_has(c, "rope_parameters"))
        m.rope = rope_plain(g, m.rope_dim, 1e7f);
    m.rope.interleaved = true;
    if (cfg_bool(c, "mla_scale_q_lora", true) && m.q_rank > 0)
        m.q_scale = sqrtf(width / (float)m.q_rank);
    if (cfg_bool(c, "mla_scale_kv_lora", true))
        m.kv_scale = sqrtf(width / (float)m.kv_rank);
    m.scope = scope;
    return m;
}

static Val dense(Graph *g, const Cfg *c, Val x, const char *scope) {
    return ffn(g, x, (Ffn){.dim = cfg_need(c, "ffn_hidden_size"), .act = act_of(g, c, "hidden_act"), .scope = scope});
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = add(g, x, mla(g, norm(g, x, "input_layernorm.0"), latent(g, c, "self_attn.0")));
    const Val h = norm(g, x, "post_attention_layernorm.0");
    const Val routed = moe(g, h, (Moe){.experts = cfg_need(c, "num_experts"), .used = cfg_need(c, "num_experts_per_tok"),
                                       .dim = cfg_need(c, "moe_intermediate_size"), .score = SCORE_SOFTMAX,
                                       .scale = cfg_real(c, "routed_scaling_factor", 6), .router = "router.classifier",
                                       .router_bias = cfg_bool(c, "router_bias", false),
                                       .correction = "router.e_score_correction_bias",
                                       .zero_experts = cfg_int(c, "zero_expert_num", 256),
                                       .glu = {.act = act_of(g, c, "hidden_act")}});
    x = add(g, x, dense(g, c, h, "mlps.0"));
    x = add(g, x, mla(g, norm(g, x, "input_layernorm.1"), latent(g, c, "self_attn.1")));
    x = add(g, x, dense(g, c, norm(g, x, "post_attention_layernorm.1"), "mlps.1"));
    return add(g, x, routed);
}

static void build(Graph *g, const Cfg *c) {
    const char *zero = cfg_str(c, "zero_expert_type", "identity");
    if (zero[0] != 'i')
        cfg_refuse(c, "config.json: zero_expert_type %s is not known", zero);
    if (strcmp(cfg_str(c, "attention_method", "MLA"), "MLA") != 0)
        cfg_refuse(c, "config.json: mixer '%s' is not known; all layers use it", cfg_str(c, "attention_method", ""));
    decoder(g, c, block, (Decoder){0});
}

const Family family_longcat_flash = {.name = "longcat_flash", .build = build, .reply_format = "longcat longcat_keyed", .since = "0.1",
                                     .golden = "longcat_flash", .covers = "LongCat-Flash-Chat, LongCat-Flash-Thinking"};
