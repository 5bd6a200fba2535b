/* describe.h - what a description amounts to: parameters, operations in words, bytes per token. Passes over the list,
 * no weights needed. */
#ifndef HOULE_GRAPH_DESCRIBE_H
#define HOULE_GRAPH_DESCRIBE_H

#include "graph/graph_parts.h"
#include "graph/weights.h"
#include "kernel/kernel.h"

typedef struct ParameterCount {
    uint64_t total;    /* all numbers that are weights, a tied matrix once */
    uint64_t active;   /* of them those that one token uses: chosen experts only */
    uint64_t table;    /* of them the embedding, of which a token uses one row when it is not tied */
    uint64_t kept;     /* of layers that are read and kept but not used here; not in total */
} ParameterCount;
ParameterCount graph_parameters(const Graph *graph);
/* Whether some of its weights are experts, of which a token uses a few. */
bool graph_has_experts(const Graph *graph);

/* Bytes that one more token adds to the cache, and bytes of a sequence's memories. */
size_t graph_cache_bytes_per_token(const Graph *graph, CacheType type);
size_t graph_memory_bytes(const Graph *graph);

/* Bytes of weights, as they are stored, that one token reads: chosen experts only, of an embedding that is not also the
 * output matrix one row. */
size_t graph_bytes_per_token(const Graph *graph, const Weights *weights);
/* The same of one weight that is stored in so many bytes. */
size_t graph_weight_read_bytes(const Graph *graph, int weight, size_t stored);

/* What an operation is called, for people. */
const char *op_kind_word(OpKind kind);
/* Every operation on a line: number, layer, kind, inputs, widths, weights. */
Status graph_print(const Graph *graph, Text *text, Error *err);

#endif
