/* granite_parts.h - what the families of Granite have in common: fixed multipliers of the embedding, the scores, what
 * each half adds, and the logits. */
#ifndef HOULE_FAMILY_GRANITE_PARTS_H
#define HOULE_FAMILY_GRANITE_PARTS_H

#include "graph/graph.h"

Attn granite_attn(Graph *g, const Cfg *c);
/* x + multiplier y */
Val granite_add(Graph *g, const Cfg *c, Val x, Val y);
/* Experts, when there are any, and the block for all tokens; gate and up are one tensor, except in GGUF files. */
Val granite_experts(Graph *g, const Cfg *c, Val x);
void granite_build(Graph *g, const Cfg *c, BlockFn block);

#endif
