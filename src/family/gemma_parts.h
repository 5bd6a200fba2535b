/* gemma_parts.h - what Gemma 2 and 3 have in common: norms before and after each half with weights stored as factor -
 * 1, embeddings scaled. */
#ifndef HOULE_FAMILY_GEMMA_PARTS_H
#define HOULE_FAMILY_GEMMA_PARTS_H

#include "graph/graph.h"

/* The scale of the scores; GGUF files don't say it: it follows the head, but for the 27B models, which have so many
 * layers, where it follows D / H. */
float gemma_scale(const Cfg *c, const Attn *a, int layers_of_27b);
/* A layer with this attention. */
Val gemma_halves(Graph *g, const Cfg *c, Val x, Attn a);
void gemma_build(Graph *g, const Cfg *c, BlockFn block);

#endif
