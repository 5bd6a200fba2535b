/* qwen4_exp.c - Qwen4-Exp: as Qwen3.5 with experts, on a residual of several streams that are mixed through a narrow gate;
 * attention to runs of tokens chosen by an index of their mean keys; hashed embeddings of the last tokens added to all
 * streams in a few layers. Qwen team 2026. */
#include "graph/graph.h"

#include <math.h>

static int streams_of(const Cfg *c) {
    const int n = cfg_int(c, "hc_mult", 4), most = 64;
    if (n < 1 || n > most)
        cfg_refuse(c, "config.json: hc_count is %d, 1 to %d are known", n, most);
    return n < 1 || n > most ? 1 : n;
}

/* ---- streams ---- */

typedef struct Mixed {
    Val block;  /* what the block sees */
    Val inject; /* [T, streams]: how much of its result each stream takes */
} Mixed;

static Mixed mix_streams(Graph *g, const Cfg *c, Val x, const char *scope, bool ends) {
    const int n = streams_of(c), width = width_of(g, x) / n;
    push(g, "%s", scope);
    const Val h = norm_groups(g, x, "hc_norm", n);
    const Val low = linear(g, h, "input_mix_weight_down", cfg_int(c, "hc_lowrank", 320), false, SPLIT_NONE);
    const Val gate = linear(g, act(g, scale(g, low, 1.0f / (float)n), ACT_SILU), "input_mix_weight_up", n * width, false, SPLIT_NONE);
    const Val each = mul(g, h, act(g, gate, ACT_SIGMOID));
    Mixed m = {.block = slice(g, each, 0, width), .inject = NO_VAL};
    for (int i = 1; i < n; i++)
        m.block = add(g, m.block, slice(g, each, i * width, width));
    m.block = scale(g, m.block, 1.0f / (float)n);
    if (!ends) {
        const Val w = linear_exact(g, h, "block_inject_weight", n, false);
        m.inject = scale(g, act(g, scale(g, w, 1.0f / (float)n), ACT_SIGMOID), 2);
    }
    pop(g);
    return m;
}

static Val injected(Graph *g, const Cfg *c, Val x, Val result, Mixed m) {
    return add(g, x, mul(g, repeat_heads(g, result, 1, streams_of(c)), m.inject));
}

static Val last_mix(Graph *g, const Cfg *c, Val x) {
    return mix_streams(g, c, x, "hyper_connection_mixer", true).block;
}

/* ---- attention ---- */

static bool is_linear(const Cfg *c, int i) {
    const int interval = cfg_int(c, "full_attention_interval", 4);
    if (cfg_has(c, "recurrent_layers"))
        return cfg_int_at(c, "recurrent_layers", i, 0) != 0;
    if (cfg_has(c, "layer_types"))
        return !layer_is(c, i, "indexed_attention") && layer_is(c, i, "linear_attention");
    return interval < 1 || (i + 1) % interval != 0;
}

/* One for all layers; GGUF files list it, with 0 for the linear ones. */
static int ratio_of(const Cfg *c) {
    int listed = 1;
    for (int i = 0; i < cfg_list_length(c, "compress_ratios"); i++)
        listed = MAX(listed, cfg_int_at(c, "compress_ratios", i, 1));
    return MAX(cfg_int(c, "indexer_compress_ratio", listed), 1);
}

static Val choose_runs(Graph *g, const Cfg *c, Val x) {
    const int heads = cfg_need(c, "index_n_heads"), dim = cfg_need(c, "index_head_dim"), ratio = ratio_of(c);
    const int wide = width_product(g, heads, dim), most = 1 << 20; /* far more heads than choose() takes */
    const int all = width_product(g, MIN(heads, most) + 1, dim);
    const Rope turn = rope_of(g, c, cfg_need(c, "head_dim"), NULL);
    if (cfg_int(c, "indexer_kv_heads", 1) != 1)
        cfg_refuse(c, "config.json: indexer_kv_heads is %d, 1 is known", cfg_int(c, "indexer_kv_heads", 1));
    push(g, "indexer");
    const bool apart = has_tensor(g, "q_proj.weight");
    const Val q = apart ? linear(g, x, "q_proj", wide, false, SPLIT_NONE)
                        : linear_part(g, x, "index_qk_proj", all, 0, wide, false, SPLIT_NONE);
    const Val k = apart ? linear(g, x, "k_proj", dim, false, SPLIT_NONE)
                        : linear_part(g, x, "index_qk_proj", all, wide, dim, false, SPLIT_NONE);
    const Val row = norm(g, pool_rows(g, k, NO_VAL, (Pool){.ratio = ratio, .width = dim}), "k_layernorm");
    const State keys = state_rows(g, "key", (RowState){.heads = 1, .width = dim, .stride = ratio});
    store(g, rope(g, row, turn, (RopeAt){.heads = 1, .stride = ratio}), keys);
    const Val query = rope(g, norm_heads(g, q, "q_layernorm", dim), turn, (RopeAt){.heads = heads});
    pop(g);
    return choose(g, query, NO_VAL, (Choice){.heads = heads, .dim = dim, .top = MAX(cfg_need(c, "index_topk") / ratio, 1), .keys = keys});
}

static Val attend_to_runs(Graph *g, const Cfg *c, Val x) {
    Attn a = attn_of(g, c);
    a.q_norm = "q_norm";
    a.k_norm = "k_norm";
    a.gate_in_q = true;
    if (cfg_has(c, "index_n_heads")) {
        a.choose = choose_runs;
        a.span = ratio_of(c);
        a.tail = true;
    }
    return attention(g, x, a);
}

static Val mix_tokens(Graph *g, const Cfg *c, Val x, int i) {
    if (!is_linear(c, i))
        return attend_to_runs(g, c, x);
    DeltaNet d = delta_net_of(g, c);
    d.tiled = cfg_is_gguf(c);
    d.gate = act_of(g, c, cfg_has(c, "output_gate_type") ? "output_gate_type" : "hidden_act");
    return delta_net(g, x, d);
}

/* ---- runs of tokens ---- */

static bool is_prime(int64_t n) {
    if (n % 2 == 0)
        return n == 2;
    for (int64_t d = 3; d * d <= n; d += 2)
        if (n % d == 0)
            return false;
    return n > 1;
}

/* The generator that the factors are drawn from: Steele, Lea & Flood 2014. */
#define SPLITMIX_STEP 0x9E3779B97F4A7C15u
static uint64_t splitmix(uint64_t x) {
    x += SPLITMIX_STEP;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Tables and factors are not settings: they follow from the size of the vocabulary, a seed and the smallest size of a table.
 * Each table of each such layer has the next prime number of rows. `nth` counts the layers that have tables. */
static void hashes_of(const Cfg *c, Ngram *n, int nth, int64_t *numbers) {
    const int lists = (n->size - 1) * n->heads, base = cfg_int(c, "ngram_vocab_size_base", 20000000);
    const int64_t vocab = cfg_need(c, "vocab_size");
    const int pad = cfg_int(c, "make_ngram_vocab_size_divisible_by", 128);
    if (base < 2 || base > 1 << 30 || pad < 1 || pad > 1 << 20 || nth >= 64) {
        cfg_refuse(c, "config.json: tables of %d rows, padded to %d, for %d layers", base, pad, nth + 1);
        return;
    }
    int64_t *factors = numbers, *sizes = numbers + n->size, *offsets = sizes + lists;
    const uint64_t seed = (uint64_t)cfg_int(c, "seed", 1234) + 10007u * (uint64_t)nth;
    const uint64_t half = (uint64_t)MAX(INT64_MAX / vocab / 2, 1);
    for (int i = 0; i < n->size; i++)
        factors[i] = (int64_t)(2 * (splitmix(seed + SPLITMIX_STEP * (uint64_t)(i + 1)) % half) + 1);
    int64_t prime = base - 1, rows = 0;
    for (int j = -nth * lists; j < lists; j++) {
        do
            prime++;
        while (!is_prime(prime));
        if (j < 0)
            continue;
        sizes[j] = prime;
        offsets[j] = rows;
        rows += prime;
    }
    n->rows = (rows + pad - 1) / pad * pad;
    n->shards = cfg_int(c, "split_ngram_parts", 512);
}

/* GGUF files hold the numbers themselves, and one table for one layer. */
static void hashes_of_gguf(const Cfg *c, Ngram *n, int64_t *numbers) {
    const int lists = (n->size - 1) * n->heads;
    for (int i = 0; i < n->size; i++)
        numbers[i] = cfg_long_at(c, "ngram_factors", i, 1);
    for (int j = 0; j < lists; j++) {
        numbers[n->size + j] = cfg_long_at(c, "ngram_table_sizes", j, 0);
        numbers[n->size + lists + j] = cfg_long_at(c, "ngram_table_offsets", j, 0);
    }
    n->rows = cfg_int(c, "vocab_size_per_layer_input", 0);
}

static Val embed_runs(Graph *g, const Cfg *c, Val x, int nth, const char *name) {
    Ngram n = {.size = cfg_int(c, "ngram_size", 3), .heads = cfg_int(c, "heads_per_ngram", 8), .name = name,
               .stop = cfg_int_at(c, "eos_token_id", 0, -1)};
    const int lists = n.size > 1 && n.heads > 0 && n.size <= 64 && n.heads <= 64 ? (n.size - 1) * n.heads : 0;
    if (lists == 0 || lists > NGRAM_LISTS || n.stop < 0) {
        cfg_refuse(c, "config.json: ngram_size %d with heads_per_ngram %d, eos_token_id %d", n.size, n.heads, n.stop);
        return x;
    }
    n.width = cfg_is_gguf(c) ? cfg_int(c, "hidden_size_per_layer_input", 0)
                             : cfg_int(c, "ple_embed_dim", cfg_need(c, "hidden_size")) / lists;
    int64_t *numbers = graph_longs(g, n.size + 2 * lists);
    if (numbers == NULL)
        return x;
    if (cfg_is_gguf(c))
        hashes_of_gguf(c, &n, numbers);
    else
        hashes_of(c, &n, nth, numbers);
    n.factors = numbers;
    n.sizes = numbers + n.size;
    n.offsets = n.sizes + lists;
    return ngram(g, x, n);
}

/* In GGUF files the table stands by itself. */
static Val prepare(Graph *g, const Cfg *c, Val x) {
    return cfg_is_gguf(c) && cfg_has(c, "ngram_factors") ? embed_runs(g, c, x, 0, "embed_tokens_per_layer") : NO_VAL;
}

/* Which of the layers with embeddings of runs layer i is; -1: none. */
static int place_among(Graph *g, const Cfg *c, int i) {
    if (cfg_is_gguf(c))
        return has_tensor(g, "ple.key_proj.weight") ? 0 : -1;
    int before = 0;
    for (int k = 1; k <= i; k++) /* counted from 1 */
        before += cfg_list_has(c, "ple_layer_ids", k);
    return cfg_list_has(c, "ple_layer_ids", i + 1) ? before : -1;
}

static Val add_runs(Graph *g, const Cfg *c, Val x, int nth) {
    const int n = streams_of(c), width = width_of(g, x) / n;
    push(g, "ple");
    const Val e = cfg_is_gguf(c) ? prepared(g) : embed_runs(g, c, x, nth, "ple_embedding.ngram_embedding");
    const Val key = norm_groups(g, linear(g, e, "key_proj", n * width, false, SPLIT_NONE), "norm_key", n);
    const Val value = linear(g, e, "value_proj", width, false, SPLIT_NONE);
    const Val fit = dot_runs(g, key, norm_groups(g, x, "norm_query", n), n, 1.0f / sqrtf((float)width), true);
    const Val gated = mul(g, repeat_heads(g, value, 1, n), act(g, fit, ACT_SIGMOID));
    const Val near = norm_groups(g, gated, "norm_conv", n);
    const Val mixed = conv(g, &near, 1, (Conv){.name = {"conv1d"}, .taps = cfg_int(c, "ple_conv_kernel_size", 4),
                                               .dilation = cfg_int(c, "ngram_size", 3), .act = ACT_SILU});
    pop(g);
    return add(g, x, add(g, gated, mixed));
}

/* ---- the whole ---- */

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    const int nth = place_among(g, c, i);
    if (nth >= 0)
        x = add_runs(g, c, x, nth);
    Mixed m = mix_streams(g, c, x, "attn_hyper_connection", false);
    x = injected(g, c, x, mix_tokens(g, c, m.block, i), m);
    m = mix_streams(g, c, x, "mlp_hyper_connection", false);
    const Moe e = {.experts = cfg_need(c, "num_experts"), .used = cfg_need(c, "num_experts_per_tok"),
                   .dim = cfg_need(c, "moe_intermediate_size"), .score = SCORE_SOFTMAX,
                   .renormalise = cfg_bool(c, "norm_topk_prob", true), .shared_dim = cfg_need(c, "shared_expert_intermediate_size"),
                   .shared = "shared_expert", .shared_gate = "shared_expert_gate"};
    return injected(g, c, x, moe(g, m.block, e), m);
}

static void build(Graph *g, const Cfg *c) {
    norm_style(g, NORM_RMS, norm_eps(g), true);
    decoder(g, c, block, (Decoder){.streams = streams_of(c), .prepare = prepare, .collapse = last_mix, .norm = ""});
}

#define DEFAULTS \
    "{\"head_dim\": 256, \"num_experts\": 512, \"num_experts_per_tok\": 10," \
    " \"moe_intermediate_size\": 512, \"shared_expert_intermediate_size\": 512}"

const Family family_qwen4_exp = {.name = "qwen4_exp", .build = build, .reply_format = "qwen3_5", .since = "0.1",
                                 .golden = "qwen4_exp", .covers = "Qwen4-Exp", .defaults = DEFAULTS};
const Family family_qwen4_exp_text = {.name = "qwen4_exp_text", .build = build, .reply_format = "qwen3_5", .since = "0.1",
                                      .golden = "qwen4_exp", .covers = "Qwen4-Exp, text only", .defaults = DEFAULTS};
