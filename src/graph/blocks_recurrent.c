/* blocks_recurrent.c - layers that remember by a matrix or by a few tokens, as compositions of the builder's
 * operations. */
#include "graph/graph_parts.h"

#include <math.h>

/* q and k are divided by their length; the published kernels have this number under the root. */
#define UNIT_EPS 1e-6f

static Act or_silu(Act act) {
    return act != ACT_NONE ? act : ACT_SILU;
}

/* e^(rate * softplus(x + dt_bias)), with a rate per head that is -e^A_log. */
static Val decay_of(Graph *g, Val x, int heads) {
    return act(g, mul_runs(g, act(g, add_weight(g, x, "dt_bias"), ACT_SOFTPLUS), "A_log", heads, MAP_NEG_EXP), ACT_EXP);
}

/* ---- gated delta net ---------------------------------------------------------------------------------------------------- */

DeltaNet delta_net_of(Graph *g, const Cfg *c) {
    DeltaNet d = {.key_heads = cfg_int(c, "linear_num_key_heads", 16), .value_heads = cfg_int(c, "linear_num_value_heads", 32),
                  .key_width = cfg_int(c, "linear_key_head_dim", 128), .value_width = cfg_int(c, "linear_value_head_dim", 128),
                  .taps = cfg_int(c, "linear_conv_kernel_dim", 4), .act = act_of(g, c, "hidden_act")};
    const int largest = 1 << 20;
    if (d.key_heads < 1 || d.value_heads < 1 || d.value_heads % d.key_heads != 0 || d.key_width < 1 || d.value_width < 1 ||
        d.key_width > largest / d.key_heads || d.value_width > largest / d.value_heads) {
        graph_fail(g, "config.json: linear attention of %d value heads of width %d, %d key heads of %d", d.value_heads,
                   d.value_width, d.key_heads, d.key_width);
        d.key_heads = d.value_heads = d.key_width = d.value_width = 1;
    }
    return d;
}

Val delta_net(Graph *g, Val x, DeltaNet d) {
    const int keys = d.key_heads * d.key_width, values = d.value_heads * d.value_width;
    const int per_key = d.value_heads / d.key_heads, vw = per_key * d.value_width;
    const int width = width_of(g, x);
    push(g, "%s", d.scope != NULL ? d.scope : "linear_attn");
    Val parts[CONV_INPUTS], gate, a, b;
    int n = 1;
    if (d.fused_qkvz) { /* for each key head: q, k, then v and gate of its value heads */
        const Val all = linear(g, x, "in_proj_qkvz", 2 * keys + 2 * values, false, SPLIT_ROWS);
        n = 3;
        parts[0] = slice_heads(g, all, d.key_heads, 0, d.key_width);
        parts[1] = slice_heads(g, all, d.key_heads, d.key_width, d.key_width);
        parts[2] = slice_heads(g, all, d.key_heads, 2 * d.key_width, vw);
        gate = slice_heads(g, all, d.key_heads, 2 * d.key_width + vw, vw);
    } else {
        parts[0] = linear(g, x, "in_proj_qkv", 2 * keys + values, false, SPLIT_ROWS);
        gate = linear(g, x, "in_proj_z", values, false, SPLIT_ROWS);
    }
    if (d.fused_ba) {
        const Val all = linear_exact(g, x, "in_proj_ba", 2 * d.value_heads, false);
        b = slice_heads(g, all, d.key_heads, 0, per_key);
        a = slice_heads(g, all, d.key_heads, per_key, per_key);
    } else {
        b = linear_exact(g, x, "in_proj_b", d.value_heads, false);
        a = linear_exact(g, x, "in_proj_a", d.value_heads, false);
    }
    const Val mixed = conv(g, parts, n, (Conv){.name = {"conv1d"}, .taps = d.taps, .act = or_silu(d.act)});
    const Val q = norm_plain(g, slice(g, mixed, 0, keys), d.key_width, NORM_L2, UNIT_EPS);
    const Val k = norm_plain(g, slice(g, mixed, keys, keys), d.key_width, NORM_L2, UNIT_EPS);
    const Recur spec = {.heads = d.value_heads, .key_heads = d.key_heads, .key_width = d.key_width,
                        .value_width = d.value_width, .delta = true, .tiled = d.tiled};
    Val y = recur(g, q, k, slice(g, mixed, 2 * keys, values), decay_of(g, a, d.value_heads), act(g, b, ACT_SIGMOID), spec);
    y = graph_norm(g, y, "norm", d.value_width, d.value_width, norm_eps(g));
    y = linear(g, glu(g, gate, y, (Glu){.act = or_silu(d.gate)}), "out_proj", width, false, SPLIT_COLS);
    pop(g);
    return y;
}

/* ---- delta net with a decay for each channel ---------------------------------------------------------------------------- */

Kda kda_of(Graph *g, const Cfg *c) {
    return (Kda){.heads = cfg_int(c, "linear_attn_config.num_heads", cfg_int(c, "linear_num_heads", 32)),
                 .head_dim = cfg_int(c, "linear_attn_config.head_dim", cfg_int(c, "linear_head_dim", 128)),
                 .taps = cfg_int(c, "linear_attn_config.short_conv_kernel_size", cfg_int(c, "linear_conv_kernel_dim", 4)),
                 .low_rank = true, .act = act_of(g, c, "hidden_act")};
}

/* A projection to a number for each channel of each head. */
static Val kda_gate(Graph *g, Val x, const Kda *k, const char *low, const char *high, const char *whole) {
    const int all = width_product(g, k->heads, k->head_dim);
    if (!k->low_rank)
        return linear(g, x, whole, all, false, SPLIT_ROWS);
    return linear(g, linear(g, x, low, k->head_dim, false, SPLIT_NONE), high, all, false, SPLIT_ROWS);
}

static Val kda_decay(Graph *g, Val f, const Kda *k) {
    f = add_weight(g, f, "dt_bias");
    if (k->lower_bound == 0)
        return act(g, mul_runs(g, act(g, f, ACT_SOFTPLUS), "A_log", k->heads, MAP_NEG_EXP), ACT_EXP);
    const bool positive = k->rate == MAP_EXP;
    f = mul_runs(g, f, "A_log", k->heads, positive ? MAP_EXP : MAP_NEG_EXP);
    f = act(g, positive ? f : scale(g, f, -1), ACT_SIGMOID);
    return act(g, scale(g, f, k->lower_bound), ACT_EXP);
}

Val kda(Graph *g, Val x, Kda k) {
    const int all = width_product(g, k.heads, k.head_dim), width = width_of(g, x);
    if (!graph_ok(g))
        return NO_VAL;
    push(g, "%s", k.scope != NULL ? k.scope : "self_attn");
    const Val parts[] = {linear(g, x, "q_proj", all, false, SPLIT_ROWS), linear(g, x, "k_proj", all, false, SPLIT_ROWS),
                         linear(g, x, "v_proj", all, false, SPLIT_ROWS)};
    const Val f = kda_gate(g, x, &k, "f_a_proj", "f_b_proj", "f_proj"), gate = kda_gate(g, x, &k, "g_a_proj", "g_b_proj", "g_proj");
    const Val b = linear_exact(g, x, "b_proj", k.heads, false);
    const Val mixed = conv(g, parts, 3, (Conv){.name = {"q_conv1d", "k_conv1d", "v_conv1d"}, .taps = k.taps, .act = or_silu(k.act)});
    const Val query = norm_plain(g, slice(g, mixed, 0, all), k.head_dim, NORM_L2, UNIT_EPS);
    const Val key = norm_plain(g, slice(g, mixed, all, all), k.head_dim, NORM_L2, UNIT_EPS);
    Val y = recur(g, query, key, slice(g, mixed, 2 * all, all), kda_decay(g, f, &k), act(g, b, ACT_SIGMOID),
                  (Recur){.heads = k.heads, .key_heads = k.heads, .key_width = k.head_dim, .value_width = k.head_dim, .delta = true});
    y = graph_norm(g, y, "o_norm", k.head_dim, k.head_dim, norm_eps(g));
    y = linear(g, glu(g, gate, y, (Glu){.act = ACT_SIGMOID}), k.out != NULL ? k.out : "o_proj", width, false, SPLIT_COLS);
    pop(g);
    return y;
}

/* ---- Mamba-2 -------------------------------------------------------------------------------------------------------------- */

Mamba mamba_of(Graph *g, const Cfg *c) {
    Mamba m = {.heads = cfg_need(c, "mamba_n_heads"), .groups = cfg_int(c, "mamba_n_groups", 1),
               .state_width = cfg_need(c, "mamba_d_state"), .taps = cfg_int(c, "mamba_d_conv", 4),
               .conv_bias = cfg_bool(c, "mamba_conv_bias", true)};
    /* "auto", or left out: all heads together are `expand` times as wide as the model. */
    const bool given = cfg_has(c, "mamba_d_head") && cfg_str(c, "mamba_d_head", NULL) == NULL;
    const int64_t inner = (int64_t)cfg_int(c, "mamba_expand", 2) * cfg_need(c, "hidden_size");
    if (!given && (inner % m.heads != 0 || inner < 1 || inner > 1 << 20))
        graph_fail(g, "config.json: a state space of %d heads for a width of %lld", m.heads, (long long)inner);
    m.head_width = given ? cfg_need(c, "mamba_d_head") : graph_ok(g) ? (int)inner / m.heads : 1;
    if (cfg_real_at(c, "time_step_limit", 0, 0) > 0 || cfg_real_at(c, "time_step_limit", 1, INFINITY) < INFINITY)
        cfg_refuse(c, "config.json: time_step_limit: bounds other than 0 and infinity are not supported");
    return m;
}

Val mamba(Graph *g, Val x, Mamba m) {
    if (graph_ok(g) && (m.heads < 1 || m.head_width < 1 || m.groups < 1 || m.state_width < 1 || m.heads % m.groups != 0 ||
                        m.heads > (1 << 20) / m.head_width || m.groups > (1 << 20) / m.state_width))
        graph_fail(g, "config.json: a state space of %d heads of width %d, %d groups of %d", m.heads, m.head_width, m.groups,
                   m.state_width);
    if (!graph_ok(g))
        return NO_VAL;
    const int inner = m.heads * m.head_width, states = m.groups * m.state_width, mixing = inner + 2 * states;
    const int all = inner + mixing + m.heads, width = width_of(g, x);
    push(g, "%s", m.scope != NULL ? m.scope : "mamba");
    const Val gate = linear_part(g, x, "in_proj", all, 0, inner, m.bias, SPLIT_ROWS);
    const Val part = linear_part(g, x, "in_proj", all, inner, mixing, m.bias, SPLIT_ROWS);
    const Val raw = linear_part(g, x, "in_proj", all, inner + mixing, m.heads, m.bias, SPLIT_ROWS);
    if (graph_ok(g)) /* time steps: a small error in how fast a state fades adds up */
        g->ops[g->n_op - 1].u.linear.exact = true;
    const Val mixed = conv(g, &part, 1, (Conv){.name = {"conv1d"}, .taps = m.taps, .bias = m.conv_bias, .act = or_silu(m.act)});
    const Val value = slice(g, mixed, 0, inner), key = slice(g, mixed, inner, states);
    const Val query = slice(g, mixed, inner + states, states);
    const Val dt = act(g, add_weight(g, raw, "dt_bias"), ACT_SOFTPLUS);
    const Val decay = act(g, mul_runs(g, dt, "A_log", m.heads, MAP_NEG_EXP), ACT_EXP);
    Val y = recur(g, query, key, value, decay, dt,
                  (Recur){.heads = m.heads, .key_heads = m.groups, .key_width = m.state_width, .value_width = m.head_width, .scale = 1});
    y = add(g, y, mul_runs(g, value, "D", m.heads, MAP_NONE)); /* what passes by the state */
    y = glu(g, gate, y, (Glu){.act = or_silu(m.act)});          /* the gate comes before the norm */
    y = graph_norm(g, y, "norm", inner / m.groups, inner, norm_eps(g));
    y = linear(g, y, "out_proj", width, m.bias, SPLIT_COLS);
    pop(g);
    return y;
}

/* ---- lightning attention ----------------------------------------------------------------------------------------------------- */

Val lightning(Graph *g, Val x, Lightning l) {
    const int inner = l.heads * l.head_dim, width = width_of(g, x);
    push(g, "self_attn");
    const Val qkv = act(g, linear(g, x, "qkv_proj", 3 * inner, false, SPLIT_ROWS), or_silu(l.act)); /* by head: q, k, v */
    const Val q = slice_heads(g, qkv, l.heads, 0, l.head_dim), k = slice_heads(g, qkv, l.heads, l.head_dim, l.head_dim);
    const Val v = slice_heads(g, qkv, l.heads, 2 * l.head_dim, l.head_dim);
    const Val gate = linear(g, x, "output_gate", inner, false, SPLIT_ROWS);
    float *decays = arena_array(&g->arena, (size_t)MAX(l.heads, 1), sizeof *decays);
    if (decays == NULL)
        graph_fail(g, "no memory for decays");
    /* Slopes as in ALiBi (Press et al. 2022), falling with the layer. */
    const float factor = 1 - (float)g->layer / ((float)(g->n_layer - 1) + 1e-5f) + 1e-5f;
    for (int h = 0; graph_ok(g) && h < l.heads; h++)
        decays[h] = expf(-(exp2f(-8.0f * (float)(h + 1) / (float)l.heads) * factor));
    Val y = recur(g, q, k, v, NO_VAL, NO_VAL, (Recur){.heads = l.heads, .key_heads = l.heads, .key_width = l.head_dim,
                                                      .value_width = l.head_dim, .scale = 1, .decays = decays});
    y = graph_norm(g, y, "norm", inner, inner, l.norm_eps);
    y = linear(g, glu(g, gate, y, (Glu){.act = ACT_SIGMOID}), "out_proj", width, false, SPLIT_COLS);
    pop(g);
    return y;
}

/* ---- short convolution -------------------------------------------------------------------------------------------------------- */

Val short_conv(Graph *g, Val x, ShortConv s) {
    const int width = width_of(g, x);
    push(g, "%s", s.scope != NULL ? s.scope : "conv");
    const Val all = linear(g, x, "in_proj", 3 * width, s.bias, SPLIT_ROWS);
    const Val inside = mul(g, slice(g, all, 0, width), slice(g, all, 2 * width, width));
    const Val mixed = conv(g, &inside, 1, (Conv){.name = {"conv"}, .taps = s.taps, .bias = s.bias});
    const Val y = linear(g, mul(g, slice(g, all, width, width), mixed), "out_proj", width, s.bias, SPLIT_COLS);
    pop(g);
    return y;
}
