/* ernie_parts.h - what the families of ERNIE 4.5 have in common: heads rotated in adjacent pairs, biases where the
 * configuration has them. */
#ifndef HOULE_FAMILY_ERNIE_PARTS_H
#define HOULE_FAMILY_ERNIE_PARTS_H

#include "graph/graph.h"

/* x and what attention adds. */
Val ernie_attended(Graph *g, const Cfg *c, Val x);
Ffn ernie_ffn(Graph *g, const Cfg *c);
/* A dense layer. */
Val ernie_block(Graph *g, const Cfg *c, Val x, int i);

#endif
