/* made_weights.h - weights for a description that has none: which tensors there would be, in which form, made up.
 *
 * For measuring shapes (houle bench --shape) and for planning (houle plan). A kind of weights is what publishers do: a GGUF
 * quantisation of all matrices, or FP8, MXFP4 and packed integers of those that such checkpoints convert. */
#ifndef HOULE_GRAPH_MADE_WEIGHTS_H
#define HOULE_GRAPH_MADE_WEIGHTS_H

#include "format/made_files.h"
#include "graph/weights.h"

typedef struct MadeKind {
    const char *word;   /* "q4_k" */
    DType type;         /* of the values */
    enum { MADE_PLAIN, MADE_F8_BLOCKS, MADE_FP4_BLOCKS, MADE_INT4_GROUPS } scheme;
    /* Which matrices: all but routers; also not the vocabulary's; experts alone, where there are any. Others are BF16. */
    enum { MADE_ALL, MADE_LAYERS, MADE_EXPERTS } where;
} MadeKind;

/* The kinds, best known first; NULL beyond the last. */
const MadeKind *made_kind_at(int i);
/* ERR_ARGUMENT naming all when there is none of that word. */
Status made_kind_of_word(const char *word, const MadeKind **kind, Error *err);
/* What the quantisation in a config.json says, else BF16. */
const MadeKind *made_kind_of_config(const json_t *config);

/* That of a GGUF's label ("UD-Q4_K_XL" is q4_k); NULL when none is like it. */
const MadeKind *made_kind_of_label(const char *label);

/* Adds to `files` (made_files_open) a tensor for every weight of the description; the bytes come by made_weights_fill. */
Status made_weights_add(const Graph *graph, const MadeKind *kind, ModelFiles *files, Error *err);
/* made_files_fill with valid numbers, in about so much memory. */
Status made_weights_fill(ModelFiles *files, size_t memory_bytes, Error *err);

/* The form and the bytes, all of its matrices, that a weight would have. */
typedef struct WeightForm {
    Form form;
    size_t bytes;
} WeightForm;
/* For every weight of the graph (forms[n_weight]); vectors have 4 bytes a number. */
Status made_weights_forms(const Graph *graph, const MadeKind *kind, WeightForm *forms, Error *err);

#endif
