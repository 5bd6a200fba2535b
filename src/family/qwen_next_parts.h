/* qwen_next_parts.h - what Qwen3-Next and Qwen3.5 have in common: three gated delta nets to one attention layer whose
 * output is gated; norms are (1 + w), except the one inside the delta net. */
#ifndef HOULE_FAMILY_QWEN_NEXT_PARTS_H
#define HOULE_FAMILY_QWEN_NEXT_PARTS_H

#include "graph/graph.h"

/* x and what the delta net or attention adds; `fused`: projections of the delta net lie in one tensor. */
Val qwen_next_mixed(Graph *g, const Cfg *c, Val x, int i, bool fused);
/* Experts and a gated shared one. */
Val qwen_next_experts(Graph *g, const Cfg *c, Val x, bool renormalise);
/* The decoder, and a layer that predicts one token more. */
void qwen_next_build(Graph *g, const Cfg *c, BlockFn block);

#define QWEN_NEXT_DEFAULTS "{\"partial_rotary_factor\": 0.25, \"head_dim\": 256}"

#endif
