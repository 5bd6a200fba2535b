/* weights.h - the weights of a description, found in a model's files.
 *
 * Every declared weight is bound to the bytes that hold it: under its own name, as part of a fused or stacked tensor,
 * with its scales, or under the name that GGUF files use. Nothing is copied but small vectors. Matrices are handed out
 * as handles: acquire before use, release after; a prefetch tells what comes next. */
#ifndef HOULE_GRAPH_WEIGHTS_H
#define HOULE_GRAPH_WEIGHTS_H

#include "base/progress.h"
#include "format/model_files.h"
#include "graph/graph_parts.h"
#include "op/form.h"

typedef struct Weights Weights;

/* Where the canonical names of a description are found in these files. */
typedef struct Binder {
    const ModelFiles *files;
    const char *arch; /* GGUF's general.architecture, or NULL for safetensors */
    bool gptq_v2;     /* zero points are stored as they are (checkpoint_format of quantization_config) */
} Binder;

/* For graph_build: does any spelling of this canonical name exist? user is a Binder. */
bool binder_has_tensor(void *user, const char *name);

/* Binds everything, or says which tensor is missing or has the wrong shape. The files must outlive the weights. */
Status weights_open(const Graph *graph, const ModelFiles *files, Weights **weights, Error *err);
void weights_close(Weights *weights);

/* Matrix `index` (expert, group) of a weight. Never fails for mapped weights; the pointer is good until released. */
const Matrix *weight_acquire(const Weights *weights, int weight, int index);
void weight_release(const Weights *weights, int weight, int index);
void weight_prefetch(const Weights *weights, int weight, int index);
/* A vector's numbers; NULL when it is optional and absent. */
const float *weight_vector(const Weights *weights, int weight);

/* Bytes that the weights take in the files (what is read per use), and bytes copied to memory. */
size_t weights_mapped_bytes(const Weights *weights);
size_t weights_copied_bytes(const Weights *weights);
/* Bytes of one weight in stored form, all its matrices; and the numbers it holds. */
size_t weight_bytes(const Weights *weights, int weight);

/* Names of the files' tensors that no weight uses, separated by ", ", at most `limit` of them; returns how many. */
size_t weights_unused(const Weights *weights, Text *list, int limit);

/* ERR_IO once a file of the model became shorter while it was in use. */
Status weights_check(const Weights *weights, Error *err);

#endif
