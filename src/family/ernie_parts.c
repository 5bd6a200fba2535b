/* ernie_parts.c - see ernie_parts.h. Baidu 2025. */
#include "family/ernie_parts.h"

Val ernie_attended(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    a.rope.interleaved = true;
    a.qkv_bias = cfg_bool(c, "use_bias", a.qkv_bias);
    a.out_bias = cfg_bool(c, "use_bias", a.out_bias);
    return add(g, x, attention(g, norm(g, x, "input_layernorm"), a));
}

Ffn ernie_ffn(Graph *g, const Cfg *c) {
    Ffn f = ffn_of(g, c);
    f.bias = cfg_bool(c, "use_bias", f.bias);
    return f;
}

Val ernie_block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = ernie_attended(g, c, x);
    return add(g, x, ffn(g, norm(g, x, "post_attention_layernorm"), ernie_ffn(g, c)));
}
