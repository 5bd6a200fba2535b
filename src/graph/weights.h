/* weights.h - the weights of a description, found in a model's files.
 *
 * Every declared weight is bound to the bytes that hold it: under its own name, as part of a fused or stacked tensor,
 * with its scales, or under the name that GGUF files use. Nothing is copied but small vectors. Matrices are handed out
 * as handles: acquire before use, release after. */
#ifndef HOULE_GRAPH_WEIGHTS_H
#define HOULE_GRAPH_WEIGHTS_H

#include "base/progress.h"
#include "format/model_files.h"
#include "graph/expert_cache.h"
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

/* Matrix `index` (expert, group) of a weight, good until it is released; `room` is where it is put together when it is not
 * simply there. Never fails: when a file cannot be read there are zeros, and weights_check tells. A thread holds few at a
 * time: it may have to wait until another is released. */
const Matrix *weight_acquire(const Weights *weights, int weight, int index, Matrix *room);
void weight_release(const Weights *weights, int weight, int index);
/* Row `row` of matrix `index` as n floats. scratch: TABLE_SCRATCH_BYTES for a row that has to be read. */
enum { TABLE_SCRATCH_BYTES = 192 << 10 };
void weight_decode_row(const Weights *weights, int weight, int index, int row, int n, void *scratch, float *out);
/* How all matrices of a weight are stored. */
Form weight_form(const Weights *weights, int weight);
/* A vector's numbers; NULL when it is optional and absent. */
const float *weight_vector(const Weights *weights, int weight);

/* Bytes that the weights take in the files (what is read per use), and bytes copied to memory. */
size_t weights_mapped_bytes(const Weights *weights);
size_t weights_copied_bytes(const Weights *weights);
/* Bytes of one weight in stored form, all its matrices; and the numbers it holds. */
size_t weight_bytes(const Weights *weights, int weight);

/* Names of the files' tensors that no weight uses, separated by ", ", at most `limit` of them; returns how many. */
size_t weights_unused(const Weights *weights, Text *list, int limit);

/* ERR_IO once a file of the model became shorter while it was in use, or could not be read. */
Status weights_check(const Weights *weights, Error *err);

/* ---- models larger than memory ----------------------------------------------------------------------------------------
 *
 * When weights are streamed, experts are read when they are chosen and kept in a cache of fixed size (expert_cache.h), and
 * rows of tables that are only looked up are read one by one; all else stays mapped. Whoever runs a step says what
 * it is about to use; without streaming that costs a comparison. */

typedef struct StreamPlan {
    size_t whole;    /* all weights that a step can use, as they are stored */
    size_t resident; /* of them those that stay mapped */
    size_t experts;  /* in the cache, when they are used */
    size_t tables;   /* read row by row */
    size_t least;    /* bytes without which it cannot be: resident, and the smallest cache */
    size_t cache;    /* what the budget leaves for the cache: 0 when it is less than `least` */
    size_t cached;   /* bytes of experts that this holds, about: at most `experts` */
} StreamPlan;
/* What streaming within a budget would mean. */
Status weights_stream_plan(const Weights *weights, size_t budget, StreamPlan *plan, Error *err);
/* From now on the weights take at most `budget` bytes of memory, those of vectors (weights_copied_bytes) aside. Before
 * anything is acquired. ERR_MEMORY tells what is needed at the least. */
Status weights_stream(Weights *weights, size_t budget, Error *err);
bool weights_streamed(const Weights *weights);
/* What the weights take now: mapped and copied, or what stays of it and the cache. */
size_t weights_resident_bytes(const Weights *weights);

/* A step of so many tokens begins; a layer's experts; what they are (share: of the tokens that use them), what the layer
 * needs later, and what the next one may need; that nobody takes up an expert of this step any more. */
void weights_step(const Weights *weights, int tokens);
void weights_layer(const Weights *weights);
void weight_use(const Weights *weights, int weight, int index, float share);
void weight_prefetch(const Weights *weights, int weight, int index);
void weight_guess(const Weights *weights, int weight, int index);
void weight_done(const Weights *weights, int weight, int index);

/* All since weights_stream; rows of tables count in bytes_read only. */
CacheCounts weights_counts(const Weights *weights);

#endif
