/* weights_parts.h - what finding weights (bind.c) and using them (weights.c) share. */
#ifndef HOULE_GRAPH_WEIGHTS_PARTS_H
#define HOULE_GRAPH_WEIGHTS_PARTS_H

#include "graph/weights.h"

typedef struct Stream Stream;

typedef struct Weight {
    Matrix *matrices; /* count of them, in the mapped files; NULL for a vector */
    int count;
    float *vector;
    size_t bytes;     /* stored, all matrices */
} Weight;

struct Weights {
    const Graph *graph;
    const ModelFiles *files;
    Weight *weights;
    Arena arena;      /* matrices, vectors */
    bool *used;       /* per tensor of the files */
    size_t mapped_bytes, copied_bytes;
    Stream *stream;   /* NULL: everything stays mapped */
};

void stream_close(Stream *stream); /* NULL is fine */

#endif
