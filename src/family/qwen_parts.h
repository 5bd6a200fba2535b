/* qwen_parts.h - what Qwen2 and Qwen3 have in common. */
#ifndef HOULE_FAMILY_QWEN_PARTS_H
#define HOULE_FAMILY_QWEN_PARTS_H

#include "graph/graph.h"

/* Attention with the window of the configuration, which use_sliding_window switches on in the layers from
 * max_window_layers, or in those that are listed. */
Attn qwen_attn(Graph *g, const Cfg *c, int i);
/* x and what attention adds: Qwen2 has biases on q, k, v; Qwen3 norms on each head of q and k. */
Val qwen2_attended(Graph *g, const Cfg *c, Val x, int i);
Val qwen3_attended(Graph *g, const Cfg *c, Val x, int i);
/* Every decoder_sparse_step-th layer has experts, but for those listed. */
bool qwen_is_sparse(const Cfg *c, int i);

#endif
