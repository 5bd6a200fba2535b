/* olmo.c - OLMo 2 and 3: norms after each half instead of before it, norms over all heads of q and k together; OLMo 3 sees
 * a window in three of four layers, and stretches the rotation in the others only. Team OLMo 2024, 2025. */
#include "graph/graph.h"

static Val halves(Graph *g, const Cfg *c, Val x, Attn a) {
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    a.norm_whole = true;
    x = add(g, x, norm(g, attention(g, x, a), "post_attention_layernorm"));
    return add(g, x, norm(g, ffn(g, x, ffn_of(g, c)), "post_feedforward_layernorm"));
}

static Val block2(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    return halves(g, c, x, attn_of(g, c));
}

static Val block3(Graph *g, const Cfg *c, Val x, int i) {
    Attn a = attn_of(g, c);
    const bool local = layer_is_local(c, i, 4);
    a.window = local ? cfg_int(c, "sliding_window", 0) : 0;
    if (local && !cfg_has(c, "rope_parameters.sliding_attention"))
        a.rope = rope_plain(g, a.head_dim, cfg_real(c, "rope_local_base_freq", a.rope.theta));
    else
        a.rope = rope_of(g, c, a.head_dim, local ? "sliding_attention" : "full_attention");
    return halves(g, c, x, a);
}

static void build2(Graph *g, const Cfg *c) { decoder(g, c, block2, (Decoder){0}); }
static void build3(Graph *g, const Cfg *c) { decoder(g, c, block3, (Decoder){0}); }

const Family family_olmo2 = {.name = "olmo2", .build = build2, .reply_format = "plain", .since = "0.1", .golden = "olmo3",
                             .covers = "OLMo 2 1B, 7B, 13B, 32B", .defaults = "{\"rms_norm_eps\": 1e-5}"};
const Family family_olmo3 = {
    .name = "olmo3", .build = build3, .reply_format = "olmo_3", .since = "0.1", .golden = "olmo3", .covers = "OLMo 3 7B, 32B",
    .defaults = "{\"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0, \"sliding_window\": 4096}"};
