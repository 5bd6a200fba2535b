/* gpt_oss.c - gpt-oss: windows in every second layer, a sink logit per head, biases everywhere, experts with a shifted and
 * clamped gated unit whose weights lie transposed or as 4-bit blocks. OpenAI 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    a.window = layer_is_local(c, i, 2) ? cfg_int(c, "sliding_window", 0) : 0;
    a.sinks = "sinks";
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    Moe m = moe_of(g, c);
    m.score = SCORE_SOFTMAX_TOPK;
    m.glu = (Glu){.oai = true, .alpha = cfg_real(c, "swiglu_alpha", 1.702f), .limit = cfg_real(c, "swiglu_limit", 7)};
    m.router = "router";
    m.router_bias = true;
    m.bias = true;
    m.interleaved = true;
    m.transposed = true;
    return add(g, x, moe(g, norm(g, x, "post_attention_layernorm"), m));
}

static void build(Graph *g, const Cfg *c) {
    cfg_covered(c, "initial_context_length"); /* rope_scaling says it again */
    decoder(g, c, block, (Decoder){0});
}

const Family family_gpt_oss = {
    .name = "gpt_oss", .build = build, .reply_format = "gpt_oss", .since = "0.1", .golden = "gpt_oss",
    .covers = "gpt-oss-20b, gpt-oss-120b",
    .defaults = "{\"num_key_value_heads\": 8, \"head_dim\": 64, \"attention_bias\": true, \"sliding_window\": 128,"
                " \"rms_norm_eps\": 1e-5, \"rope_theta\": 150000.0, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32.0,"
                " \"beta_fast\": 32.0, \"beta_slow\": 1.0, \"truncate\": false, \"original_max_position_embeddings\": 4096}}"};
