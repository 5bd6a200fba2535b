/* latent.h - what the families of latent attention with experts have in common: DeepSeek-V2 and V3, and those built
 * like them. */
#ifndef HOULE_FAMILY_LATENT_H
#define HOULE_FAMILY_LATENT_H

#include "graph/graph.h"

/* The experts of DeepSeek-V3, where a configuration is silent: one group, chosen by sigmoids with a correction. */
extern const Moe latent_moe;

/* A layer: latent attention, then experts (with what `e` says where the configuration is silent) or, in the first
 * layers, a dense block. */
Val latent_block(Graph *g, const Cfg *c, Val x, int i, Mla m, Moe e, int first_dense);
/* The entries that a small attention of its own finds worth reading; `heads` where the configuration is silent. */
Val latent_index(Graph *g, const Cfg *c, Val x, Val low, int heads, bool interleaved);
/* The decoder, and layers that predict more tokens. */
void latent_build(Graph *g, const Cfg *c, BlockFn block);

#endif
