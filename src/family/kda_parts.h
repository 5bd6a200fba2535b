/* kda_parts.h - what the families with Kimi delta attention have in common. */
#ifndef HOULE_FAMILY_KDA_PARTS_H
#define HOULE_FAMILY_KDA_PARTS_H

#include "graph/graph.h"

/* `m` has what the family does where its configuration is silent. */
Val kda_experts(Graph *g, const Cfg *c, Val x, Moe m);
/* GGUF files tell layers of delta attention by the number of key heads: 0 in layers without a cache of keys. */
bool kda_has_no_keys(const Cfg *c, int i);

#endif
