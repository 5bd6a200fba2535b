/* bert.c - BERT and RoBERTa: encoders, in which every token sees the whole text. Norms follow each half, positions are
 * learned. Devlin et al. 2018; Liu et al. 2019; Conneau et al. 2019. With a classifier they score a text, or a pair of
 * texts (Nogueira & Cho 2019). */
#include "graph/graph.h"

#include <string.h>

static float eps_of(const Cfg *c) { return cfg_real(c, "layer_norm_eps", 1e-12f); }

static Val self_attention(Graph *g, const Cfg *c, Val x) {
    const int width = width_of(g, x), heads = cfg_need(c, "num_attention_heads");
    if (heads < 1 || width % heads != 0)
        cfg_refuse(c, "%d heads in a width of %d", heads, width);
    const Attend a = {.heads = heads, .kv_heads = heads, .key_width = width / (heads > 0 ? heads : 1),
                      .value_width = width / (heads > 0 ? heads : 1)};
    push(g, "attention.self");
    const Val q = linear(g, x, "query", width, true, SPLIT_ROWS), k = linear(g, x, "key", width, true, SPLIT_ROWS);
    const Val y = attend_text(g, q, k, linear(g, x, "value", width, true, SPLIT_ROWS), a);
    pop(g);
    return linear(g, y, "attention.output.dense", width, true, SPLIT_COLS);
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    (void)i;
    x = norm_layer(g, add(g, x, self_attention(g, c, x)), "attention.output.LayerNorm", eps_of(c));
    Val h = linear(g, x, "intermediate.dense", cfg_need(c, "intermediate_size"), true, SPLIT_ROWS);
    h = linear(g, act(g, h, act_of(g, c, "hidden_act")), "output.dense", width_of(g, x), true, SPLIT_COLS);
    return norm_layer(g, add(g, x, h), "output.LayerNorm", eps_of(c));
}

/* GGUF files hold the table of positions without the rows in front that no text uses. */
static Val embeddings(Graph *g, const Cfg *c, int first_place) {
    const int width = cfg_need(c, "hidden_size");
    if (strcmp(cfg_str(c, "position_embedding_type", "absolute"), "absolute") != 0)
        cfg_refuse(c, "position_embedding_type %s is not known", cfg_str(c, "position_embedding_type", ""));
    push(g, "embeddings");
    Val x = embed(g, "word_embeddings", cfg_need(c, "vocab_size"), width);
    x = add(g, x, embed_places(g, "position_embeddings", cfg_need(c, "max_position_embeddings"), cfg_is_gguf(c) ? 0 : first_place, width));
    x = add(g, x, embed_segments(g, "token_type_embeddings", cfg_int(c, "type_vocab_size", 2), width));
    x = norm_layer(g, x, "LayerNorm", eps_of(c));
    pop(g);
    return x;
}

/* The row of the first token, through a layer (where there is one), gives a number for each label. */
static Val classifier(Graph *g, const Cfg *c, Val x) {
    const bool pair = has_tensor(g, "classifier.out_proj.weight");
    if (!pair && !has_tensor(g, "classifier.weight"))
        return NO_VAL;
    push(g, "%s", pair ? "classifier" : "pooler");
    if (has_tensor(g, "dense.weight"))
        x = act(g, linear(g, x, "dense", width_of(g, x), true, SPLIT_NONE), ACT_TANH);
    pop(g);
    return linear_exact(g, x, pair ? "classifier.out_proj" : "classifier", cfg_count(c, "id2label", cfg_int(c, "num_labels", 2)), true);
}

static void read_text(Graph *g, const Cfg *c, int first_place) {
    const Val x = layers(g, c, embeddings(g, c, first_place), block, cfg_need(c, "num_hidden_layers"), "encoder.layer");
    const Val rows = wanted_rows(g, x);
    set_reading(g, rows, classifier(g, c, rows));
}

static void bert(Graph *g, const Cfg *c) { read_text(g, c, 0); }

/* Positions are counted from the one behind the padding's. */
static void roberta(Graph *g, const Cfg *c) { read_text(g, c, cfg_int(c, "pad_token_id", 1) + 1); }

#define DEFAULTS "{\"hidden_act\": \"gelu\"}"
const Family family_bert = {.name = "bert", .build = bert, .since = "0.1", .golden = "embed/bert", .defaults = DEFAULTS,
                            .covers = "BERT, MiniLM, BGE, E5, GTE (embeddings), MS MARCO cross-encoders"};
const Family family_roberta = {.name = "roberta", .build = roberta, .since = "0.1", .golden = "embed/roberta", .defaults = DEFAULTS,
                               .covers = "RoBERTa"};
const Family family_xlm_roberta = {.name = "xlm-roberta", .build = roberta, .since = "0.1", .golden = "embed/xlm_roberta",
                                   .defaults = DEFAULTS, .covers = "XLM-RoBERTa, BGE-M3, multilingual E5, bge-reranker"};
