/* layers.h - which layers of a description compute alike, and which of them stand for all.
 *
 * Two layers are of one kind when they are the same operations with the same shapes: what one costs, the other costs. So a
 * network is measured by some of its layers, at least one of each kind. */
#ifndef HOULE_GRAPH_LAYERS_H
#define HOULE_GRAPH_LAYERS_H

#include "graph/graph_parts.h"

enum { LAYER_KINDS = 64, KIND_WORDS_BYTES = 64 }; /* kinds at the most; those beyond count as the last */

/* What is known of the layers of a graph. */
typedef struct LayerKinds {
    int n_layer;
    int *kind;                /* [n_layer]; -1: the layer is not described */
    int n_kind;
    int count[LAYER_KINDS];   /* layers of each kind */
    char words[LAYER_KINDS][KIND_WORDS_BYTES]; /* "attention, experts" */
} LayerKinds;

Status layer_kinds_open(const Graph *graph, LayerKinds *kinds, Error *err);
void layer_kinds_close(LayerKinds *kinds);

/* Marks (in chosen[n_layer], which the caller clears) about `n` layers that stand for all: the first of each kind, what those
 * use of earlier layers, and further ones so that each kind has its share. Gives the number marked; more than n where kinds
 * ask for it. */
int layers_choose(const Graph *graph, const LayerKinds *kinds, int n, bool *chosen);

#endif
