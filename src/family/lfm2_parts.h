/* lfm2_parts.h - what the families of LFM2 have in common: gated short convolutions, here and there an attention layer;
 * the last norm is called embedding_norm. */
#ifndef HOULE_FAMILY_LFM2_PARTS_H
#define HOULE_FAMILY_LFM2_PARTS_H

#include "graph/graph.h"

/* x and what the convolution or attention adds. */
Val lfm2_mixed(Graph *g, const Cfg *c, Val x, int i);
Val lfm2_forward(Graph *g, Val x, int dim);
void lfm2_build(Graph *g, const Cfg *c, BlockFn block);

#define LFM2_DEFAULTS "\"tie_word_embeddings\": true, \"rope_theta\": 1e6, \"num_key_value_heads\": 8"

#endif
