/* llama4.c - Llama 4: three of four layers rotate adjacent pairs and see only their chunk of the text; the fourth sees all,
 * without positions, its queries growing with the position (Nakanishi 2025). Each token goes to few experts, whose input is
 * scaled, and to a shared one. Meta 2025. */
#include "graph/graph.h"

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    a.rope.interleaved = true;
    const int every = cfg_int(c, "no_rope_layer_interval", 4);
    const bool listed = cfg_list_length(c, "no_rope_layers") > 0; /* 1: with positions; an empty list stands for the rule */
    const bool turned = listed ? cfg_int_at(c, "no_rope_layers", i, 1) != 0 : every < 1 || (i + 1) % every != 0;
    const bool chunked = cfg_list_length(c, "layer_types") > 0 ? layer_is(c, i, "chunked_attention") : turned;
    a.chunk = chunked ? cfg_int(c, "attention_chunk_size", 0) : 0;
    a.norm_bare = turned && cfg_bool(c, "use_qk_norm", true);
    a.norm_late = true;
    if (!turned) {
        a.rope = (Rope){0};
        if (cfg_bool(c, "attn_temperature_tuning", true)) {
            a.temp_scale = cfg_real(c, "attn_scale", 0.1f);
            a.temp_floor = cfg_int(c, "floor_scale", 8192);
            a.temp_plus = 1;
        }
    }
    x = add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
    const Val h = norm(g, x, "post_attention_layernorm");
    const int step = cfg_int(c, "interleave_moe_layer_step", 1);
    const bool sparse = cfg_has(c, "moe_layers") ? cfg_list_has(c, "moe_layers", i) : step > 0 && (i + 1) % step == 0;
    Ffn f = ffn_of(g, c);
    f.dim = cfg_int(c, "intermediate_size_mlp", f.dim);
    f.scope = "feed_forward";
    if (!sparse)
        return add(g, x, ffn(g, h, f));
    Moe m = moe_of(g, c);
    m.shared_dim = m.dim;
    m.shared = "shared_expert";
    m.score = SCORE_SIGMOID_TOPK;
    m.scale_input = true;
    m.router = "router";
    m.transposed = true;
    m.scope = "feed_forward";
    return add(g, x, moe(g, h, m));
}

static void build(Graph *g, const Cfg *c) { decoder(g, c, block, (Decoder){0}); }

#define DEFAULTS                                                                                                         \
    "{\"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-5, \"num_experts\": 16, \"num_experts_per_tok\": 1,"  \
    " \"intermediate_size_mlp\": 16384, \"attention_chunk_size\": 8192}"

const Family family_llama4 = {.name = "llama4", .build = build, .reply_format = "llama4 llama3_1", .since = "0.1", .golden = "llama4",
                              .covers = "Llama 4 Scout, Maverick", .defaults = DEFAULTS};
const Family family_llama4_text = {.name = "llama4_text", .build = build, .reply_format = "llama4 llama3_1", .since = "0.1",
                                   .golden = "llama4_text", .covers = "Llama 4 Scout, Maverick (text only)", .defaults = DEFAULTS};
