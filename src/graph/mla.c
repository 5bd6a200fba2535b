/* mla.c - latent attention, always in its narrow form.
 *
 *     row  = norm(kv_a x)                        one per token, kept in the cache with the rotated part of the key
 *     q'_h = (key part of kv_b for head h)^T q_h      so that q'_h . row = q_h . key_h
 *     y_h  = (value part of kv_b for head h) (sum over entries of weight * row)
 *
 * The cache is one head whatever the number of query heads, and read once for all of them. Multiplying in this order costs
 * more in long prompts than making all keys and values would, but it is one way for prompts and single tokens, hence one
 * set of bits, and it reads a small fraction of the memory. */
#include "graph/graph_parts.h"

#include <math.h>

Mla mla_of(Graph *g, const Cfg *c) {
    Mla m = {.heads = cfg_need(c, "num_attention_heads"), .q_rank = cfg_int(c, "q_lora_rank", 0),
             .kv_rank = cfg_need(c, "kv_lora_rank"), .rope_dim = cfg_int(c, "qk_rope_head_dim", 64),
             .bias = cfg_bool(c, "attention_bias", false)};
    static const char *const same[] = {"num_key_value_heads", "qk_head_dim", "head_dim"}; /* follow from the others */
    for (size_t i = 0; i < COUNT(same); i++)
        (void)cfg_has(c, same[i]);
    m.nope_dim = cfg_need(c, "qk_nope_head_dim");
    m.value_dim = cfg_int(c, "v_head_dim", m.nope_dim);
    const int widest = 1 << 16;
    if (m.heads > widest || m.kv_rank > widest || m.rope_dim > widest || m.nope_dim > widest || m.value_dim > widest ||
        m.value_dim < 1 || m.rope_dim < 0 || m.q_rank < 0) {
        graph_fail(g, "config.json: %d heads with keys of %d + %d and values of %d numbers, made of %d", m.heads, m.nope_dim,
                   m.rope_dim, m.value_dim, m.kv_rank);
        m.heads = m.nope_dim = m.rope_dim = m.value_dim = m.kv_rank = 1;
        m.rope_dim = 2;
        return m;
    }
    if (m.rope_dim > 0)
        m.rope = rope_sized(g, c, m.rope_dim, NULL);
    m.rope.interleaved = cfg_bool(c, "rope_interleave", true);
    m.scale = 1.0f / sqrtf((float)(m.nope_dim + m.rope_dim)) * rope_score_scale(c);
    return m;
}

static Val query_of(Graph *g, Val x, const Mla *m, Val *low) {
    const int width = m->heads * (m->nope_dim + m->rope_dim);
    Val q;
    if (m->q_rank > 0) {
        *low = norm(g, linear(g, x, "q_a_proj", m->q_rank, m->bias, SPLIT_NONE), "q_a_layernorm");
        q = linear(g, *low, "q_b_proj", width, false, SPLIT_ROWS);
    } else {
        *low = NO_VAL;
        q = linear(g, x, "q_proj", width, false, SPLIT_ROWS);
    }
    if (m->q_scale != 0)
        q = scale(g, q, m->q_scale);
    return m->temp_scale != 0 ? scale_by_position(g, q, m->temp_scale, m->temp_floor, m->temp_plus) : q;
}

Val mla(Graph *g, Val x, Mla m) {
    const int width = width_of(g, x), row = m.kv_rank + m.rope_dim, whole = m.nope_dim + m.value_dim;
    push(g, "%s", m.scope != NULL ? m.scope : "self_attn");
    Val low;
    const Val q = query_of(g, x, &m, &low);
    const Val pair = linear(g, x, "kv_a_proj_with_mqa", row, m.bias, SPLIT_NONE);
    const Val gate = m.gate != NULL ? linear(g, x, m.gate, m.heads, false, SPLIT_ROWS) : NO_VAL;
    Val latent = norm(g, slice(g, pair, 0, m.kv_rank), "kv_a_layernorm");
    if (m.kv_scale != 0)
        latent = scale(g, latent, m.kv_scale);
    const Val q_nope = m.rope_dim > 0 ? slice_heads(g, q, m.heads, 0, m.nope_dim) : q;
    /* GGUF files hold the two parts of kv_b in tensors of their own, that of the keys already transposed. */
    const bool apart = has_tensor(g, "k_b_proj.weight");
    const Grouped keys = {.groups = m.heads, .out = m.kv_rank, .whole = apart ? 0 : whole, .transposed = !apart};
    const Grouped values = {.groups = m.heads, .out = m.value_dim, .whole = apart ? 0 : whole, .begin = apart ? 0 : m.nope_dim};
    Val seen_by = linear_grouped(g, q_nope, apart ? "k_b_proj" : "kv_b_proj", keys, SPLIT_ROWS);
    const State rows = state_rows(g, "latent", (RowState){.heads = 1, .width = row});
    if (m.rope_dim > 0) { /* the part that carries positions, beside the latent one */
        const Val k_rot = rope(g, slice(g, pair, m.kv_rank, m.rope_dim), m.rope, (RopeAt){.heads = 1});
        const Val q_rot = rope(g, slice_heads(g, q, m.heads, m.nope_dim, m.rope_dim), m.rope, (RopeAt){.heads = m.heads});
        latent = concat(g, latent, k_rot);
        seen_by = concat_heads(g, seen_by, q_rot, m.heads);
    }
    store(g, latent, rows);
    const Val chosen = m.choose != NULL ? m.choose(g, graph_cfg(g), x, low) : NO_VAL;
    Val y = attend(g, seen_by,
                   (Attend){.heads = m.heads, .kv_heads = 1, .key_width = row, .value_width = m.kv_rank,
                            .scale = m.scale != 0 ? m.scale : 1.0f / sqrtf((float)(m.nope_dim + m.rope_dim)), .keys = rows,
                            .values = rows, .chosen = chosen, .span = m.span, .tail = m.tail});
    y = linear_grouped(g, y, apart ? "v_b_proj" : "kv_b_proj", values, SPLIT_ROWS);
    if (gate != NO_VAL)
        y = mul(g, y, act(g, gate, ACT_SIGMOID));
    y = linear(g, y, m.out != NULL ? m.out : "o_proj", width, m.bias, SPLIT_COLS);
    pop(g);
    return y;
}
