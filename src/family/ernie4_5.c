/* ernie4_5.c - ERNIE 4.5, dense. Baidu 2025. */
#include "family/ernie_parts.h"

static void build(Graph *g, const Cfg *c) {
    decoder(g, c, ernie_block, (Decoder){0});
}

const Family family_ernie4_5 = {
    .name = "ernie4_5",
    .build = build,
    .reply_format = "plain",
    .since = "0.1",
    .golden = "ernie4_5",
    .covers = "ERNIE-4.5-0.3B",
    .defaults = "{\"num_key_value_heads\": 2, \"head_dim\": 128, \"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0,"
                " \"tie_word_embeddings\": true}"};
